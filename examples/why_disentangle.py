"""Why disentangle? python examples/why_disentangle.py, and look into runs/why_disentangle.

Three answers by experiment. That components are independent does not mean that each is a factor. Where each is one, a
few labels teach a factor to whoever looks at one latent. And what was never seen together can still be drawn. README.md
says what comes out.
"""

from itertools import combinations
import numpy as np
from matplotlib.figure import Figure

import tinybvae as tb
from explore import PRETRAINED
from tinybvae import metrics
from tinybvae.experiment import reproduce
from tinybvae.projections import independent_components, principal_components, rotation, whitened
from tinybvae.report import figures
from tinybvae.runs import trained

SEEN = "x", "y", "scale"  # what few labels should teach


def white_codes(quick):
    """{name: codes (N, 10)}, all white, and the classes (N, 5) of their images."""
    sprites, samples = tb.DSprites(), 500 if quick else 10_000
    classes, means, _ = metrics.encode_samples(tb.load_model(PRETRAINED), sprites, samples)
    index = np.random.default_rng(0).integers(len(sprites), size=samples)  # the same images
    components = principal_components(sprites.images(index).reshape(samples, -1), 10)
    code, rng = whitened(means.astype(float)), np.random.default_rng(0)
    return {"PCA": components, "ICA": independent_components(components, rng), "β-VAE": code,
            "β-VAE, rotated": code @ rotation(10, rng)}, classes


def dependence(codes, bins=20):
    """Mutual information between two components, in nats, the mean over all pairs."""
    binned = np.stack([np.digitize(z, np.quantile(z, np.linspace(0, 1, bins + 1)[1:-1])) for z in codes.T], axis=1)
    pairs = combinations(range(codes.shape[1]), 2)
    return np.mean([metrics.entropy(binned[:, i]) + metrics.entropy(binned[:, j]) - metrics.entropy(binned[:, [i, j]])
                    for i, j in pairs])


def independent_is_not_disentangled(out, quick):
    """Codes whose components are uncorrelated, or independent: the scores tell which of them are factors."""
    codes, classes = white_codes(quick)
    found = {name: {"nats between two components": round(float(dependence(z)), 3),
                    **{metrics.NAMES[score]: round(value, 3) for score, value in metrics.scores(z, classes).items()}}
             for name, z in codes.items()}
    figure = Figure(figsize=(8, 2.8), layout="constrained")
    between, scored = figure.subplots(1, 2, width_ratios=(1, 3))
    between.bar(range(len(found)), [next(iter(row.values())) for row in found.values()],
                color=[f"C{i}" for i in range(len(found))])
    between.set_title("nats between two components", fontsize=8)
    between.set_xticks([])
    for i, (name, row) in enumerate(found.items()):
        values = [*row.values()][1:]
        scored.bar(np.arange(len(values)) + .2 * (i - 1.5), values, .18, label=name, color=f"C{i}")
    scored.set_xticks(range(len(values)), [*row][1:], fontsize=7)
    scored.set_title("score of the same components against the factors", fontsize=8)
    scored.legend(fontsize=7, frameon=False)
    figure.suptitle("Rotated, a code is about as independent as before, and no component is a factor", fontsize=9)
    return drawn(figure, out / "independent_is_not_disentangled.png", found)


def drawn(figure, path, found):
    """What was found, once its figure is in a file."""
    for axis in figure.axes:
        axis.tick_params(labelsize=7, which="both")
        axis.spines[["top", "right"]].set_visible(False)
    path.write_bytes(figures.png(figure))
    return found


def one_latent(z, target, labelled):
    """Predictions (N,) by the one latent, of z (N, D), whose straight line fits the labelled targets best."""
    x, t = z[labelled] - z[labelled].mean(axis=0), target[labelled] - target[labelled].mean()
    slopes = (x * t[:, None]).sum(axis=0) / (x * x).sum(axis=0)
    best = ((t[:, None] - slopes * x) ** 2).sum(axis=0).argmin()
    return (z[:, best] - z[labelled, best].mean()) * slopes[best] + target[labelled].mean()


def all_latents(z, target, labelled):
    """Predictions (N,) by least squares from all latents of z (N, D), the smallest solution where there are many."""
    with_1 = np.column_stack([z, np.ones(len(z))])
    return with_1 @ np.linalg.lstsq(with_1[labelled], target[labelled], rcond=None)[0]


def few_labels(out, quick):
    """A factor learnt from few labels: by one latent, and by all of them."""
    codes, classes = white_codes(quick)
    targets = {name: (column - column.mean()) / column.std() for name, column in zip(SEEN, classes.T[[3, 4, 1]])}
    counts, draws = (5, 10, 20, 50, 100, 200, 400), 3 if quick else 100
    figure = Figure(figsize=(7, 2.8), layout="constrained")
    found, axes = {}, figure.subplots(1, 2, sharey=True)
    for axis, learner in zip(axes, (one_latent, all_latents)):
        for name in ("β-VAE", "β-VAE, rotated"):
            rng = np.random.default_rng(0)
            errors = [np.mean([np.sqrt(np.mean((learner(codes[name], t, rng.choice(len(t), n, False)) - t) ** 2))
                               for t in targets.values() for _ in range(draws)]) for n in counts]
            axis.plot(counts, errors, "o-", ms=3, lw=1, label=name)
            found[f"{learner.__name__}, {name}"] = dict(zip(counts, np.round(errors, 3).tolist()))
        axis.set_xscale("log")
        axis.set_xticks(counts, map(str, counts))
        axis.minorticks_off()
        axis.set_xlabel("labels", fontsize=8)
        axis.set_title(f"a straight line through {learner.__name__.replace('_', ' ')}", fontsize=8)
    axes[0].set_ylabel("error of x, y, scale (1 = guess)", fontsize=8)
    axes[0].set_ylim(0, 1.5)
    axes[1].legend(fontsize=7, frameon=False)
    figure.suptitle("Who looks at one latent needs few labels, if a latent is the factor", fontsize=9)
    return drawn(figure, out / "few_labels.png", found)


class Part:
    """Some images of dSprites, by their index there."""

    factor_names, factor_sizes = tb.DSprites.factor_names, tb.DSprites.factor_sizes
    image_shape = tb.DSprites.image_shape

    def __init__(self, index):
        self.sprites, self.index = tb.DSprites(), index

    def __len__(self):
        return len(self.index)

    def images(self, index):
        return self.sprites.images(self.index[index])

    def classes(self, index):
        return self.sprites.classes(self.index[index])


def held_out(out, quick):
    """Hearts in the lower right quarter, which no model was shown: how well are they drawn?"""
    sprites = tb.DSprites()
    shape, _, _, x, y = sprites.classes(np.arange(len(sprites))).T
    quarter, heart = (x >= 16) & (y >= 16), shape == 2
    shown = Part(np.flatnonzero(~(quarter & heart)))
    parts = {"hearts in the lower right, never shown": quarter & heart, "hearts elsewhere": ~quarter & heart,
             "other shapes in the lower right": quarter & ~heart}
    small = {"steps": 5, "batch_size": 8} if quick else {"steps": 30_000}
    models = {"β-VAE, the recipe": trained(out / "held_out/recipe", shown, **small),
              "VAE, β = 1": trained(out / "held_out/beta1", shown, objective="beta", beta=1.0,
                                     negative_slope=.1, **small)}
    found, rng, rows, labels = {}, np.random.default_rng(0), [], []
    pictured = rng.choice(np.flatnonzero(quarter & heart), 10, False)
    for name, model in models.items():
        found[name] = {}
        for part, mask in parts.items():
            nats = []
            for index in np.array_split(rng.choice(np.flatnonzero(mask), 200 if quick else 5000), 50):
                images = sprites.images(index)
                nats.append(tb.bernoulli_nll(model.decode(model.encode(images)[0]), images)[0])
            found[name][part] = round(float(np.mean(nats)), 1)
        rows.append(tb.sigmoid(model.decode(model.encode(sprites.images(pictured))[0])))
        labels.append(f"{name}\n{found[name]['hearts in the lower right, never shown']} nats")
    (out / "held_out.png").write_bytes(figures.mosaic(
        [sprites.images(pictured), *rows], ["never shown", *labels],
        title="Hearts in the lower right quarter, of models that never saw one there"))
    return found


def main():
    reproduce(__doc__, [independent_is_not_disentangled, few_labels, held_out], "why_disentangle")


if __name__ == "__main__":
    main()
