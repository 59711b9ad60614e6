"""The classifiers are at their minima, and refuse labels that are none."""

import numpy as np
import pytest

from tinybvae.metrics import classifiers


def test_logistic_regression_is_at_its_minimum():
    """In one dimension, two classes: d/dw of the mean loss is Σ (p − label) x / N = 0."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 1))
    labels = (x[:, 0] + rng.standard_normal(400) > .3).astype(int)
    layer = classifiers.logistic_regression(x, labels, 2, rng)
    logits = layer.forward(x)
    excess = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1])) - labels
    assert abs((excess * x[:, 0]).mean()) < 1e-6 and abs(excess.mean()) < 1e-6
    assert layer.parameters["weight"].std() > .5


def test_svms_are_at_their_minimum():
    rng = np.random.default_rng(0)
    labels = rng.choice(3, 500, p=[.6, .3, .1])
    z = labels + .7 * rng.standard_normal(500)
    at = np.array(classifiers.linear_svms(z, labels, 3))

    def cost(w, b):
        y = np.where(labels[:, None] == np.arange(3), 1, -1)
        weight = np.where(y > 0, 500 / (3 * np.bincount(labels)), 1)
        return (w ** 2 + b ** 2) / 2 + (.01 * weight * np.maximum(0, 1 - y * (z[:, None] * w + b)) ** 2).sum(axis=0)

    for step in ([1e-3, 0], [-1e-3, 0], [0, 1e-3], [0, -1e-3], [1e-3, 1e-3], [1e-3, -1e-3]):
        assert (cost(*(at + np.array(step)[:, None])) > cost(*at)).all()


def test_labels_that_are_none():
    rng = np.random.default_rng(0)
    drawn, x = rng.integers(3, size=6000), rng.standard_normal((6000, 3))
    for labels in drawn - 1, drawn / 1, drawn[:-1], drawn + 1:
        for learn in (lambda: classifiers.linear_svms(x[:, 0], labels, 3),
                      lambda: classifiers.logistic_regression(x, labels, 3, rng)):
            with pytest.raises(ValueError, match="^labels must be 6000 integers from 0 to 2"):
                learn()


def test_bins_that_are_none():
    x, rng = np.full((90, 2), 3), np.random.default_rng(0)
    for bad in x - 4, x + 1, x / 1:
        with pytest.raises(ValueError, match="^x must be whole numbers from 0 to 3"):
            classifiers.random_forest(bad, 4, np.arange(90) % 2, rng)
    for labels in np.arange(89) % 2, np.arange(91) % 2:
        with pytest.raises(ValueError, match="^labels must be 90 integers from 0 to 1"):
            classifiers.random_forest(x, 4, labels, rng)
