"""How well latents match factors: mutual information, the names it gives to latents, five scores of disentanglement.

N samples, D latents, K factors. codes (N, D) are posterior means, classes (N, K) the true factors; nats. The scores lie
between 0 and 1. For codes that are the factors, in any order and sign, FactorVAE and BetaVAE are 1; on dSprites the
others are not, for their bins, cuts and linear classifiers cannot tell 32 positions apart. They follow Locatello et al.
2019, appendix C, whose numbers are the ones to compare with; where one departs from it, its docstring says so.

With fewer than TRAIN samples, what is measured is measured on samples that trained nothing. `counted` says which
factors are counted, and `notes` what is left out and why.
"""

import copy

import numpy as np

from tinybvae.classifiers import linear_svms, logistic_regression, random_forest
from tinybvae.dsprites import DSprites
from tinybvae.kernels.threads import alone
from tinybvae.layers import BATCH, switched_on
from tinybvae.losses import bernoulli_nll, gaussian_kl
from tinybvae.vae import reparameterize

NAMES = {"mig": "MIG", "factor_vae": "FactorVAE", "beta_vae": "BetaVAE", "sap": "SAP", "dci": "DCI"}
UNUSED = 0.05  # nats: a latent's mean may follow a factor, but with less KL than this the decoder cannot see it
CLEAR = .1, 1.5  # a latent is named after a factor if it knows this share of it, and so many times more than of others
NOISE = 4  # standard deviations of what pure noise seems to know that a share must not be taken for
TRAIN, TEST = 10_000, 5_000  # votes that the FactorVAE and BetaVAE scores learn from, and are measured on
VOTERS = 64                  # samples, or pairs of them, behind a vote
BINS = 64                    # that DCI cuts a latent into, of equal size
WIDE = 20                    # bins of equal width, that mutual information cuts one into
NINE = (278199, 285035, 329107, 720574, 657472, 327784, 626562, 251463, 305848)  # on miyosuda/disentangled_vae's page
FEWEST, PER_CLASS = 60, 30   # samples that a score needs, and a factor for each of its classes, in the mean
RARE = 20                    # samples that must not be of its most frequent class


def encode_samples(model, sprites, samples=10_000, seed=0, batch_size=BATCH):
    """Of images drawn as `_draw` does the classes (samples, K), and mean and logvar (samples, D) of q(z|x).

    Who takes them as `encoded`, and is given none, draws its own.

    `sprites` is a DSprites, Images, or what has all that `images` lists; without factors, K is 0. Raises
    FloatingPointError if a latent is not finite, and ValueError if the classes are no integers, or beyond its
    factor_sizes.
    """
    index = _draw(sprites, samples, seed)
    drawn, where = np.unique(index, return_inverse=True)  # each once, in a file's order
    batches = [model.encode(images) for images in _batches(sprites, drawn, batch_size)]
    mean, logvar = (np.concatenate(arrays)[where] for arrays in zip(*batches))
    if not np.isfinite([mean, logvar]).all():
        raise FloatingPointError("some latents are not finite: try a lower learning rate")
    return _classes(sprites, index), mean, logvar


def _draw(sprites, samples, seed):
    """The index of images drawn at random: (samples,), or fewer, if there are fewer, since none comes twice.

    Of a set fifty times as large, as dSprites is, one in a hundred may.
    """
    rng, count = np.random.default_rng(seed), len(sprites)
    return rng.integers(count, size=samples) if count >= 50 * samples else rng.permutation(count)[:samples]


def _batches(sprites, index, batch_size):
    for start in range(0, len(index), batch_size):
        yield sprites.images(index[start:start + batch_size])


def factors_of(sprites):
    """The names of its factors, () if none are known, and their sizes, () if it does not say them."""
    names, sizes = getattr(sprites, "factor_names", None), getattr(sprites, "factor_sizes", None)
    return () if names is None else tuple(names), () if sizes is None else tuple(sizes)


def _classes(sprites, index):
    names, sizes = factors_of(sprites)
    if not names:
        return np.zeros((len(index), 0), np.int64)
    classes = np.asarray(sprites.classes(index))
    if classes.dtype.kind not in "iu" or classes.shape != (len(index), len(names)):
        raise ValueError(f"classes must be integers of shape ({len(index)}, {len(names)}), a column for each of "
                         f"{', '.join(names)}, not {classes.dtype} of {classes.shape}")
    if ((classes < 0) | (classes >= (sizes or np.inf))).any():
        raise ValueError(f"classes must lie in 0 … size − 1, sizes {sizes}")
    return classes


def entropy(labels):
    """H of discrete labels (N,) or of rows of them (N, …), by their frequencies."""
    p = np.unique(labels, axis=0, return_counts=True)[1] / len(labels)
    return -(p * np.log(p)).sum()


def mutual_information(codes, classes, bins=WIDE):
    """I(latent; factor) (D, K), each latent in bins of equal width: I = H(latent) + H(factor) − H(latent, factor)."""
    codes, classes = _samples(codes, classes)
    binned = [np.digitize(z, np.linspace(z.min(), z.max(), bins + 1, dtype=z.dtype)[:-1]) for z in codes.T]
    factors = [np.unique(c, return_inverse=True)[1] for c in classes.T]  # from 0 on, for one number instead of a pair
    return np.array([[entropy(z) + entropy(c) - entropy(z * len(c) + c) for c in factors] for z in binned])


def _samples(codes, classes):
    """Raise ValueError unless codes are finite numbers (N, D), and classes integers (N, K)."""
    codes, classes = np.asarray(codes), np.asarray(classes)
    if codes.ndim != 2 or classes.ndim != 2 or len(codes) != len(classes) or not len(codes):
        raise ValueError(f"codes must be (N, D) and classes (N, K), of N ≥ 1 samples, not {codes.shape} and "
                         f"{classes.shape}")
    if classes.dtype.kind not in "iu":
        raise ValueError(f"classes must be integers, not {classes.dtype}")
    if codes.dtype.kind not in "iuf" or not np.isfinite(codes).all():
        raise ValueError("codes must be finite real numbers")
    return codes.astype(np.result_type(codes, np.float32), copy=False), classes  # sums of float16 would overflow


def _held_out(codes, classes):
    """`_samples`, fewer than TRAIN of them in random order: their last third is held out, and they may be sorted."""
    codes, classes = _samples(codes, classes)
    order = np.random.default_rng(1).permutation(len(codes)) if len(codes) < TRAIN else slice(None)
    return codes[order], classes[order]


def counted(classes):
    """(K,) bool: which factors scores count: those of several classes, with PER_CLASS samples each, and RARE ones.

    Raises ValueError if none is, or for fewer than FEWEST samples.
    """
    kept = np.array([len(c) > 1 and _enough(c) for c in map(_counts, classes.T)], bool)
    if len(classes) < FEWEST or not kept.any():
        raise ValueError("; ".join(notes(classes, [f"factor {k}" for k in range(len(kept))])))
    return kept


def _counts(labels):
    """How often each class is there."""
    return np.unique(labels, return_counts=True)[1]


def _enough(counts):
    return counts.mean() >= PER_CLASS and counts.sum() - counts.max() >= RARE


def _several(classes):
    """`counted`, for scores that ask which factor it is. Raises ValueError if there is one only."""
    kept = counted(classes)
    if kept.sum() < 2:
        raise ValueError(ONE_FACTOR)
    return kept


ONE_FACTOR = "only one factor counts, and which it is any code would tell: no FactorVAE, BetaVAE and DCI"


def known_shares(codes, classes):
    """(D, K): the share I(latent; factor) / H(factor) of each factor that each latent knows.

    NaN where that cannot be told: H is 0, or there are too few samples, see `needed`.
    """
    information, entropies = mutual_information(codes, classes), np.array([entropy(c) for c in np.transpose(classes)])
    return np.divide(information, entropies, out=np.full_like(information, np.nan),
                     where=(entropies > 0) & (len(codes) >= needed(classes)))


def needed(classes):
    """(K,): so many samples are needed to tell what a latent knows of a factor, so that noise seems to know < CLEAR.

    Noise in B bins seems to know χ² / 2N nats of K classes, with (B − 1)(K − 1) degrees of freedom (Wilks 1938).
    """
    entropies = np.array([entropy(column) for column in np.transpose(classes)])
    freedom = (WIDE - 1) * np.array([len(np.unique(column)) - 1 for column in np.transpose(classes)])
    return np.ceil((freedom + NOISE * np.sqrt(2 * freedom)) / (2 * CLEAR[0] * np.maximum(entropies, 1e-12)))


def notes(classes, names):
    """What of the scores of samples with these classes (N, K) is left out, and why: lines of text."""
    N, few = len(classes), needed(classes)
    counts = dict(zip(names, map(_counts, np.transpose(classes))))
    constant = [name for name, count in counts.items() if len(count) == 1]
    sparse = [name for name, count in counts.items() if len(count) > 1 and not _enough(count)]
    unclear = [f"{name} ({n:.0f})" for name, n in zip(names, few) if N < n and name not in constant + sparse]
    lines = []
    if len(constant) == len(counts):
        return ["no factor varies, or none is known: there are no scores"]
    if N < FEWEST:
        return [f"{N} images are too few: there are no scores of fewer than {FEWEST}"]
    if constant:
        lines.append(f"do not vary here, and count in no score: {', '.join(constant)}")
    if sparse:
        lines.append(f"of the {N} images, have fewer than {PER_CLASS} a class, or {RARE} that are not of the most "
                     f"frequent one, and count in no score: {', '.join(sparse)}")
    if unclear:
        lines.append(f"{N} images are too few to tell noise from what a latent knows of (images it would take): "
                     f"{', '.join(unclear)}: they count in no MIG, and no latent is named after them")
    if len(names) - len(constant) - len(sparse) == 1:
        lines.append(ONE_FACTOR)
    if len(names) == len(constant) + len(sparse):
        lines.append("there are no scores")
    return lines


def mutual_information_gap(shares):
    """MIG (Chen et al. 2018, eq. 6), from shares (D, K) of `known_shares`: the mean over factors k that are not NaN of

        (I(best latent; k) − I(second best; k)) / H(k)
    """
    if np.ndim(shares) != 2:
        raise ValueError(f"shares must be (D, K), not {np.shape(shares)}")
    known = ~np.isnan(shares).all(axis=0)
    if not known.any():
        raise ValueError("of no factor can it be told what latents know: none varies, or there are too few samples")
    return _gap(shares[:, known])


def _gap(scores):
    """The best of D latents minus the second best, in the mean over K factors; scores (D, K) are at least 0."""
    second, best = np.sort(np.vstack([np.zeros_like(scores), scores]), axis=0)[-2:]
    return float((best - second).mean())


def name_latents(shares, kl, factor_names):
    """Of each latent, a name and the largest of its shares (D, K): the factor's, "mixed" if not CLEAR, or "unused".

    Where no factors are known, K = 0 or all are NaN, it is "used" instead.
    """
    known = not np.isnan(shares).all()
    shares = np.nan_to_num(shares)

    def name(share, nats):
        second, best = np.sort(np.append(share, (0, 0)))[-2:]
        if nats < UNUSED or not known:
            return "unused" if nats < UNUSED else "used"
        return factor_names[share.argmax()] if best >= CLEAR[0] and best >= CLEAR[1] * second else "mixed"

    if shares.shape != (len(kl), len(factor_names)):
        raise ValueError(f"shares must be (D, K), of {len(kl)} latents and {len(factor_names)} factors, "
                         f"not {shares.shape}")
    return [(name(share, nats), float(share.max(initial=0))) for share, nats in zip(shares, kl)]


def losses(model, sprites, samples=10_000, batch_size=50):
    """In nats: reconstruction loss, from one z an image, and KL, of images drawn with replacement; NINE from means."""
    rng, sums = np.random.default_rng(0), np.zeros(2)
    for _ in range(samples // batch_size):
        images = sprites.images(rng.integers(len(sprites), size=batch_size))
        mean, logvar = model.encode(images)
        z = reparameterize(mean, logvar, rng.standard_normal(mean.shape))
        reconstruction, _ = bernoulli_nll(model.decode(z), images)
        sums += reconstruction, gaussian_kl(mean, logvar)[0].sum()
    found = dict(zip(("reconstruction", "kl"), sums / (samples // batch_size)))
    if isinstance(sprites, DSprites) and len(sprites) == len(DSprites()):  # not a file with a part of them
        images = sprites.images(np.array(NINE))
        found["nine_images"] = bernoulli_nll(model.decode(model.encode(images)[0]), images)[0]
    return found


def dead_units(model, sprites, samples=2000, seed=0, batch_size=BATCH):
    """{layer: [dead, units]}: of a layer's units, how many no image switches on, of some drawn as `_draw` does."""
    looked_at = alone(copy.deepcopy)(model)  # which keeps what its layers made
    on = dict.fromkeys(model.relus, False)

    @alone
    def look(images):
        mean = looked_at.encoder.forward(np.asarray(images, model.dtype))[:, :model.latents]
        looked_at.decoder.forward(mean)
        for name, relu in looked_at.relus.items():
            on[name] = on[name] | switched_on(relu.y)

    for images in _batches(sprites, np.unique(_draw(sprites, samples, seed)), batch_size):
        look(images)
    return {layer: [int((~units).sum()), len(units)] for layer, units in on.items()}


def constant_factors(sprites, samples=10_000, seed=0):
    """The names of the factors that do not vary among the images that `encode_samples` draws."""
    classes = _classes(sprites, _draw(sprites, samples, seed))
    return [sprites.factor_names[k] for k, column in enumerate(classes.T) if (column == column[0]).all()]


def scores(codes, classes):
    """Those of NAMES that there can be, see `notes`; of DCI, the disentanglement."""
    codes, classes = _samples(codes, classes)
    several, shares = counted(classes).sum() > 1, known_shares(codes, classes)
    makers = {"mig": (lambda: mutual_information_gap(shares), not np.isnan(shares).all()),
              "factor_vae": (lambda: factor_vae_score(codes, classes), several),
              "beta_vae": (lambda: beta_vae_score(codes, classes), several),
              "sap": (lambda: separated_predictability(codes, classes), True),
              "dci": (lambda: dci(codes, classes)["disentanglement"], several)}
    return {name: make() for name, (make, wanted) in makers.items() if wanted}


@np.errstate(under="ignore")  # whatever the caller's is
def evaluate(model, sprites, encoded=None):
    """The scores of a model's posterior means; {} if there can be none."""
    classes, mean, _ = encoded or encode_samples(model, sprites)
    try:
        counted(classes)
    except ValueError:
        return {}
    return scores(mean, classes)


@np.errstate(under="ignore")
def factor_vae_score(codes, classes, seed=0):
    """Kim and Mnih 2018: samples that share a factor vote for the latent that varies least; how well that tells which.

    A vote is the latent whose variance over VOTERS samples with one factor fixed is the smallest part of its variance
    over all; a latent stands for the factor that most of its votes came from. Latents with a standard deviation below
    .05 do not vote; without any that does, the score is 0.
    """
    codes, classes = _held_out(codes, classes)
    rng, classes = np.random.default_rng(seed), classes[:, _several(classes)]
    codes = codes[:, codes.std(axis=0, ddof=1) >= .05]
    if not codes.shape[1]:
        return 0.0
    factors, _, shown = _questions(classes, 1, rng)
    votes = np.argmin([z[shown].var(axis=1, ddof=1) / z.var(ddof=1) for z in codes.T], axis=0)
    table = np.zeros((codes.shape[1], classes.shape[1]))
    np.add.at(table, (votes[:TRAIN], factors[:TRAIN]), 1)
    return float((table.argmax(axis=1)[votes] == factors)[TRAIN:].mean())


@np.errstate(under="ignore")
def beta_vae_score(codes, classes, seed=0):
    """Higgins et al. 2017, section 3: which factor do pairs share? A linear classifier answers, from how codes differ.

    It sees the mean of |difference| over VOTERS pairs of samples, each pair with one value of the factor.
    """
    codes, classes = _held_out(codes, classes)
    rng, classes = np.random.default_rng(seed), classes[:, _several(classes)]
    factors, one, other = _questions(classes, VOTERS, rng)
    differences = np.stack([np.abs(z[one] - z[other]).mean(axis=1) for z in codes.T.astype(np.float64)], axis=1)
    spread = differences.std(axis=0)
    x = (differences - differences.mean(axis=0)) / np.where(spread > 1e-9, spread, 1)
    answers = logistic_regression(x[:TRAIN], factors[:TRAIN], classes.shape[1], rng).forward(x[TRAIN:]).argmax(axis=1)
    return float((answers == factors[TRAIN:]).mean())


def _questions(classes, ones, rng):
    """TRAIN + TEST questions which factor is shared: factors (M,), samples (M, VOTERS), and others alike (M, VOTERS).

    The samples of a question are `ones` different ones. Of fewer than TRAIN, the last third is for TEST alone, and a
    sample is alike to others only.
    """
    N, K = classes.shape
    factors = rng.integers(K, size=TRAIN + TEST)
    first, last, apart = 0, N, N < TRAIN
    if apart:
        first, last = (np.repeat(ends, (TRAIN, TEST))[:, None] for ends in ((0, 2 * N // 3), (2 * N // 3, N)))
    one = np.repeat(rng.integers(first, last, size=(TRAIN + TEST, ones)), VOTERS // ones, axis=1)
    other = np.empty_like(one)
    for part in (slice(TRAIN), slice(TRAIN, None)) if apart else [slice(None)]:
        start, stop = (first[part][0, 0], last[part][0, 0]) if apart else (0, N)
        other[part] = start + _alike(classes[start:stop], factors[part], one[part] - start, rng, apart)
    return factors, one, other


def _alike(classes, factors, index, rng, apart):
    """For each sample of index (M, S) one drawn from those that have the same class of the factor factors (M,).

    `apart`: from the others, if there are some.
    """
    drawn = np.empty_like(index)
    for k, column in enumerate(classes.T):
        order = np.argsort(column, kind="stable")
        values, starts, counts = np.unique(column[order], return_index=True, return_counts=True)
        rows = factors == k
        group = np.searchsorted(values, column[index[rows]])
        place = (rng.random(group.shape) * (counts[group] - apart)).astype(int)
        if apart:
            place = (np.argsort(order)[index[rows]] - starts[group] + 1 + place) % counts[group]
        drawn[rows] = order[starts[group] + place]
    return drawn


@np.errstate(under="ignore")
def separated_predictability(codes, classes):
    """SAP (Kumar et al. 2018, section 3): by how much the best latent predicts a factor better than the second.

    Predictions are a linear classifier's that sees one latent; two thirds of the samples train it, the rest measure it.
    It hardly tells the middle ones of many classes in a row, so that only factors of two classes can score 1.
    """
    codes, classes = _held_out(codes, classes)
    return _gap(np.array([[_svm_accuracy(z, c) for c in classes[:, counted(classes)].T]
                          for z in codes.T.astype(np.float64)]))


def _svm_accuracy(z, labels):
    """Of the labels (N,), the share of the last third that linear SVMs predict from z (N,); 0 if z is constant."""
    if z.var() <= 1e-12:
        return 0.0
    values, labels = np.unique(labels, return_inverse=True)
    train = 2 * len(z) // 3
    w, b = linear_svms(z[:train], labels[:train], len(values))
    blocks = np.array_split(z[train:], 1 + len(z) * len(values) // 2 ** 20)  # there may be many classes
    answers = np.concatenate([(block[:, None] * w + b).argmax(axis=1) for block in blocks])
    return float((answers == labels[train:]).mean())


@np.errstate(under="ignore")
def dci(codes, classes, seed=0):
    """Eastwood and Williams 2018: importance (D, K), disentanglement, completeness and informativeness, by these names.

    importance, each column of sum 1, says how much each latent helps a random forest to tell a factor: one of their two
    regressors; Locatello et al. took gradient-boosted trees. 0 for a factor that is not counted, or, with fewer than
    TRAIN samples, not told better than by guessing. Disentanglement: is a latent important for one factor only?
    1 − entropy of its row, in units of ln K, for K factors that are counted, weighed by the row's sum; NaN for K = 1,
    as it is 1 for any code. Completeness: does a factor need one latent only? The same of columns, by ln D.
    Informativeness: the share of the last third of samples that the forest, grown on the others, tells right.
    """
    codes, classes = _held_out(codes, classes)
    rng, kept = np.random.default_rng(seed), counted(classes)
    cuts = np.linspace(0, 1, BINS + 1)[1:-1]
    binned = np.stack([np.searchsorted(np.unique(np.quantile(z, cuts)), z) for z in codes.T], axis=1)
    grown = [random_forest(binned, BINS, c, rng) for c in classes[:, kept].T]
    importance = np.zeros((codes.shape[1], len(kept)))
    importance[:, kept] = np.stack([column * (len(codes) >= TRAIN or _is_told(right, c)) for (column, right), c
                                    in zip(grown, classes[:, kept].T)], axis=1)

    def focus(rows):
        sums = rows.sum(axis=1, keepdims=True)
        p = np.divide(rows, sums, out=np.zeros_like(rows), where=sums > 0)
        nats = -(p * np.log(np.where(p > 0, p, 1))).sum(axis=1)
        return float(np.average(1 - nats / np.log(max(rows.shape[1], 2)), weights=sums[:, 0])) if sums.any() else 0.0

    several = int(importance.any(axis=0).sum() > 1)  # that can be told at all: else each latent would be about one only
    return {"importance": importance, "completeness": focus(importance.T),
            "informativeness": float(np.mean([right for _, right in grown])),
            "disentanglement": several * focus(importance[:, kept]) if kept.sum() > 1 else np.nan}


def _is_told(right, labels):
    """Whether the last third of labels (N,) is told right (n,) more often than by guessing the others' most frequent.

    Where the two differ, it is right by chance in half of the cases, give or take NOISE / 2 standard deviations.
    """
    train = 2 * len(labels) // 3
    values, counts = np.unique(labels[:train], return_counts=True)
    guessed = labels[train:] == values[counts.argmax()]
    better, worse = (right & ~guessed).sum(), (guessed & ~right).sum()
    return better - worse > NOISE / 2 * np.sqrt(better + worse) or better > 3 and not worse
