"""Both losses and both objectives: known values, derivatives, extremes."""

from pathlib import Path

import numpy as np
import pytest

import tinybvae as tb
from tinybvae.gradcheck import numerical_gradient, relative_error
from tinybvae.schedule import as_schedule, value_at


def test_bernoulli_nll_known_values():
    logits = np.array([[0., np.log(3)], [0., 0.]])
    images = np.array([[1., 0.], [0., 1.]])
    nll, _ = tb.bernoulli_nll(logits, images)  # p = .5 and .75: log 2 + log 4, and 2 log 2; the mean over the batch
    assert nll == pytest.approx(2.5 * np.log(2), rel=1e-14)


def test_bernoulli_nll_derivative():
    rng = np.random.default_rng(0)
    logits, images = 3 * rng.standard_normal((3, 4, 5, 1)), rng.integers(0, 2, (3, 4, 5, 1)).astype(float)
    numerical = numerical_gradient(lambda: tb.bernoulli_nll(logits, images)[0], logits)
    assert relative_error(numerical, tb.bernoulli_nll(logits, images)[1]) < 1e-9


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_saturated_logits_stay_exact(dtype):
    logits, images = np.array([[1e4, -1e4, 1e4, -1e4]], dtype), np.array([[1, 0, 0, 1]], dtype)
    nll, dlogits = tb.bernoulli_nll(logits, images)
    assert nll == 2e4
    np.testing.assert_array_equal(dlogits, [[0, 0, 1, -1]])
    np.testing.assert_array_equal(tb.sigmoid(logits), [[1, 0, 1, 0]])


def test_sigmoid_is_symmetric():
    logits = np.linspace(-40, 40, 81)
    np.testing.assert_allclose(tb.sigmoid(logits) + tb.sigmoid(-logits), 1, rtol=1e-15)
    np.testing.assert_allclose(tb.sigmoid(logits), 1 / (1 + np.exp(-logits)), rtol=1e-14)


def test_gaussian_kl_known_values():
    kl, dmean, dlogvar = tb.gaussian_kl(np.zeros((2, 3)), np.zeros((2, 3)))
    assert not kl.any() and not dmean.any() and not dlogvar.any()
    mean, logvar = np.array([[1., 0.], [3., 0.]]), np.array([[0., np.log(4)], [0., np.log(4)]])
    kl, _, _ = tb.gaussian_kl(mean, logvar)
    np.testing.assert_allclose(kl, [2.5, 1.5 - np.log(2)], rtol=1e-14)  # ½ mean(1, 9); ½ (4 − 1 − log 4)


def test_gaussian_kl_is_the_integral():
    z = np.linspace(-30, 30, 200_001)
    for mean, logvar in [(.7, -1.), (-2., .5)]:
        log_q = -((z - mean) ** 2 / np.exp(logvar) + logvar) / 2
        q = np.exp(log_q) / np.sqrt(2 * np.pi)
        integral = (q * (log_q + z ** 2 / 2)).sum() * (z[1] - z[0])
        kl, _, _ = tb.gaussian_kl(np.array([[mean]]), np.array([[logvar]]))
        assert kl[0] == pytest.approx(integral, rel=1e-9)


def test_gaussian_kl_is_never_negative():
    rng = np.random.default_rng(0)
    for scale in (1e-8, 1e-3, 1, 5):
        mean, logvar = scale * rng.standard_normal((2, 1, 1000)).astype(np.float32)
        assert (tb.gaussian_kl(mean, logvar)[0] >= 0).all()


def test_gaussian_kl_derivative():
    rng = np.random.default_rng(0)
    mean, logvar = rng.standard_normal((2, 5, 3))
    _, dmean, dlogvar = tb.gaussian_kl(mean, logvar)

    def kl():
        return tb.gaussian_kl(mean, logvar)[0].sum()

    assert relative_error(numerical_gradient(kl, mean), dmean) < 1e-9
    assert relative_error(numerical_gradient(kl, logvar), dlogvar) < 1e-9


@pytest.mark.parametrize("loss", [tb.bernoulli_nll, tb.gaussian_kl])
def test_shapes_that_would_broadcast(loss):
    for other in (4, 5), (4, 1, 1), (1, 5, 1):
        with pytest.raises(ValueError, match=r"one shape \(N, .\), N ≥ 1, not \(4, 5, 1\) and \(.*\)"):
            loss(np.zeros((4, 5, 1)), np.zeros(other))
    with pytest.raises(ValueError, match="N ≥ 1"):
        loss(np.zeros((0, 5)), np.zeros((0, 5)))


def test_what_is_no_image_and_no_code():
    for pixel in (-1e-6, 1.5, 255, np.nan):
        with pytest.raises(ValueError, match="pixels must lie in 0 … 1, not in "):
            tb.bernoulli_nll(np.zeros((2, 37)), np.insert(np.ones(73), 40, pixel).reshape(2, 37))
    with pytest.raises(ValueError, match=r"one shape \(N, D\)"):
        tb.gaussian_kl(np.zeros(3), np.zeros(3))


def test_beta_objective():
    assert tb.beta_objective(4.0)(2.5, step=7) == (10.0, 4.0)
    assert tb.beta_objective(0)(2.5, step=7) == (0, 0) == tb.capacity_objective(gamma=0)(2.5, step=7)


@pytest.mark.parametrize("kl, penalty, slope", [(3.0, 200.0, -100.0), (7.0, 200.0, 100.0), (5.0, 0.0, 0.0)])
def test_capacity_objective_on_both_sides(kl, penalty, slope):
    objective = tb.capacity_objective(gamma=100.0, capacity=[(0, 0.0), (1000, 20.0)])
    assert objective(kl, step=250) == (penalty, slope)  # C = 5


def test_weights_that_change():
    points = [(0, 8), (10, 2)]
    assert tb.beta_objective(points)(3.0, step=5) == (15, 5)
    assert tb.capacity_objective(points, capacity=10.0)(3.0, step=5) == (35, -5)


def test_an_objective_sees_each_latent():
    """Ours weigh their sum."""
    kl = np.array([1., 0., 2.5])
    assert tb.beta_objective(4.0)(kl, step=0) == (14, 4)
    assert tb.capacity_objective(10.0, capacity=1.5)(kl, step=0) == (20, 10)


@pytest.mark.parametrize("width", [.1, 2.0, [(0, 5.0), (10, 1.0)]])
def test_a_rounded_corner(width):
    """At C it is flat, a width away its slope is γ/√2, and far away the penalty is a width short of the paper's."""
    objective, at = tb.capacity_objective(100.0, 5.0, width), value_at(as_schedule("width", width), 5)
    assert objective(np.array([2., 3.]), 5) == (0, 0)
    for sign in (-1, 1):
        penalty, slope = objective(np.array([5 + sign * at, 0]), 5)
        assert penalty == pytest.approx(100 * at * (2 ** .5 - 1)) and slope == pytest.approx(sign * 100 / 2 ** .5)
    penalty, slope = objective(np.array([1e6 + 5]), 5)
    assert penalty == pytest.approx(100 * (1e6 - at)) and slope == pytest.approx(100)
    kl = np.array([4.3, 1.1])
    numerical = numerical_gradient(lambda: objective(kl, 5)[0], kl)
    np.testing.assert_allclose(numerical, objective(kl, 5)[1], rtol=1e-8)


@pytest.mark.parametrize("wrong", [lambda kl, step: (4 * kl, 4.0), lambda kl, step: (kl.sum(), np.ones(2)),
                                   lambda kl, step: (kl.sum(), np.ones((3, 1))), lambda kl, step: kl.sum(),
                                   lambda kl, step: (kl.sum(), 1j * kl), lambda kl, step: (kl.sum(), None)])
def test_what_an_objective_must_return(wrong):
    model = tb.BetaVAE(3, image_shape=(16, 16, 1))
    with pytest.raises(ValueError, match=r"takes the KL of each latent, \(3,\), and returns \(penalty, slope\), "
                                         r"one number, as 4 \* kl.sum\(\) is, and one or \(3,\), not float64 of"):
        model.loss_and_gradients(np.zeros((2, 16, 16, 1)), np.zeros((2, 3)), wrong, 0)


def test_what_is_no_objective():
    model = tb.BetaVAE(3, image_shape=(16, 16, 1))
    for wrong in 4.0, None:
        with pytest.raises(ValueError, match="objective must be a function .kl, step. -> .penalty, slope., not "):
            model.loss_and_gradients(np.zeros((2, 16, 16, 1)), np.zeros((2, 3)), wrong, 0)


def test_an_objective_cannot_change_the_losses():
    def greedy(kl, step):
        kl[:] = 0
        return 0.0, 0.0

    model, rng = tb.BetaVAE(3, image_shape=(16, 16, 1)), np.random.default_rng(0)
    losses = model.loss_and_gradients(rng.random((2, 16, 16, 1)), np.zeros((2, 3)), greedy, 0)
    assert losses.kl > 0 and losses.kl == losses.kl_per_latent.sum()


LIKELIHOODS = {"bernoulli": tb.bernoulli, "gaussian": tb.gaussian(.3)}


@pytest.mark.parametrize("likelihood", LIKELIHOODS.values(), ids=LIKELIHOODS)
def test_likelihoods(likelihood):
    """The derivative is the function's; the output whose picture is the images reaches the least, and no other does."""
    rng = np.random.default_rng(0)
    images, output = rng.uniform(.05, .95, (3, 4, 5, 2)), rng.standard_normal((3, 4, 5, 2))
    numerical = numerical_gradient(lambda: likelihood.nll(output, images)[0], output)
    assert relative_error(numerical, likelihood.nll(output, images)[1]) < 1e-8
    least, best = likelihood.least(images), images if likelihood is not tb.bernoulli else np.log(images / (1 - images))
    np.testing.assert_allclose(likelihood.picture(best), images)
    assert likelihood.nll(best, images)[0] == pytest.approx(least, rel=1e-12)
    assert not likelihood.nll(best, images)[1].round(12).any()
    for near in best + .1, best - .1, output:
        assert likelihood.nll(near, images)[0] > least
    assert (0 <= likelihood.picture(9 * output)).all() and (likelihood.picture(9 * output) <= 1).all()
    assert likelihood.nll(output.astype(np.float32), images.astype(np.float32))[1].dtype == np.float32
    with pytest.raises(ValueError, match="one shape"):
        likelihood.nll(output, images[:1])
    with pytest.raises(ValueError, match="N ≥ 1"):
        likelihood.least(images[:0])


def test_least_losses_that_are_known():
    half, binary = np.full((2, 3, 3, 1), .5), np.random.default_rng(0).integers(0, 2, (4, 3, 3, 1)).astype(np.float32)
    assert tb.bernoulli.least(half) == pytest.approx(9 * np.log(2)) and tb.bernoulli.least(binary) == 0
    assert tb.gaussian(1.0).least(half) == pytest.approx(4.5 * np.log(2 * np.pi))
    model = tb.BetaVAE(2, image_shape=(16, 16, 1))

    class Gray:
        def __len__(self):
            return 150

        def images(self, index):
            return np.full((len(index), 16, 16, 1), .5)

    assert tb.metrics.losses(model, Gray(), 100)["least"] == pytest.approx(256 * np.log(2))


def test_gaussian_known_values():
    """Two images of one pixel each, by the density of NumPy's own normal distribution."""
    nll, doutput = tb.gaussian(.5).nll(np.array([[.2], [1.]]), np.array([[.7], [1.]]))
    density = [np.exp(-(d / .5) ** 2 / 2) / (.5 * np.sqrt(2 * np.pi)) for d in (.5, 0)]
    assert nll == pytest.approx(-np.mean(np.log(density)), rel=1e-12)
    np.testing.assert_allclose(doutput, [[-1], [0]])  # (.2 − .7) / .25 / 2


@pytest.mark.parametrize("sigma", [0, -1, float("nan"), float("inf"), [(0, 1.0), (5, .1)], 1e-7, 1e20, "1", None, 1j])
def test_sigmas_that_are_none(sigma):
    with pytest.raises(ValueError, match="^sigma must be"):
        tb.gaussian(sigma)


def test_what_they_are_called():
    assert repr(tb.beta_objective(4)) == "beta_objective(beta=4.0)"
    assert repr(tb.capacity_objective(30, [(0, 0), (9, 25)], 2)) == (
        "capacity_objective(gamma=30.0, capacity=[[0.0, 0.0], [9.0, 25.0]], width=2.0)")
    assert repr(tb.bernoulli) == "bernoulli" and repr(tb.gaussian(.1)) == "gaussian(sigma=0.1)"


def test_the_papers_capacity_rises_and_stays():
    objective = tb.capacity_objective()
    assert [objective.capacity(step) for step in (0, 50_000, 100_000, 10 ** 6)] == [0, 12.5, 25, 25]
    assert objective(26.0, step=100_000) == (1000, 1000)


def test_a_capacity_is_of_the_mean_image():
    """How far the trained model's images are from their mean KL, as `capacity_objective` says."""
    model = tb.load_model(Path(__file__).parent.parent / "examples/pretrained/dsprites.h5")
    _, mean, logvar = tb.metrics.encode_samples(model, tb.DSprites(), samples=2000)
    kl = np.array([tb.gaussian_kl(mean[n:n + 1], logvar[n:n + 1])[0].sum() for n in range(len(mean))])
    assert np.abs(kl - kl.mean()).mean() == pytest.approx(1.47, abs=.05)


@pytest.mark.parametrize("make, settings", [
    (tb.beta_objective, {"beta": -1}), (tb.beta_objective, {"beta": float("nan")}),
    (tb.beta_objective, {"beta": [(0, 1), (0, 2)]}), (tb.capacity_objective, {"gamma": [(0, 1), (2, -1)]}),
    (tb.capacity_objective, {"gamma": -1}), (tb.capacity_objective, {"width": -1}),
    (tb.capacity_objective, {"capacity": -1}),
    (tb.capacity_objective, {"capacity": float("nan")}), (tb.capacity_objective, {"capacity": [(0, 0), (5, -1)]}),
    (tb.capacity_objective, {"capacity": [(0, 0), (0, 25)]})])
def test_objectives_refuse(make, settings):
    with pytest.raises(ValueError, match=f"^{[*settings][0]} must be"):
        make(**settings)


def test_underflow_is_no_error_whatever_the_caller_has_set():
    with np.errstate(all="raise"):
        assert tb.sigmoid(np.array([900.0])) == 1 and tb.bernoulli_nll(np.full((1, 2), 900.0), np.ones((1, 2)))[0] == 0
        assert tb.gaussian_kl(np.full((1, 2), 1e-200), np.zeros((1, 2)))[0].sum() == 0
        assert (tb.reparameterize(*np.array([[[1e-300]], [[-1400.0]], [[1e-300]]])) == 1e-300).all()
