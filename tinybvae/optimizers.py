"""Adam (used by Burgess et al.) and Adagrad (by Higgins et al.) change parameters in place, by the gradients so far."""

import numpy as np

from tinybvae import kernels
from tinybvae.kernels import accelerated
from tinybvae.kernels.arrays import flat, zeros_like
from tinybvae.schedule import as_schedule, value_at


class Optimizer:
    """`parameters` {name: array}, changed in place; `moments` {name: {parameter: array}}; `t`, the updates so far.

    Moments are what is kept of past gradients. `update` takes gradients {name: array}, by the parameters' names. The
    learning rate and eps are numbers, or schedules whose step is the number of updates done. eps must not be 0: where a
    gradient was always 0, as at a dead unit, an update would be 0/0. Raises ValueError for settings out of range, for
    parameters that are not contiguous, writeable and float32 or float64, and for gradients of another shape or dtype.
    """

    def __init__(self, parameters, moments, learning_rate, eps, **decays):
        for name, decay in decays.items():
            if not 0 <= decay < 1:
                raise ValueError(f"{name} must lie in [0, 1), not {decay}")
        if not hasattr(parameters, "items"):
            raise ValueError(f"an optimizer takes model.parameters, {{name: array}}, not {type(parameters).__name__}")
        for name, p in parameters.items():
            if not (p.flags.c_contiguous and p.flags.writeable and p.dtype in (np.float32, np.float64)):
                raise ValueError(f"parameters must be C-contiguous, writeable and float32 or float64: {name}, "
                                 f"{p.dtype}, cannot be changed in place")
        self.settings = {"learning_rate": as_schedule("learning_rate", learning_rate), "eps": as_schedule("eps", eps),
                         **{name: float(decay) for name, decay in decays.items()}}
        self.parameters, self.t = parameters, 0
        self.moments = {moment: zeros_like(parameters) for moment in moments}

    def _rows(self, gradients):
        """Rows [parameter, gradient, moments …], each flat (n,): one for each parameter, or one for all if joined."""
        dicts = self.parameters, gradients, *self.moments.values()
        joined = flat(*dicts)
        if joined:
            return [joined]
        for name, p in self.parameters.items():
            g = gradients.get(name, p[:0])
            if g.shape != p.shape or g.dtype != p.dtype:
                raise ValueError(f"there must be a gradient of {name}, {p.dtype} of shape {p.shape}")
        return [[arrays[name].reshape(-1) for arrays in dicts] for name in self.parameters]

    def __repr__(self):
        said = ", ".join(f"{name}={value}" for name, value in self.settings.items())
        return f"{type(self).__name__}({said}) after {self.t:,} updates"

    def now(self, setting):
        """The value of one of `settings` for the next update."""
        return value_at(self.settings[setting], self.t)


@accelerated(kernels.adam)
def adam(p, g, m, v, rate, beta1, beta2, eps, t):
    """m ← β₁ m + (1 − β₁) g;  v ← β₂ v + (1 − β₂) g²;  p ← p − rate · m̂ / (√v̂ + eps), in place; the t-th update

    m and v are running means of g and g². They start from 0, and so are too small at first: m̂ = m / (1 − β₁ᵗ) and
    v̂ = v / (1 − β₂ᵗ) correct this.
    """
    m += (1 - beta1) * (g - m)
    v += (1 - beta2) * (g * g - v)
    p -= rate * (m / (1 - beta1 ** t)) / (np.sqrt(v / (1 - beta2 ** t)) + eps)


class Adam(Optimizer):
    """Kingma and Ba 2015, algorithm 1. Raises ValueError unless rate and eps > 0 and 0 ≤ β₁, β₂ < 1."""

    def __init__(self, parameters, learning_rate=5e-4, beta1=0.9, beta2=0.999, eps=1e-8):
        super().__init__(parameters, ("m", "v"), learning_rate, eps, beta1=beta1, beta2=beta2)

    def update(self, gradients):
        """Apply `adam` to each parameter."""
        rows = self._rows(gradients)
        rate, eps, beta1, beta2 = map(self.now, ("learning_rate", "eps", "beta1", "beta2"))
        self.t += 1
        for p, g, m, v in rows:
            adam(p, g, m, v, rate, beta1, beta2, eps, self.t)


@accelerated(kernels.adagrad)
def adagrad(p, g, v, rate, eps):
    """v ← v + g²;  p ← p − rate · g / (√v + eps), in place"""
    v += g * g
    p -= rate * g / (np.sqrt(v) + eps)


class Adagrad(Optimizer):
    """Duchi et al. 2011, the diagonal version. Raises ValueError unless rate and eps > 0."""

    def __init__(self, parameters, learning_rate=1e-2, eps=1e-10):
        super().__init__(parameters, ("v",), learning_rate, eps)

    def update(self, gradients):
        """Apply `adagrad` to each parameter."""
        rows = self._rows(gradients)
        rate, eps = map(self.now, ("learning_rate", "eps"))
        self.t += 1
        for p, g, v in rows:
            adagrad(p, g, v, rate, eps)


OPTIMIZERS = {optimizer.__name__: optimizer for optimizer in (Adam, Adagrad)}
