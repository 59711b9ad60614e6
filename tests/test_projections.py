"""Projections find what was mixed."""

import numpy as np
import pytest

from tinybvae.metrics.projections import independent_components, principal_components, random_rotation, whitened


def assert_white(z):
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(z.T @ z / len(z), np.eye(z.shape[1]), atol=1e-9)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_principal_components_are_the_directions_of_most_variance(rng):
    axes = random_rotation(5, rng)
    sources = rng.standard_normal((400, 5)) * (5, 3, 1, .1, .1)
    sources -= sources.mean(axis=0)
    codes = principal_components(sources @ axes + 7, 2)
    assert_white(codes)
    assert np.abs(np.corrcoef(codes.T, sources.T)[0, 2]) > .98 and np.abs(np.corrcoef(codes.T, sources.T)[1, 3]) > .98
    with pytest.raises(ValueError, match="there are 1 to 5 components, not 6"):
        principal_components(sources, 6)
    with pytest.raises(ValueError, match="there are 1 to 3 components, not 4"):
        principal_components(sources[:4], 4)  # one direction less than samples, once their mean is gone


def test_independent_components_are_the_sources(rng):
    """Each of them, up to order and sign, from a mixture."""
    sources = np.stack([rng.uniform(-1, 1, 5000), rng.laplace(size=5000), rng.integers(0, 2, 5000)], axis=1)
    white = principal_components(sources @ rng.standard_normal((3, 3)), 3)
    found = independent_components(white, rng)
    assert_white(found)
    alike = np.abs(np.corrcoef(found.T, sources.T)[:3, 3:])
    np.testing.assert_allclose(np.sort(alike, axis=0)[-1], 1, atol=.01)
    assert sorted(alike.argmax(axis=0)) == [0, 1, 2] and np.abs(np.corrcoef(white.T, sources.T)[:3, 3:]).max() < .99


def test_whitened_keeps_axes(rng):
    z = rng.standard_normal((500, 3)) * (1, 4, .1) + 3
    z[:, 1] += z[:, 0]
    assert_white(whitened(z))
    assert (np.diag(np.corrcoef(z.T, whitened(z).T)[:3, 3:]) > .9).all()
    with pytest.raises(ValueError, match="fewer than 3 directions"):
        whitened(np.column_stack([z[:, :2], z[:, 0]]))


def test_a_rotation_keeps_lengths_and_angles(rng):
    R = random_rotation(4, rng)
    np.testing.assert_allclose(R @ R.T, np.eye(4), atol=1e-12)
    assert np.abs(R).max() < .99
