"""tinybvae: a β-VAE from scratch, made to be read. The public names, in the order that data flows."""

__version__ = "0.3.0"

from tinybvae import convolution, gradcheck, metrics
from tinybvae.data import DSprites, Images, load_data, render
from tinybvae.layers import Conv2d, ConvTranspose2d, Layer, Linear, ReLU, Reshape, Sequential, Tanh
from tinybvae.vae import BetaVAE, burgess2018, higgins2017, reparameterize, reparameterize_backward
from tinybvae.losses import (bernoulli, bernoulli_nll, beta_objective, capacity_objective, gaussian, gaussian_kl,
                             sigmoid)
from tinybvae.optimizers import Adagrad, Adam
from tinybvae.runs import Run, load, load_model, save, train

__all__ = [
    "DSprites", "Images", "load_data", "render",
    "Conv2d", "ConvTranspose2d", "Layer", "Linear", "ReLU", "Reshape", "Sequential", "Tanh",
    "BetaVAE", "burgess2018", "higgins2017", "reparameterize", "reparameterize_backward",
    "bernoulli", "bernoulli_nll", "beta_objective", "capacity_objective", "gaussian", "gaussian_kl", "sigmoid",
    "Adagrad", "Adam",
    "Run", "load", "load_model", "save",
    "train", "write_report",
    "convolution", "figures", "gradcheck", "metrics",
]


def __getattr__(name):
    """`figures` and `write_report`, once they are asked for: matplotlib takes as long to import as all the rest."""
    if name not in ("figures", "write_report"):
        raise AttributeError(f"module {__name__} has no attribute {name}")
    from tinybvae import report
    return globals().setdefault(name, getattr(report, name))


def __dir__():
    return sorted({*globals(), *__all__})
