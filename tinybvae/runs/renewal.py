"""New units for an old code: most of both networks is drawn anew, but what the encoder tells the decoder stays.

A network that has long had little to learn becomes unable to learn more: its units are alike, or off ("loss of
plasticity", Dohare et al. 2024; "primacy bias", Nikishin et al. 2022, who draw layers anew). This happens here once γ
and C have allowed the code to tell nothing but place and scale: thousands of further steps then teach neither shape nor
orientation.
"""

import numpy as np

from tinybvae.layers import Conv2d, ConvTranspose2d, Linear, he_normal
from tinybvae.losses import gaussian_kl
from tinybvae.metrics import UNUSED

PART = .75  # of a hidden layer's units


def renew(model, optimizer, images, rng):
    """Draw anew, in place, the PART of each hidden layer's units that matter least, and the latents that are shut.

    How much a unit matters is its mean |y| over images (N, height, width, channels), times the norm of the weights that
    lead from it. The weights that lead from new units to units that stay, to pixels and to open latents (KL ≥ UNUSED)
    are 0 at first: so what these say changes little. Where weights begin anew, the optimizer's moments do, too, from 0.

    Raises ValueError for networks whose layers with parameters are other than Linear, Conv2d and ConvTranspose2d.
    """
    weighted = {name: _weighted(getattr(model, name)) for name in ("encoder", "decoder")}
    images = np.asarray(images, model.dtype)
    mean, logvar = model.encode(images)
    shut = gaussian_kl(mean, logvar)[0] < UNUSED
    none = np.zeros(model.image_shape[-1], bool)  # of a pixel's channels is new
    for name, x, first, last in [("encoder", images, none, np.tile(shut, 2)), ("decoder", mean, shut, none)]:
        new = [first, *_least(getattr(model, name), weighted[name], x), last]  # of each layer's inputs, and the outputs
        for (inner, layer), new_in, new_out in zip(weighted[name].items(), new, new[1:]):
            new_out = np.tile(new_out, len(layer.parameters["bias"]) // len(new_out))
            for arrays, drawn in _drawn(layer, f"{name}.{inner}", model, optimizer, rng):
                weight, anew = (_by_units(layer, array, len(new_in)) for array in (arrays["weight"], drawn))
                weight[..., new_out] = anew[..., new_out]
                weight[:, new_in[:, None] & ~new_out] = 0
                arrays["bias"][new_out] = 0


def _weighted(network):
    """{name: layer} of those with parameters."""
    layers = {name: layer for name, layer in network.layers.items() if layer.parameters}
    if not all(isinstance(layer, (Linear, Conv2d, ConvTranspose2d)) for layer in layers.values()):
        raise ValueError(f"new units can be drawn for Linear, Conv2d and ConvTranspose2d, not for all of {network!r}")
    return layers


def _least(network, layers, x):
    """For each layer but the first, (units,) bool: which of its inputs belong to the PART that matters least?

    Between a convolution and a Linear, a unit is a channel.
    """
    least, before = [], None
    for name, layer in network.layers.items():
        if name in layers:
            if before:
                units = min(x.shape[-1], len(before.parameters["bias"]))
                w = _by_units(layer, layer.parameters["weight"], units)
                matters = np.abs(x).reshape(-1, units).mean(axis=0) * np.sqrt((w * w).sum(axis=(0, 2)))
                least.append(matters.argsort(kind="stable").argsort() < round(PART * units))
            before = layer
        x = layer.forward(x)
    return least


def _by_units(layer, weight, inputs):
    """A layer's weight, or an array like it, as a view (taps, inputs, outputs)."""
    if isinstance(layer, ConvTranspose2d):
        return weight.reshape(-1, *weight.shape[2:]).swapaxes(1, 2)
    return weight.reshape(-1, inputs, weight.shape[-1])


def _drawn(layer, name, model, optimizer, rng):
    """[({"weight", "bias"}, new values of the weight)]: for a layer's parameters by `he_normal`, for moments 0."""
    weight, taps_met = layer.parameters["weight"], 4 if isinstance(layer, ConvTranspose2d) else 1  # see its docstring
    drawn = he_normal(weight.shape, weight.size // len(layer.parameters["bias"]) // taps_met, rng, model.dtype)
    moments = [{kind: moment[f"{name}.{kind}"] for kind in ("weight", "bias")} for moment in optimizer.moments.values()]
    return [(layer.parameters, drawn), *((arrays, np.zeros_like(drawn)) for arrays in moments)]
