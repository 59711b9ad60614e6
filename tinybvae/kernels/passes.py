"""Passes over whole arrays, which threads share: sums, ReLU, the Bernoulli likelihood, the optimizers' updates."""

import numpy as np

from tinybvae.kernels.arrays import require_fit, require_one_shape, require_pixels, small_is_zero
from tinybvae.kernels.memory import empty
from tinybvae.kernels.threads import SLICES, indices, next_slice, parallel, part


def sum_pixels(y):
    """Σ y (N, H, W, O) over all but the channels: (O,)."""
    N, H, W, O = y.shape
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


def relu(x, negative_slope, spare=False):
    """y = x where x > 0, else negative_slope · x; NaN where x is. y is x if that is spare, and contiguous."""
    y = x if spare and x.flags.c_contiguous else _copy(x)
    require_fit(x, y, True)
    _relu(y.reshape(-1), y.dtype.type(negative_slope))
    return y


def _copy(array):
    copied = empty(array.shape, array.dtype)
    copied[...] = array
    return copied


@parallel  # in place, for LLVM cannot vectorize a loop over two arrays that may be the same one
def _relu(work, y, negative_slope):
    s = next_slice(work)
    while s >= 0:
        ys = part(y, s)
        for i in range(len(ys)):
            ys[i] = ys[i] if ys[i] > 0 else negative_slope * ys[i]
        s = next_slice(work)


def relu_backward(dy, y, negative_slope, spare=False):
    """dx = dy where y > 0, else negative_slope · dy. dx is dy if that is spare, contiguous, and apart from y."""
    require_fit(dy, y, dy.shape == y.shape)
    dx = dy if spare and dy.flags.c_contiguous and not np.may_share_memory(dy, y) else _copy(dy)
    _relu_backward(dx.reshape(-1), y.reshape(-1), dx.dtype.type(negative_slope))
    return dx


@parallel
def _relu_backward(work, dx, y, negative_slope):
    s = next_slice(work)
    while s >= 0:
        dxs, ys = part(dx, s), part(y, s)
        for i in range(len(ys)):
            dxs[i] = dxs[i] if ys[i] > 0 else negative_slope * dxs[i]
        s = next_slice(work)


@small_is_zero
def bernoulli_nll(logits, images):
    """The negative log-likelihood of images (N, …) by logits (N, …), in nats, the batch's mean; and dlogits (N, …)."""
    require_one_shape(logits, images)
    l, x, N = logits.reshape(-1), images.reshape(-1), len(images)
    e, nll, dlogits = (empty(l.shape, l.dtype) for _ in range(3))
    np.exp(np.negative(np.abs(l, out=e), out=e), out=e)
    np.log1p(e, out=nll)
    outside = np.zeros(SLICES, np.intp)
    _nll_and_dlogits(l, x, e, nll, dlogits, outside, N)
    if outside.any():
        require_pixels(images)
    return nll.sum(dtype=np.float64) / N, dlogits.reshape(logits.shape)


@parallel
def _nll_and_dlogits(work, l, x, e, nll, dlogits, outside, N):
    """nll: a pixel's log(1 + eˡ) − x l, from e = e^−|l| and nll = log(1 + e) before; dlogits: (sigmoid(l) − x) / N.

    outside: how many pixels of a slice lie outside 0 … 1. Below 1e-20, e counts as 0, lest the backward pass multiply
    subnormal numbers, which is slow (README.md).
    """
    s = next_slice(work)
    while s >= 0:
        ls, xs, es, nlls, ds = part(l, s), part(x, s), part(e, s), part(nll, s), part(dlogits, s)
        count = 0
        for i in range(len(ls)):
            count += not 0 <= xs[i] <= 1
            nlls[i] += max(ls[i], 0) - xs[i] * ls[i]
            ei = 0 if es[i] <= 1e-20 else es[i]
            ds[i] = ((1 if ls[i] >= 0 else ei) / (1 + ei) - xs[i]) / N
        outside[s] = count
        s = next_slice(work)


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
