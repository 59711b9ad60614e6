"""The two terms of the β-VAE's loss, and the two objectives that weigh one against the other.

Sums over pixels and latents, means over the batch, nats everywhere. Each term returns its value together with its
derivative, and raises ValueError unless its two arrays have one shape: images and logits (N, …), mean and logvar
(N, D), of N ≥ 1.
"""

from functools import partial

import numpy as np

from tinybvae import kernels
from tinybvae.kernels import accelerated
from tinybvae.kernels.arrays import require_one_shape, require_pixels
from tinybvae.schedule import as_schedule, value_at


@np.errstate(under="ignore")  # whatever the caller's is: what is too small is 0
def sigmoid(logits):
    """p = 1 / (1 + e^−l), computed from e^−|l|, which cannot overflow."""
    e = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1, e) / (1 + e)


@accelerated(kernels.bernoulli_nll)
@np.errstate(under="ignore")
def bernoulli_nll(logits, images):
    """Negative log-likelihood of the images in nats, and dlogits.

    Given z, pixels are independent: −log p(x|z) is a sum over them. From here on x is one pixel, white with the
    probability p = sigmoid(l): its log-likelihood is x log p + (1 − x) log(1 − p). Since log p = l − log(1 + eˡ) and
    log(1 − p) = −log(1 + eˡ),

        its negative is log(1 + eˡ) − x l,  and the derivative of that by l is p − x

    (Kingma and Welling 2014, appendix C.1); both are divided by N for the batch's mean. `logaddexp` computes
    log(1 + eˡ) as max(l, 0) + log(1 + e^−|l|), which cannot overflow. Raises ValueError for pixels outside 0 … 1.
    """
    require_one_shape(logits, images)
    require_pixels(images)
    N = len(images)
    nll = np.logaddexp(0, logits) - images * logits
    return nll.sum(dtype=np.float64) / N, (sigmoid(logits) - images) / N


@np.errstate(under="ignore")
def gaussian_kl(mean, logvar):
    """The KL(q ‖ p) of each latent (D,) in nats, and the derivatives of their sum by mean and logvar.

    q = N(μ, σ²), and the prior p = N(0, 1). The encoder gives log σ², for which any real number will do.

    KL = E_q[log q(z) − log p(z)], with log q = −½ (log 2π + log σ² + (z − μ)² / σ²) and log p = −½ (log 2π + z²).
    Under q, (z − μ)² is σ² on average and z² is μ² + σ², so

        KL = ½ (μ² + σ² − 1 − log σ²),  by μ: μ,  and by log σ²: ½ (σ² − 1), as ∂σ²/∂log σ² = σ²

    (Kingma and Welling 2014, appendix B), all divided by N for the batch's mean.
    """
    require_one_shape(mean, logvar, dimensions=2)
    N = len(mean)
    variance_minus_1 = np.expm1(logvar)
    kl = (mean ** 2 + variance_minus_1 - logvar) / 2
    return kl.sum(axis=0, dtype=np.float64) / N, mean / N, variance_minus_1 / (2 * N)


# An objective is a function (kl, step) -> (penalty, slope): what is added to the reconstruction loss for a KL of `kl`
# nats, and d(penalty)/d(kl), the one number by which the two backward passes differ. If it has a function
# objective.capacity(step), the history and the curves show that C.

def beta_objective(beta=4.0):
    """β · KL (Higgins et al. 2017, eq. 4), β a number or a schedule.

    With β = 1 the loss is minus the VAE's bound, with 0 that of an autoencoder whose codes are noisy. Raises ValueError
    as `as_schedule` does.
    """
    beta = as_schedule("beta", beta, zero=True)

    def objective(kl, step):
        weight = value_at(beta, step)
        return weight * kl, weight

    return objective


def capacity_objective(gamma=1000.0, capacity=((0, 0.0), (100_000, 25.0))):
    """γ · |KL − C| (Burgess et al. 2018, eq. 8), γ and the capacity C, in nats, numbers or schedules.

    The paper's C rises evenly from 0 to 25 nats in 100,000 steps. At KL = C the slope is 0, the middle of −γ and γ.
    Eq. 8 has |KL − C| of each image; here, as in its replications, KL is the batch's mean, and its side of C decides
    for all images. They differ: in examples/pretrained, an image is 0.4 nats off the mean, on average. Raises
    ValueError as `as_schedule` does.
    """
    gamma, capacity = as_schedule("gamma", gamma, zero=True), as_schedule("capacity", capacity, zero=True)

    def objective(kl, step):
        excess, weight = kl - objective.capacity(step), value_at(gamma, step)
        return weight * abs(excess), weight * float(np.sign(excess))

    objective.capacity = partial(value_at, capacity)
    return objective
