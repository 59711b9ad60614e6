"""Samples of a data set, and what a model makes of them: codes, losses, and units that no image switches on."""

import copy

import numpy as np

from tinybvae.data import DSprites
from tinybvae.kernels.chain import BATCH
from tinybvae.kernels.threads import alone
from tinybvae.layers import switched_on
from tinybvae.losses import gaussian_kl
from tinybvae.vae import reparameterize

NINE = (278199, 285035, 329107, 720574, 657472, 327784, 626562, 251463, 305848)  # on miyosuda/disentangled_vae's page


def encode_samples(model, data, samples=10_000, seed=0, batch_size=BATCH):
    """The classes (samples, K) of images drawn as `_draw` does, and mean and logvar (samples, D) of their q(z|x).

    Functions with an argument `encoded` take these three; if it is not given, they call this function themselves.
    `data` is a DSprites, an Images, or an object with all that `tinybvae.data` lists; without factors, K is 0. Raises
    FloatingPointError if a latent is not finite, and ValueError if the classes are not integers, or beyond the data's
    factor_sizes.
    """
    index = _draw(data, samples, seed)
    drawn, where = np.unique(index, return_inverse=True)  # each image once, in the file's order
    batches = [model.encode(images) for images in _batches(data, drawn, batch_size)]
    mean, logvar = (np.concatenate(arrays)[where] for arrays in zip(*batches))
    if not np.isfinite([mean, logvar]).all():
        raise FloatingPointError("some latents are not finite: try a lower learning rate")
    return _classes(data, index), mean, logvar


def _draw(data, samples, seed):
    """The index of images drawn at random: (samples,), or fewer if there are fewer, since none is drawn twice.

    Only from a set fifty times as large, as dSprites is, one in a hundred may be drawn twice.
    """
    rng, count = np.random.default_rng(seed), len(data)
    return rng.integers(count, size=samples) if count >= 50 * samples else rng.permutation(count)[:samples]


def _batches(data, index, batch_size):
    for start in range(0, len(index), batch_size):
        yield data.images(index[start:start + batch_size])


def factors_of(data):
    """The names of the data's factors, () if none are known, and their sizes, () if the data do not say them."""
    names, sizes = getattr(data, "factor_names", None), getattr(data, "factor_sizes", None)
    return () if names is None else tuple(names), () if sizes is None else tuple(sizes)


def _classes(data, index):
    names, sizes = factors_of(data)
    if not names:
        return np.zeros((len(index), 0), np.int64)
    classes = np.asarray(data.classes(index))
    if classes.dtype.kind not in "iu" or classes.shape != (len(index), len(names)):
        raise ValueError(f"classes must be integers of shape ({len(index)}, {len(names)}), a column for each of "
                         f"{', '.join(names)}, not {classes.dtype} of {classes.shape}")
    if sizes and len(sizes) != len(names):
        raise ValueError(f"factor_sizes must be {len(names)}, one for each of {', '.join(names)}, not {len(sizes)}")
    if ((classes < 0) | (classes >= (sizes or np.inf))).any():
        raise ValueError(f"classes must lie in 0 … size − 1, sizes {sizes}")
    return classes


def losses(model, data, samples=10_000, batch_size=50):
    """In nats, for images drawn with replacement: reconstruction loss, from one z for each image; its least; and KL.

    For the whole of dSprites also the reconstruction loss of NINE, from their posterior means.
    """
    rng, sums = np.random.default_rng(0), np.zeros(3)
    for _ in range(samples // batch_size):
        images = data.images(rng.integers(len(data), size=batch_size))
        mean, logvar = model.encode(images)
        z = reparameterize(mean, logvar, rng.standard_normal(mean.shape))
        reconstruction, _ = model.likelihood.nll(model.decode(z), images)
        sums += reconstruction, gaussian_kl(mean, logvar)[0].sum(), model.likelihood.least(images)
    found = dict(zip(("reconstruction", "kl", "least"), (sums / (samples // batch_size)).tolist()))
    if isinstance(data, DSprites) and len(data) == len(DSprites()):  # not a file with a part of them
        images = data.images(np.array(NINE))
        found["nine_images"] = float(model.likelihood.nll(model.decode(model.encode(images)[0]), images)[0])
    return found


def units_off(model, data, samples=2000, seed=0, batch_size=BATCH):
    """{layer: [off, units]}: how many of a layer's units no image switches on, among some drawn as `_draw` does."""
    looked_at = alone(copy.deepcopy)(model)  # a copy, so that the model's layers keep what they have
    on = dict.fromkeys(model.relus, False)

    @alone
    def look(images):
        mean = looked_at.encoder.forward(np.asarray(images, model.dtype))[:, :model.latents]
        looked_at.decoder.forward(mean)
        for name, relu in looked_at.relus.items():
            on[name] = on[name] | switched_on(relu.y)

    for images in _batches(data, np.unique(_draw(data, samples, seed)), batch_size):
        look(images)
    return {layer: [int((~units).sum()), len(units)] for layer, units in on.items()}


def constant_factors(data, samples=10_000, seed=0):
    """The names of the factors that do not vary among the images that `encode_samples` draws."""
    classes = _classes(data, _draw(data, samples, seed))
    return [data.factor_names[k] for k, column in enumerate(classes.T) if (column == column[0]).all()]


def as_samples(codes, classes):
    """Both as arrays. Raises ValueError unless codes are finite numbers (N, D), and classes integers (N, K)."""
    codes, classes = np.asarray(codes), np.asarray(classes)
    if codes.ndim != 2 or classes.ndim != 2 or len(codes) != len(classes) or not len(codes):
        raise ValueError(f"codes must be (N, D) and classes (N, K), of N ≥ 1 samples, not {codes.shape} and "
                         f"{classes.shape}")
    if classes.dtype.kind not in "iu":
        raise ValueError(f"classes must be integers, not {classes.dtype}")
    if codes.dtype.kind not in "iuf" or not np.isfinite(codes).all():
        raise ValueError("codes must be finite real numbers")
    return codes.astype(np.result_type(codes, np.float32), copy=False), classes  # sums of float16 would overflow
