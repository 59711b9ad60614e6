"""The plain loops are what the formula says, and the kernels are what test_twins.py cannot see of them."""

import os
import subprocess
import sys

import numba
import numpy as np
import pytest
from test_twins import CONVOLUTIONS

import tinybvae as tb
from tinybvae import convolution
from tinybvae.kernels import winograd
from tinybvae.layers import matmul, relu, relu_backward


def draw(dtype, N, H, W, C, O):
    rng = np.random.default_rng(0)
    return (rng.standard_normal(shape).astype(dtype)
            for shape in ((N, 2 * H, 2 * W, C), (4, 4, C, O), (N, H, W, O)))


def all_three(big, w, small):
    return (convolution.conv2d(big, w), convolution.conv2d_transpose(small, w), convolution.conv2d_weight(big, small))


def test_the_plain_loops_are_the_formula():
    big, w, small = draw(np.float64, 2, 3, 2, 3, 2)
    wanted = np.zeros_like(small), np.zeros_like(big), np.zeros_like(w)
    N, H, W, O = small.shape
    for n, i, j, o, p, q, c in np.ndindex(N, H, W, O, 4, 4, 3):
        y, x = 2 * i + p - 1, 2 * j + q - 1  # without the padding
        if 0 <= y < 2 * H and 0 <= x < 2 * W:
            wanted[0][n, i, j, o] += big[n, y, x, c] * w[p, q, c, o]
            wanted[1][n, y, x, c] += small[n, i, j, o] * w[p, q, c, o]
            wanted[2][p, q, c, o] += big[n, y, x, c] * small[n, i, j, o]
    plain = (convolution.conv2d.plain(big, w), convolution.conv2d_transpose.plain(small, w),
             convolution.conv2d_weight.plain(big, small))
    for have, want in zip(plain, wanted, strict=True):
        np.testing.assert_allclose(have, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [(0, 4, 4, 16, 32), (0, 1, 3, 1, 5)])
def test_no_images(size):
    big, w, small = draw(np.float32, *size)
    forward, transpose, weight = all_three(big, w, small)
    assert forward.shape == small.shape and transpose.shape == big.shape
    assert weight.shape == w.shape and not weight.any()


@pytest.mark.parametrize("size", CONVOLUTIONS)
def test_adjoint_identity(size):
    big, w, small = draw(np.float64, *size)
    forward, transpose, weight = all_three(big, w, small)
    inner = (forward * small).sum()
    scale = np.linalg.norm(forward) * np.linalg.norm(small)
    assert abs((big * transpose).sum() - inner) <= 1e-13 * scale
    assert abs((w * weight).sum() - inner) <= 1e-13 * scale


def test_the_trilinear_rule():
    """Winograd's five products have the value of the eight terms, and a transform's transpose is its transpose."""
    of_big, to_big, of_small, to_small = (getattr(rule, "py_func", rule) for rule in (
        winograd.of_big, winograd.to_big, winograd.of_small, winograd.to_small))
    d, g, y = map(np.random.default_rng(0).standard_normal, (5, 2, 4))
    products = np.multiply(of_big(*d), winograd.of_taps(*g)) * of_small(*y)
    terms = [d[j + a] * g[a] * y[j] for j in range(4) for a in range(2)]
    np.testing.assert_allclose(products.sum(), sum(terms), rtol=1e-12)
    for of, to, count in ((of_big, to_big, 5), (of_small, to_small, 4)):
        matrix = np.transpose([of(*unit) for unit in np.eye(count)])
        np.testing.assert_array_equal(matrix.T, np.transpose([to(*unit) for unit in np.eye(5)]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_where_all_is_black_there_is_exactly_the_bias(dtype):
    """No rounding: in a new model, whose biases are zero, ReLU's derivative depends on it."""
    big, w, small = draw(dtype, 3, 8, 12, 32, 32)
    big[:, 5:, 7:] = 0
    big[1] = 0
    bias = np.random.default_rng(1).standard_normal(32).astype(dtype)
    exact = (convolution.conv2d(big, w, bias) == bias).all(axis=3)
    np.testing.assert_array_equal(exact, (convolution.conv2d.plain(np.abs(big), np.abs(w)) == 0).all(axis=3))


@pytest.mark.parametrize("size", [(1, 2, 2, 1, 3), (1, 4, 4, 32, 32)])
def test_kernels_keep_infinities_and_nans(size):
    big, w, small = draw(np.float32, *size)
    big[0, 0, 0, 0], small[0, 0, 0, 0] = np.inf, np.nan
    with np.errstate(invalid="ignore"):  # without Numba's compiler, NumPy warns
        forward, transpose, weight = all_three(big, w, small)
    assert not np.isfinite(forward).all() and np.isnan(transpose).any() and np.isnan(weight).any()


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="NumPy's kernels take what NumPy takes")
def test_arrays_that_do_not_fit():
    big, w, small = draw(np.float32, 2, 3, 5, 3, 5)
    wrong = {convolution.conv2d: [(big, w[:, :, :2]), (big[:, 1:], w), (big, w[1:]), (big.astype(int), w.astype(int))],
             convolution.conv2d_transpose: [(small[..., 1:], w), (small, w[:, 1:]), (small, w.astype(float))],
             convolution.conv2d_weight: [(big, small[1:]), (big[:, 2:], small), (big, small.astype(float))],
             matmul: [(big[0, 0], big[0, 0]), (big[0, 0], big[0, 0].T.astype(float))]}
    for kernel, a, b in [(kernel, *pair) for kernel, pairs in wrong.items() for pair in pairs]:
        with pytest.raises(ValueError, match="arrays must fit together"):
            kernel(a, b)
    for dy in small.astype(int), small[1:], small.astype(float):
        with pytest.raises(ValueError, match="arrays must fit together"):
            relu_backward(dy, small, 0)
    with pytest.raises(ValueError, match="arrays must fit together"):
        relu(small.astype(int), 0)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="only what is fast avoids them")
def test_certain_pixels_leave_no_subnormal_numbers():
    logits = np.linspace(-110, 110, 2001, dtype=np.float32)[None]
    dlogits = tb.bernoulli_nll(logits, (logits > 0).astype(np.float32))[1]
    assert not ((dlogits != 0) & (np.abs(dlogits) < 1e-21)).any()
    np.testing.assert_allclose(dlogits[logits < 0], tb.sigmoid(logits)[logits < 0], rtol=1e-6, atol=1e-20)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="only what is fast avoids them")
def test_adam_forgets_a_dead_unit():
    adam = tb.Adam({"p": np.ones(100, np.float32)})
    adam.update({"p": np.random.default_rng(0).standard_normal(100, np.float32)})
    for _ in range(999):
        adam.update({"p": np.zeros(100, np.float32)})
    assert (adam.moments["m"]["p"] == 0).all() and (adam.moments["v"]["p"] > 0).all()


THREADS = """
import hashlib
import numba, numpy as np
from tinybvae import kernels
for threads in 1, 2, 3:
    rng, digest = np.random.default_rng(0), hashlib.sha256()
    numba.set_num_threads(threads)
    for N, H, W, C, O in (33, 5, 3, 5, 33), (33, 4, 8, 32, 32):
        big, w, small = (rng.standard_normal(shape, np.float32)
                         for shape in ((N, 2 * H, 2 * W, C), (4, 4, C, O), (N, H, W, O)))
        for array in (kernels.conv2d(big, w), kernels.conv2d_transpose(small, w), kernels.conv2d_weight(big, small),
                      kernels.sum_pixels(big), kernels.matmul(big.reshape(N, -1).T, small[:, 0, 0])):
            digest.update(array.tobytes())
    print(numba.get_num_threads(), digest.hexdigest())
"""


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="NumPy's kernels have no threads of ours")
def test_bits_do_not_depend_on_threads():
    """In a process of its own, since a machine of one core has but one thread unless told otherwise."""
    process = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True, check=True,
                             env={**os.environ, "NUMBA_NUM_THREADS": "3"})
    threads, digests = zip(*map(str.split, process.stdout.splitlines()))
    assert threads == ("1", "2", "3") and len({*digests}) == 1
