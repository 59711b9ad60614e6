"""The three loops of a strided convolution, plainly: what the network computes, and the oracle of the fast `kernels`.

Every convolution of Burgess's network is 4×4, stride 2, padding 1: it halves an image, its transpose doubles one. Let
`big` be images, padded by one pixel of zeros. Multiply what the convolution makes of them by any `small` and sum up:

    F(big, w, small)  =  ⟨conv2d(big, w), small⟩  =  Σ big[n, 2i+p, 2j+q, c] · w[p, q, c, o] · small[n, i, j, o]

over n, i, j, p, q, c and o. F is linear in each of its arrays, so the derivative by one of them is its coefficient: the
same sum, solved for that array. These are the three functions below, and all that backpropagation needs:

    conv2d            ∂F/∂small         conv2d_transpose  ∂F/∂big         conv2d_weight     ∂F/∂w

Let y = conv2d(x, w), and dy = ∂L/∂y for a loss L. When x or w changes a little, L changes by ⟨change of y, dy⟩, and
that is the change of F(x, w, dy). Hence dx = conv2d_transpose(dy, w) and dw = conv2d_weight(x, dy).

⟨conv2d(x, w), y⟩ = ⟨x, conv2d_transpose(y, w)⟩ says that the transpose is the adjoint, as Wᵀ is W's in a linear layer.
The decoder's layer, y = conv2d_transpose(x, w), takes F with small and big exchanged: dx = conv2d(dy, w), and
dw = conv2d_weight(dy, x).

Shapes: big (N, 2H, 2W, C), w (4, 4, C, O), small (N, H, W, O). The first two functions can add a bias.
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
