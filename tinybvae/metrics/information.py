"""How much latents know of factors: mutual information and its gap; what factors explain of latents; latents' names."""

import numpy as np

from tinybvae.metrics.samples import as_samples

UNUSED = 0.05  # nats: a latent's mean may follow a factor, but with less KL than this the decoder cannot see it
CLEAR = .1, 1.5  # a latent is named after a factor that explains this share of it, and this many times what others do
NOISE = 4  # what noise seems to know must be below CLEAR even at so many standard deviations above its mean
WIDE = 20  # bins of equal width into which mutual information cuts a latent


def entropy(labels):
    """The entropy H of discrete labels (N,) or of rows of them (N, …), from their frequencies."""
    p = np.unique(labels, axis=0, return_counts=True)[1] / len(labels)
    return -(p * np.log(p)).sum()


def mutual_information(codes, classes, bins=WIDE):
    """I(latent; factor) (D, K), each latent in bins of equal width: I = H(latent) + H(factor) − H(latent, factor)."""
    codes, classes = as_samples(codes, classes)
    binned = [np.digitize(z, np.linspace(z.min(), z.max(), bins + 1, dtype=z.dtype)[:-1]) for z in codes.T]
    factors = [np.unique(c, return_inverse=True)[1] for c in classes.T]  # from 0 on, so that one number tells a pair
    return np.array([[entropy(z) + entropy(c) - entropy(z * len(c) + c) for c in factors] for z in binned])


def known_shares(codes, classes):
    """(D, K): the share I(latent; factor) / H(factor) of each factor that each latent knows.

    NaN where that cannot be told: H is 0, or there are too few samples, see `needed`.
    """
    information, entropies = mutual_information(codes, classes), np.array([entropy(c) for c in np.transpose(classes)])
    return np.divide(information, entropies, out=np.full_like(information, np.nan),
                     where=(entropies > 0) & (len(codes) >= needed(classes)))


def needed(classes):
    """(K,): the samples it takes to tell what a latent knows of a factor: so many that noise seems to know < CLEAR.

    Noise in B bins seems to know χ² / 2N nats of a factor of K classes, where χ² has (B − 1)(K − 1) degrees of freedom
    (Wilks 1938).
    """
    entropies = np.array([entropy(column) for column in np.transpose(classes)])
    freedom = (WIDE - 1) * np.array([len(np.unique(column)) - 1 for column in np.transpose(classes)])
    return np.ceil((freedom + NOISE * np.sqrt(2 * freedom)) / (2 * CLEAR[0] * np.maximum(entropies, 1e-12)))


def mutual_information_gap(shares):
    """MIG (Chen et al. 2018, eq. 6), from shares (D, K) of `known_shares`: the mean over factors k that are not NaN of

        (I(best latent; k) − I(second best; k)) / H(k)
    """
    if np.ndim(shares) != 2:
        raise ValueError(f"shares must be (D, K), not {np.shape(shares)}")
    known = ~np.isnan(shares).all(axis=0)
    if not known.any():
        raise ValueError("of no factor can it be told what latents know: none varies, or there are too few samples")
    return gap(shares[:, known])


def gap(scores):
    """The best of D latents minus the second best, the mean over K factors; scores (D, K) are at least 0."""
    second, best = np.sort(np.vstack([np.zeros_like(scores), scores]), axis=0)[-2:]
    return float((best - second).mean())


def explained(codes, classes):
    """(D, K): the share of each latent's variance that a factor explains, by the means of its classes.

    This is the correlation ratio, 1 − (variance within classes) / (variance), both unbiased (Kelley 1935), so that
    noise has next to nothing. NaN where it cannot be told, because the factor is constant, or because there are so few
    samples that noise may seem to have a share of CLEAR (see `needed`).
    """
    codes, classes = as_samples(codes, classes)
    N, z = len(codes), (codes - codes.mean(axis=0)).astype(float)
    shares, variance = np.full((z.shape[1], classes.shape[1]), np.nan), (z ** 2).sum(axis=0) / max(N - 1, 1)
    for k, column in enumerate(classes.T):
        _, c, counts = np.unique(column, return_inverse=True, return_counts=True)
        freedom = len(counts) - 1
        if freedom and N * CLEAR[0] >= freedom + NOISE * np.sqrt(2 * freedom):
            means = np.array([np.bincount(c, each) for each in z.T]) / counts
            within = ((z - means.T[c]) ** 2).sum(axis=0) / (N - len(counts))
            shares[:, k] = np.maximum(1 - within / np.where(variance, variance, np.inf), 0) * (variance > 0)
    return shares


def name_latents(shares, kl, factor_names):
    """For each latent, a name and the largest of its `explained` shares (D, K).

    The name is that of the factor with this share, or "mixed" if that is not CLEAR, or "unused". Where no factors are
    known (K = 0, or all shares are NaN), it is "used" or "unused".
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
