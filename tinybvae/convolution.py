"""The three loops of a strided convolution, plainly.

A call of one of these functions runs its fast twin in `kernels`. What stands here is its `.plain`, which is run instead
if NUMBA_DISABLE_JIT=1.

Every convolution of Burgess's network is 4×4, stride 2, padding 1: it halves an image's height and width, its transpose
doubles them. Let `padded` be the images `big` with one pixel of zeros around each, and p, q = 0 … 3:

    conv2d(big, w)[n, i, j, o]  =  Σ padded[n, 2i+p, 2j+q, c] · w[p, q, c, o]                         over p, q and c

(Mathematicians call this a cross-correlation. In their convolution w is turned round, which makes no difference if w is
learnt.) Multiply the result, entry by entry, by any array `small` of the same shape, and sum everything:

    F(big, w, small)  =  Σ padded[n, 2i+p, 2j+q, c] · w[p, q, c, o] · small[n, i, j, o]     over n, i, j, p, q, c and o

F is linear in each of its arrays. So the derivative of F with respect to one entry is what that entry is multiplied by:
keep the entry's indices fixed, and sum over the others. (For an entry of big, sum over all i and p such that 2i+p is
its row in `padded`, and all j and q such that 2j+q is its column.) The three functions below are these derivatives
(without bias),

    conv2d = ∂F/∂small        conv2d_transpose = ∂F/∂big        conv2d_weight = ∂F/∂w

which are all that backpropagation needs. Let ⟨a, b⟩ be the sum of the products of a's and b's entries. Take a layer
y = conv2d(x, w), with dy = ∂L/∂y for a loss L: when x or w changes a little, L changes by ⟨change of y, dy⟩. Since
⟨y, dy⟩ = F(x, w, dy), this is by how much F(x, w, dy) changes while dy is held fixed. Hence

    dx = conv2d_transpose(dy, w)        dw = conv2d_weight(x, dy)

For all x and small, ⟨conv2d(x, w), small⟩ = ⟨x, conv2d_transpose(small, w)⟩, since both sides are F(x, w, small). For
this reason the transpose is called the adjoint: it is to the convolution what Aᵀ is to a matrix A. It leads from small
to big, which is what a decoder needs: the decoder's layers are y = conv2d_transpose(x, w), with weights of their own.
There x is the small one and y the big one, so ⟨y, dy⟩ is F(dy, w, x), and hence

    dx = conv2d(dy, w)                  dw = conv2d_weight(dy, x)

Shapes: big (N, 2H, 2W, C), w (4, 4, C, O), small (N, H, W, O); channels come last. The first two functions can add a
bias, one number for each channel; the derivative with respect to it is the sum of dy over images and pixels.
"""

import numpy as np

from tinybvae import kernels
from tinybvae.kernels import accelerated


def pad(big):
    """Surround each image with one pixel of zeros: (N, 2H, 2W, C) -> (N, 2H+2, 2W+2, C)."""
    return np.pad(big, ((0, 0), (1, 1), (1, 1), (0, 0)))


@accelerated(kernels.conv2d)
def conv2d(big, w, bias=0):
    """small[n,i,j,o] = bias[o] + Σ_pqc padded[n,2i+p,2j+q,c] · w[p,q,c,o]"""
    N, H, W, O = len(big), big.shape[1] // 2, big.shape[2] // 2, w.shape[3]
    padded, small = pad(big), np.full((N, H, W, O), bias, big.dtype)
    for p, q in np.ndindex(4, 4):
        small += padded[:, p:p + 2 * H:2, q:q + 2 * W:2] @ w[p, q]
    return small


@accelerated(kernels.conv2d_transpose)
def conv2d_transpose(small, w, bias=0):
    """padded[n,2i+p,2j+q,c] += Σ_o small[n,i,j,o] · w[p,q,c,o], for all i, j, p and q, starting from bias[c]

    Returns big, which is padded without its border.
    """
    N, H, W, C = *small.shape[:3], w.shape[2]
    padded = np.full((N, 2 * H + 2, 2 * W + 2, C), bias, small.dtype)
    for p, q in np.ndindex(4, 4):
        padded[:, p:p + 2 * H:2, q:q + 2 * W:2] += small @ w[p, q].T
    return padded[:, 1:-1, 1:-1].copy()


@accelerated(kernels.conv2d_weight)
def conv2d_weight(big, small):
    """w[p,q,c,o] = Σ_nij padded[n,2i+p,2j+q,c] · small[n,i,j,o]"""
    H, W, C, O = *small.shape[1:3], big.shape[3], small.shape[3]
    padded, w = pad(big), np.zeros((4, 4, C, O), big.dtype)
    for p, q in np.ndindex(4, 4):
        w[p, q] = np.tensordot(padded[:, p:p + 2 * H:2, q:q + 2 * W:2], small, ([0, 1, 2], [0, 1, 2]))
    return w


@accelerated(kernels.sum_pixels)
def sum_pixels(y):
    """Σ y[n,i,j,o] over n, i and j: for y = dy the derivative with respect to a bias, which is added to each pixel"""
    return y.sum(axis=(0, 1, 2))
