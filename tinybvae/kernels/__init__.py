"""The engine: fast twins of the course's loops, and what else a training step passes over. README.md says how.

Each raises ValueError for arrays that do not fit together.
"""

from tinybvae.kernels.convolution import conv2d, conv2d_transpose, conv2d_weight
from tinybvae.kernels.passes import adagrad, adam, bernoulli_nll, relu, relu_backward, sum_pixels
from tinybvae.kernels.polygons import fill
from tinybvae.kernels.products import linear, matmul
from tinybvae.kernels.twins import accelerated

__all__ = ["accelerated", "adagrad", "adam", "bernoulli_nll", "conv2d", "conv2d_transpose", "conv2d_weight", "fill",
           "linear", "matmul", "relu", "relu_backward", "sum_pixels"]
