"""What runs is what the course says: functions that have a fast twin, and their own plain bodies, compute the same."""

import copy

import numba
import numpy as np
import pytest

import tinybvae as tb
from tinybvae import kernels
from tinybvae.data.sprites import GRID, OUTLINES
from tinybvae.kernels import threads
from tinybvae.kernels.twins import TWINS

CONVOLUTIONS = [  # N, H, W, C, O
    (1, 1, 1, 1, 1), (7, 3, 5, 3, 5), (1, 2, 7, 5, 33), (7, 5, 2, 32, 1), (2, 4, 4, 1, 32), (17, 1, 3, 3, 31),
    (1, 14, 18, 16, 32), (0, 1, 3, 1, 5), (0, 4, 4, 16, 32),
    (1, 4, 4, 16, 32), (19, 8, 12, 32, 32), (3, 4, 4, 48, 64), (1, 12, 20, 16, 32), (1, 4, 140, 16, 32)]  # Winograd's
SHAPES = [(1, 1, 1, 1), (7, 3, 5, 33), (37, 2, 6, 1), (0, 3)]
PRODUCTS = [(1, 1, 1), (7, 5, 3), (9, 33, 65), (64, 10, 32), (20, 9, 40), (5, 0, 3)]  # M, K, N
SPECIAL = [0, -0., np.nan, np.inf, -np.inf, 1e-30, -1e-30, 1e4, -1e4]


class Draw:
    """Random arrays of a dtype. Those called special have every special value in them, at places drawn at random."""

    def __init__(self, dtype):
        self.rng, self.dtype = np.random.default_rng(0), dtype

    def normal(self, *shape):
        return self.rng.standard_normal(shape).astype(self.dtype)

    def special(self, *shape):
        array = self.normal(*shape)
        places = self.rng.permutation(array.size)[:len(SPECIAL)]
        array.reshape(-1)[places] = SPECIAL[:len(places)]
        return array

    def pixels(self, *shape):
        return self.rng.choice([0, 1, .25], shape).astype(self.dtype)


def conv2d(draw):
    for N, H, W, C, O in CONVOLUTIONS:
        big, w = draw.normal(N, 2 * H, 2 * W, C), draw.normal(4, 4, C, O)
        yield from [(big, w), (big, w, draw.normal(O)), (big[:, ::-1], w.transpose(1, 0, 2, 3), 1)]


def conv2d_transpose(draw):
    for N, H, W, C, O in CONVOLUTIONS:
        small, w = draw.normal(N, H, W, O), draw.normal(4, 4, C, O)
        yield from [(small, w), (small, w, draw.normal(C)), (small[::-1, :, ::-1], w.transpose(1, 0, 2, 3), 1)]


def conv2d_weight(draw):
    for N, H, W, C, O in CONVOLUTIONS:
        big, small = draw.normal(N, 2 * H, 2 * W, C), draw.normal(N, H, W, O)
        yield from [(big, small), (big[:, ::-1], small[::-1, :, ::-1])]


def matmul(draw):
    for M, K, N in PRODUCTS:
        a, b = draw.normal(M, K), draw.normal(K, N)
        yield from [(a, b), (np.asfortranarray(a), np.asfortranarray(b)), (draw.special(M, K), b),
                    (np.repeat(a, 2, axis=1)[:, ::2], np.repeat(b, 2, axis=0)[::2])]


def linear(draw):
    for x, w in matmul(draw):
        yield from [(x, w), (x, w, draw.normal(w.shape[1])), (x, w, draw.normal(w.shape[1])[::-1])]


def sum_pixels(draw):
    for shape in SHAPES[:3]:
        yield from [(draw.normal(*shape),), (draw.special(*shape),), (draw.normal(*shape).T,)]


def relu(draw):
    for slope, shape in [(slope, shape) for slope in (0, .1) for shape in SHAPES]:
        yield from [(draw.special(*shape), slope), (draw.normal(*shape).T, slope)]


def relu_backward(draw):
    for slope, shape in [(slope, shape) for slope in (0, .1) for shape in SHAPES]:
        dy, y = draw.special(*shape), draw.special(*shape)
        yield from [(dy, y, slope), (dy.T, y.T, slope), (dy, y.T.copy().T, slope), (y, y, slope)]


def bernoulli_nll(draw):
    for shape in SHAPES[:3]:
        yield from [(10 * draw.normal(*shape), draw.pixels(*shape)), (draw.special(*shape), draw.pixels(*shape)),
                    (draw.normal(*shape)[::-1], draw.pixels(*shape[:-1], 2 * shape[-1])[..., ::2])]


def updates(moments, *settings):
    """Arguments of an optimizer's update: what is learnt, its gradient, and moments, which are squares but for m."""
    def arguments(draw):
        for n in (1, 37, 1000):
            for gradient in draw.normal(n), draw.special(n):
                kept = [draw.normal(n) if moment == "m" else draw.normal(n) ** 2 for moment in moments]
                yield draw.normal(n), gradient, *kept, *settings
    return arguments


def fill(draw):
    for N in (0, 1, 37):
        scale, orientation, x, y = draw.rng.uniform([[0], [-9], [-20], [-20]], [[4], [9], [60], [60]], (4, N))
        shape = draw.rng.integers(3, size=N)
        yield OUTLINES, shape, scale, orientation, x, y, GRID, 41
        yield OUTLINES, shape, scale, 0 * orientation, np.rint(x), np.rint(y), 2, 41  # edges through pixels' centres


CASES = {case.__name__: case for case in (conv2d, conv2d_transpose, conv2d_weight, matmul, linear, sum_pixels,
                                          relu, relu_backward, bernoulli_nll, fill)}
CASES |= {"adam": updates("mv", .01, .9, .999, 1e-8, 3), "adagrad": updates("v", .01, 1e-10)}


def test_no_twin_is_left_out():
    assert CASES.keys() == TWINS.keys()
    assert {twin.fast for twin in TWINS.values()} == {getattr(kernels, name) for name in kernels.__all__
                                                      if name != "accelerated"}


def called(function, arguments):
    """What it returns, and what it has made of its arguments: all arrays and numbers, in a list."""
    arguments = copy.deepcopy(arguments)  # where one array comes twice, so does its copy
    with np.errstate(all="ignore"):
        found = function(*arguments)
    return [*(found if isinstance(found, tuple) else [found]), *arguments]


def arrays(results):
    return [np.asarray(one) for one in results if isinstance(one, (np.ndarray, float))]


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="the plain bodies are what runs")
@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-5), (np.float64, 1e-13)])
@pytest.mark.parametrize("name", CASES)
def test_twins_compute_the_same(name, dtype, tolerance, monkeypatch):
    """But for rounding; and on two threads, the same bits as on one."""
    monkeypatch.setattr(threads, "WORTHWHILE", 0)  # two are awake for the smallest array
    function, most = TWINS[name], threads.num_threads()
    for arguments in CASES[name](Draw(dtype)):
        wanted, found = arrays(called(function.plain, arguments)), []
        try:
            for count in (1, 2):
                threads.set_num_threads(count)
                found.append(arrays(called(function, arguments)))
        finally:
            threads.set_num_threads(most)
        for one, two, want in zip(*found, wanted, strict=True):
            assert one.dtype == want.dtype and one.shape == want.shape and one.tobytes() == two.tobytes()
            finite = np.abs(want[np.isfinite(want)]).max(initial=0)
            np.testing.assert_allclose(one, want, rtol=tolerance, atol=tolerance * max(finite, 1))


@pytest.mark.parametrize("name", CASES)
def test_the_course_is_documented(name):
    """By its own docstring, whichever body runs."""
    assert TWINS[name].__doc__ and TWINS[name].plain.__doc__ == TWINS[name].__doc__


@pytest.mark.parametrize("kind", ["plain", "fast"])
def test_both_refuse_alike(kind):
    if kind == "fast" and numba.config.DISABLE_JIT:
        pytest.skip("the plain bodies are what runs")
    function = getattr(tb.bernoulli_nll, kind)
    with pytest.raises(ValueError, match="pixels must lie in 0 … 1, not in 0 … 2"):
        function(np.zeros((2, 3)), np.array([[0, 1, 2], [1, 0, 1.]]))
    with pytest.raises(ValueError, match=r"one shape \(N, …\), N ≥ 1"):
        function(np.zeros((2, 3)), np.zeros((2, 1)))
