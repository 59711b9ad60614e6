"""Classifiers that tell factors from latents, for the scores: logistic regression, linear SVMs, a random forest."""

import math

import numpy as np

from tinybvae.kernels.compiler import compiled
from tinybvae.layers import Linear
from tinybvae.optimizers import Adam

LEAF = 20  # samples in a leaf of the forest
TOGETHER = 64  # the most SVMs that are in memory at a time


def logistic_regression(x, labels, classes, rng, steps=200, learning_rate=.2):
    """A Linear layer from x (N, D) to a logit l for each class, trained by Adam; each step sees all of x.

    L = −mean log p[label] with p = softmax(l), and ∂L/∂l = (p − one_hot) / N.
    """
    _require_labels(labels, classes, len(x))
    layer = Linear(x.shape[1], classes, rng, np.float64)
    adam, one_hot = Adam(layer.parameters, learning_rate), np.eye(classes)[labels]
    for _ in range(steps):
        logits = layer.forward(x)
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        layer.backward((p - one_hot) / len(x))
        adam.update(layer.gradients)
    return layer


def linear_svms(z, labels, classes, cost=.01, iterations=20):
    """w and b (classes,) of linear support vector machines, one for each class, from samples z (N,).

    y is 1 for the samples of the class, and −1 for others. Each SVM minimizes
    ½ (w² + b²) + Σ c max(0, 1 − y (w z + b))². c is `cost`, and where y = 1 it is multiplied by N / (classes · samples
    of the class). Newton's method is exact once it knows which samples lie inside the margin, where y (w z + b) < 1.
    """
    _require_labels(labels, classes, len(z))
    parts = np.array_split(np.arange(classes), -(-classes // TOGETHER))
    return np.concatenate([_svms(z, labels, part, classes, cost, iterations) for part in parts], axis=1)


def _svms(z, labels, some, classes, cost, iterations):
    own = labels[:, None] == some  # (N, some of the classes)
    x, y = z[:, None], np.where(own, 1, -1)
    c = cost * np.where(own, len(z) / (classes * np.maximum(own.sum(axis=0), 1)), 1)
    w, b = np.zeros((2, len(some)))
    for _ in range(iterations):
        margin = np.maximum(0, 1 - y * (x * w + b))
        dw = w - 2 * (c * margin * y * x).sum(axis=0)
        db = b - 2 * (c * margin * y).sum(axis=0)
        if max(np.abs(dw).max(), np.abs(db).max()) < 1e-6:
            break
        inside = c * (margin > 0)
        ww, wb, bb = 1 + 2 * (inside * x * x).sum(axis=0), 2 * (inside * x).sum(axis=0), 1 + 2 * inside.sum(axis=0)
        determinant = ww * bb - wb * wb
        w, b = w - (bb * dw - wb * db) / determinant, b - (ww * db - wb * dw) / determinant
    return w, b


def _require_labels(labels, classes, N):
    if labels.dtype.kind not in "iu" or labels.shape != (N,) or ((labels < 0) | (labels >= classes)).any():
        raise ValueError(f"labels must be {N} integers from 0 to {classes - 1}")


def random_forest(x, bins, labels, rng, trees=10):
    """A random forest (Breiman 2001) that predicts labels from x (N, D), whole numbers below `bins`.

    Returns the importance (D,) of each latent, which is its share of the entropy that all splits take from the labels,
    and (n,) bool, for which of the last third of samples the forest is right. Trees grow on samples drawn with
    replacement from the first two thirds. A node splits at the best cut that √D latents, drawn at random, offer, unless
    it holds fewer than 2 LEAF samples or no cut gains anything.
    """
    if x.dtype.kind not in "iu" or ((x < 0) | (x >= bins)).any():
        raise ValueError(f"x must be whole numbers from 0 to {bins - 1}")
    values, labels = np.unique(labels, return_inverse=True)
    kinds, (N, D) = len(values), x.shape
    _require_labels(labels, kinds, N)
    importance, votes = np.zeros(D), np.zeros((N, kinds))
    n_log_n = np.arange(N + 1) * np.log(np.maximum(np.arange(N + 1), 1))

    def grow(train, test):
        counts, gain = np.bincount(labels[train], minlength=kinds), 0
        if len(train) >= 2 * LEAF:
            seen = rng.permutation(D)[:math.ceil(math.sqrt(D))]
            gain, latent, cut = _best_cut(x, labels, train, seen, counts, bins, n_log_n)
        if gain:
            importance[latent] += gain
            low, test_low = x[train, latent] <= cut, x[test, latent] <= cut
            grow(train[low], test[test_low])
            grow(train[~low], test[~test_low])
        else:
            votes[test] += counts / len(train)

    train = 2 * N // 3
    for _ in range(trees):
        grow(rng.integers(train, size=train), np.arange(train, N))
    del grow  # it refers to itself: else all that it has seen would wait for the garbage collector
    return importance / max(importance.sum(), 1e-12), (votes.argmax(axis=1) == labels)[train:]


@compiled()
def _best_cut(x, labels, train, seen, counts, bins, n_log_n):
    """For a node with samples `train` (n,): the gain of the best cut of a latent in `seen`, or 0; its latent; the cut.

    The gain is by how much the cut lowers n · H, where H is the entropy of the labels. With counts (K,) of the labels,
    n · H is n log n − Σ counts log counts.
    """
    gain, latent, cut = 0.0, 0, 0
    whole = n_log_n[len(train)] - n_log_n[counts].sum()
    for d in seen:
        found = np.zeros((bins, len(counts)), np.int64)
        for i in train:
            found[x[i, d], labels[i]] += 1
        left = np.zeros_like(counts)
        for b in range(bins - 1):
            left += found[b]
            n = left.sum()
            halves = n_log_n[n] + n_log_n[len(train) - n]
            for k in range(len(counts)):
                halves -= n_log_n[left[k]] + n_log_n[counts[k] - left[k]]
            if whole - halves > gain + 1e-9:  # the first of several equal ones, however they are rounded
                gain, latent, cut = whole - halves, d, b
    return gain, latent, cut
