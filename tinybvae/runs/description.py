"""What a model is, but for its weights: its layers, as JSON holds them."""

import json
from itertools import zip_longest

from tinybvae.layers import Layer, ReLU, Sequential
from tinybvae.runs.settings import as_json


def layers_of(model):
    """Both networks' layers, as JSON gives them back."""
    return json.loads(as_json({"encoder": _settings(model.encoder), "decoder": _settings(model.decoder)}))


def _settings(network):
    """[name, kind, settings, {parameter: shape}] of each layer: what makes it what it is, but for the weights."""
    return [[name, kind(layer), _settings(layer) if isinstance(layer, Sequential) else getattr(layer, "settings", {}),
             {p: [*array.shape] for p, array in layer.parameters.items()}] for name, layer in network.layers.items()]


def kind(layer):
    """The name of a layer's class, with "another" before it if the class is not ours: that may have the same name."""
    name = type(layer).__name__
    return name if type(layer).__module__ == Layer.__module__ else f"another {name}"


def name_of(architecture):
    return getattr(architecture, "__name__", type(architecture).__name__)


def difference(layers, others):
    """The first layer in which they differ, and how: text."""
    for side in layers:
        for one, other in zip_longest(layers[side], others[side]):
            if one != other:
                return f"in {side}: {as_json(one)} against {as_json(other)}".replace("another ", "own ")
    return "in their arrays"


def set_slopes(network, described):
    """Set the slopes of ReLUs, also in a chain within the chain: they may have changed since the model was made."""
    for (_, said, settings, _), layer in zip(described, network.layers.values()):
        if said == kind(layer) == "Sequential":
            set_slopes(layer, settings)
        elif said == kind(layer) and isinstance(layer, ReLU):
            layer.negative_slope = settings["negative_slope"]
