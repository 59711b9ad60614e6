"""Parameters: arrays by name, and how they start.

Weights start as He et al. 2015 proposed, with variance 2 / fan_in, so that a chain of ReLUs neither fades nor explodes;
biases start at zero.
"""

from collections.abc import MutableMapping

import numpy as np


class Arrays(dict):
    """{name: array} of arrays that others hold, too: to assign one is to write into it.

    Raises ValueError for other names, or fewer, unless it may grow, and for another shape or kind of numbers.
    """

    may_grow = False
    update, setdefault = MutableMapping.update, MutableMapping.setdefault  # by __setitem__, unlike a dict's
    pop, popitem, clear = MutableMapping.pop, MutableMapping.popitem, MutableMapping.clear  # by __delitem__

    def __setitem__(self, name, array):
        if name not in self and self.may_grow:
            return super().__setitem__(name, array)
        if name not in self:
            raise ValueError(f"there is no {name!r}: names are such as {next(iter(self), 'none')}")
        array, own = np.asarray(array), self[name]
        if array.shape != own.shape or array.dtype.kind not in "biuf":
            raise ValueError(f"{name} takes {own.dtype} of shape {own.shape}, not {array.dtype} of {array.shape}")
        own[...] = array

    def __delitem__(self, name):
        if not self.may_grow:
            raise ValueError(f"{name!r} stays: a model's names are those of its layers")
        super().__delitem__(name)

    def __ior__(self, other):
        self.update(other)
        return self

    def __reduce__(self):
        return Arrays, (dict(self),), vars(self)


def he_normal(shape, fan_in, rng, dtype):
    """Weights with variance 2 / fan_in (He et al. 2015, eq. 10). Raises ValueError for a size below 1."""
    if min(shape) < 1:
        raise ValueError(f"inputs and outputs must be at least 1, not those of a weight of shape {shape}")
    return (rng.standard_normal(shape) * np.sqrt(2 / fan_in)).astype(dtype)


def uniform_start(parameters, rng):
    """Give weights and biases, {name: array}, another start, uniform in ±1/√fan_in, as miyosuda's do.

    fan_in is the number of weights for an output, in a transposed convolution too: 16 times its input channels.
    """
    for name, weight in parameters.items():
        if name.endswith("weight"):
            bias = parameters[name.removesuffix("weight") + "bias"]
            for p in weight, bias:
                p[...] = rng.uniform(-1, 1, p.shape) / np.sqrt(weight.size / len(bias))
