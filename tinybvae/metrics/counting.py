"""Which factors the scores count, what is left out, and why."""

import numpy as np

from tinybvae.metrics.information import needed

FEWEST, PER_CLASS = 60, 30   # samples that a score needs; samples that a factor needs for a class, on average
RARE = 20                    # samples that a factor needs outside its most frequent class
ONE_FACTOR = "only one factor counts, so that any code would tell which it is: no FactorVAE, BetaVAE and DCI"


def counted(classes):
    """(K,) bool: the factors that scores count, which have several classes and enough samples (PER_CLASS, RARE).

    Raises ValueError if there is none, or if there are fewer than FEWEST samples.
    """
    kept = _enough(classes)
    if len(classes) < FEWEST or not kept.any():
        raise ValueError("; ".join(notes(classes, [f"factor {k}" for k in range(len(kept))])))
    return kept


def several(classes):
    """`counted`, for scores that ask which factor is meant. Raises ValueError if only one counts."""
    kept = counted(classes)
    if kept.sum() < 2:
        raise ValueError(ONE_FACTOR)
    return kept


def _enough(classes):
    """(K,) bool: which factors have several classes, and enough samples (PER_CLASS, RARE)."""
    counts = [np.unique(column, return_counts=True)[1] for column in classes.T]
    return np.array([len(c) > 1 and c.mean() >= PER_CLASS and c.sum() - c.max() >= RARE for c in counts], bool)


def notes(classes, names):
    """Lines of text that say what is left out of the scores of samples with these classes (N, K), and why."""
    classes = np.asarray(classes)
    N, varying, enough = len(classes), (classes != classes[:1]).any(axis=0), _enough(classes)
    if not varying.any():
        return ["no factor varies, or none is known: there are no scores"]
    if N < FEWEST:
        return [f"{N} images are too few: there are no scores of fewer than {FEWEST}"]

    def named(which):
        return ", ".join(names[k] for k in np.flatnonzero(which))

    lines, few = [], needed(classes)
    if not varying.all():
        lines.append(f"do not vary here, and count in no score: {named(~varying)}")
    if (varying & ~enough).any():
        lines.append(f"of the {N} images, have fewer than {PER_CLASS} a class, or {RARE} that are not of the most "
                     f"frequent one, and count in no score: {named(varying & ~enough)}")
    if (enough & (N < few)).any():
        some = ", ".join(f"{names[k]} ({few[k]:.0f})" for k in np.flatnonzero(enough & (N < few)))
        lines.append(f"{N} images are too few to tell noise from what a latent knows of (images it would take): "
                     f"{some}: they count in no MIG, and no latent is named after them")
    if enough.sum() == 1:
        lines.append(ONE_FACTOR)
    if not enough.any():
        lines.append("there are no scores")
    return lines
