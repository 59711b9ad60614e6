"""What a chain of layers sees to, so that its `forward` and `backward` need not: names, copies, fusion."""

import copy
from collections import defaultdict
from contextlib import contextmanager

import numpy as np

from tinybvae.kernels import fusion
from tinybvae.kernels.arrays import Arrays, Joined, require_known_gradients, require_layer

BATCH = 64  # examples that `infer` has in memory at a time


class Chain:
    """Layers by name. Raises ValueError if one is no layer, or comes twice."""

    def __init__(self, layers):
        self.layers, self._kept = layers, defaultdict(set)  # {layer: the attributes that its `forward` gave it}
        self._places, self._joined = [], {}  # what `join` moved
        names = {}
        for name, layer in self.leaves().items():
            require_layer(layer, name)
            first = names.setdefault(id(layer), name)
            if first != name:
                raise ValueError(f"{first} and {name} are one layer: it keeps what its backward needs of one place "
                                 f"only: make two")
            if isinstance(layer.parameters, Arrays):
                layer.parameters.may_grow = False  # it is complete

    def leaves(self):
        """{name: layer}, those of a chain within the chain, too."""
        leaves = {}
        for name, layer in self.layers.items():
            inner = layer.leaves() if isinstance(layer, Chain) else {}
            leaves |= {f"{name}.{one}": leaf for one, leaf in inner.items()} or {name: layer}
        return leaves

    @contextmanager
    def passing(self, backward=False):
        """The layers in the order in which `forward`, or `backward`, goes through them; what they keep is noted.

        Each is asked for when the one before it is done: so a kernel can be told which ReLU takes what it makes.
        """
        layers = [*self.layers.values()]
        dicts = [*map(_attributes, layers)]
        had = [*map(len, dicts)]
        try:
            yield self._each(layers[::-1] if backward else layers, backward)
        finally:
            fusion.forget()
            if [*map(len, dicts)] != had:
                for name, own, count in zip(self.layers, dicts, had):
                    self._kept[name] |= {*[*own][count:]}  # Python keeps them in the order in which they came

    def _each(self, layers, backward):
        """A "product" is the only one to hold what it returns: so its kernel may apply the "relu" that takes it.

        There may be a "view" between them on the way back, a ReLU's y being at hand.
        """
        roles = [*map(_role, layers), None]
        for i, layer in enumerate(layers):
            if roles[i] == "product":
                after = i + 1
                while backward and roles[after] == "view":
                    after += 1
                relu = layers[after] if roles[after] == "relu" else None
                fusion.NOW.relu = relu and (relu.y if backward else None, relu.negative_slope)
                fusion.NOW.gradient = backward and isinstance(layer.gradients, Arrays) and layer.gradients["weight"]
            yield layer

    def join(self):
        """Move the parameters of all layers into one array, over which an optimizer passes at once; so later gradients.

        Only if all that have some are of ours: one of your own may know its arrays by other names, too. And of one
        dtype.
        """
        layers = {name: layer for name, layer in self.leaves().items() if layer.parameters}
        roles, dtypes = {*map(_role, layers.values())}, {array.dtype for array in self.parameters.values()}
        if roles == {"product"} and len(dtypes) == 1:
            arrays = Joined.of(self.parameters)
            self._joined = {"parameters": arrays}
            for name, layer in layers.items():
                layer.parameters = Arrays({p: arrays[f"{name}.{p}"] for p in layer.parameters})
                layer.gradients = Arrays(layer.gradients)
                self._places += [(layer, p, f"{name}.{p}") for p in layer.parameters]

    def renew_gradients(self):
        """Before a backward pass: those of the pass before stay as they are, for whoever holds them."""
        if self._places:
            gradients = self._joined["gradients"] = Joined(self._joined["parameters"].fields)
            for layer, p, name in self._places:
                dict.__setitem__(layer.gradients, p, gradients[name])

    def infer(self, x):
        """`forward` without a `backward` to come: nothing is kept, and memory does not grow with the examples."""
        return np.concatenate([copy.copy(self).forward(x[first:first + BATCH])
                               for first in range(0, max(len(x), 1), BATCH)])

    def __copy__(self):
        """Of other layers, which have the same parameters."""
        other = object.__new__(type(self))
        vars(other).update(vars(self), layers={name: copy.copy(layer) for name, layer in self.layers.items()})
        return other

    def __getstate__(self):
        bare = copy.copy(self)
        for name, layer in bare.layers.items():
            for kept in self._kept[name] & _attributes(layer).keys():
                delattr(layer, kept)
            if "gradients" in _attributes(layer):
                layer.gradients = {}
        return vars(bare) | {"_kept": defaultdict(set), "_places": [], "_joined": {}}

    def __setstate__(self, state):
        vars(self).update(state)
        for layer in self.layers.values():
            if "gradients" in _attributes(layer):
                layer.gradients = {name: np.zeros_like(p) for name, p in layer.parameters.items()}

    @property
    def parameters(self):
        return self._arrays("parameters")

    @parameters.setter
    def parameters(self, arrays):
        self.parameters.update(arrays)

    @property
    def gradients(self):
        return self._arrays("gradients")

    def _arrays(self, what):
        joined = self._joined.get(what)
        if joined and all(getattr(layer, what).get(p) is joined[name] for layer, p, name in self._places):
            return joined
        if what == "gradients":
            for name, layer in self.layers.items():
                require_known_gradients(layer, name)
        return Arrays({f"{name}.{p}": array for name, layer in self.layers.items()
                       for p, array in getattr(layer, what).items()})

    def __repr__(self):
        """A line a layer."""
        leaves = self.leaves()
        width = max(map(len, leaves), default=0)
        return "\n".join([f"{type(self).__name__} of {sum(p.size for p in self.parameters.values()):,} parameters",
                          *(f"  {name:{width}}  {layer!r}" for name, layer in leaves.items())])


def _attributes(layer):
    return getattr(layer, "__dict__", {})


def _role(layer):
    """A class says it itself: one made from it may do otherwise; so may who puts a function in a method's place."""
    role = type(layer).__dict__.get("role")
    return None if role and ("forward" in layer.__dict__ or "backward" in layer.__dict__) else role
