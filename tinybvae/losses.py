"""The two terms of the β-VAE's loss, and the two objectives that weigh one against the other.

Sums over pixels and latents, means over the batch, nats everywhere. Each term returns its value together with its
derivative, and raises ValueError unless its two arrays have one shape: images and logits (N, …), mean and logvar
(N, D).
"""

import math

import numpy as np

from tinybvae.compiler import parallel
from tinybvae.memory import empty
from tinybvae.schedule import at, checked


def sigmoid(logits):
    """p = 1 / (1 + e^−l), by e^−|l|, which cannot overflow."""
    e = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1, e) / (1 + e)


def bernoulli_nll(logits, images):
    """Negative log-likelihood of the images in nats, and dlogits.

    With p = sigmoid(l), −log p(x) = −x log p − (1 − x) log(1 − p) = log(1 + eˡ) − x l, whose derivative by l is p − x.
    And log(1 + eˡ) = max(l, 0) + log(1 + e^−|l|), which cannot overflow.
    """
    _require_one_shape(logits, images)
    l, x, N = logits.reshape(-1), images.reshape(-1), len(images)
    e, nll, dlogits = (empty(l.shape, l.dtype) for _ in range(3))
    np.exp(np.negative(np.abs(l, out=e), out=e), out=e)
    np.log1p(e, out=nll)
    _finish(l, x, e, nll, dlogits, N)
    return nll.sum(dtype=np.float64) / N, dlogits.reshape(logits.shape)


@parallel
def _finish(l, x, e, nll, dlogits, N):
    """nll is log(1 + e^−|l|) so far; p is 1 / (1 + e) or e / (1 + e), as in `sigmoid`.

    What is below 1e-20 is 0 for the sums to come, and as 0 it leaves no subnormal numbers further down, where the
    backward pass multiplies it: with those, processors can take ten times as long.
    """
    nll += np.maximum(l, 0) - x * l
    e *= e > 1e-20
    dlogits[:] = (np.maximum(e, l >= 0) / (1 + e) - x) / N


def gaussian_kl(mean, logvar):
    """KL(N(mean, exp(logvar)) ‖ N(0, 1)) in nats of each latent (D,), and dmean, dlogvar of their sum.

    KL = ½ (μ² + σ² − 1 − log σ²)  (Kingma and Welling 2014, appendix B); by μ: μ, by log σ²: ½ (σ² − 1).
    """
    _require_one_shape(mean, logvar)
    N = len(mean)
    variance_minus_1 = np.expm1(logvar)
    kl = (mean ** 2 + variance_minus_1 - logvar) / 2
    return kl.sum(axis=0, dtype=np.float64) / N, mean / N, variance_minus_1 / (2 * N)


# An objective is a function (kl, step) -> (penalty, slope): what is added to the reconstruction loss for a KL of `kl`
# nats, and d(penalty)/d(kl), the one number by which the papers' backward passes differ. Its attribute `capacity`
# is the function of the step that KL is driven to.

def beta_objective(beta=4.0):
    """β · KL (Higgins et al. 2017, eq. 4), β a number or a schedule. Raises ValueError as `schedule.checked` does."""
    beta = checked("beta", beta)

    def objective(kl, step):
        slope = at(step, beta)
        return slope * kl, slope

    objective.capacity = lambda step: 0.0  # β · KL = β · |KL − 0|
    return objective


def capacity_objective(gamma=100.0, capacity=20.0, anneal_steps=100_000, anneal_power=1.0):
    """γ · |KL − C| (Burgess et al. 2018, eq. 8), C = capacity · min(1, step / anneal_steps)^anneal_power nats.

    γ is a number or a schedule. Power 1 is the paper's linear rise; 2 starts slowly. At KL = C the slope is 0, the
    middle of −γ and γ. Raises ValueError unless γ, anneal_steps and anneal_power are positive, capacity is at least 0,
    and all are finite.
    """
    gamma = checked("gamma", gamma)
    for name, number in (("anneal_steps", anneal_steps), ("anneal_power", anneal_power)):
        if not 0 < number < math.inf:
            raise ValueError(f"{name} must be positive and finite, not {number}")
    if not 0 <= capacity < math.inf:
        raise ValueError(f"capacity must be at least 0 nats and finite, not {capacity}")

    def annealed(step):
        return capacity * min(1.0, step / anneal_steps) ** anneal_power

    def objective(kl, step):
        excess, price = kl - annealed(step), at(step, gamma)
        return price * abs(excess), price * float(np.sign(excess))

    objective.capacity = annealed
    return objective


def _require_one_shape(a, b):
    if a.shape != b.shape:
        raise ValueError(f"the arrays must have one shape, not {a.shape} and {b.shape}")
