"""Passes over whole arrays, which threads share: sums, ReLU, the Bernoulli likelihood, the optimizers' updates."""

import math

import numpy as np

from tinybvae.kernels.arrays import require_fit, require_one_shape, require_pixels
from tinybvae.kernels.compiler import jit
from tinybvae.kernels.fusion import NOW, is_applied
from tinybvae.kernels.memory import empty
from tinybvae.kernels.threads import SLICES, indices, next_slice, parallel, part


def sum_pixels(y):
    """Σ y (N, H, W, O) over all but the channels: (O,)."""
    N, H, W, O = y.shape
    array, slices = NOW.summed
    if y is not array and y.base is not array:
        slices = empty((SLICES, W * O), y.dtype)
        _sum_rows(np.ascontiguousarray(y).reshape(N * H, W * O), slices)
    return slices.reshape(-1, O).sum(axis=0)


@parallel
def _sum_rows(work, rows, slices):
    """Sums of SLICES parts of the rows (M, K)."""
    s = next_slice(work)
    while s >= 0:
        total = slices[s]
        total[:] = 0
        for m in indices(len(rows), s):
            row = rows[m]
            for k in range(len(row)):
                total[k] += row[k]
        s = next_slice(work)


def relu(x, negative_slope):
    """y = x where x > 0, else negative_slope · x; NaN where x is."""
    return x if is_applied(x) else _relu_where(x, x, negative_slope)


def relu_backward(dy, y, negative_slope):
    """dx = dy where y > 0, else negative_slope · dy."""
    return dy if is_applied(dy) else _relu_where(dy, y, negative_slope)


def _relu_where(x, signs, negative_slope):
    require_fit(x, signs, x.shape == signs.shape)
    y = empty(x.shape, x.dtype)
    _relu(x.reshape(-1), signs.reshape(-1), y.reshape(-1), y.dtype.type(negative_slope))
    return y


@parallel
def _relu(work, x, signs, y, negative_slope):
    s = next_slice(work)
    while s >= 0:
        xs, some, ys = part(x, s), part(signs, s), part(y, s)
        for i in range(len(ys)):
            ys[i] = xs[i] if some[i] > 0 else negative_slope * xs[i]
        s = next_slice(work)


LANES = 64  # pixels that are looked at together


def bernoulli_nll(logits, images):
    """The negative log-likelihood of images (N, …) by logits (N, …), in nats, the batch's mean; and dlogits (N, …)."""
    require_one_shape(logits, images)
    dlogits, sums = empty(logits.shape, logits.dtype), np.zeros((SLICES, 2))
    _nll_and_dlogits(logits.reshape(-1), images.reshape(-1), dlogits.reshape(-1), sums, 1 / len(images))
    nll, outside = sums.sum(axis=0)
    if outside:
        require_pixels(images)
    return nll / len(images), dlogits


@parallel
def _nll_and_dlogits(work, l, x, dlogits, sums, scale):
    """dlogits: (sigmoid(l) − x) · scale; sums: of log(1 + eˡ) − x l, and of how many pixels lie outside 0 … 1.

    log(1 + eˡ) is max(l, 0) + log(1 + e^−|l|), and a sum of logarithms is that of a product, which is far less work.
    Below 1e-20, e^−|l| counts as 0, lest the backward pass multiply subnormal numbers, which is slow (README.md).
    """
    s = next_slice(work)
    while s >= 0:
        ls, xs, ds = part(l, s), part(x, s), part(dlogits, s)
        products, rest, outside = np.ones(LANES), np.zeros(LANES), 0
        for first in range(0, len(ls), LANES):
            if first % (512 * LANES) == 0:  # before a product of numbers up to 2 overflows
                rest += np.log(products)
                products[:] = 1
            for k in range(min(LANES, len(ls) - first)):
                li, xi = np.float64(ls[first + k]), np.float64(xs[first + k])
                outside += not 0 <= xi <= 1
                e = exp_of_minus(abs(li))
                products[k] *= 1 + e
                rest[k] += (li if li > 0 else 0.0) - xi * li
                ds[first + k] = ((1.0 if li >= 0 else e) / (1 + e) - xi) * scale
        sums[s, 0], sums[s, 1] = (rest + np.log(products)).sum(), outside
        s = next_slice(work)


LOG2 = math.log(2)
PER_LOG2 = 1 / LOG2
SERIES = tuple(1 / math.factorial(k) for k in range(14))  # of e^r: for |r| < ½ log 2, exact to float64's last bits
POWERS = tuple((n, 2.0 ** -n) for n in (64.0, 32.0, 16.0, 8.0, 4.0, 2.0, 1.0))


@jit
def exp_of_minus(a):
    """e^−a, of float64 a ≥ 0, or 0 if that is below 1e-20. Arithmetic alone: so it is done for many at once.

    e^−a = e^r / 2ⁿ for the n that makes r = n log 2 − a least.
    """
    small = a > 46
    a = 46.0 if small else a
    n = np.floor(a * PER_LOG2 + .5)
    r, e = n * LOG2 - a, SERIES[13]
    for k in range(12, -1, -1):
        e = e * r + SERIES[k]
    for count, power in POWERS:
        if n >= count:
            n, e = n - count, e * power
    return 0.0 if small else e


def adam(p, g, m, v, rate, beta1, beta2, eps, t):
    """An update of p, m and v (n,), in place, by the gradient g (n,), the t-th."""
    for array in g, m, v:
        require_fit(p, array, p.shape == array.shape)
    scalars = 1 - beta1, 1 - beta2, rate / (1 - beta1 ** t), 1 / (1 - beta2 ** t), eps
    _adam(p, g, m, v, *map(p.dtype.type, scalars))


@parallel
def _adam(work, p, g, m, v, m_rate, v_rate, p_rate, v_scale, eps):
    s = next_slice(work)
    while s >= 0:
        ps, gs, ms, vs = part(p, s), part(g, s), part(m, s), part(v, s)
        for i in range(len(ps)):
            ms[i] += m_rate * (gs[i] - ms[i])
            ms[i] *= abs(ms[i]) > 1e-30  # a dead unit's m would stay subnormal, which is slow (README.md)
            vs[i] += v_rate * (gs[i] * gs[i] - vs[i])
            ps[i] -= p_rate * ms[i] / (np.sqrt(v_scale * vs[i]) + eps)
        s = next_slice(work)


def adagrad(p, g, v, rate, eps):
    """An update of p and v (n,), in place, by the gradient g (n,)."""
    for array in g, v:
        require_fit(p, array, p.shape == array.shape)
    _adagrad(p, g, v, *map(p.dtype.type, (rate, eps)))


@parallel
def _adagrad(work, p, g, v, rate, eps):
    s = next_slice(work)
    while s >= 0:
        ps, gs, vs = part(p, s), part(g, s), part(v, s)
        for i in range(len(ps)):
            vs[i] += gs[i] * gs[i]
            ps[i] -= rate * gs[i] / (np.sqrt(vs[i]) + eps)
        s = next_slice(work)
