"""The kernels' plain twins, in NumPy: what each computes, and what runs under NUMBA_DISABLE_JIT=1, for a debugger."""

import numpy as np

from tinybvae.convolution import conv2d, conv2d_transpose, conv2d_weight

__all__ = ["conv2d", "conv2d_transpose", "conv2d_weight", "matmul", "sum_pixels", "relu", "relu_backward"]


def matmul(a, b):
    """c[m,n] = Σ_k a[m,k] · b[k,n]"""
    return a @ b


def sum_pixels(y):
    """The sum of y (N, H, W, O) over all but its channels: (O,)"""
    return y.sum(axis=(0, 1, 2))


def relu(x, negative_slope, y=None):
    """y = x where x > 0, else negative_slope · x"""
    y = np.empty_like(x) if y is None else y
    y[...] = np.where(x > 0, x, negative_slope * x)
    return y


def relu_backward(dy, y, negative_slope, dx=None):
    """dx = dy where y > 0, else negative_slope · dy"""
    dx = np.empty_like(dy) if dx is None else dx
    dx[...] = np.where(y > 0, dy, negative_slope * dy)
    return dx
