"""Higgins et al. 2017, on 2D shapes: python examples/higgins2017.py, and look into runs/higgins2017.

Section 4.2. The table of figure 6: how well a linear classifier tells, from codes of pairs of images that share one
factor, which factor it is. Figure 7: what each latent says of place, scale and orientation. README.md says what comes
out.
"""

from pathlib import Path

import numpy as np

import tinybvae as tb
from tinybvae.data.files import write_atomically
from tinybvae.data.sprites import FACTOR_VALUES, SHAPES
from tinybvae.metrics import beta_vae_score
from tinybvae.metrics.projections import independent_components, principal_components
from tinybvae.report import figures
from tinybvae.report.latents import USUAL, starts
from tinybvae.runs.experiment import reproduce
from tinybvae.runs.folder import trained

PRETRAINED = Path(__file__).parent / "pretrained" / "dsprites.h5"
FACTORS = slice(1, 5)  # scale, orientation, x and y: the paper's four; the shape is not among them
PUBLISHED = {"ground truth": "100", "raw pixels": "45.75 ± 0.8", "PCA": "84.9 ± 0.4", "ICA": "42.03 ± 10.6",
             "untrained VAE": "44.14 ± 2.5", "VAE, β = 1": "61.58 ± 0.5", "β-VAE, β = 4": "99.23 ± 0.1"}  # percent


def model_of(out, beta, quick):
    """The paper's fully connected VAE, trained by Adagrad at a rate of 0.01 (table 1, which names no number of steps).

    eps is √0.1: it tames the first updates about as much as TensorFlow's Adagrad, whose sums of squares start at 0.1.
    """
    return trained(out / f"beta{beta}", tb.DSprites(), "higgins2017", beta=float(beta), eps=.316, checkpoint_every=2500,
                   **{"steps": 3, "batch_size": 8} if quick else {"steps": 10_000})


def encoded(model, index):
    """Posterior means (N, D) of the images with this index (N,)."""
    sprites = tb.DSprites()
    return np.concatenate([model.encode(sprites.images(index[i:i + 100]))[0] for i in range(0, len(index), 100)])


def figure6(out, quick):
    """Figure 6, the table: accuracy of the metric's classifier, in percent, over 64 pairs an answer."""
    sprites, samples, seeds = tb.DSprites(), 1200 if quick else 10_000, range(1 if quick else 3)
    index = np.random.default_rng(0).integers(len(sprites), size=samples)
    factors = sprites.classes(index)[:, FACTORS]
    pixels = sprites.images(index).reshape(samples, -1)[:, ::31 if quick else 1]
    components = principal_components(pixels, 10)
    untrained = [tb.BetaVAE(seed=seed, architecture=tb.higgins2017) for seed in seeds]
    codes = {
        "ground truth": [factors],
        "raw pixels": [pixels],
        "PCA": [components],
        "ICA": [independent_components(components, np.random.default_rng(seed)) for seed in seeds],
        "untrained VAE": [encoded(model, index) for model in untrained],
        "VAE, β = 1": [encoded(model_of(out, 1, quick), index)],
        "β-VAE, β = 4": [encoded(model_of(out, 4, quick), index)],
        "β-VAE, the trained model": [encoded(tb.load_model(PRETRAINED), index)]}
    scores = {name: [100 * beta_vae_score(z, factors, seed) for z in each for seed in seeds]
              for name, each in codes.items()}
    return {name: {"ours": round(float(np.mean(each)), 1), "±": round(float(np.std(each)), 1),
                   "published": PUBLISHED.get(name)} for name, each in scores.items()}


def means_by(model, factors, samples):
    """Means of the latents (D, *sizes of two factors), each over images with the other factors at random."""
    sprites, rng = tb.DSprites(), np.random.default_rng(0)
    sizes = [sprites.factor_sizes[k] for k in factors]
    classes = rng.integers(sprites.factor_sizes, size=(*sizes, samples, 5))
    classes[..., factors[0]], classes[..., factors[1]] = np.indices((*sizes, samples))[:2]
    means = encoded(model, sprites.index(classes.reshape(-1, 5)))
    return np.moveaxis(means.reshape(*sizes, samples, -1).mean(axis=2), -1, 0)


def figure7(out, quick):
    """Figure 7: latents by learnt variance: means by place, scale and orientation, traversals from −3 to 3."""
    sprites, samples, found = tb.DSprites(), 1 if quick else 50, {}
    _, scales, angles, _, _ = FACTOR_VALUES
    start = sprites.images(starts(sprites)[[USUAL]])
    for name, title, model in [("beta4", "The paper's network, β = 4", model_of(out, 4, quick)),
                               ("trained", "The trained model", tb.load_model(PRETRAINED))]:
        _, _, logvars = tb.metrics.encode_samples(model, sprites, 500 if quick else 10_000)
        variance = np.exp(logvars).mean(axis=0)
        order, (mean,) = np.argsort(variance)[:3 if quick else None], model.encode(start)[0]
        write_atomically(out / f"figure7_{name}.png", figures.codes(
            [f"z{z}\nσ² = {variance[z]:.2g}" for z in order], means_by(model, [3, 4], samples)[order],
            [figures.strip(model, mean, z) for z in order],
            [("scale", scales, means_by(model, [0, 1], 10 * samples)[order], SHAPES),
             ("orientation (°)", np.degrees(angles), means_by(model, [0, 2], 5 * samples)[order], SHAPES)],
            f"{title}: what each latent says of place, scale and orientation, by its learnt variance σ²"))
        found[name] = {f"z{z}": float(f"{variance[z]:.2g}") for z in order}
    return found


def main():
    reproduce(__doc__, [figure6, figure7], "higgins2017")


if __name__ == "__main__":
    main()
