"""The whole model: its gradients by central differences, what it learns, and what it refuses."""

import copy
from statistics import NormalDist
from types import SimpleNamespace

import numpy as np
import pytest

import tinybvae as tb
from tinybvae import vae
from tinybvae.gradcheck import check_model, numerical_gradient, relative_error
from tinybvae.kernels.arrays import Joined

OBJECTIVES = {"beta": tb.beta_objective(4.0),
              "KL above C": tb.capacity_objective(100.0, 0.0), "KL below C": tb.capacity_objective(100.0, 50.0),
              "rounded corner": tb.capacity_objective(100.0, 1.0, width=3.0),
              "a β for each": lambda kl, step: (np.array([1., 50., 3., 0.]) @ kl, np.array([1., 50., 3., 0.])),
              "free bits": lambda kl, step: (np.maximum(kl, 2.0).sum(), (kl > 2.0) * 1.0)}


def rectangles(rng, count, height=64, width=64, channels=1):
    """White rectangles on black, (count, height, width, channels)."""
    images = np.zeros((count, height, width, channels), np.float32)
    for image in images:
        y, x = rng.integers(0, (height // 2, width // 2))
        image[y:y + rng.integers(4, height // 2), x:x + rng.integers(4, width // 2)] = 1
    return images


def test_reparameterize():
    rng = np.random.default_rng(0)
    mean, logvar, noise, dz = rng.standard_normal((4, 5, 3))
    np.testing.assert_allclose(((tb.reparameterize(mean, logvar, noise) - mean) / noise) ** 2, np.exp(logvar))
    dmean, dlogvar = tb.reparameterize_backward(dz, logvar, noise)

    def loss():
        return (tb.reparameterize(mean, logvar, noise) * dz).sum()

    assert relative_error(numerical_gradient(loss, mean), dmean) < 1e-9
    assert relative_error(numerical_gradient(loss, logvar), dlogvar) < 1e-9


def test_a_draw_can_be_differentiated():
    """For f(z) = z², E f = μ² + σ²: the derivatives averaged over ε, by quadrature, are 2μ and, by log σ², σ²."""
    noise, weights = np.polynomial.hermite_e.hermegauss(5)
    mean, logvar = np.full((5, 1), .7), np.full((5, 1), -.4)
    dz = 2 * tb.reparameterize(mean, logvar, noise[:, None])
    dmean, dlogvar = (np.average(d[:, 0], weights=weights)
                      for d in tb.reparameterize_backward(dz, logvar, noise[:, None]))
    assert dmean == pytest.approx(2 * .7, rel=1e-12) and dlogvar == pytest.approx(np.exp(-.4), rel=1e-12)


def test_the_bound():
    """log p(x) = bound + KL(q(z|x) ‖ p(z|x)), by sums over a fine grid of one latent; the loss for β = 1 is −bound."""
    rng, model = np.random.default_rng(0), tb.BetaVAE(1, seed=2, dtype=np.float64, image_shape=(16, 16, 1))
    x = rectangles(rng, 1, 16, 16)
    mean, logvar = (array.item() for array in model.encode(x))
    z, dz = np.linspace(-12, 12, 4001, retstep=True)
    logits = model.decode(z[:, None])
    log_likelihood = (x * logits - np.logaddexp(0, logits)).sum(axis=(1, 2, 3))
    prior, q = NormalDist(), NormalDist(mean, np.exp(logvar / 2))
    prior, q = (np.array([distribution.pdf(value) for value in z]) for distribution in (prior, q))
    joint = np.exp(log_likelihood - log_likelihood.max()) * prior
    evidence = np.log(joint.sum() * dz) + log_likelihood.max()
    posterior = joint / (joint.sum() * dz)
    inside = q > 0
    gap = (q * np.log(np.where(inside, q, 1) / np.where(inside, posterior, 1))).sum() * dz
    bound = (q * log_likelihood).sum() * dz - tb.gaussian_kl(np.array([[mean]]), np.array([[logvar]]))[0].sum()
    assert evidence == pytest.approx(bound + gap, rel=1e-9) and gap > .1
    noise = np.array([[NormalDist().inv_cdf((i + .5) / 1000)] for i in range(1000)])  # as if drawn, but evenly
    losses = model.loss_and_gradients(np.repeat(x, 1000, axis=0), noise, tb.beta_objective(1.0), 0)
    assert losses.total == pytest.approx(-bound, rel=1e-4)


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
@pytest.mark.parametrize("architecture, image_shape, slope", [
    (tb.burgess2018, (64, 64, 1), 0), (tb.burgess2018, (16, 48, 3), .25), (tb.higgins2017, (8, 6, 1), 0)],
    ids=["burgess2018", "burgess2018, small colour, leaky", "higgins2017"])
def test_gradients_of_the_whole_model(architecture, image_shape, slope, objective):
    rng = np.random.default_rng(3)
    model = tb.BetaVAE(4, seed=1, dtype=np.float64, image_shape=image_shape, architecture=architecture,
                       negative_slope=slope)
    before = {name: p.copy() for name, p in model.parameters.items()}
    images = rng.integers(0, 2, (5, *image_shape)).astype(float)
    errors = check_model(model, images, rng.standard_normal((5, 4)), objective, 0, rng)
    assert errors.keys() == model.parameters.keys() and max(errors.values()) < 1e-6, errors
    assert all((p == before[name]).all() for name, p in model.parameters.items())


class Laplace:
    """A likelihood of one's own, of scale 1: its negative logarithm is |x − y| + log 2."""

    def nll(self, output, images):
        return np.abs(images - output).sum() / len(images) + self.least(images), np.sign(output - images) / len(images)

    def picture(self, output):
        return np.clip(output, 0, 1)

    def least(self, images):
        return images[0].size * np.log(2)


@pytest.mark.parametrize("likelihood", [tb.gaussian(.5), Laplace()], ids=["gaussian", "laplace"])
def test_gradients_with_another_likelihood(likelihood):
    rng, shape = np.random.default_rng(3), (16, 16, 3)
    model = tb.BetaVAE(4, seed=1, dtype=np.float64, image_shape=shape, likelihood=likelihood)
    errors = check_model(model, rng.random((5, *shape)), rng.standard_normal((5, 4)), OBJECTIVES["beta"], 0, rng)
    assert max(errors.values()) < 1e-6, errors
    single = tb.BetaVAE(4, seed=1, image_shape=shape, likelihood=likelihood)
    losses = single.loss_and_gradients(rng.random((5, *shape)), rng.standard_normal((5, 4)), OBJECTIVES["beta"], 0)
    assert losses.reconstruction > likelihood.least(np.zeros((1, *shape)))
    assert all(g.dtype == np.float32 for g in single.gradients.values())


@pytest.mark.parametrize("wrong", [None, "bernoulli", tb.gaussian, tb.bernoulli_nll])
def test_what_is_no_likelihood(wrong):
    with pytest.raises(ValueError, match="likelihood must be bernoulli, gaussian.sigma. or what has their nll"):
        tb.BetaVAE(2, likelihood=wrong)


def test_what_it_is_says_a_model_at_a_prompt():
    text = repr(tb.BetaVAE(3, likelihood=tb.gaussian(.1), negative_slope=.1))
    for expected in ("3 latents", "(64, 64, 1)", "burgess2018", "float32", "gaussian(sigma=0.1)", "encoder", "decoder",
                     "  conv1    Conv2d(weight 4×4×1×32, bias 32)", "ReLU(negative_slope=0.1)", "248,454 parameters"):
        assert expected in text, text
    assert text.count("\n") == 30 and "object at" not in text


MISTAKES = {  # a function of `vae`, what it returns instead, and the parameters whose gradients go wrong
    "σ where σ / 2 belongs": ("reparameterize_backward", lambda dz, logvar, noise: (
        dz, dz * noise * np.exp(logvar / 2)), "encoder."),
    "no path through KL": ("gaussian_kl", lambda mean, logvar: (tb.gaussian_kl(mean, logvar)[0], 0 * mean, 0 * logvar),
                           "encoder."),
    "a sum where a mean belongs": ("likelihood", lambda logits, images: (
        tb.bernoulli_nll(logits, images)[0], len(images) * tb.bernoulli_nll(logits, images)[1]), ""),
}


@pytest.mark.parametrize("name, wrong, where", MISTAKES.values(), ids=MISTAKES)
def test_the_check_sees_a_mistake_in_the_model(monkeypatch, name, wrong, where):
    rng = np.random.default_rng(0)
    model = tb.BetaVAE(4, seed=1, dtype=np.float64, image_shape=(16, 16, 1))
    images, noise = rng.integers(0, 2, (5, 16, 16, 1)).astype(float), rng.standard_normal((5, 4))
    if name == "likelihood":
        model.likelihood = SimpleNamespace(nll=wrong)
    else:
        monkeypatch.setattr(vae, name, wrong)
    errors = check_model(model, images, noise, tb.beta_objective(100.0), 0, rng)
    assert all((error > 1e-4) == parameter.startswith(where) for parameter, error in errors.items()), errors


def test_the_check_sees_a_mistake_in_one_array():
    class Wrong(tb.BetaVAE):
        def loss_and_gradients(self, *arguments):
            losses = super().loss_and_gradients(*arguments)
            gradients = self.decoder.layers["conv2"].gradients
            gradients["weight"] = gradients["weight"].transpose(1, 0, 2, 3)  # of the right size, but misrouted
            return losses

    rng = np.random.default_rng(0)
    model = Wrong(4, seed=1, dtype=np.float64, image_shape=(16, 16, 1))
    images, noise = rng.integers(0, 2, (5, 16, 16, 1)).astype(float), rng.standard_normal((5, 4))
    errors = check_model(model, images, noise, tb.beta_objective(), 0, rng)
    assert {name for name, error in errors.items() if error > 1e-2} == {"decoder.conv2.weight"}, errors


def test_gradients_on_dsprites():
    rng, sprites, model = np.random.default_rng(0), tb.DSprites(), tb.BetaVAE(10, dtype=np.float64)
    images = sprites.images(rng.integers(len(sprites), size=5))
    errors = check_model(model, images, rng.standard_normal((5, 10)), OBJECTIVES["KL below C"], 0, rng)
    assert max(errors.values()) < 1e-6, errors


def test_an_objective_of_ones_own():
    """Whatever numbers it returns, NumPy's too, the arrays stay float32."""
    rng, model = np.random.default_rng(0), tb.BetaVAE(3)
    losses = model.loss_and_gradients(rectangles(rng, 4), rng.standard_normal((4, 3)),
                                      lambda kl, step: (kl.sum() ** 2, 2 * kl.sum()), 0)
    assert losses.total == pytest.approx(losses.reconstruction + losses.kl ** 2)
    assert all(g.dtype == np.float32 for g in model.gradients.values())


def test_objectives_weigh_only_the_kl():
    rng = np.random.default_rng(0)
    model, images, noise = tb.BetaVAE(3, seed=0), rectangles(rng, 4), rng.standard_normal((4, 3))
    beta, above, below = (model.loss_and_gradients(images, noise, OBJECTIVES[name], 0)
                          for name in ("beta", "KL above C", "KL below C"))
    assert beta.kl == above.kl == below.kl == pytest.approx(beta.kl_per_latent.sum())
    assert beta.total == pytest.approx(beta.reconstruction + 4 * beta.kl)
    assert above.total == pytest.approx(above.reconstruction + 100 * above.kl)
    assert below.total == pytest.approx(below.reconstruction + 100 * (50 - below.kl))


def test_a_capacity_is_of_the_mean_over_the_batch():
    """Not the mean of each image's |KL − C|, as in eq. 8, which is 0 for no C if the images differ."""
    rng = np.random.default_rng(0)
    model, images, noise = tb.BetaVAE(3, seed=0), rectangles(rng, 2), np.zeros((2, 3))
    one, other = (model.loss_and_gradients(images[n:n + 1], noise[:1], tb.beta_objective(), 0).kl for n in (0, 1))
    losses = model.loss_and_gradients(images, noise, tb.capacity_objective(100.0, (one + other) / 2), 1)
    assert abs(one - other) > .1 and losses.total == pytest.approx(losses.reconstruction, abs=.01)


def table(network):
    """Of each layer its kind, and the shape of its weight if it has one."""
    return [(type(layer).__name__, *(layer.parameters["weight"].shape if layer.parameters else ()))
            for layer in network.layers.values()]


def test_higgins2017_is_table_1():
    model = tb.BetaVAE(latents=10, architecture=tb.higgins2017)
    assert table(model.encoder) == [("Reshape",), ("Linear", 4096, 1200), ("ReLU",), ("Linear", 1200, 1200), ("ReLU",),
                                    ("Linear", 1200, 20)]
    assert table(model.decoder) == [("Linear", 10, 1200), ("Tanh",), ("Linear", 1200, 1200), ("Tanh",),
                                    ("Linear", 1200, 1200), ("Tanh",), ("Linear", 1200, 4096), ("Reshape",)]


def test_burgess2018_has_a_relu_behind_every_layer_but_the_last():
    model = tb.BetaVAE(latents=10)
    for network in (model.encoder, model.decoder):
        kinds = [kind for kind, *_ in table(network) if kind != "Reshape"]
        assert kinds[1::2] == ["ReLU"] * 6 and "ReLU" not in kinds[::2] and len(kinds) == 13


def test_a_slope_is_that_of_all_relus():
    for architecture, relus in ((tb.burgess2018, 12), (tb.higgins2017, 2)):
        model = tb.BetaVAE(3, architecture=architecture, negative_slope=.1)
        slopes = [layer.negative_slope for side in (model.encoder, model.decoder) for layer in side.layers.values()
                  if isinstance(layer, tb.ReLU)]
        assert model.negative_slope == .1 and slopes == [.1] * relus


def test_names_and_shapes():
    model = tb.BetaVAE(latents=10)
    encoder = {f"conv{i}": (4, 4, 1 if i == 1 else 32, 32) for i in (1, 2, 3, 4)}
    encoder |= {"linear1": (512, 256), "linear2": (256, 256), "latent": (256, 20)}
    decoder = {"linear1": (10, 256), "linear2": (256, 256), "linear3": (256, 512)}
    decoder |= {f"conv{i}": (4, 4, 1 if i == 4 else 32, 32) for i in (1, 2, 3, 4)}
    wanted = {f"{side}.{name}": shape for side, table in (("encoder", encoder), ("decoder", decoder))
              for name, shape in table.items()}
    weights = {name.removesuffix(".weight"): p.shape for name, p in model.parameters.items() if "weight" in name}
    assert list(weights.items()) == list(wanted.items())
    assert [*model.parameters] == [f"{name}.{kind}" for name in wanted for kind in ("weight", "bias")]
    assert {n: g.shape for n, g in model.gradients.items()} == {n: p.shape for n, p in model.parameters.items()}
    images = np.zeros((3, 64, 64, 1), np.uint8)
    mean, logvar = model.encode(images)
    assert mean.shape == logvar.shape == (3, 10) and model.decode(mean).shape == images.shape
    assert mean.dtype == logvar.dtype == model.decode(mean).dtype == np.float32


def test_the_seed_makes_the_weights():
    a, b, c = (tb.BetaVAE(3, seed=seed).parameters["encoder.conv1.weight"] for seed in (5, 5, 6))
    assert (a == b).all() and (a != c).any()


def test_ten_steps_as_always():
    rng = np.random.default_rng(0)
    images, noise = rectangles(rng, 8), rng.standard_normal((10, 8, 4))
    model = tb.BetaVAE(4, seed=0, dtype=np.float64)  # float32's rounding errors grow beyond any tolerance
    adam, objective = tb.Adam(model.parameters, 1e-3), tb.capacity_objective(10.0, [(0, 0.0), (10, 5.0)])
    curve = []
    for step in range(10):
        curve.append(model.loss_and_gradients(images, noise[step], objective, step).total)
        adam.update(model.gradients)
    golden = [3106.833534, 2786.239959, 2503.413904, 2334.409772, 2109.846843,
              1968.845209, 1672.778286, 1484.279158, 1461.411061, 1314.659367]
    np.testing.assert_allclose(curve, golden, rtol=1e-8)


def test_overfits_one_batch():
    rng = np.random.default_rng(0)
    images, model = rectangles(rng, 8), tb.BetaVAE(4, seed=0)
    adam, objective = tb.Adam(model.parameters, 2e-3), tb.beta_objective(1e-3)
    for step in range(300):
        losses = model.loss_and_gradients(images, rng.standard_normal((8, 4)), objective, step)
        adam.update(model.gradients)
    assert losses.reconstruction < 5  # of 2839 nats for p = ½ everywhere
    rebuilt = model.decode(model.encode(images)[0]) > 0
    assert (rebuilt == images).mean() > .999


@pytest.mark.parametrize("options, message", [
    ({"latents": 0}, "latents must be at least 1"),
    ({"latents": 2.0}, "latents and image_shape must be integers, not float64"),
    ({"image_shape": (64, 64, None)}, "must be integers, not object"),
    ({"negative_slope": 1}, "negative_slope must be at least 0 and below 1"),
    ({"image_shape": (64, 40, 1)}, "must be multiples of 16, not 64×40"),
    ({"image_shape": (64, 64)}, "image_shape"),
    ({"image_shape": (3, 64, 64)}, r"channels last, .*: transpose the images to \(N, 64, 64, 3\)"),
    ({"image_shape": (1, 28, 32), "architecture": tb.higgins2017}, "channels last"),
    ({"image_shape": (0, 64, 1)}, "image_shape"),
    ({"dtype": np.float16}, "dtype must be float32 or float64"),
])
def test_models_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        tb.BetaVAE(**options)


@pytest.mark.parametrize("shape", [(1, 2), (5,), (5, 1), (2,), (6, 2)])
def test_noise_that_does_not_fit(shape):
    with pytest.raises(ValueError, match=r"noise must have shape \(N, 2\)"):
        tb.BetaVAE(2).loss_and_gradients(np.zeros((5, 64, 64, 1)), np.zeros(shape), tb.beta_objective(), 0)


@pytest.mark.parametrize("function", [tb.reparameterize, tb.vae.reparameterize_backward])
@pytest.mark.parametrize("shapes", [((4, 3), (4, 3), (3,)), ((4, 3), (4, 3), (4, 1)), ((4, 3), (1, 3), (4, 3)),
                                    ((1, 3), (4, 3), (4, 3)), ((3,), (3,), (3,))], ids=str)
def test_codes_that_would_broadcast(function, shapes):
    with pytest.raises(ValueError, match=r"one shape \(N, D\), N ≥ 1, not "):
        function(*map(np.zeros, shapes))


def test_no_images():
    model = tb.BetaVAE(2)
    assert model.encode(np.zeros((0, 64, 64, 1)))[0].shape == (0, 2)
    with pytest.raises(ValueError, match="N ≥ 1 images"):
        model.loss_and_gradients(np.zeros((0, 64, 64, 1)), np.zeros((0, 2)), tb.beta_objective(), 0)


def test_images_that_do_not_fit():
    with pytest.raises(ValueError, match=r"\(N, 64, 64, 1\), not \(2, 32, 32, 1\)"):
        tb.BetaVAE(2).encode(np.zeros((2, 32, 32, 1)))


@pytest.mark.parametrize("low, high", [(-1, 1), (0, 255), (0, 1 + 1e-6), (0, np.nan), (-np.inf, 1)])
def test_pixels_outside_0_to_1_are_refused(low, high):
    images = np.random.default_rng(0).random((3, 64, 64, 1))
    images[1, 7, 9], images[2, 63, 0] = low, high
    model = tb.BetaVAE(2)
    for use in model.encode, lambda x: model.loss_and_gradients(x, np.zeros((3, 2)), tb.beta_objective(), 0):
        with pytest.raises(ValueError, match="pixels must lie in 0 … 1, not in "):
            use(images)


def test_one_image_or_code_is_no_batch():
    """The message shows how to make it one."""
    model, image = tb.BetaVAE(2), tb.DSprites()[0]
    with pytest.raises(ValueError, match=r"not \(64, 64, 1\): images\[None\] is a batch of one"):
        model.encode(image)
    with pytest.raises(ValueError, match=r"z must have shape \(N, 2\), not \(2,\): z\[None\] is a batch of one"):
        model.decode(np.zeros(2))
    with pytest.raises(ValueError, match=r"z must have shape \(N, 2\), not \(2, 3\)$"):
        model.decode(np.zeros((2, 3)))
    assert model.encode(image[None])[0].shape == (1, 2)


def test_the_check_looks_again_where_a_relu_has_its_kink():
    """On dSprites most pixels are black: of many models some stand on a kink, and none of them is wrong."""
    sprites = tb.DSprites()
    for seed in range(4):
        rng, model = np.random.default_rng(seed), tb.BetaVAE(4, seed=seed, dtype=np.float64)
        images = sprites.images(rng.integers(len(sprites), size=4))
        errors = check_model(model, images, rng.standard_normal((4, 4)), OBJECTIVES["KL below C"], 0, rng)
        assert max(errors.values()) < 1e-6, errors


@pytest.mark.parametrize("returned", [3.0, (3.0,), (3.0, 1.0), (np.ones(2), np.ones((2, 16, 16, 1))),
                                      (3.0, np.ones((1, 16, 16, 1)))], ids=str)
def test_what_a_likelihood_must_return(returned):
    class Wrong(type(tb.bernoulli)):
        def nll(self, output, images):
            return returned

    model = tb.BetaVAE(2, image_shape=(16, 16, 1), likelihood=Wrong())
    with pytest.raises(ValueError, match=r"a likelihood's nll returns \(nats, derivative\), one number and \(2, 16"):
        model.loss_and_gradients(np.zeros((2, 16, 16, 1)), np.zeros((2, 2)), tb.beta_objective(), 0)


def test_what_an_architecture_must_return():
    one = tb.burgess2018(2, (16, 16, 1), np.random.default_rng(0), np.float32)[0]
    with pytest.raises(ValueError, match="an architecture returns .encoder, decoder., not Sequential"):
        tb.BetaVAE(2, image_shape=(16, 16, 1), architecture=lambda *arguments: one)
    with pytest.raises(ValueError, match=r"an encoder returns \(N, 6\), means and log-variances, not \(2, 4\)"):
        tb.BetaVAE(3, image_shape=(16, 16, 1), architecture=lambda latents, *others: tb.burgess2018(2, *others)).encode(
            np.zeros((2, 16, 16, 1)))


def a_pass(model, seed=0):
    rng = np.random.default_rng(seed)
    shape = model.image_shape
    return model.loss_and_gradients(rng.random((3, *shape)), rng.standard_normal((3, model.latents)),
                                    tb.beta_objective(), 0)


def test_gradients_of_a_pass_stay_as_they_are():
    """For whoever holds them, as a check by differences does, which makes more passes."""
    model = tb.BetaVAE(3, image_shape=(16, 16, 1))
    a_pass(model)
    held, kept = model.gradients, {name: g.copy() for name, g in model.gradients.items()}
    a_pass(model, seed=1)
    for name, g in kept.items():
        np.testing.assert_array_equal(held[name], g)
        assert (model.gradients[name] != g).any()


def test_parameters_and_gradients_lie_in_one_array():
    """So an update is one call; a copy's, which lie apart, are updated alike."""
    model = tb.BetaVAE(3, image_shape=(16, 16, 1))
    other = copy.deepcopy(model)
    for one, joined in (model, True), (other, False):
        adam = tb.Adam(one.parameters)
        for seed in range(3):
            a_pass(one, seed)
            adam.update(one.gradients)
        for arrays in one.parameters, one.gradients, *adam.moments.values():
            assert isinstance(arrays, Joined) == joined
            assert not joined or all(np.shares_memory(array, arrays.flat) for array in arrays.values())
    for name, p in model.parameters.items():
        np.testing.assert_allclose(other.parameters[name], p, rtol=1e-5, atol=1e-7)


class Scaled(tb.Linear):
    """It knows its weight by another name, too."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.w = self.parameters["weight"]

    def forward(self, x):
        self.x = x
        return 2 * (x @ self.w) + self.parameters["bias"]


def test_layers_of_ones_own_keep_their_arrays():
    def architecture(latents, image_shape, rng, dtype):
        return (tb.Sequential(flat=tb.Reshape(16), linear=Scaled(16, 2 * latents, rng, dtype)),
                tb.Sequential(linear=tb.Linear(latents, 16, rng, dtype), image=tb.Reshape(*image_shape)))
    model = tb.BetaVAE(2, image_shape=(4, 4, 1), architecture=architecture)
    assert model.parameters["encoder.linear.weight"] is model.encoder.layers["linear"].w
    before = model.encoder.layers["linear"].w.copy()
    adam = tb.Adam(model.parameters)
    a_pass(model)
    adam.update(model.gradients)
    assert (model.encoder.layers["linear"].w != before).any()


def test_an_architecture_by_name():
    assert tb.BetaVAE(2, architecture="higgins2017", image_shape=(8, 8, 1)).architecture is tb.higgins2017
    with pytest.raises(ValueError, match="architecture must be a function like burgess2018, not 'none'"):
        tb.BetaVAE(2, architecture="none")
