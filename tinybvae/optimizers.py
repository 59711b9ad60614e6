"""Adam (both papers' reproductions) and Adagrad (Higgins et al.): parameters change in place, moments are kept."""

import math

import numpy as np


class Optimizer:
    """`parameters` {name: array}, changed in place; `moments` {name: {parameter: array}}; `t`, the updates so far."""

    def __init__(self, parameters, moments, **settings):
        for name, value in settings.items():
            if not 0 <= value < math.inf or (name == "learning_rate" and value == 0):
                raise ValueError(f"{name} must be positive and finite, not {value}")
        self.parameters, self.settings, self.t = parameters, settings, 0
        self.moments = {m: {name: np.zeros_like(p) for name, p in parameters.items()} for m in moments}


class Adam(Optimizer):
    """Kingma and Ba 2015, algorithm 1. Raises ValueError for a rate that is not positive and finite."""

    def __init__(self, parameters, learning_rate=5e-4, beta1=0.9, beta2=0.999, epsilon=1e-8):
        super().__init__(parameters, ("m", "v"),
                         learning_rate=learning_rate, beta1=beta1, beta2=beta2, epsilon=epsilon)

    def update(self, gradients):
        """m ← β₁ m + (1 − β₁) g;  v ← β₂ v + (1 − β₂) g²;  θ ← θ − α · m̂ / (√v̂ + ε)

        m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ) take away the pull of the zeros that m and v start from.
        """
        rate, beta1, beta2, epsilon = self.settings.values()
        self.t += 1
        for name, p in self.parameters.items():
            g, m, v = gradients[name], self.moments["m"][name], self.moments["v"][name]
            m += (1 - beta1) * (g - m)
            v += (1 - beta2) * (g * g - v)
            v_hat = v / (1 - beta2 ** self.t)
            p -= rate / (1 - beta1 ** self.t) * m / (np.sqrt(v_hat) + epsilon)


class Adagrad(Optimizer):
    """Duchi et al. 2011, diagonal. Raises ValueError for a rate that is not positive and finite."""

    def __init__(self, parameters, learning_rate=1e-2, epsilon=1e-10):
        super().__init__(parameters, ("v",), learning_rate=learning_rate, epsilon=epsilon)

    def update(self, gradients):
        """v ← v + g²;  θ ← θ − α · g / (√v + ε)"""
        rate, epsilon = self.settings.values()
        self.t += 1
        for name, p in self.parameters.items():
            g, v = gradients[name], self.moments["v"][name]
            v += g * g
            p -= rate * g / (np.sqrt(v) + epsilon)
