"""The β-VAE: two architectures as tables, the reparameterization, and the chain rule by hand.

A VAE (variational autoencoder, Kingma and Welling 2014) supposes that an image x came from a code z of D numbers, the
latents: first z was drawn from the prior p(z) = N(0, 1) in each latent, then x from the decoder's p(x|z). How probable
this makes an image, p(x) = ∫ p(x|z) p(z) dz, cannot be computed, nor can the posterior p(z|x). The encoder approximates
the posterior by q(z|x), which is normal in each latent. Let E_q be the mean over z drawn from q(z|x). By Bayes' rule
p(x) is p(x|z) p(z) / p(z|x), whatever z is, so

    log p(x)  =  E_q[log p(x|z) + log p(z) − log p(z|x)]
              =  E_q[log p(x|z)] − E_q[log q(z|x) − log p(z)]  +  E_q[log q(z|x) − log p(z|x)]
              =  E_q[log p(x|z)] −   KL(q(z|x) ‖ p(z))         +    KL(q(z|x) ‖ p(z|x))
              ≥  E_q[log p(x|z)] −   KL(q(z|x) ‖ p(z))

since no KL is negative: by Jensen's inequality −KL(q ‖ r) = E_q[log(r/q)] ≤ log E_q[r/q] = log 1 = 0, for any
distribution r. The last line is the evidence lower bound, ELBO. Training raises it by lowering a loss of two terms. The
reconstruction loss is −log p(x|z) for one z drawn for each image, which estimates −E_q[log p(x|z)]. To it is added an
objective's penalty on the KL; for β = 1 the penalty is the KL itself.

N is the batch size, D the number of latents. An architecture is a function of the number of latents, the image's shape
(height, width, channels), the random generator that draws the weights, and their dtype. It returns two networks: an
encoder, from images to 2·D numbers (the means, then the log-variances of q(z|x)), and a decoder, from z to one number
for each pixel and channel, from which the likelihood p(x|z) is computed. For `losses.bernoulli` this number is a logit.
"""

from typing import NamedTuple

import numpy as np

from tinybvae.kernels.arrays import model_sizes, pair, require_one_shape, require_pixels, small_is_zero
from tinybvae.kernels.threads import alone
from tinybvae.layers import Conv2d, ConvTranspose2d, Linear, ReLU, Reshape, Sequential, Tanh
from tinybvae.losses import bernoulli, gaussian_kl, weighed


def burgess2018(latents, image_shape, rng, dtype):
    """Burgess et al. 2018, appendix A.1: four convolutions and two hidden layers, and their mirror image.

    The paper's encoder gives log σ, this one log σ² = 2 log σ. Raises ValueError unless height and width are multiples
    of 16.
    """
    height, width, channels = image_shape
    if height % 16 or width % 16:
        raise ValueError(f"four convolutions each halve the image: height and width must be multiples of 16, "
                         f"not {height}×{width}")
    inner, flat = (height // 16, width // 16, 32), 32 * (height // 16) * (width // 16)
    encoder = Sequential(                                           # (N, height, width, channels): 64×64×1 in dSprites
        conv1=Conv2d(channels, 32, rng, dtype, input_grad=False),   # (N, 32, 32, 32)
        relu1=ReLU(),
        conv2=Conv2d(32, 32, rng, dtype),                           # (N, 16, 16, 32)
        relu2=ReLU(),
        conv3=Conv2d(32, 32, rng, dtype),                           # (N, 8, 8, 32)
        relu3=ReLU(),
        conv4=Conv2d(32, 32, rng, dtype),                           # (N, 4, 4, 32)
        relu4=ReLU(),
        flatten=Reshape(flat),                                      # (N, 512)
        linear1=Linear(flat, 256, rng, dtype),
        relu5=ReLU(),
        linear2=Linear(256, 256, rng, dtype),
        relu6=ReLU(),
        latent=Linear(256, 2 * latents, rng, dtype),                # (N, 2·D): means, then log-variances
    )
    decoder = Sequential(                                           # (N, D)
        linear1=Linear(latents, 256, rng, dtype),
        relu1=ReLU(),
        linear2=Linear(256, 256, rng, dtype),
        relu2=ReLU(),
        linear3=Linear(256, flat, rng, dtype),
        relu3=ReLU(),
        unflatten=Reshape(*inner),                                  # (N, 4, 4, 32)
        conv1=ConvTranspose2d(32, 32, rng, dtype),                  # (N, 8, 8, 32)
        relu4=ReLU(),
        conv2=ConvTranspose2d(32, 32, rng, dtype),                  # (N, 16, 16, 32)
        relu5=ReLU(),
        conv3=ConvTranspose2d(32, 32, rng, dtype),                  # (N, 32, 32, 32)
        relu6=ReLU(),
        conv4=ConvTranspose2d(32, channels, rng, dtype),            # (N, 64, 64, 1): logits
    )
    return encoder, decoder


def higgins2017(latents, image_shape, rng, dtype):
    """Higgins et al. 2017, table 1 for dSprites: fully connected, ReLU in the encoder, tanh in the decoder."""
    pixels = int(np.prod(image_shape))
    encoder = Sequential(
        flatten=Reshape(pixels),                                    # (N, 4096)
        linear1=Linear(pixels, 1200, rng, dtype, input_grad=False),
        relu1=ReLU(),
        linear2=Linear(1200, 1200, rng, dtype),
        relu2=ReLU(),
        latent=Linear(1200, 2 * latents, rng, dtype),
    )
    decoder = Sequential(
        linear1=Linear(latents, 1200, rng, dtype),
        tanh1=Tanh(),
        linear2=Linear(1200, 1200, rng, dtype),
        tanh2=Tanh(),
        linear3=Linear(1200, 1200, rng, dtype),
        tanh3=Tanh(),
        linear4=Linear(1200, pixels, rng, dtype),
        unflatten=Reshape(*image_shape),                            # (N, 64, 64, 1): logits
    )
    return encoder, decoder


ARCHITECTURES = {function.__name__: function for function in (burgess2018, higgins2017)}


@small_is_zero
def reparameterize(mean, logvar, noise):
    """z = μ + σ ε, with σ = exp(½ log σ²) and ε standard normal (Kingma and Welling 2014, section 2.4); all (N, D).

    The reconstruction loss is a mean over z drawn from N(μ, σ²). A draw as such has no derivative with respect to μ or
    σ: they only say which draws are likely. z = μ + σ ε has the same distribution, but its randomness, ε, depends on
    neither. So for a given ε, z is an ordinary function of μ and σ, and the derivative of the mean loss is the mean of
    the derivatives. (That holds since the loss of such networks, as a function of z, has kinks but no jumps, and grows
    no faster than a polynomial.) One draw for each image estimates this mean without bias. Raises ValueError for other
    shapes.
    """
    require_one_shape(mean, logvar, noise, dimensions=2)
    return mean + np.exp(logvar / 2) * noise


@small_is_zero
def reparameterize_backward(dz, logvar, noise):
    """Through z, ∂L/∂μ is dz and ∂L/∂log σ² is dz · ε · ∂σ/∂log σ² = dz · ε · σ / 2;  all (N, D)"""
    require_one_shape(dz, logvar, noise, dimensions=2)
    return dz, dz * noise * np.exp(logvar / 2) / 2


class Losses(NamedTuple):
    """What one batch costs, in nats per image, the mean over the batch."""

    total: float
    reconstruction: float
    kl: float
    kl_per_latent: np.ndarray  # (D,)
    slope: np.ndarray          # d(penalty)/d(KL), whose mean over steps is the price of a nat


class BetaVAE:
    """An encoder q(z|x) and a decoder p(x|z), by default Burgess's, with weights drawn from `seed`.

    architecture is a function, or the name of one of ours. negative_slope is that of all ReLUs, unless it is 0, which
    leaves them as the architecture made them. likelihood is p(x|z): `losses.bernoulli`, `losses.gaussian(sigma)` or one
    of your own. Several threads may use one model: they wait for each other (`alone`). Raises ValueError for a number
    of latents below 1, an image shape that the architecture cannot take, a negative_slope that a ReLU cannot have, or
    something that is no likelihood.
    """

    def __init__(self, latents=10, seed=0, dtype=np.float32, image_shape=(64, 64, 1), architecture=burgess2018,
                 negative_slope=0.0, likelihood=bernoulli):
        self.latents, self.image_shape = model_sizes(latents, image_shape)
        architecture = ARCHITECTURES.get(architecture, architecture) if isinstance(architecture, str) else architecture
        _require_parts(architecture, likelihood, dtype)
        self.architecture, self.likelihood, self.dtype = architecture, likelihood, np.dtype(dtype)
        self.negative_slope = ReLU(negative_slope).negative_slope
        rng = np.random.default_rng(seed)
        networks = architecture(self.latents, self.image_shape, rng, self.dtype)
        if not isinstance(networks, tuple) or len(networks) != 2:
            raise ValueError(f"an architecture returns (encoder, decoder), not {type(networks).__name__}")
        self.encoder, self.decoder = networks
        self._both = None
        self._networks.join()
        for relu in self.relus.values():
            relu.negative_slope = self.negative_slope or relu.negative_slope

    @property
    def _networks(self):
        """Both as one `Sequential`, which names all parameters. It never runs whole: z is drawn between the two."""
        if self._both is None or [*self._both.layers.values()] != [self.encoder, self.decoder]:
            self._both = Sequential(encoder=self.encoder, decoder=self.decoder)
        return self._both

    def __getstate__(self):
        return vars(self) | {"_both": None}

    @property
    def parameters(self):
        return self._networks.parameters

    @parameters.setter
    def parameters(self, arrays):
        self.parameters.update(arrays)

    @property
    def gradients(self):
        return self._networks.gradients

    @property
    def relus(self):
        return self._networks.relus

    @alone  # one thread at a time
    @small_is_zero  # numbers too small for their dtype become 0, whatever NumPy was told to do about them
    def encode(self, images):
        """images (N, height, width, channels) -> mean (N, D), logvar (N, D) of q(z|x).

        Unlike `encoder.forward`, it keeps nothing for a backward pass. Raises ValueError for images of another size
        than the model's, or with pixels outside 0 … 1.
        """
        return self._split(self.encoder.infer(self._images(images)))

    @alone
    @small_is_zero
    def decode(self, z):
        """z (N, D) -> output (N, height, width, channels): logits, or what else p(x|z) is computed from.

        The picture is model.likelihood.picture(output). Raises ValueError for another shape.
        """
        z = np.asarray(z, self.dtype)
        if z.shape[1:] != (self.latents,):
            hint = ": z[None] is a batch of one" * (z.shape == (self.latents,))
            raise ValueError(f"z must have shape (N, {self.latents}), not {z.shape}{hint}")
        return self.decoder.infer(z)

    @alone
    @small_is_zero
    def loss_and_gradients(self, images, noise, objective, step):
        """One forward and one backward pass; assigns `gradients`, changes no parameter.

        images: (N, height, width, channels), 0 to 1. noise: ε, standard normal (N, D). objective(kl, step) -> (penalty,
        slope), see `losses`. Returns `Losses`, in nats. Raises ValueError for other shapes or pixels, or if there is no
        image.

            x ──encoder──▶ μ, log σ² ─┬─▶ z = μ + σ ε ──decoder──▶ output        L = −log p(x|z) + penalty(KL)
                                      └─▶ KL

        Here the chain rule branches: μ and log σ² reach L in two ways, through z and the decoder, and through the KL,
        and the derivatives of both add up. With slope = ∂(penalty)/∂(KL) of each latent, which is β for Higgins et al.
        and γ · sign(KL − C) for Burgess et al.,

            ∂L/∂μ      = dz              +  slope · μ / N
            ∂L/∂log σ² = dz · ε · σ / 2  +  slope · (σ² − 1) / 2N

        The KL is the batch's mean, hence the 1/N. dz has its 1/N already, since the reconstruction loss is a mean, too.
        """
        images, noise = self._batch(images, noise)
        mean, logvar = self._split(self.encoder.forward(images))
        z = reparameterize(mean, logvar, noise)
        output = self.decoder.forward(z)

        reconstruction, doutput = self._nll(output, images)
        kl_per_latent, dmean_kl, dlogvar_kl = gaussian_kl(mean, logvar)
        penalty, slope = weighed(objective, kl_per_latent, step, self.dtype)

        self._networks.renew_gradients()
        dz = self.decoder.backward(doutput)
        dmean_z, dlogvar_z = reparameterize_backward(dz, logvar, noise)
        dmean, dlogvar = dmean_z + slope * dmean_kl, dlogvar_z + slope * dlogvar_kl
        self.encoder.backward(np.concatenate([dmean, dlogvar], axis=1))
        return Losses(float(reconstruction + penalty), float(reconstruction), float(kl_per_latent.sum()),
                      kl_per_latent, slope)

    # Checks of what goes in, and of what the parts return.

    def _images(self, images):
        images = np.asarray(images, self.dtype)
        if images.shape[1:] != self.image_shape:
            hint = "images[None] is a batch of one" if images.shape == self.image_shape else (
                "(N, height, width, channels)")
            raise ValueError(f"this model takes images of shape (N, {', '.join(map(str, self.image_shape))}), "
                             f"not {images.shape}: {hint}")
        require_pixels(images)
        return images

    def _batch(self, images, noise):
        images, noise = self._images(images), np.asarray(noise, self.dtype)
        if not len(images) or noise.shape != (len(images), self.latents):
            raise ValueError(f"noise must have shape (N, {self.latents}), one row for each of N ≥ 1 images, "
                             f"not {noise.shape} for {len(images)}")
        return images, noise

    def _split(self, code):
        """mean and logvar (N, D), from what the encoder returns."""
        if code.shape[1:] != (2 * self.latents,):
            raise ValueError(f"an encoder returns (N, {2 * self.latents}), means and log-variances, not {code.shape}")
        return np.split(code, 2, axis=1)

    def _nll(self, output, images):
        """The likelihood's nll, and its derivative in the model's dtype."""
        nats, doutput = pair(self.likelihood.nll(output, images), [()], [output.shape],
                             f"a likelihood's nll returns (nats, derivative), one number and {output.shape}")
        return float(nats), doutput.astype(self.dtype, copy=False)

    def __repr__(self):
        made = f"{getattr(self.architecture, '__name__', self.architecture)}, {self.dtype}, {self.likelihood!r}"
        return (f"BetaVAE of {self.latents} latents, for images {self.image_shape}: {made}, "
                f"negative_slope {self.negative_slope}\nencoder: {self.encoder!r}\ndecoder: {self.decoder!r}")


def _require_parts(architecture, likelihood, dtype):
    """Raise ValueError unless these can make a model."""
    if not callable(architecture):
        raise ValueError(f"architecture must be a function like burgess2018, not {architecture!r}")
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise ValueError(f"dtype must be float32 or float64, not {dtype}")
    missing = [name for name in ("nll", "picture", "least") if not callable(getattr(likelihood, name, None))]
    if isinstance(likelihood, type) or missing:
        raise ValueError(f"likelihood must be bernoulli, gaussian(sigma) or what has their nll, picture and least, "
                         f"not {likelihood!r}, {'which has no ' + ' and no '.join(missing) if missing else 'a class'}")
