"""The three loops of a strided convolution, plainly: what the kernels compute, and their oracle.

Every convolution of Burgess's network is 4×4, stride 2, padding 1: it halves an image, its transpose doubles one.
With `big` padded by one pixel of zeros, one trilinear form holds every forward and backward pass of both layers,

    Σ big[n, 2i+p, 2j+q, c] · w[p, q, c, o] · small[n, i, j, o]     (sum over n, i, j, p, q, c, o)

and each function below is its derivative by one of the three arrays; the first two can add a bias.

Shapes: big (N, 2H, 2W, C), w (4, 4, C, O), small (N, H, W, O).
"""

import numpy as np


def pad(big):
    """Surround each image with one pixel of zeros: (N, 2H, 2W, C) -> (N, 2H+2, 2W+2, C)."""
    return np.pad(big, ((0, 0), (1, 1), (1, 1), (0, 0)))


def conv2d(big, w, bias=0):
    """small[n,i,j,o] = bias[o] + Σ_pqc big[n,2i+p,2j+q,c] · w[p,q,c,o]"""
    N, H, W, O = len(big), big.shape[1] // 2, big.shape[2] // 2, w.shape[3]
    padded, small = pad(big), np.full((N, H, W, O), bias, big.dtype)
    for p, q in np.ndindex(4, 4):
        small += padded[:, p:p + 2 * H:2, q:q + 2 * W:2] @ w[p, q]
    return small


def conv2d_transpose(small, w, bias=0):
    """big[n,y,x,c] = bias[c] + Σ small[n,i,j,o] · w[p,q,c,o] over all i,j,p,q,o with 2i+p = y+1 and 2j+q = x+1"""
    N, H, W, C = *small.shape[:3], w.shape[2]
    padded = np.full((N, 2 * H + 2, 2 * W + 2, C), bias, small.dtype)
    for p, q in np.ndindex(4, 4):
        padded[:, p:p + 2 * H:2, q:q + 2 * W:2] += small @ w[p, q].T
    return padded[:, 1:-1, 1:-1].copy()


def conv2d_weight(big, small):
    """w[p,q,c,o] = Σ_nij big[n,2i+p,2j+q,c] · small[n,i,j,o]"""
    H, W, C, O = *small.shape[1:3], big.shape[3], small.shape[3]
    padded, w = pad(big), np.zeros((4, 4, C, O), big.dtype)
    for p, q in np.ndindex(4, 4):
        w[p, q] = np.tensordot(padded[:, p:p + 2 * H:2, q:q + 2 * W:2], small, ([0, 1, 2], [0, 1, 2]))
    return w


# Plain twins of the other functions in `kernels`.

def matmul(a, b):
    """c[m,n] = Σ_k a[m,k] · b[k,n], the product of the linear layers"""
    return a @ b


def sum_pixels(y):
    """The sum of y (N, H, W, O) over all but its channels: (O,)"""
    return y.sum(axis=(0, 1, 2))


def relu(x, y):
    """y = max(x, 0)"""
    np.maximum(x, 0, out=y)


def relu_backward(dy, y, dx):
    """dx = dy where y > 0, else 0"""
    dx[...] = np.where(y > 0, dy, 0)
