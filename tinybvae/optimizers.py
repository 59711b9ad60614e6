"""Adam (Burgess et al.) and Adagrad (Higgins et al.): parameters change in place, moments are kept."""

import numpy as np

from tinybvae.compiler import parallel
from tinybvae.schedule import at, checked


class Optimizer:
    """`parameters` {name: array}, changed in place; `moments` {name: {parameter: array}}; `t`, the updates so far.

    `update` takes gradients by the parameters' names. The learning rate and ε are numbers or schedules, by the updates
    done. Raises ValueError for settings out of range, and for parameters that are not contiguous.
    """

    def __init__(self, parameters, moments, learning_rate, epsilon, **decays):
        self.settings = {"learning_rate": checked("learning_rate", learning_rate),
                         "epsilon": 0.0 if epsilon == 0 else checked("epsilon", epsilon)}
        for name, value in decays.items():
            if not 0 <= value < 1:
                raise ValueError(f"{name} must lie in [0, 1), not {value}")
            self.settings[name] = float(value)
        if not all(p.flags.c_contiguous for p in parameters.values()):
            raise ValueError("parameters must be C-contiguous: others cannot be changed in place")
        self.parameters, self.t = parameters, 0
        self.moments = {m: {name: np.zeros_like(p) for name, p in parameters.items()} for m in moments}

    def _numbers(self):
        return [at(self.t, setting) for setting in self.settings.values()]


class Adam(Optimizer):
    """Kingma and Ba 2015, algorithm 1. Raises ValueError unless rate > 0, 0 ≤ β₁, β₂ < 1 and ε ≥ 0."""

    def __init__(self, parameters, learning_rate=5e-4, beta1=0.9, beta2=0.999, epsilon=1e-8):
        super().__init__(parameters, ("m", "v"), learning_rate, epsilon, beta1=beta1, beta2=beta2)

    def update(self, gradients):
        """m ← β₁ m + (1 − β₁) g;  v ← β₂ v + (1 − β₂) g²;  θ ← θ − α · m̂ / (√v̂ + ε)

        m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ) take away the pull of the zeros that m and v start from.
        """
        rate, epsilon, beta1, beta2 = self._numbers()
        self.t += 1
        numbers = (1 - beta1, 1 - beta2, rate / (1 - beta1 ** self.t), 1 / (1 - beta2 ** self.t), epsilon)
        for name, p in self.parameters.items():
            _adam(*_flat(p, gradients[name], self.moments["m"][name], self.moments["v"][name]),
                  *map(p.dtype.type, numbers))


@parallel
def _adam(p, g, m, v, m_rate, v_rate, p_rate, v_scale, epsilon):
    m += m_rate * (g - m)
    m *= np.abs(m) > 1e-30  # a dead unit's m would stay subnormal (`losses._finish`)
    v += v_rate * (g * g - v)
    p -= p_rate * m / (np.sqrt(v_scale * v) + epsilon)


class Adagrad(Optimizer):
    """Duchi et al. 2011, diagonal. Raises ValueError unless rate > 0 and ε ≥ 0."""

    def __init__(self, parameters, learning_rate=1e-2, epsilon=1e-10):
        super().__init__(parameters, ("v",), learning_rate, epsilon)

    def update(self, gradients):
        """v ← v + g²;  θ ← θ − α · g / (√v + ε)"""
        rate, epsilon = self._numbers()
        self.t += 1
        for name, p in self.parameters.items():
            _adagrad(*_flat(p, gradients[name], self.moments["v"][name]), *map(p.dtype.type, (rate, epsilon)))


@parallel
def _adagrad(p, g, v, rate, epsilon):
    v += g * g
    p -= rate * g / (np.sqrt(v) + epsilon)


def _flat(*arrays):
    return [array.reshape(-1) for array in arrays]
