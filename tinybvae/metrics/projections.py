"""Codes without a network, with which the β-VAE is compared: principal and independent components."""

import numpy as np


def principal_components(x, D):
    """PCA: codes (N, D) of samples x (N, P), white: of mean 0 and variance 1 each, and uncorrelated.

    x − its mean = U S Vᵀ (singular value decomposition). The first columns of V are the directions in which x varies
    most, with variance S²/N, and the coordinates of x in them are U S. Raises ValueError if x varies in fewer than D
    directions.
    """
    U, S, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    most = int((S > 1e-6 * S[0]).sum())
    if not 1 <= D <= most:
        raise ValueError(f"these samples vary in {most} directions: there are 1 to {most} components, not {D}")
    return U[:, :D] * np.sqrt(len(x))


def independent_components(z, rng, steps=200):
    """ICA: white codes z (N, D), rotated so that each component is as far from a normal distribution as can be.

    A sum of independent variables is closer to normal than they are: so the directions furthest from normal are the
    variables themselves. FastICA (Hyvärinen 1999, eq. 20), for all rows w of W at once: w ← E[z g(w z)] − E[g'(w z)] w
    with g = tanh, then the nearest rotation.
    """
    W = random_rotation(z.shape[1], rng)
    for _ in range(steps):
        g = np.tanh(z @ W.T)  # (N, D)
        W = _nearest_rotation(g.T @ z / len(z) - (1 - g ** 2).mean(axis=0)[:, None] * W)
    return z @ W.T


def whitened(z):
    """Codes z (N, D) made white, but changed as little as possible: each axis stays near to what it was.

    Raises ValueError if they vary in fewer than D directions.
    """
    z = z - z.mean(axis=0)
    variances, axes = np.linalg.eigh(z.T @ z / len(z))
    if variances[0] <= 1e-12 * variances[-1]:
        raise ValueError(f"these codes vary in fewer than {z.shape[1]} directions")
    return z @ (axes / np.sqrt(variances)) @ axes.T


def random_rotation(D, rng):
    """A random orthogonal matrix (D, D): a rotation, perhaps with a reflection."""
    return _nearest_rotation(rng.standard_normal((D, D)))


def _nearest_rotation(W):
    U, _, Vt = np.linalg.svd(W)
    return U @ Vt
