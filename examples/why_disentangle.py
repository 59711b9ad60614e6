"""Why disentangle? python examples/why_disentangle.py, and look into runs/why_disentangle.

Four answers by experiment. Components that are independent need not be factors. Why latents come to lie on the axes of
x and y, although the KL does not see a rotation. Where each latent is a factor, a few labels are enough to learn a
factor from one latent. And a combination of factors that was never seen can still be drawn. README.md says what comes
out.
"""

import math
from itertools import combinations
from pathlib import Path

import numpy as np

import tinybvae as tb
from tinybvae import metrics
from tinybvae.data.files import write_atomically
from tinybvae.metrics.projections import independent_components, principal_components, random_rotation, whitened
from tinybvae.report import figures
from tinybvae.report.drawing import Figure, bare, picture
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


@picture
def bars(found):
    """How much two components have to do with each other, and what the scores say of them."""
    figure = Figure(figsize=(8, 2.8), layout="constrained")
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
        bare(axis)
    return figure


# Why the axes?

PLACES = np.stack(np.meshgrid(*2 * [np.arange(32) - 15.5], indexing="ij"), axis=-1).reshape(-1, 2)  # (1024, 2)
PLACES /= PLACES.std()
ANGLES = 0, 15, 30, 45  # degrees between the latents' axes and those of x and y
# {σ of p(x, y|z): price of a nat}. With these σ a latent holds about 1, 2 and 4.7 nats. The price is that in a run of
# the recipe when its latents of place hold as many, in nats of reconstruction.
PRECISIONS = {.36: 46, .12: 20, .0085: 1}


def along(degrees):
    """The coordinates (1024, 2) of PLACES along two axes that are turned by so many degrees."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return PLACES @ [[c, -s], [s, c]]


def learn_place(degrees, sigma, steps):
    """A VAE whose data are the places themselves; each of its two latents sees one coordinate, `along` its own axis.

    Returns its loss, minus the least reconstruction loss, and the KL of its latents, in nats, the mean over the last
    tenth of the steps.
    """
    rng, dtype = np.random.default_rng(0), np.float32
    x, seen, likelihood = PLACES.astype(dtype), along(degrees).astype(dtype), tb.gaussian(sigma)

    def network(*sizes):
        layers = [layer for sides in zip(sizes, sizes[1:]) for layer in (tb.Linear(*sides, rng), tb.Tanh())]
        return tb.Sequential(**{f"layer{i}": layer for i, layer in enumerate(layers[:-1])})

    encoders, decoder = [network(1, 16, 2), network(1, 16, 2)], network(2, 32, 32, 2)
    both = tb.Sequential(x=encoders[0], y=encoders[1], decoder=decoder)  # for the names of all parameters
    adam, found = tb.Adam(both.parameters, [(0, 1e-2), (steps / 2, 1e-2), (steps, 1e-4)]), []
    for _ in range(steps):
        noise = rng.standard_normal(x.shape, dtype)
        codes = [encoder.forward(seen[:, [i]]) for i, encoder in enumerate(encoders)]
        mean, logvar = np.stack(codes, axis=2).transpose(1, 0, 2)  # (1024, 2) each
        nll, dy = likelihood.nll(decoder.forward(tb.reparameterize(mean, logvar, noise)), x)
        kl, dmean_kl, dlogvar_kl = tb.gaussian_kl(mean, logvar)
        dmean, dlogvar = tb.reparameterize_backward(decoder.backward(dy), logvar, noise)
        for i, encoder in enumerate(encoders):
            encoder.backward(np.stack([(dmean + dmean_kl)[:, i], (dlogvar + dlogvar_kl)[:, i]], axis=1))
        adam.update(both.gradients)
        found.append([nll - likelihood.least(x) + kl.sum(), *kl])
    return np.mean(found[-max(1, steps // 10):], axis=0)


def kl_of_a_square_prior(degrees, nats):
    """The KL of two latents, linear in coordinates `along` these axes, to a prior that is not normal: p ∝ exp(−c z⁴).

    With q = N(μ, σ²), E_q[z⁴] = μ⁴ + 6 μ² σ² + 3 σ⁴, and the entropy of q is ½ log(2πe σ²), so a latent's KL is

        c (μ⁴ + 6 μ² σ² + 3 σ⁴) + log Z − ½ log(2πe σ²),  c = (Γ(¾) / Γ(¼))² for variance 1,  Z = Γ(¼) / (2 c^¼)

    σ² = e^(−2 nats), and μ has the rest of the variance 1. To a normal prior the KL of a latent would be `nats`, at any
    angle.
    """
    variance, c = math.exp(-2 * nats), (math.gamma(.75) / math.gamma(.25)) ** 2
    mean = math.sqrt(1 - variance) * along(degrees)
    fourth = (mean ** 4 + 6 * mean ** 2 * variance + 3 * variance ** 2).mean(axis=0)
    log_z = math.log(math.gamma(.25) / (2 * c ** .25))
    return float((c * fourth + log_z - math.log(2 * math.pi * math.e * variance) / 2).sum())


def degrees_off(a, b):
    """By how much two codes (N,) of one variance are turned against the sides of a square that they fill; by no label.

    Turned back by an angle t, the codes are a' = a cos t + b sin t and b' = b cos t − a sin t, and their mean
    ⟨a'⁴ + b'⁴⟩ is const + B cos 4t + S sin 4t, with B = ⟨a⁴ + b⁴ − 6 a² b²⟩ / 4 and S = ⟨a³ b − a b³⟩. It is least
    along the sides of a square, and most along its diagonals: so t = ¼ atan2(−S, −B), within ±45°.
    """
    B, S = np.mean(a ** 4 + b ** 4 - 6 * a * a * b * b) / 4, np.mean(a ** 3 * b - a * b ** 3)
    return math.degrees(math.atan2(-S, -B)) / 4


def why_the_axes(out, quick):
    """Two latents of place on axes that are turned: the loss, where a nat is dear and where it is cheap."""
    steps, losses = 20 if quick else 15_000, {}
    for sigma, price in PRECISIONS.items():
        learnt = np.array([learn_place(angle, sigma, steps) for angle in ANGLES])
        name = f"{learnt[:, 1:].mean():.1f} nats a latent, at a price of {price}"
        losses[name] = price * (learnt[:, 0] - learnt[0, 0])
    square = [kl_of_a_square_prior(angle, 4.7) - kl_of_a_square_prior(0, 4.7) for angle in ANGLES]
    write_atomically(out / "why_the_axes.png", loss_by_angle(losses, square))
    classes, means, _ = metrics.encode_samples(tb.load_model(PRETRAINED), tb.DSprites(), 500 if quick else 10_000)
    best = metrics.known_shares(means, classes)[:, 3:].argmax(axis=0)
    z = means[:, best]
    x, y = ((z - z.mean(axis=0)) / z.std(axis=0)).T.astype(float)
    return {**{name: dict(zip(ANGLES, nats.round(2).tolist())) for name, nats in losses.items()},
            "KL to p ∝ exp(−c z⁴), 4.7 nats a latent": dict(zip(ANGLES, np.round(square, 3).tolist())),
            f"degrees off, z{best[0]} and z{best[1]} of the trained model": round(degrees_off(x, y), 1)}


@picture
def loss_by_angle(losses, square):
    """By how much the loss is higher the more the axes are turned; and the KL to a prior that is not round."""
    figure = Figure(figsize=(8, 2.8), layout="constrained")
    normal, other = figure.subplots(1, 2, width_ratios=(3, 2))
    for name, nats in losses.items():
        normal.plot(ANGLES, nats, "o-", ms=3, lw=1, label=name)
    normal.set_title("normal prior: loss above that at 0° (nats)", fontsize=8)
    normal.legend(fontsize=7, frameon=False)
    other.plot(ANGLES, square, "o-", ms=3, lw=1, label="p ∝ exp(−c z⁴)")
    other.plot(ANGLES, np.zeros(len(ANGLES)), lw=1, ls="--", label="normal")
    other.set_title("KL of a linear code, above that at 0° (nats)", fontsize=8)
    other.legend(fontsize=7, frameon=False)
    for axis in (normal, other):
        axis.set_xticks(ANGLES, [f"{angle}°" for angle in ANGLES])
    return finished(figure, "Two latents of place, their axes turned against those of x and y")


# How many labels does a factor need?

def one_latent(z, target, labelled):
    """Predictions (N,) from one latent of z (N, D): that whose straight line fits the labelled targets best."""
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


@picture
def errors_by_labels(found):
    """Error by number of labels, a panel for each learner."""
    figure = Figure(figsize=(7, 2.8), layout="constrained")
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


# Can a combination be drawn that was never seen?

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
    steps = {"steps": 5, "batch_size": 8} if quick else {"steps": 28_000}
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
    reproduce(__doc__, [independent_is_not_disentangled, why_the_axes, few_labels, held_out], "why_disentangle")


if __name__ == "__main__":
    main()
