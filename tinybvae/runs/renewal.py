"""A new encoder that says what the old one said: most of its units are drawn anew, and what the decoder hears stays.

A network that has long had little to learn becomes unable to learn more: its units are alike, or off ("loss of
plasticity", Dohare et al. 2024; "primacy bias", Nikishin et al. 2022, who draw layers anew). So here: an encoder that
C has held to place and scale has nothing left that shape and orientation could grow from.
"""

import numpy as np

from tinybvae.layers import Conv2d, Linear, he_normal
from tinybvae.losses import gaussian_kl
from tinybvae.metrics import UNUSED

PART = .75  # of a hidden layer's units


def renew_encoder(model, optimizer, images, rng):
    """Draw anew the PART of each hidden layer's units that matter least, shut latents, and what the decoder hears of
    these.

    A unit matters as much as its mean |y|, of images (N, height, width, channels), times the norm of what it sends on.
    To units that stay, and latents that are open (KL ≥ UNUSED), new ones send nothing at first: so these change little.
    The optimizer's moments begin again, from 0, wherever weights do. Raises ValueError for an encoder whose layers with
    parameters are not Linear and Conv2d.
    """
    layers = {name: layer for name, layer in model.encoder.layers.items() if layer.parameters}
    if not all(isinstance(layer, (Linear, Conv2d)) for layer in layers.values()):
        raise ValueError(f"a new encoder can be drawn where all is Linear or Conv2d, not in {model.encoder!r}")
    kl, _, _ = gaussian_kl(*model.encode(images))
    shut = kl < UNUSED
    new = [*_least(model.encoder, layers, np.asarray(images, model.dtype)), np.tile(shut, 2)]  # of each layer's inputs, and the latents
    for name, new_in, new_out in zip(layers, new, new[1:]):
        weight = model.parameters[f"encoder.{name}.weight"]
        drawn = he_normal(weight.shape, weight.size // len(new_out), rng, model.dtype)
        for arrays, anew in _arrays(model, optimizer, drawn):
            w = arrays[f"encoder.{name}.weight"].reshape(-1, len(new_in), len(new_out))
            w[..., new_out] = anew.reshape(w.shape)[..., new_out]
            w[:, new_in[:, None] & ~new_out] = 0
            arrays[f"encoder.{name}.bias"][new_out] = 0
    first = next(name for name in model.parameters if name.startswith("decoder."))
    drawn = he_normal(model.parameters[first].shape, model.latents, rng, model.dtype)
    for arrays, anew in _arrays(model, optimizer, drawn):
        arrays[first][shut] = anew[shut]


def _least(encoder, layers, images):
    """Of each layer's inputs, (units,) bool: whether they are of the PART that matters least. No channel of a pixel is.
    """
    least, x = [], images
    for name, layer in encoder.layers.items():
        if name in layers:
            units = x.shape[-1] if not least else len(last.parameters["bias"])
            w = layer.parameters["weight"].reshape(-1, units, len(layer.parameters["bias"]))
            matters = np.abs(x).reshape(-1, units).mean(axis=0) * np.sqrt((w * w).sum(axis=(0, 2)))
            rank = matters.argsort(kind="stable").argsort()
            least.append(rank < round(PART * units) * bool(len(least)))
            last = layer
        x = layer.forward(x)
    return least


def _arrays(model, optimizer, drawn):
    """All that has an array for each parameter, and what shall stand there anew: weights as drawn, zeros elsewhere."""
    return [(model.parameters, drawn), *((moment, np.zeros_like(drawn)) for moment in optimizer.moments.values())]
