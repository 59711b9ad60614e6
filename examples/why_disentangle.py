"""Why disentangle? python examples/why_disentangle.py, and look into runs/why_disentangle.

Three answers by experiment. That components are independent does not mean that each is a factor. Where each is one, a
few labels teach a factor to whoever looks at one latent. And what was never seen together can still be drawn. README.md
says what comes out.
"""

from itertools import combinations
from pathlib import Path

import numpy as np

import tinybvae as tb
from tinybvae import metrics
from tinybvae.data.files import write_atomically
from tinybvae.metrics.projections import independent_components, principal_components, random_rotation, whitened
from tinybvae.report import figures
from tinybvae.runs.experiment import reproduce
from tinybvae.runs.folder import trained

PRETRAINED = Path(__file__).parent / "pretrained" / "dsprites.h5"
SEEN = "x", "y", "scale"  # what few labels should teach


def codes_of_the_trained_model(quick):
    """The classes (N, 5) of some images, and two codes (N, 10) of them by name: both white, one rotated at random."""
    classes, means, _ = metrics.encode_samples(tb.load_model(PRETRAINED), tb.DSprites(), 500 if quick else 10_000)
    code = whitened(means.astype(float))
    return classes, {"β-VAE": code, "β-VAE, rotated": code @ random_rotation(10, np.random.default_rng(0))}


# Do independent components know one factor each?

def dependence(codes, bins=20):
    """Mutual information between two components in nats, the mean over all pairs, less what chance gives (Miller 1955).
    """
    binned = np.stack([np.digitize(z, np.quantile(z, np.linspace(0, 1, bins + 1)[1:-1])) for z in codes.T], axis=1)
    pairs = combinations(range(codes.shape[1]), 2)
    return np.mean([metrics.entropy(binned[:, i]) + metrics.entropy(binned[:, j]) - metrics.entropy(binned[:, [i, j]])
                    for i, j in pairs]) - (bins - 1) ** 2 / (2 * len(codes))


def independent_is_not_disentangled(out, quick):
    """Codes whose components are uncorrelated, or independent: the scores tell which of them are factors."""
    sprites = tb.DSprites()
    classes, codes = codes_of_the_trained_model(quick)
    images = sprites.images(sprites.index(classes))
    components = principal_components(images.reshape(len(images), -1), 10)
    codes = {"PCA": components, "ICA": independent_components(components, np.random.default_rng(0)), **codes}
    found = {name: {"nats between two components": round(float(dependence(z)), 3),
                    **{metrics.NAMES[score]: round(value, 3) for score, value in metrics.scores(z, classes).items()}}
             for name, z in codes.items()}
    write_atomically(out / "independent_is_not_disentangled.png", bars(found))
    return found


@figures.picture
def bars(found):
    """PNG: how much two components have to do with each other, and what the scores say of them."""
    figure = figures.Figure(figsize=(8, 2.8), layout="constrained")
    between, scored = figure.subplots(1, 2, width_ratios=(1, 3))
    for i, (name, row) in enumerate(found.items()):
        nats, *scores = row.values()
        between.bar(i, nats, color=f"C{i}")
        scored.bar(np.arange(len(scores)) + .2 * (i - 1.5), scores, .18, label=name, color=f"C{i}")
    between.set_title("nats between two components", fontsize=8)
    between.set_xticks([])
    scored.set_title("scores: is a component a factor?", fontsize=8)
    scored.set_xticks(range(len(metrics.NAMES)), metrics.NAMES.values())
    scored.legend(fontsize=7, frameon=False)
    return finished(figure, "How independent four codes of the same images are, and how disentangled")


def finished(figure, title):
    figure.suptitle(title, fontsize=9)
    for axis in figure.axes:
        figures.bare(axis)
    return figures.png(figure)


# How many labels does a factor need?

def one_latent(z, target, labelled):
    """Predictions (N,) by the one latent, of z (N, D), whose straight line fits the labelled targets best."""
    x, t = z[labelled] - z[labelled].mean(axis=0), target[labelled] - target[labelled].mean()
    slopes = (x * t[:, None]).sum(axis=0) / (x * x).sum(axis=0)
    best = ((t[:, None] - slopes * x) ** 2).sum(axis=0).argmin()
    return (z[:, best] - z[labelled, best].mean()) * slopes[best] + target[labelled].mean()


def all_latents(z, target, labelled):
    """Predictions (N,) by ridge regression from all latents: slopes w with the least Σ (x w − t)² + |w|²."""
    x, t = z[labelled] - z[labelled].mean(axis=0), target[labelled] - target[labelled].mean()
    w = np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ t)
    return (z - z[labelled].mean(axis=0)) @ w + target[labelled].mean()


def few_labels(out, quick):
    """A factor learnt from few labels: by one latent, and by all of them."""
    classes, codes = codes_of_the_trained_model(quick)
    targets = [(column - column.mean()) / column.std() for column in classes.T[[3, 4, 1]]]  # of SEEN
    counts, draws, found = (5, 10, 20, 50, 100, 200, 400), 3 if quick else 100, {}
    for learner in (one_latent, all_latents):
        for name, z in codes.items():
            rng = np.random.default_rng(0)
            errors = [np.mean([np.sqrt(np.mean((learner(z, t, rng.choice(len(t), count, False)) - t) ** 2))
                               for t in targets for _ in range(draws)]) for count in counts]
            found[f"{learner.__name__}, {name}"] = dict(zip(counts, np.round(errors, 3).tolist()))
    write_atomically(out / "few_labels.png", errors_by_labels(found))
    return found


@figures.picture
def errors_by_labels(found):
    """PNG: error by number of labels, a panel a learner."""
    figure = figures.Figure(figsize=(7, 2.8), layout="constrained")
    for axis, learner in zip(figure.subplots(1, 2, sharey=True), (one_latent, all_latents)):
        for name, errors in found.items():
            who, code = name.split(", ", 1)
            if who == learner.__name__:
                axis.plot([*errors], [*errors.values()], "o-", ms=3, lw=1, label=code)
        axis.set_xscale("log")
        axis.set_xticks([*errors], map(str, errors))
        axis.minorticks_off()
        axis.set_xlabel("labels", fontsize=8)
        axis.set_title(f"by a straight line through {learner.__name__.replace('_', ' ')}", fontsize=8)
    figure.axes[0].set_ylabel(f"error of {', '.join(SEEN)} (1 = guess)", fontsize=8)
    figure.axes[0].set_ylim(0, 1.5)
    figure.axes[0].legend(fontsize=7, frameon=False)
    return finished(figure, "How well few labels teach a factor")


# Is a combination drawn that was never seen?

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
    sprites, rng = tb.DSprites(), np.random.default_rng(0)
    shape, _, _, x, y = sprites.classes(np.arange(len(sprites))).T
    quarter, heart = (x >= 16) & (y >= 16), shape == 2
    shown = Part(np.flatnonzero(~(quarter & heart)))
    steps = {"steps": 5, "batch_size": 8} if quick else {"steps": 30_000}
    models = {"β-VAE, the recipe": trained(out / "held_out/recipe", shown, **steps),
              "VAE, β = 1": trained(out / "held_out/beta1", shown, objective="beta", beta=1.0, negative_slope=.1,
                                    **steps)}
    parts = {name: rng.choice(np.flatnonzero(mask), 200 if quick else 5000, False) for name, mask in {
        "hearts in the lower right, never shown": quarter & heart, "hearts elsewhere": ~quarter & heart,
        "other shapes in the lower right": quarter & ~heart}.items()}
    pictured = sprites.images(next(iter(parts.values()))[:10])
    found, rows, labels = {}, [pictured], ["never shown"]
    for name, model in models.items():
        found[name] = {part: round(nats_of_means(model, sprites, index), 1) for part, index in parts.items()}
        rows.append(model.likelihood.picture(model.decode(model.encode(pictured)[0])))
        labels.append(f"{name}\n{next(iter(found[name].values()))} nats")
    write_atomically(out / "held_out.png", figures.mosaic(
        rows, labels, title="Hearts in the lower right quarter, of models that never saw one there"))
    return found


def nats_of_means(model, sprites, index):
    """Reconstruction loss of the images with this index (N,), from their posterior means."""
    batches = [sprites.images(part) for part in np.array_split(index, -(-len(index) // 100))]
    nats = [model.likelihood.nll(model.decode(model.encode(images)[0]), images)[0] * len(images) for images in batches]
    return float(sum(nats) / len(index))


def main():
    reproduce(__doc__, [independent_is_not_disentangled, few_labels, held_out], "why_disentangle")


if __name__ == "__main__":
    main()
