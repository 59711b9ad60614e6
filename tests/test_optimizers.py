"""Adam and Adagrad against their papers' equations, number by number."""

import numba
import numpy as np
import pytest

import tinybvae as tb
from tinybvae import optimizers

GRADIENTS = [.3, -2., 0., 1e-4, 5.]


def test_adam_is_algorithm_1():
    rate, beta1, beta2, eps = 1e-2, .9, .999, 1e-8
    theta, m, v, wanted = 1., 0., 0., []
    for t, g in enumerate(GRADIENTS, start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g ** 2
        theta -= rate * (m / (1 - beta1 ** t)) / ((v / (1 - beta2 ** t)) ** .5 + eps)
        wanted.append(theta)
    p = np.ones((2, 3))
    adam, have = tb.Adam({"p": p}, rate), []
    for g in GRADIENTS:
        adam.update({"p": np.full_like(p, g)})
        have.append(p[1, 2])
    np.testing.assert_allclose(have, wanted, rtol=1e-13)
    assert adam.t == len(GRADIENTS)


def test_adam_first_step_is_the_rate():
    p, g = np.zeros(3), np.array([1e-3, -20., 7.])
    tb.Adam({"p": p}, learning_rate=.1).update({"p": g})
    np.testing.assert_allclose(p, -.1 * np.sign(g), rtol=1e-4)


def test_adagrad():
    p, v, wanted = np.ones(2), 0., 1.
    adagrad = tb.Adagrad({"p": p}, learning_rate=.1)
    for g in GRADIENTS:
        v += g ** 2
        wanted -= .1 * g / (v ** .5 + 1e-10)
        adagrad.update({"p": np.full(2, g)})
    np.testing.assert_allclose(p, wanted, rtol=1e-13)


@pytest.mark.parametrize("optimizer", [tb.Adam, tb.Adagrad])
def test_a_schedule_counts_the_updates_done(optimizer):
    """An update takes the rate and the eps that a fresh optimizer, with the same moments, would be given as numbers."""
    p = np.ones(3)
    scheduled = optimizer({"p": p}, learning_rate=[(0, .1), (2, .001)], eps=[(1, 1), (2, 100)])
    for rate, eps in [(.1, 1), (.0505, 1), (.001, 100), (.001, 100)]:
        q = p.copy()
        fixed = optimizer({"p": q}, learning_rate=rate, eps=eps)
        fixed.t = scheduled.t
        fixed.moments = {m: {"p": arrays["p"].copy()} for m, arrays in scheduled.moments.items()}
        for o in (scheduled, fixed):
            o.update({"p": np.array([.3, -2., 5.])})
        np.testing.assert_allclose(p, q, rtol=1e-12)


@pytest.mark.parametrize("optimizer", [tb.Adam, tb.Adagrad])
@pytest.mark.parametrize("rate", [0, -1e-3, float("nan"), float("inf")])
def test_rates_that_are_none(optimizer, rate):
    with pytest.raises(ValueError, match="learning_rate must be positive and finite"):
        optimizer({"p": np.ones(2)}, rate)


@pytest.mark.parametrize("setting", [{"beta1": 1}, {"beta2": -.1}, {"beta2": float("nan")}])
def test_settings_out_of_range(setting):
    with pytest.raises(ValueError, match=f"{[*setting][0]} must lie in"):
        tb.Adam({"p": np.ones(2)}, **setting)


@pytest.mark.parametrize("optimizer", [tb.Adam, tb.Adagrad])
def test_a_unit_that_was_always_dead_stays_where_it_is(optimizer):
    """Its gradients, and moments, are 0: eps, however small it may be, keeps the update from being 0/0."""
    for wrong in (0, -1, 1e-50, [(0, 1e-8), (5, 0)]):
        with pytest.raises(ValueError, match="eps must be positive"):
            optimizer({"p": np.ones(2)}, eps=wrong)
    p = np.ones(3, np.float32)
    optimizer({"p": p}, eps=1e-30).update({"p": np.zeros(3, np.float32)})
    np.testing.assert_array_equal(p, 1)


@pytest.mark.parametrize("p", [np.ones((3, 4)).T, np.broadcast_to(np.ones(3), 3), np.ones(3, int), np.ones(3, ">f4"),
                               np.ones(3, np.float16)], ids=["columns", "read-only", "int", "big-endian", "float16"])
def test_parameters_that_cannot_be_changed_in_place(p):
    for optimizer in tb.Adam, tb.Adagrad:
        with pytest.raises(ValueError, match="parameters must be C-contiguous, writeable and float32 or float64: p, "):
            optimizer({"p": p})


@pytest.mark.parametrize("wrong", [{"a": np.ones(3)}, {"a": np.ones(3), "b": np.ones(1)}, {"a": np.ones((1, 3))},
                                   {"a": np.ones(3), "b": np.ones(2, complex)}])
def test_gradients_that_do_not_fit_change_nothing(wrong):
    parameters = {"a": np.zeros(3), "b": np.zeros(2)}
    for optimizer in (tb.Adam(parameters), tb.Adagrad(parameters)):
        with pytest.raises(ValueError, match="^there must be a gradient of [ab], float64 of shape "):
            optimizer.update(wrong)
        assert optimizer.t == 0 and not any(p.any() for p in parameters.values())


@pytest.mark.parametrize("kind", ["plain", "fast"])
def test_moments_that_do_not_fit_are_refused(kind):
    """Compiled code would read, and write, beyond their ends."""
    if kind == "fast" and numba.config.DISABLE_JIT:
        pytest.skip("the plain bodies are what runs")
    p = np.zeros(16, np.float32)
    for wrong in np.ones(4, np.float32), np.ones(17, np.float32):
        with pytest.raises(ValueError):
            getattr(optimizers.adam, kind)(p, p.copy(), p.copy(), wrong, .1, .9, .999, 1e-8, 1)
        with pytest.raises(ValueError):
            getattr(optimizers.adagrad, kind)(p, wrong, p.copy(), .1, 1e-8)
    assert not p.any()
