"""Five scores of disentanglement: MIG, which is in `information`, and four that train something.

All lie between 0 and 1. For codes that are the factors themselves, in any order and sign, FactorVAE and BetaVAE are 1.
On dSprites the other three are less even then, since their bins, cuts and linear classifiers cannot tell 32 positions
apart. All follow Locatello et al. 2019, appendix C, whose numbers are the ones to compare with; where a score departs
from it, its docstring says so.

With fewer than TRAIN samples, scores are measured on samples that were not used for training.
"""

import numpy as np

from tinybvae.kernels.arrays import small_is_zero
from tinybvae.metrics.classifiers import linear_svms, logistic_regression, random_forest
from tinybvae.metrics.counting import counted, several
from tinybvae.metrics.information import NOISE, gap, known_shares, mutual_information_gap
from tinybvae.metrics.samples import as_samples, encode_samples

NAMES = {"mig": "MIG", "factor_vae": "FactorVAE", "beta_vae": "BetaVAE", "sap": "SAP", "dci": "DCI"}
TRAIN, TEST = 10_000, 5_000  # votes that the FactorVAE and BetaVAE scores learn from, and are measured on
VOTERS = 64                  # samples, or pairs of them, behind a vote
BINS = 64                    # into which DCI cuts a latent, with equally many samples in each


def scores(codes, classes):
    """The scores of NAMES that can be computed (see `notes`); of DCI, the disentanglement."""
    codes, classes = as_samples(codes, classes)
    asked, shares = counted(classes).sum() > 1, known_shares(codes, classes)  # can one ask which factor it is?
    makers = {"mig": (lambda: mutual_information_gap(shares), not np.isnan(shares).all()),
              "factor_vae": (lambda: factor_vae_score(codes, classes), asked),
              "beta_vae": (lambda: beta_vae_score(codes, classes), asked),
              "sap": (lambda: separated_predictability(codes, classes), True),
              "dci": (lambda: dci(codes, classes)["disentanglement"], asked)}
    return {name: make() for name, (make, wanted) in makers.items() if wanted}


@small_is_zero
def evaluate(model, data, encoded=None):
    """The scores of a model's posterior means. `notes` says which cannot be computed, and why."""
    classes, mean, _ = encoded or encode_samples(model, data)
    try:
        counted(classes)
    except ValueError:
        return {}
    return scores(mean, classes)


def _held_out(codes, classes):
    """`as_samples`; fewer than TRAIN are shuffled, as their last third will be held out, and they may be sorted."""
    codes, classes = as_samples(codes, classes)
    order = np.random.default_rng(1).permutation(len(codes)) if len(codes) < TRAIN else slice(None)
    return codes[order], classes[order]


@small_is_zero
def factor_vae_score(codes, classes, seed=0):
    """Kim and Mnih 2018: samples that share a factor vote for the latent that varies least; does it tell which factor?

    For a vote, VOTERS samples are drawn in which one factor is fixed. They vote for the latent whose variance over them
    is the smallest part of its variance over all samples. A latent stands for the factor from which most of its first
    TRAIN votes came; the score is how often that is the right factor in the other votes. Latents with a standard
    deviation below .05 do not take part; if none does, the score is 0.
    """
    codes, classes = _held_out(codes, classes)
    rng, classes = np.random.default_rng(seed), classes[:, several(classes)]
    codes = codes[:, codes.std(axis=0, ddof=1) >= .05]
    if not codes.shape[1]:
        return 0.0
    factors, _, shown = _questions(classes, 1, rng)
    votes = np.argmin([z[shown].var(axis=1, ddof=1) / z.var(ddof=1) for z in codes.T], axis=0)
    table = np.zeros((codes.shape[1], classes.shape[1]))
    np.add.at(table, (votes[:TRAIN], factors[:TRAIN]), 1)
    return float((table.argmax(axis=1)[votes] == factors)[TRAIN:].mean())


@small_is_zero
def beta_vae_score(codes, classes, seed=0):
    """Higgins et al. 2017, section 3: which factor do pairs share? A linear classifier answers, from how codes differ.

    For each answer it sees the mean |difference| of codes over VOTERS pairs of samples; the two of a pair have the same
    value of the factor.
    """
    codes, classes = _held_out(codes, classes)
    rng, classes = np.random.default_rng(seed), classes[:, several(classes)]
    factors, one, other = _questions(classes, VOTERS, rng)
    differences = np.stack([np.abs(z[one] - z[other]).mean(axis=1) for z in codes.T.astype(np.float64)], axis=1)
    spread = differences.std(axis=0)
    x = (differences - differences.mean(axis=0)) / np.where(spread > 1e-9, spread, 1)
    answers = logistic_regression(x[:TRAIN], factors[:TRAIN], classes.shape[1], rng).forward(x[TRAIN:]).argmax(axis=1)
    return float((answers == factors[TRAIN:]).mean())


def _questions(classes, ones, rng):
    """TRAIN + TEST questions, which factor is shared: factors (M,), samples (M, VOTERS), their partners (M, VOTERS).

    A partner is a sample with the same class of the question's factor. A question has `ones` different samples, each
    repeated. If there are fewer than TRAIN samples, the last third is for TEST alone, and a sample is not its own
    partner.
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
    """For each sample of index (M, S), one drawn from those with the same class of its row's factor, factors (M,).

    With `apart` it is another sample, if there is one.
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


@small_is_zero
def separated_predictability(codes, classes):
    """SAP (Kumar et al. 2018, section 3): by how much the best latent predicts a factor better than the second.

    Predictions are made by a linear classifier that sees one latent. It is trained on two thirds of the samples, and
    measured on the rest. Of many classes in a row it can hardly tell those in the middle, so only factors of two
    classes can score 1.
    """
    codes, classes = _held_out(codes, classes)
    return gap(np.array([[_svm_accuracy(z, c) for c in classes[:, counted(classes)].T]
                          for z in codes.T.astype(np.float64)]))


def _svm_accuracy(z, labels):
    """The share of the last third of the labels (N,) that linear SVMs predict from z (N,); 0 if z is constant."""
    if z.var() <= 1e-12:
        return 0.0
    values, labels = np.unique(labels, return_inverse=True)
    train = 2 * len(z) // 3
    w, b = linear_svms(z[:train], labels[:train], len(values))
    blocks = np.array_split(z[train:], 1 + len(z) * len(values) // 2 ** 20)  # there may be many classes
    answers = np.concatenate([(block[:, None] * w + b).argmax(axis=1) for block in blocks])
    return float((answers == labels[train:]).mean())


@small_is_zero
def dci(codes, classes, seed=0):
    """Eastwood and Williams 2018: importance (D, K), disentanglement, completeness and informativeness, by these names.

    importance says how much each latent helps a random forest to tell a factor. (The paper has a forest as one of two
    regressors; Locatello et al. took gradient-boosted trees.) Each column sums to 1, or is 0 for a factor that is not
    counted, or that, with fewer than TRAIN samples, is told no better than by guessing.

    Disentanglement: is a latent important for one factor only? 1 − the entropy of its row, in units of ln K, for the K
    factors that are counted; the mean over latents, weighted by the sums of the rows. NaN for K = 1, where it would be
    1 for any code. Completeness: does a factor need one latent only? The same for columns, in units of ln D.
    Informativeness: the share of the last third of samples for which the forest, grown on the others, is right.
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

    several = int(importance.any(axis=0).sum() > 1)  # are several factors told? else any latent is about one only
    return {"importance": importance, "completeness": focus(importance.T),
            "informativeness": float(np.mean([right for _, right in grown])),
            "disentanglement": several * focus(importance[:, kept]) if kept.sum() > 1 else np.nan}


def _is_told(right, labels):
    """Whether a forest, right (n,) on the last third of labels (N,), beats guessing the others' most frequent label.

    Where only one of the two is right, by chance it is the forest in half of the cases, give or take NOISE / 2 standard
    deviations.
    """
    train = 2 * len(labels) // 3
    values, counts = np.unique(labels[:train], return_counts=True)
    guessed = labels[train:] == values[counts.argmax()]
    better, worse = (right & ~guessed).sum(), (guessed & ~right).sum()
    return better - worse > NOISE / 2 * np.sqrt(better + worse) or better > 3 and not worse
