"""What a model is, but for its weights, as JSON: its layers and its likelihood."""

import json
from itertools import zip_longest

import numpy as np

from tinybvae.layers import Layer, Sequential
from tinybvae.losses import Bernoulli, Gaussian, bernoulli


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


def likelihood_of(text):
    """The likelihood that a setting describes: "bernoulli" or "gaussian:SIGMA". Raises ValueError for another."""
    name, _, sigma = str(text).partition(":")
    if name == "gaussian" and sigma:
        return Gaussian(float(sigma))
    if text != "bernoulli":
        raise ValueError(f"likelihood must be \"bernoulli\" or \"gaussian:SIGMA\", such as gaussian:0.1, not {text!r}")
    return bernoulli


def likelihood_text(likelihood):
    """The setting that `likelihood_of` reads; for one that is not ours, its class and its `settings`, to be compared.

    Raises ValueError for settings that JSON does not have.
    """
    if type(likelihood) is Gaussian:
        return f"gaussian:{float(likelihood.sigma)!r}"
    if type(likelihood) is Bernoulli:
        return "bernoulli"
    return f"own {type(likelihood).__name__} {as_json(getattr(likelihood, 'settings', {}))}"


def as_json(value, **how):
    """JSON's text of a value in which numbers may be NumPy's. Raises ValueError for what JSON does not have."""
    def plain(value):
        if not isinstance(value, (np.generic, np.ndarray)):
            raise ValueError(f"{value!r} cannot be stored: JSON has no {type(value).__name__}")
        return value.tolist()

    try:
        return json.dumps(value, default=plain, **how)
    except TypeError as error:
        raise ValueError(f"{value!r} cannot be stored: {error}") from error
