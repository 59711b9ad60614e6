"""Burgess et al. 2018, figure by figure: python examples/burgess2018.py, and look into runs/burgess2018.

Figure 2: what a strong β does to the code of a blob's place. Figure 3: which factors of dSprites are worth their nats
first. Figure 4: γ |KL − C| with a capacity C that rises, on coloured dSprites. README.md says what comes out.
"""

import numpy as np

import tinybvae as tb
from tinybvae.data.files import write_atomically
from tinybvae.metrics import UNUSED, losses
from tinybvae.report import figures
from tinybvae.report.drawing import INK, Figure, bare, picture
from tinybvae.runs.commandline import progress
from tinybvae.runs.experiment import reproduce
from tinybvae.runs.folder import trained

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
    """For means (32, 32) by place: the R² of the plane that fits best, and by how many degrees it is off an axis."""
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
                strips.append(figures.strip(model, np.zeros(model.latents), z))
        title = f"β = {beta}: a blob's place in {' or '.join(map(str, sorted(set(counts))))} of 10 latents"
        write_atomically(out / f"figure2_beta{beta}.png", figures.codes(labels, places, strips, title=title))
    return found


# Section 4.3, which components contribute most: a decoder learns from the true factors, seen through noise, as C rises.

FACTORS = "shape", "scale", "orientation", "position"
SHOWN = 3.1, 7.3, 15.4, 23.8  # nats: the values of C that the paper shows


def features(values):
    """(N, 8) from latents_values (N, 5): shape one-hot, scale, cos and sin of the orientation, x and y."""
    shape, scale, orientation, x, y = np.transpose(values)
    columns = [*(shape == kind for kind in (1, 2, 3)), scale, np.cos(orientation), np.sin(orientation), x, y]
    return np.stack(columns, axis=1).astype(float)


class NoisyFactors(tb.Layer):
    """q(z|factors) = N(w f, σ²): features f (N, 8) -> mean, logvar (N, 8), one w and one σ for each of FACTORS."""

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


def learn_generator(sprites, index, steps, shown, rng):
    """A decoder learns to draw from noisy factors, while C rises to 25 nats: this is a VAE whose encoder is only four
    weights and four σ.

    Returns its pictures of the sprites `index` at each of the steps `shown`, and a row [C, reconstruction loss, KL of
    each of FACTORS] for each step.
    """
    some = features(sprites.values(rng.integers(len(sprites), size=10_000)))
    centre, spread = some.mean(axis=0), some.std(axis=0)
    model, noisy = tb.BetaVAE(latents=8, seed=0), NoisyFactors()
    parameters = {name: p for name, p in model.parameters.items() if name.startswith("decoder")}
    adam, noisy_adam = tb.Adam(parameters, 5e-4), tb.Adam(noisy.parameters, 5e-3)  # σ must keep up with C
    objective = tb.capacity_objective(gamma=100, capacity=[(0, 0), (steps, 25)])

    def encode(index):
        return noisy.forward(((features(sprites.values(index)) - centre) / spread).astype(np.float32))

    pictures, curves = [], []
    for step in progress(iterable=range(steps)):
        batch = rng.integers(len(sprites), size=64)
        noise = rng.standard_normal((64, 8)).astype(np.float32)
        mean, logvar = encode(batch)
        output = model.decoder.forward(tb.reparameterize(mean, logvar, noise))
        reconstruction, doutput = model.likelihood.nll(output, sprites.images(batch))
        kl, dmean_kl, dlogvar_kl = tb.gaussian_kl(mean, logvar)
        _, slope = objective(kl, step)
        dmean_z, dlogvar_z = tb.reparameterize_backward(model.decoder.backward(doutput), logvar, noise)
        noisy.backward(dmean_z + slope * dmean_kl, dlogvar_z + slope * dlogvar_kl)
        adam.update({name: model.gradients[name] for name in parameters})
        noisy_adam.update(noisy.gradients)
        curves.append([objective.capacity(step), reconstruction, *noisy.sum(kl)])
        if step in shown:
            mean, logvar = encode(index)
            noise = np.random.default_rng(1).standard_normal(mean.shape)
            pictures.append(model.likelihood.picture(model.decode(tb.reparameterize(mean, logvar, noise))))
    return pictures, curves


def figure3(out, quick):
    """Figure 3: as C rises, position comes first, then scale, shape, orientation."""
    sprites, rng, steps = tb.DSprites(), np.random.default_rng(0), 60 if quick else 25_000
    index, shown = rng.integers(len(sprites), size=10), [round(C / 25 * steps) for C in SHOWN]
    pictures, curves = learn_generator(sprites, index, steps, shown, rng)
    few = max(1, steps // 500)  # steps whose mean makes a point
    C, reconstruction, *each = np.reshape(curves, (-1, few, 6)).mean(axis=1).T
    write_atomically(out / "figure3_kl.png", kl_by_capacity(C, each))
    write_atomically(out / "figure3_reconstructions.png", figures.mosaic(
        [sprites.images(index), *pictures], ["images", *(f"C = {nats} nats" for nats in SHOWN)],
        title="What can be drawn from factors that are seen through noise"))
    return {"C from which a factor has .1 nats": dict(zip(FACTORS, opening(C, each))),
            **{f"C = {nats}": {"reconstruction": round(float(reconstruction[step // few]), 1),
                               **{name: round(float(kl[step // few]), 2) for name, kl in zip(FACTORS, each)}}
               for nats, step in zip(SHOWN, shown)}}


def opening(C, each):
    """For each factor, the capacity from which on its KL is .1 nats and more; None if it never is."""
    return [round(float(C[(kl >= .1).argmax()]), 2) if (kl >= .1).any() else None for kl in each]


@picture
def kl_by_capacity(C, each):
    """The KL of each of FACTORS as C rises, and the four values that the paper shows pictures of."""
    opened = {name: at for name, at in zip(FACTORS, opening(C, each)) if at is not None}
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axis = figure.subplots()
    for name, kl in zip(FACTORS, each):
        axis.plot(C, kl, lw=1.2, label=name)
    for nats in SHOWN:
        axis.axvline(nats, color=INK, lw=.6, ls=":")
    axis.set_title(f"what is worth its nats first: {', '.join(sorted(opened, key=opened.get))}", fontsize=9)
    axis.set_xlabel("capacity C (nats)", fontsize=8)
    axis.set_ylabel("KL of a factor (nats)", fontsize=8)
    axis.legend(fontsize=8, frameon=False)
    bare(axis)
    return figure


# Section 5, controlled capacity increase: γ = 1000, C from 0 to 25 nats in 100,000 steps, on coloured dSprites. The
# corner at KL = C, which the paper leaves as it is, is rounded: without that, x, y and scale take all 25 nats.

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
    """Figure 4: coloured dSprites, γ = 1000, its corner rounded, C from 0 to 25 nats in 100,000 steps."""
    sprites, rng, samples = ColouredSprites(), np.random.default_rng(0), 500 if quick else 10_000
    model = trained(out / "figure4", sprites, "burgess2018", width=30.0, checkpoint_every=5000,
                    **{"steps": 10, "batch_size": 8} if quick else {})
    classes, means, logvars = tb.metrics.encode_samples(model, sprites, samples)
    kl, _, _ = tb.gaussian_kl(means, logvars)
    shares, order = tb.metrics.known_shares(means, classes), np.argsort(-kl)
    named = tb.metrics.name_latents(tb.metrics.explained(means, classes), kl, sprites.factor_names)
    images = sprites.images(rng.integers(len(sprites), size=11))
    mean, _ = model.encode(images)
    write_atomically(out / "figure4_reconstructions.png", figures.mosaic(
        [images, model.likelihood.picture(model.decode(mean))], ["images", "reconstructions"],
        title=f"What is drawn from {kl.sum():.1f} nats, in {(kl >= UNUSED).sum()} latents"))
    write_atomically(out / "figure4_traversals.png", figures.traversals(
        model, mean[0], order, [f"z{z} {named[z][0]}\n{kl[z]:.2f} nats" for z in order]))
    return {**{name: round(nats, 1) for name, nats in losses(model, sprites, samples).items()},
            "latents": [{"z": int(z), "factor": named[z][0], "explained": round(named[z][1], 2),
                         "kl": round(float(kl[z]), 2)} for z in order],
            "share of a factor that the best latent knows": dict(zip(sprites.factor_names,
                                                                     shares.max(axis=0).round(2).tolist())),
            "MIG": round(tb.metrics.mutual_information_gap(shares), 3),
            "units off": tb.metrics.units_off(model, sprites)}


def main():
    reproduce(__doc__, [figure2, figure3, figure4], "burgess2018")


if __name__ == "__main__":
    main()
