"""The metrics on codes whose scores are known."""

import numpy as np
import pytest

import tinybvae as tb
from tinybvae import metrics

SIZES = (3, 6, 8)
CLASSES = np.stack(np.unravel_index(np.arange(3 * 6 * 8).repeat(10), SIZES), axis=1)  # every combination, ten times


def mig(codes):
    return metrics.mutual_information_gap(metrics.known_shares(codes, CLASSES))


def test_entropy():
    assert metrics.entropy(np.array([2, 0, 1, 0, 2, 1])) == pytest.approx(np.log(3))
    assert metrics.entropy(np.array([5, 5, 5])) == 0
    assert metrics.entropy(np.array([[0, 0], [0, 1], [0, 0], [0, 1]])) == pytest.approx(np.log(2))


def test_mutual_information_is_its_definition():
    """Σ p(a, b) log p(a, b) / (p(a) p(b)), from the table of joint frequencies."""
    rng = np.random.default_rng(0)
    joint = rng.integers(1, 9, (4, 3))
    a, b = np.repeat(np.indices(joint.shape).reshape(2, -1), joint.reshape(-1), axis=1)
    p = joint / joint.sum()
    wanted = (p * np.log(p / (p.sum(axis=1, keepdims=True) * p.sum(axis=0)))).sum()
    have = metrics.mutual_information(a[:, None].astype(float), b[:, None])
    assert have.shape == (1, 1) and have[0, 0] == pytest.approx(wanted, rel=1e-12)


def test_bins_are_twenty_of_equal_width():
    codes = np.array([[0.], [.04], [.06], [.94], [.96], [1.]])  # the first bin ends at .05, the last begins at .95
    labels = np.arange(6)[:, None]
    assert metrics.mutual_information(codes, labels)[0, 0] == pytest.approx(
        metrics.entropy(np.array([0, 0, 1, 18, 19, 19])))


def test_mig_of_perfect_codes_is_1():
    codes = CLASSES * (1., -2., .5) + 3
    assert mig(codes) == pytest.approx(1)
    assert mig(codes[:, [2, 0, 1]]) == pytest.approx(1)
    assert mig(np.hstack([codes, np.zeros((len(codes), 2))])) == pytest.approx(1)


def test_mig_of_duplicated_codes_is_0():
    assert mig(np.hstack([CLASSES, CLASSES]).astype(float)) == pytest.approx(0)


def test_mig_of_codes_that_know_nothing_is_0():
    assert mig(np.ones((len(CLASSES), 4))) == 0
    noise = np.random.default_rng(0).standard_normal((len(CLASSES), 4))
    assert mig(noise) < .03


def test_mig_of_rotated_codes_is_low():
    codes = CLASSES / np.array(SIZES)
    rotated = np.stack([codes[:, 1] + codes[:, 2], codes[:, 1] - codes[:, 2]], axis=1)
    assert mig(rotated) < .1 < .6 < mig(codes[:, 1:])


def test_a_constant_factor_is_not_counted_as_known():
    classes = np.stack([CLASSES[:, 0], np.zeros(len(CLASSES), int)], axis=1)
    np.testing.assert_allclose(metrics.known_shares(CLASSES[:, :1].astype(float), classes), [[1, 0]])


def test_names():
    shares = np.array([[.02, .7, .0], [.05, .02, .09], [.9, .1, .1]])
    names = metrics.name_latents(shares, kl=[2., 1., .001], factor_names=("shape", "scale", "x"))
    assert names == [("scale", .7), ("?", .09), ("?", .9)]  # named; weak; unused


def test_encode_samples():
    sprites, model = tb.DSprites(), tb.BetaVAE(3, seed=0)
    classes, mean, logvar = metrics.encode_samples(model, sprites, samples=30, batch_size=20)
    assert classes.shape == (30, 5) and mean.shape == logvar.shape == (30, 3)
    for have, want in zip((mean, logvar), model.encode(sprites.images(sprites.index(classes)))):
        np.testing.assert_allclose(have, want, rtol=1e-4, atol=1e-5)
