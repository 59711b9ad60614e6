"""How much each latent knows of each factor: mutual information, the names it gives to latents, and MIG.

N samples, D latents, K factors. codes (N, D) are posterior means, classes (N, K) the true factors; nats.
"""

import numpy as np

WEAK = 0.1     # a latent that knows less than this share of every factor gets no name,
UNUSED = 0.05  # nor one with less KL than this, in nats: its mean may follow a factor, but the decoder cannot see it


def encode_samples(model, sprites, samples=10_000, seed=0, batch_size=25):
    """Images drawn with replacement: their classes (samples, K), and mean and logvar (samples, D) of q(z|x)."""
    index = np.random.default_rng(seed).integers(len(sprites), size=samples)
    batches = [model.encode(sprites.images(index[start:start + batch_size])) for start in range(0, samples, batch_size)]
    mean, logvar = (np.concatenate(arrays) for arrays in zip(*batches))
    return sprites.classes(index), mean, logvar


def entropy(labels):
    """H of discrete labels (N,) or of rows of them (N, …), by their frequencies."""
    p = np.unique(labels, axis=0, return_counts=True)[1] / len(labels)
    return -(p * np.log(p)).sum()


def mutual_information(codes, classes, bins=20):
    """I(latent; factor) (D, K), each latent cut into equal bins: I = H(latent) + H(factor) − H(latent, factor)."""
    binned = np.stack([np.digitize(z, np.histogram(z, bins)[1][:-1]) for z in codes.T], axis=1)
    return np.array([[entropy(z) + entropy(c) - entropy(np.stack([z, c], axis=1)) for c in classes.T]
                     for z in binned.T])


def known_shares(codes, classes):
    """(D, K): the share I(latent; factor) / H(factor) of each factor that each latent knows; 0 if H is 0."""
    information, entropies = mutual_information(codes, classes), np.array([entropy(c) for c in classes.T])
    return np.divide(information, entropies, out=np.zeros_like(information), where=entropies > 0)


def mutual_information_gap(shares):
    """MIG (Chen et al. 2018, eq. 6): by how much the best latent beats the second, in the mean over factors.

    shares (D, K) of `known_shares`: posterior means in 20 bins, as Locatello et al. 2019 estimate them.
    """
    second, best = np.sort(np.vstack([np.zeros_like(shares), shares]), axis=0)[-2:]
    return float((best - second).mean())


def name_latents(shares, kl, factor_names):
    """Of each latent, the factor it knows most of and that share; the name is "?" where WEAK or UNUSED."""
    return [(factor_names[share.argmax()] if share.max() >= WEAK and nats >= UNUSED else "?", float(share.max()))
            for share, nats in zip(shares, kl)]
