"""What latents are called, by codes whose answers are known, and where traversals start."""

import numpy as np
import pytest

import tinybvae as tb
from tinybvae import metrics
from tinybvae.report import latents

SPRITES = tb.DSprites()
CLASSES = SPRITES.classes(np.random.default_rng(0).integers(len(SPRITES), size=6000))
SHAPE, SCALE, ORIENTATION, X, Y = CLASSES.T
NOISE = np.random.default_rng(1).standard_normal((6000, 9))
TURN = 2 * np.pi * ORIENTATION / 39
SQUARE, ELLIPSE, HEART = (SHAPE == shape for shape in range(3))


def named(*codes, kl=1., classes=CLASSES, data=SPRITES):
    means = np.transpose(codes).astype(np.float32)
    return latents.seen(data, means, classes, np.full(len(codes), kl))


def test_names_by_shape():
    x, scale, ellipses, hearts, two, deformed = named(
        X / 10 + .1 * NOISE[:, 0],
        SCALE - 3 * SHAPE,                                           # one straight line for each shape, set off
        2 * np.cos(2 * TURN) * ELLIPSE + .3 * NOISE[:, 1],
        np.sin(3 * TURN) * HEART + .2 * NOISE[:, 2],
        np.sin(4 * TURN) * ~ELLIPSE + .2 * NOISE[:, 3],
        NOISE[:, 4] * (1 - .8 * ELLIPSE))
    assert x[:2] == ("position_x", "position_x") and x.shape == 1 and x.explained > .95
    assert scale[:2] == ("scale", "scale") and scale.explained == pytest.approx(1)
    assert ellipses[:2] == ("orientation of ellipses", "orientation") and ellipses.shape == 1
    assert hearts[:2] == ("orientation of hearts", "orientation") and hearts.shape == 2
    assert hearts.explained == pytest.approx(.5 / (.5 + .04), abs=.02)
    assert two[:2] == ("orientation of squares and hearts", "orientation") and two.shape in (0, 2)
    assert deformed[:2] == ("mixed: squares and hearts", "mixed") and deformed.explained < .05


def test_what_is_mixed_and_what_is_unused():
    both, noise = named(X + Y + .1 * NOISE[:, 0], NOISE[:, 1])
    assert both[:2] == noise[:2] == ("mixed", "mixed") and both.explained == pytest.approx(.5, abs=.05)
    assert named(X, kl=.01)[0][:2] == ("unused", "unused")


def test_orientations_that_look_alike_are_one():
    """By the classes as they are, a code of the square's turn modulo 90° explains as much; by one class, nothing."""
    square, = named(np.sin(TURN) * SQUARE + .5 * NOISE[:, 0])  # no square looks so
    assert square.name.startswith("mixed")


def test_a_part_of_the_data_has_fewer_shapes():
    some = ELLIPSE | HEART
    hearts, = named((np.sin(TURN) * HEART + .1 * NOISE[:, 0])[some], classes=CLASSES[some])
    assert hearts.name == "orientation of hearts"
    turn, = named((np.sin(TURN) + .1 * NOISE[:, 0])[HEART], classes=CLASSES[HEART])
    assert turn.name == "orientation" and turn.shape == 2


def test_too_few_samples_name_nothing():
    assert named(NOISE[:20, 0], classes=CLASSES[:20])[0].factor == "used"


class Pairs:
    """Data of one's own: two factors, and no sprites."""

    factor_names, factor_sizes = ("a", "b"), (4, 5)

    def __len__(self):
        return 20


def test_other_data():
    classes = np.stack(np.divmod(np.arange(4000) % 20, 5), axis=1)
    b, mixed = named(classes[:, 1], classes @ (1.3, 1), classes=classes, data=Pairs())
    assert b == ("b", "b", pytest.approx(1), None) and mixed[:2] == ("mixed", "mixed")
    assert latents.starts(Pairs()).tolist() == [0] and not latents.is_dsprites(Pairs())


def test_traversals_start_from_one_sprite_of_each_shape():
    assert SPRITES.classes(latents.starts(SPRITES)).tolist() == [[shape, *latents.POSE] for shape in range(3)]


def test_nearest_in_a_part_of_the_data():
    class Part:
        def __len__(self):
            return 4

        def classes(self, index):
            return np.array([[1, 2, 5, 16, 16], [2, 5, 39, 0, 0], [2, 5, 39, 1, 0], [0, 2, 5, 16, 16]])[index]

    assert latents.nearest(Part(), (2, *latents.POSE), part=2) == 2  # of the same shape, however far


def test_means_by_orientation():
    some = ORIENTATION != 7
    means = latents.by_orientation(np.stack([SHAPE + ORIENTATION / 40, X], axis=1)[some], CLASSES[some])
    assert means.shape == (2, 3, 40) and np.isnan(means[:, :, 7]).all()
    wanted = np.arange(3)[:, None] + np.arange(40) / 40
    np.testing.assert_allclose(np.delete(means[0], 7, axis=1), np.delete(wanted, 7, axis=1))
    here = HEART & (ORIENTATION == 3)
    assert means[1, 2, 3] == pytest.approx(X[here].mean())


def test_explained_variance():
    """The correlation ratio: known answers, no bias, and NaN where nothing can be told."""
    classes = np.stack([SCALE, X, np.zeros_like(X)], axis=1)
    shares = metrics.explained(np.stack([SCALE ** 2, NOISE[:, 0], SCALE + 3 * NOISE[:, 1], 0 * X], axis=1), classes)
    part = SCALE.var() / (SCALE.var() + 9)
    np.testing.assert_allclose(shares[:, 0], [1, 0, part, 0], atol=.02)
    np.testing.assert_allclose(shares[:, 1], 0, atol=.02)
    assert np.isnan(shares[:, 2]).all()
    few = [metrics.explained(NOISE[n:n + 650], X[n:n + 650, None]) for n in range(0, 5850, 650)]
    assert np.isnan(metrics.explained(NOISE[:500], X[:500, None])).all() and np.mean(few) < .01 and np.max(few) < .1
