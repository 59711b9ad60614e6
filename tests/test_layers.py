"""Every layer's backward is the derivative of its forward."""

import copy
import dataclasses
import pickle

import numba
import numpy as np
import pytest

import tinybvae as tb
from tinybvae import gradcheck, layers
from tinybvae.kernels import passes
from tinybvae.kernels.chain import BATCH

START = {"rng": np.random.default_rng(0), "dtype": np.float64}
CASES = {
    "linear": (tb.Linear(5, 3, **START), (7, 5)),
    "linear, one example": (tb.Linear(33, 1, **START), (1, 33)),
    "relu": (tb.ReLU(), (3, 4, 5)),
    "leaky relu": (tb.ReLU(.1), (3, 4, 5)),
    "tanh": (tb.Tanh(), (3, 4, 5)),
    "reshape": (tb.Reshape(2, 6), (3, 4, 3)),
    "conv": (tb.Conv2d(3, 5, **START), (2, 6, 4, 3)),
    "conv, one pixel": (tb.Conv2d(1, 1, **START), (1, 2, 2, 1)),
    "transpose": (tb.ConvTranspose2d(5, 3, **START), (2, 3, 2, 5)),
    "transpose, one pixel": (tb.ConvTranspose2d(1, 1, **START), (1, 1, 1, 1)),
    "sequential": (tb.Sequential(conv=tb.Conv2d(1, 3, **START), relu=tb.ReLU(), flatten=tb.Reshape(6),
                                 linear=tb.Linear(6, 4, **START)), (2, 2, 4, 1)),
}


@pytest.mark.parametrize("layer, shape", CASES.values(), ids=CASES)
def test_backward_is_the_derivative_of_forward(layer, shape):
    rng = np.random.default_rng(1)
    for p in layer.parameters.values():
        p += rng.standard_normal(p.shape)  # biases too are not zero
    errors = gradcheck.check_layer(layer, rng.standard_normal(shape), rng)
    assert errors.keys() == {"x", *layer.parameters} and max(errors.values()) < 1e-8, errors


@pytest.mark.parametrize("mistake", ["x", "weight", "bias"])
def test_the_check_sees_a_wrong_gradient(mistake):
    class Wrong(tb.Linear):
        def backward(self, dy):
            dx = super().backward(dy)
            if mistake == "x":
                return dx[::-1]  # of the right size, but misrouted
            self.gradients[mistake] = self.gradients[mistake] / len(dy)
            return dx

    rng = np.random.default_rng(0)
    errors = gradcheck.check_layer(Wrong(3, 2, rng, np.float64), rng.standard_normal((4, 3)), rng)
    assert {name for name, error in errors.items() if error > 1e-2} == {mistake}


@pytest.mark.parametrize("forgotten", ["dx", "bias"])
def test_the_check_sees_what_is_forgotten(forgotten):
    class Forgetful(tb.Linear):
        def backward(self, dy):
            dx = super().backward(dy)
            if forgotten == "bias":
                self.gradients = {"weight": self.gradients["weight"]}
                return dx

    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="returned no dx" if forgotten == "dx" else "no gradient of bias"):
        gradcheck.check_layer(Forgetful(3, 2, rng, np.float64), rng.standard_normal((4, 3)), rng)
    layer = tb.Linear(3, 2, rng, np.float64, input_grad=False)
    assert gradcheck.check_layer(layer, rng.standard_normal((4, 3)), rng).keys() == {"weight", "bias"}


@pytest.mark.parametrize("wrong", [tb.Linear, np.tanh, type("Bare", (tb.Layer,), {"__init__": lambda self: None})()])
def test_what_is_no_layer(wrong):
    with pytest.raises(ValueError, match="odd is no layer: it has no .*parameters and no gradients"):
        tb.Sequential(relu=tb.ReLU(), odd=wrong)


@pytest.mark.parametrize("mistake, message", [
    ("adds", "backward adds to the gradient of weight that was there: it must assign it"),
    ("leaves out", "backward assigns no gradient of weight"),
    ("misspells", "Wrong has a gradient of wieght, and no such parameter: it has weight, bias"),
    ("changes x", "forward changes x, which must stay as it is"),
    ("changes dy", "backward changes dy, which must stay as it is")])
def test_the_check_sees_what_a_layer_may_not_do(mistake, message):
    class Wrong(tb.Linear):
        def forward(self, x):
            y = super().forward(x)
            if mistake == "changes x":
                x *= 2
            return y

        def backward(self, dy):
            before = self.gradients["weight"].copy()
            dx = super().backward(dy)
            if mistake == "adds":
                self.gradients["weight"] = before + self.gradients["weight"]
            if mistake == "leaves out":
                self.gradients["weight"] = before
            if mistake == "misspells":
                self.gradients["wieght"] = self.gradients["weight"]
            if mistake == "changes dy":
                dy *= 2
            return dx

    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=message):
        gradcheck.check_layer(Wrong(3, 2, rng, np.float64), rng.standard_normal((4, 3)), rng)


def test_the_check_refuses_float32_and_says_which():
    rng = np.random.default_rng(0)
    for layer, x, name in ((tb.ReLU(), np.ones((2, 3), np.float32), "x"),
                           (tb.Linear(3, 2, rng), np.ones((2, 3)), "weight")):
        with pytest.raises(ValueError, match=f"need float64, and {name} is float32"):
            gradcheck.check_layer(layer, x, rng)


def test_a_misspelt_gradient_trains_nothing():
    class Wrong(tb.Linear):
        def backward(self, dy):
            dx = super().backward(dy)
            self.gradients["wieght"] = self.gradients["weight"]
            return dx

    chain = tb.Sequential(inner=tb.Sequential(wrong=Wrong(3, 2, np.random.default_rng(0))))
    chain.forward(np.ones((4, 3), np.float32))
    chain.backward(np.ones((4, 2), np.float32))
    with pytest.raises(ValueError, match="wrong has a gradient of wieght, and no such parameter"):
        chain.gradients


def test_what_users_of_pytorch_type():
    model = tb.BetaVAE(2, image_shape=(16, 16, 1))
    with pytest.raises(TypeError, match="without"):
        tb.Adam(model.parameters())
    with pytest.raises(ValueError, match="an optimizer takes model.parameters, .*, not BetaVAE"):
        tb.Adam(model)
    with pytest.raises(ValueError, match=r"\(height, width, channels\), as \(64, 64, 1\) is, not \(64, 64\)"):
        tb.BetaVAE(2, image_shape=(64, 64))


def test_parameters_go_by_name():
    with pytest.raises(ValueError, match=r"by name, as in super\(\).__init__\(weight=array\), not dict"):
        tb.Layer({"weight": np.ones(3)})


def test_backward_assigns():
    layer, x, dy = tb.Linear(3, 2, **START), np.ones((4, 3)), np.ones((4, 2))
    for _ in range(2):
        layer.forward(x)
        layer.backward(dy)
    np.testing.assert_array_equal(layer.gradients["bias"], [4, 4])


@pytest.mark.parametrize("kind, shape", [(tb.Linear, (100, 64)), (tb.Conv2d, (2, 128, 128, 64)),
                                         (tb.ConvTranspose2d, (2, 16, 16, 64))])
def test_he_start_keeps_the_second_moment(kind, shape):
    """Through a ReLU and a layer, E[y²] = E[x²] (He et al. 2015), averaged over many draws of the weights."""
    rng, ratios = np.random.default_rng(0), []
    for _ in range(20):
        x = rng.standard_normal(shape)
        layer = kind(64, 48, rng, np.float64)
        y = layer.forward(np.maximum(x, 0))
        inner = y if kind is tb.Linear else y[:, 2:-2, 2:-2]  # at the border the padding's zeros count too
        ratios.append((inner ** 2).mean() / (x ** 2).mean())
        assert not layer.parameters["bias"].any()
    assert np.mean(ratios) == pytest.approx(1, abs=.03)


@pytest.mark.parametrize("layer", [tb.Linear, tb.Conv2d, tb.ConvTranspose2d])
@pytest.mark.parametrize("sizes", [(0, 3), (3, 0)])
def test_layers_of_no_size(layer, sizes):
    with pytest.raises(ValueError, match="inputs and outputs must be at least 1"):
        layer(*sizes, np.random.default_rng(0))


@pytest.mark.parametrize("layer, shape, wrong", [
    (tb.Linear(5, 3, **START), (2, 5), [(3, 3), (2, 4)]),
    (tb.Conv2d(3, 5, **START), (2, 6, 4, 3), [(1, 3, 2, 5), (2, 6, 4, 5), (2, 3, 2, 4)]),
    (tb.ConvTranspose2d(3, 5, **START), (2, 3, 2, 3), [(1, 6, 4, 5), (2, 3, 2, 5), (2, 6, 4, 4)]),
], ids=["linear", "conv", "transpose"])
def test_backward_refuses_other_shapes(layer, shape, wrong):
    layer.forward(np.zeros(shape))
    for dy in wrong:
        with pytest.raises(ValueError):
            layer.backward(np.zeros(dy))
        assert layer.gradients["weight"].shape == layer.parameters["weight"].shape


def test_the_check_sees_a_gradient_of_another_shape():
    class Wrong(tb.Linear):
        def backward(self, dy):
            dx = super().backward(dy)
            self.gradients["bias"] = self.gradients["bias"][None]
            return dx

    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"not \(2,\) and \(1, 2\)"):
        gradcheck.check_layer(Wrong(3, 2, rng, np.float64), rng.standard_normal((4, 3)), rng)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="NumPy's kernels take what NumPy takes")
def test_other_dtypes_are_named():
    layer = tb.Conv2d(3, 5, np.random.default_rng(0))
    with pytest.raises(ValueError, match="not float64 of .* and float32 of"):
        layer.forward(np.zeros((2, 6, 4, 3)))
    dy = layer.forward(np.zeros((2, 6, 4, 3), np.float32)).astype(float)
    with pytest.raises(ValueError, match="not float32 of .* and float64 of"):
        layer.backward(dy)


@pytest.mark.parametrize("layer, shape, message", [
    (tb.Linear(5, 3, **START), (2, 4), r"Linear takes arrays of shape \(N, 5\)"),
    (tb.Conv2d(3, 5, **START), (2, 4, 4, 1), r"Conv2d takes arrays of shape \(N, …, …, 3\)"),
    (tb.Conv2d(3, 5, **START), (2, 5, 4, 3), "must be even"),
    (tb.Conv2d(3, 5, **START), (2, 0, 4, 3), "must be even and at least 2"),
    (tb.ConvTranspose2d(3, 5, **START), (4, 4, 3), r"ConvTranspose2d takes arrays of shape \(N, …, …, 3\)"),
], ids=lambda case: str(case)[:20])
def test_wrong_shapes_are_named(layer, shape, message):
    with pytest.raises(ValueError, match=message):
        layer.forward(np.zeros(shape))


@pytest.mark.parametrize("slope", [0, .25])
def test_relu(slope):
    x, dy = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    kept, wanted = (x.copy(), dy.copy()), (np.maximum(x, slope * x), dy * np.where(x > 0, 1, slope))
    relu = tb.ReLU(slope)
    np.testing.assert_array_equal((relu.forward(x), relu.backward(dy)), wanted)
    np.testing.assert_array_equal((x, dy), kept)


class KeepsItsOutput(tb.Linear):
    def forward(self, x):
        self.y = super().forward(x)
        return self.y


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="only what is fast is fused")
def test_a_chain_knows_which_relus_a_kernel_may_apply(monkeypatch):
    """Those of what a layer of ours has just made; not where somebody else may hold it."""
    chain = tb.Sequential(
        first=tb.ReLU(.1), linear1=tb.Linear(4, 32, **START), inner=tb.ReLU(.2), again=tb.ReLU(.3),
        linear2=tb.Linear(32, 32, **START), before_tanh=tb.ReLU(.4), tanh=tb.Tanh(), behind_tanh=tb.ReLU(),
        linear3=KeepsItsOutput(32, 32, **START), behind_keeper=tb.ReLU(.5), linear4=tb.Linear(32, 32, **START),
        before_view=tb.ReLU(.6), view=tb.Reshape(4, 8), also=tb.Reshape(32), linear5=tb.Linear(32, 4, **START),
        last=tb.ReLU())
    applied = []
    ask = passes.is_applied
    monkeypatch.setattr(passes, "is_applied", lambda array: applied.append(ask(array)) or applied[-1])

    def fused(way, array):
        applied.clear()
        result = getattr(chain, way)(array)
        relus = [name for name, layer in chain.layers.items() if isinstance(layer, tb.ReLU)]
        return result, {name for name, yes in zip(relus[::1 if way == "forward" else -1], applied, strict=True) if yes}

    x, dy = np.random.default_rng(1).standard_normal((2, 40, 4))
    kept = x.copy(), dy.copy()
    y, forward = fused("forward", x)
    dx, backward = fused("backward", dy)
    assert forward == {"inner", "before_tanh", "before_view"}  # the last makes 4 numbers of 40: no whole tile
    assert backward == {"again", "behind_keeper", "before_view"}
    np.testing.assert_array_equal((x, dy), kept)
    array = x
    for layer in chain.layers.values():  # one by one nothing is fused
        array = layer.forward(array)
    np.testing.assert_allclose(array, y, rtol=1e-12)
    array = dy
    for layer in reversed(chain.layers.values()):
        array = layer.backward(array)
    np.testing.assert_allclose(array, dx, rtol=1e-12)
    seen, forward = [], chain.layers["linear1"].forward
    chain.layers["linear1"].forward = lambda x: seen.append(forward(x)) or seen[-1]  # somebody listens
    assert fused("forward", x)[1] == {"before_tanh", "before_view"}
    np.testing.assert_array_equal(seen[0], forward(np.maximum(x, .1 * x)))


@pytest.mark.parametrize("kind, shape", [
    (tb.Conv2d, (3, 8, 8, 32)), (tb.Conv2d, (3, 6, 6, 32)),
    (tb.ConvTranspose2d, (3, 4, 4, 32)), (tb.ConvTranspose2d, (3, 3, 5, 32))])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_fused_is_the_same(kind, shape, dtype):
    """Of both kinds of kernels: also the sums that the bias of the layer before asks for."""
    rng = np.random.default_rng(0)
    back = tb.ConvTranspose2d if kind is tb.Conv2d else tb.Conv2d
    for slope in 0, .25:
        chain = tb.Sequential(first=kind(32, 32, rng, dtype, input_grad=False), relu=tb.ReLU(slope),
                              back=back(32, 32, rng, dtype))
        x, dy = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
        y = chain.forward(x)
        chain.backward(dy)
        gradients = {name: g.copy() for name, g in chain.gradients.items()}
        tolerance = 1e-12 if dtype == float else 1e-5
        array = x
        for layer in chain.layers.values():
            array = layer.forward(array)
        np.testing.assert_allclose(y, array, rtol=tolerance, atol=tolerance * abs(array).max())
        array = dy
        for layer in reversed(chain.layers.values()):
            array = layer.backward(array)
        for name, g in chain.gradients.items():
            np.testing.assert_allclose(gradients[name], g, rtol=tolerance, atol=tolerance * abs(g).max(), err_msg=name)


def test_relu_says_which_units_were_on():
    x = np.full((3, 4, 5), -1.0)
    x[2, 1, 3] = .1
    for slope in (0, .25):
        assert layers.switched_on(tb.ReLU(slope).forward(x)).tolist() == [False, False, False, True, False]


@pytest.mark.parametrize("slope", [-.1, 1, float("nan")])
def test_slopes_that_make_no_relu(slope):
    with pytest.raises(ValueError, match="negative_slope must be at least 0 and below 1"):
        tb.ReLU(slope)


def test_relu_takes_views():
    view = np.random.default_rng(0).standard_normal((3, 4, 5)).transpose(2, 0, 1)  # cannot be walked through in one go
    np.testing.assert_array_equal(tb.ReLU().forward(view), np.maximum(view, 0))


class Square(tb.Layer):
    """One of one's own."""

    def forward(self, x):
        self.mine = x
        return x ** 2

    def backward(self, dy):
        return 2 * self.mine * dy


def chain_of_all_kinds():
    return tb.Sequential(conv=tb.Conv2d(1, 3, **START), relu1=tb.ReLU(.1), transpose=tb.ConvTranspose2d(3, 1, **START),
                         relu2=tb.ReLU(), flatten=tb.Reshape(8), linear=tb.Linear(8, 4, **START),
                         inner=tb.Sequential(square=Square(), tanh=tb.Tanh()))


def test_what_a_layer_was_given_stays_as_it_was():
    """So whoever collects activations, or gradients of them, layer by layer, has each layer's own."""
    rng, chain, seen = np.random.default_rng(0), chain_of_all_kinds().layers.values(), []
    x, dy = rng.standard_normal((2, 2, 4, 1)), rng.standard_normal((2, 4))
    for way, order, array in ("forward", chain, x), ("backward", reversed(chain), dy):
        for layer in order:
            seen.append((array, array.copy()))
            array = getattr(layer, way)(array)
    for array, before in seen:
        np.testing.assert_array_equal(array, before)


def test_inference_keeps_nothing():
    """A pass before it can still be gone back, and batches change no bit."""
    chain, rng = chain_of_all_kinds(), np.random.default_rng(0)
    x, dy, many = (rng.standard_normal(shape) for shape in ((3, 2, 4, 1), (3, 4), (BATCH + 7, 2, 4, 1)))

    def kept():
        parts = *chain.layers.values(), *chain.layers["inner"].layers.values()
        return {name for layer in parts for name in vars(layer)}

    before = kept()
    y = chain.infer(many)
    assert kept() == before
    chain.forward(x)
    dx = chain.backward(dy)
    np.testing.assert_array_equal(chain.infer(many), y)
    np.testing.assert_array_equal(chain.backward(dy), dx)
    np.testing.assert_array_equal(chain.forward(many), y)


def test_pickled_and_copied_it_is_its_parameters():
    """And who holds them, too, such as an optimizer, still holds the same in the copy."""
    chain, x = chain_of_all_kinds(), np.random.default_rng(0).standard_normal((900, 2, 4, 1))
    optimizer = tb.Adam(chain.parameters)
    chain.backward(chain.forward(x))
    for way in copy.deepcopy, lambda both: pickle.loads(pickle.dumps(both)):
        other, adam = way((chain, optimizer))
        assert all(adam.parameters[name] is p for name, p in other.parameters.items())
        assert all((p == chain.parameters[name]).all() for name, p in other.parameters.items())
        assert {name: g.shape for name, g in other.gradients.items()} == {
            name: g.shape for name, g in chain.gradients.items()} and not any(g.any() for g in other.gradients.values())
        np.testing.assert_array_equal(other.infer(x), chain.infer(x))
    assert len(pickle.dumps(chain)) < sum(p.nbytes for p in chain.parameters.values()) + 3000


@pytest.mark.parametrize("slots", [False, True])
def test_layers_that_are_no_layers_of_ours(slots):
    """A dataclass, which has no hash, or one without a dict of its attributes."""
    @dataclasses.dataclass(slots=slots)
    class Scale:
        by: float

        parameters, gradients = {}, {}

        def forward(self, x):
            return self.by * x

        def backward(self, dy):
            return self.by * dy

    chain, x = tb.Sequential(scale=Scale(3), linear=tb.Linear(2, 2, **START)), np.ones((4, 2))
    np.testing.assert_array_equal(copy.deepcopy(chain).forward(x), chain.infer(x))


def test_assigned_arrays_are_written_into():
    chain = tb.Sequential(linear=tb.Linear(2, 3, **START))
    weight, wanted = chain.layers["linear"].parameters["weight"], np.arange(6, dtype=np.float32).reshape(2, 3)
    chain.parameters["linear.weight"] = wanted
    np.testing.assert_array_equal(weight, wanted)
    chain.parameters.update({"linear.weight": wanted + 1})
    np.testing.assert_array_equal(weight, wanted + 1)
    parameters = chain.parameters
    parameters |= {"linear.weight": wanted}
    np.testing.assert_array_equal(weight, wanted)
    chain.layers["linear"].parameters["weight"] = wanted + 2
    np.testing.assert_array_equal(weight, wanted + 2)
    chain.gradients["linear.bias"] = [1, 2, 3]
    assert chain.layers["linear"].gradients["bias"].tolist() == [1, 2, 3]
    chain.parameters |= {"linear.weight": wanted + 3}
    np.testing.assert_array_equal(weight, wanted + 3)
    for name, array in ("linear.wieght", wanted), ("linear.weight", wanted[0]), ("linear.bias", ["a", "b", "c"]):
        with pytest.raises(ValueError, match="there is no|takes float64 of shape"):
            chain.parameters[name] = array


def test_names_of_parameters_stay():
    """In a chain, the layers', too: a name mistyped there would be an array of its own, which nothing uses."""
    chain = tb.Sequential(linear=tb.Linear(2, 3, **START))
    for arrays in chain.parameters, chain.layers["linear"].parameters:
        names = [*arrays]
        for change in (lambda: arrays.pop(names[0]), lambda: arrays.__delitem__(names[0]), lambda: arrays.popitem(),
                       lambda: arrays.clear(), lambda: arrays.setdefault("wieght", 1)):
            with pytest.raises(ValueError, match="stays: a model's names|there is no 'wieght'"):
                change()
        assert [*arrays] == names
    without = tb.Linear(2, 3, **START)
    del without.parameters["bias"]  # while it is being made, it may


def test_a_layer_has_one_place():
    relu = tb.ReLU()
    for twice in {"a": relu, "b": relu}, {"a": relu, "b": tb.Sequential(c=tb.Tanh(), d=relu)}:
        with pytest.raises(ValueError, match=r"a and b(.d)? are one layer: .* make two"):
            tb.Sequential(**twice)
    with pytest.raises(ValueError, match="encoder.relu and decoder.relu are one layer"):
        tb.BetaVAE(architecture=lambda latents, shape, rng, dtype: (
            tb.Sequential(flatten=tb.Reshape(4096), linear=tb.Linear(4096, 2 * latents, rng), relu=relu),
            tb.Sequential(linear=tb.Linear(latents, 4096, rng), relu=relu, unflatten=tb.Reshape(*shape))))


def test_what_a_layer_is_given_later_goes_along():
    """Copies, and what is only inferred, are of layers as they are now."""
    class Shift(tb.Layer):
        by = 1

        def forward(self, x):
            self.x = x
            return x + self.by

    chain, x = tb.Sequential(outer=Shift(), inner=tb.Sequential(shift=Shift())), np.zeros((2, 3))
    chain.forward(np.ones((90, 100)))
    chain.layers["outer"].by, chain.layers["inner"].layers["shift"].by = 10, 100
    for other in copy.deepcopy(chain), copy.copy(chain):
        assert (other.forward(x) == 110).all()
    assert (chain.infer(x) == 110).all()
    assert not hasattr(copy.deepcopy(chain).layers["inner"].layers["shift"], "x")
    assert chain.layers["inner"].layers["shift"].x.shape == (90, 100)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="NumPy's kernels take what NumPy takes")
def test_relu_refuses_a_gradient_of_another_shape():
    relu = tb.ReLU()
    relu.forward(np.ones((4, 5)))
    for dy in (np.ones((3, 5)), np.ones((4, 5), np.float32)):
        with pytest.raises(ValueError, match="arrays must fit together"):
            relu.backward(dy)


@pytest.mark.parametrize("layer, dy", [(tb.Tanh(), (1, 6)), (tb.Tanh(), (4,)), (tb.Reshape(2, 3), (4, 6)),
                                       (tb.Reshape(2, 3), (2, 4, 3))])
def test_gradients_that_would_broadcast(layer, dy):
    layer.forward(np.ones((4, 6)))
    with pytest.raises(ValueError, match=r"takes arrays of shape \(4, "):
        layer.backward(np.ones(dy))


@pytest.mark.parametrize("kind, shape", [(tb.Linear, (4, 3)), (tb.Conv2d, (2, 4, 6, 3)),
                                         (tb.ConvTranspose2d, (2, 4, 6, 3))])
def test_without_input_grad_the_gradients_are_the_same(kind, shape):
    x, gradients = np.random.default_rng(0).standard_normal(shape), []
    for input_grad in (True, False):
        layer = kind(3, 5, np.random.default_rng(1), np.float64, input_grad=input_grad)
        dx = layer.backward(layer.forward(x) ** 2)
        assert dx.shape == x.shape if input_grad else dx is None
        with pytest.raises(ValueError, match="takes arrays of shape"):
            layer.backward(np.ones((*layer.forward(x).shape[:-1], 6)))
        gradients.append(layer.gradients)
    for name, want in gradients[0].items():
        np.testing.assert_array_equal(gradients[1][name], want)
    chain = tb.Sequential(reshape=tb.Reshape(*shape[1:]), layer=layer)
    assert chain.backward(chain.forward(x.reshape(shape[0], -1))) is None
