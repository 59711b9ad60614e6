"""Burgess et al. 2018, figure by figure: python examples/burgess2018.py, and look into runs/burgess2018.

Figure 2: what a strong β does to the code of a blob's place. Figure 3: which factors of dSprites are worth their nats
first. Figure 4: capacity that rises, γ |KL − C|, on coloured dSprites. README.md says what comes out.
"""

import numpy as np
from matplotlib.figure import Figure

import tinybvae as tb
from tinybvae.commandline import progress
from tinybvae.experiment import reproduce
from tinybvae.metrics import UNUSED
from tinybvae.report import figures
from tinybvae.runs import trained


# Section 4.2, comparing disentangling in β-VAE and VAE: a Gaussian blob, of which only the place varies.

class Blobs:
    """A Gaussian blob at each of 32 × 32 places all over the image, x first; `width` is its σ in pixels."""

    factor_names, factor_sizes, image_shape, width = ("position_x", "position_y"), (32, 32), (64, 64, 1), 9

    def __len__(self):
        return 32 * 32

    def images(self, index):
        """float32 (N, 64, 64, 1)"""
        x, y = np.divmod(np.asarray(index)[:, None], 32)
        profile_x, profile_y = (np.exp(-((np.arange(64) - 63 * place / 31) / self.width) ** 2 / 2) for place in (x, y))
        return (profile_y[:, :, None] * profile_x[:, None]).astype(np.float32)[..., None]

    def classes(self, index):
        """int64 (N, 2)"""
        return np.stack(np.divmod(index, 32), axis=1)


def plane(means):
    """Of means (32, 32) by place: the R² of the plane that fits them best, and its degrees off the nearer axis."""
    x, y = np.meshgrid(np.arange(32) - 15.5, np.arange(32) - 15.5, indexing="ij")
    slopes = (means * x).sum() / (x * x).sum(), (means * y).sum() / (y * y).sum()
    rest = means - means.mean() - slopes[0] * x - slopes[1] * y
    turned = np.degrees(np.arctan2(*np.sort(np.abs(slopes))))
    return 1 - rest.var() / max(means.var(), 1e-12), turned


def figure2(out, quick):
    """Figure 2: with β = 150 two latents hold the place of a blob, with β = 1 more do."""
    blobs, steps, found = Blobs(), 20 if quick else 4000, {}
    for beta, seeds, shown in ((150, [0] if quick else [0, 1, 2], 3), (1, [0], 6)):
        labels, places, strips, counts = [], [], [], []
        for seed in seeds:
            model = trained(out / f"figure2/beta{beta}-seed{seed}", blobs, objective="beta", beta=float(beta),
                            steps=steps, seed=seed)
            mean, logvar = model.encode(blobs.images(np.arange(len(blobs))))
            kl, _, _ = tb.gaussian_kl(mean, logvar)
            order, by_place = np.argsort(-kl), mean.T.reshape(-1, 32, 32)
            used = [z for z in order if kl[z] >= UNUSED]
            counts.append(len(used))
            planes = [plane(by_place[z].astype(float)) for z in used]
            found[f"β = {beta}, seed {seed}"] = {
                "used": len(used), "kl": kl[used].round(2), "R² of a plane": np.round([r2 for r2, _ in planes], 3),
                "degrees off an axis": np.round([turned for _, turned in planes], 1)}
            for z in order[:shown]:
                labels.append(f"seed {seed}, z{z}\n{kl[z]:.2f} nats")
                places.append(by_place[z])
                strips.append(figures.traverse(model, np.zeros(10), z, np.linspace(-3, 3, 7)))
        title = f"β = {beta}: a blob's place in {' or '.join(map(str, sorted(set(counts))))} of 10 latents"
        (out / f"figure2_beta{beta}.png").write_bytes(figures.codes(labels, places, strips, title=title))
    return found


# Section 4.3, which components contribute most: a decoder sees the true factors through noise, learnt while C rises.

FACTORS = "shape", "scale", "orientation", "position"
SHOWN = 3.1, 7.3, 15.4, 23.8  # nats: the paper's values of C


def features(values):
    """(N, 8), of mean 0 and variance 1, from latents_values (N, 5): shape one-hot, scale, cos and sin, x and y."""
    shape, scale, orientation, x, y = np.transpose(values)
    columns = [*(shape == kind for kind in (1, 2, 3)), scale, np.cos(orientation), np.sin(orientation), x, y]
    return np.stack(columns, axis=1).astype(float)


class NoisyFactors(tb.Layer):
    """q(z|factors) = N(w f, σ²): features (N, 8) -> mean, logvar (N, 8), with one w and one σ for each of FACTORS."""

    of = np.array([0, 0, 0, 1, 2, 2, 3, 3])  # the factor that a feature belongs to

    def __init__(self):
        super().__init__(weight=np.full(4, .1, np.float32), logvar=np.zeros(4, np.float32))

    def forward(self, f):
        self.f = f
        return f * self.parameters["weight"][self.of], np.tile(self.parameters["logvar"][self.of], (len(f), 1))

    def backward(self, dmean, dlogvar):
        """dw = Σ f dmean and dlogvar = Σ dlogvar, over images and over the features of a factor"""
        self.gradients["weight"] = self.sum((self.f * dmean).sum(axis=0))
        self.gradients["logvar"] = self.sum(dlogvar.sum(axis=0))

    def sum(self, each):
        """(4,): of each factor, the sum over its features (8,)."""
        return np.bincount(self.of, each).astype(np.float32)


def figure3(out, quick):
    """Figure 3: as C rises, position comes first, then scale, shape, orientation."""
    sprites, rng, steps, most = tb.DSprites(), np.random.default_rng(0), 60 if quick else 25_000, 25
    all_values = sprites.values(rng.integers(len(sprites), size=10_000))
    centre, spread = features(all_values).mean(axis=0), features(all_values).std(axis=0)
    model, channels = tb.BetaVAE(latents=8, seed=0), NoisyFactors()
    parameters = {name: p for name, p in model.parameters.items() if name.startswith("decoder")}
    optimizers = tb.Adam(parameters, 5e-4), tb.Adam(channels.parameters, 5e-3)
    objective = tb.capacity_objective(gamma=100, capacity=[(0, 0), (steps, most)])

    index = rng.integers(len(sprites), size=10)
    rows, curves = [sprites.images(index)], []
    at = [round(C / most * steps) for C in SHOWN]
    for step in progress(iterable=range(steps)):
        shown = rng.integers(len(sprites), size=64)
        images, noise = sprites.images(shown), rng.standard_normal((64, 8)).astype(np.float32)
        f = ((features(sprites.values(shown)) - centre) / spread).astype(np.float32)
        mean, logvar = channels.forward(f)
        reconstruction, dlogits = tb.bernoulli_nll(model.decode(tb.reparameterize(mean, logvar, noise)), images)
        kl, dmean_kl, dlogvar_kl = tb.gaussian_kl(mean, logvar)
        _, slope = objective(kl.sum(), step)
        dmean_z, dlogvar_z = tb.reparameterize_backward(model.decoder.backward(dlogits), logvar, noise)
        channels.backward(dmean_z + slope * dmean_kl, dlogvar_z + slope * dlogvar_kl)
        optimizers[0].update({name: model.gradients[name] for name in parameters})
        optimizers[1].update(channels.gradients)
        curves.append([objective.capacity(step), reconstruction, *channels.sum(kl)])
        if step in at:
            mean, logvar = channels.forward((features(sprites.values(index)) - centre) / spread)
            z = tb.reparameterize(mean, logvar, np.random.default_rng(1).standard_normal(mean.shape))
            rows.append(tb.sigmoid(model.decode(z)))

    C, reconstruction, *each = np.transpose(curves)
    (out / "figure3_kl.png").write_bytes(kl_by_capacity(C, each))
    (out / "figure3_reconstructions.png").write_bytes(figures.mosaic(
        rows, ["images", *(f"C = {nats} nats" for nats in SHOWN)],
        title="What can be drawn from factors that are seen through noise"))
    return {"C from which a factor has .1 nats": dict(zip(FACTORS, opening(C, each))),
            "KL by factor at C": {nats: dict(zip(FACTORS, np.round([kl[step] for kl in each], 2).tolist()))
                                  for nats, step in zip(SHOWN, at)},
            "reconstruction": {nats: round(float(reconstruction[max(0, step - 20):step + 20].mean()), 1)
                               for nats, step in zip(SHOWN, at)}}


def opening(C, each):
    """Of each factor, the capacity from which its KL is .1 nats and more; None if it never is."""
    return [round(float(C[(kl >= .1).argmax()]), 2) if (kl >= .1).any() else None for kl in each]


def kl_by_capacity(C, each):
    """PNG: the KL of each of FACTORS as C rises, and the four values that the paper shows pictures of."""
    opened = {name: at for name, at in zip(FACTORS, opening(C, each)) if at is not None}
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axis = figure.subplots()
    for name, kl in zip(FACTORS, each):
        axis.plot(C, kl, lw=1.2, label=name)
    for nats in SHOWN:
        axis.axvline(nats, color=figures.INK, lw=.6, ls=":")
    axis.set_title(f"what is worth its nats first: {', '.join(sorted(opened, key=opened.get))}", fontsize=9)
    axis.set_xlabel("capacity C (nats)", fontsize=8)
    axis.set_ylabel("KL of a factor (nats)", fontsize=8)
    axis.legend(fontsize=8, frameon=False)
    axis.tick_params(labelsize=7)
    axis.spines[["top", "right"]].set_visible(False)
    return figures.png(figure)


# Section 5, controlled capacity increase: γ = 1000, C from 0 to 25 nats in 100,000 steps, on coloured dSprites.

LEVELS = 8  # of red, of green and of blue


class ColouredSprites:
    """dSprites in 8 × 8 × 8 colours, on black: three channels, and three more factors."""

    sprites = tb.DSprites()
    factor_names = *sprites.factor_names, "red", "green", "blue"
    factor_sizes = *sprites.factor_sizes, LEVELS, LEVELS, LEVELS
    image_shape = 64, 64, 3

    def __len__(self):
        return len(self.sprites) * LEVELS ** 3

    def images(self, index):
        """float32 (N, 64, 64, 3)"""
        colour = (self.classes(index)[:, 5:] + 1).astype(np.float32) / LEVELS  # none is black
        return self.sprites.images(np.asarray(index) // LEVELS ** 3) * colour[:, None, None]

    def classes(self, index):
        """int64 (N, 8)"""
        sprite, colour = np.divmod(index, LEVELS ** 3)
        return np.column_stack([self.sprites.classes(sprite), *np.unravel_index(colour, (LEVELS,) * 3)])


def figure4(out, quick):
    """Figure 4: coloured dSprites, γ = 1000, C from 0 to 25 nats in 100,000 steps."""
    sprites, rng = ColouredSprites(), np.random.default_rng(0)
    model = trained(out / "figure4", sprites, "burgess2018", checkpoint_every=5000,
                    **{"steps": 10, "batch_size": 8} if quick else {})
    classes, means, logvars = tb.metrics.encode_samples(model, sprites, 1000 if quick else 10_000)
    kl, _, _ = tb.gaussian_kl(means, logvars)
    shares = tb.metrics.known_shares(means, classes)
    named, order = tb.metrics.name_latents(shares, kl, sprites.factor_names), np.argsort(-kl)
    images = sprites.images(rng.integers(len(sprites), size=11))
    mean, _ = model.encode(images)
    (out / "figure4_reconstructions.png").write_bytes(figures.mosaic(
        [images, tb.sigmoid(model.decode(mean))], ["images", "reconstructions"],
        title=f"What is drawn from {kl.sum():.1f} nats, in {(kl >= UNUSED).sum()} latents"))
    (out / "figure4_traversals.png").write_bytes(figures.traversals(
        model, mean[0], order, [f"z{z} {named[z][0]}\n{kl[z]:.2f} nats" for z in order]))
    reconstruction, _ = tb.bernoulli_nll(model.decode(mean), images)
    return {"latents": [{"z": int(z), "factor": named[z][0], "share": round(named[z][1], 2),
                         "kl": round(float(kl[z]), 2)} for z in order],
            "share of a factor that the best latent knows": dict(zip(sprites.factor_names,
                                                                     shares.max(axis=0).round(2).tolist())),
            "MIG": round(tb.metrics.mutual_information_gap(shares), 3), "reconstruction": round(reconstruction, 1),
            "dead units": tb.metrics.dead_units(model, sprites, 100 if quick else 2000)}


def main():
    reproduce(__doc__, [figure2, figure3, figure4], "burgess2018")


if __name__ == "__main__":
    main()
