"""The two terms of the β-VAE's loss: likelihoods and KL. And the objectives that weigh one against the other.

Losses are sums over pixels and means over the batch, always in nats. Each term returns its value together with its
derivative, and raises ValueError unless its two arrays have the same shape, with N ≥ 1: images and the decoder's output
(N, …), or mean and logvar (N, D).
"""

import math

import numpy as np

from tinybvae import kernels
from tinybvae.kernels import accelerated
from tinybvae.kernels.arrays import pair, require_one_shape, require_pixels, small_is_zero
from tinybvae.schedule import as_schedule, value_at


@small_is_zero
def sigmoid(logits):
    """s = 1 / (1 + e^−l) for logits l, computed from e^−|l|, which cannot overflow."""
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1, small) / (1 + small)


@accelerated(kernels.bernoulli_nll)
@small_is_zero
def bernoulli_nll(logits, images):
    """Negative log-likelihood of the images in nats, and dlogits, its derivative with respect to the logits.

    Given z, pixels are independent: −log p(x|z) is a sum over them. From here on x is one pixel, white with the
    probability s = sigmoid(l): its log-likelihood is x log s + (1 − x) log(1 − s). Since log s = l − log(1 + eˡ) and
    log(1 − s) = −log(1 + eˡ),

        its negative is log(1 + eˡ) − x l,  and the derivative of that with respect to l is s − x

    (Kingma and Welling 2014, appendix C.1); both are divided by N for the batch's mean. `logaddexp` computes
    log(1 + eˡ) as max(l, 0) + log(1 + e^−|l|), which cannot overflow. Raises ValueError for pixels outside 0 … 1.
    """
    require_one_shape(logits, images)
    require_pixels(images)
    N = len(images)
    nll = np.logaddexp(0, logits) - images * logits
    return nll.sum(dtype=np.float64) / N, (sigmoid(logits) - images) / N


# A likelihood p(x|z) is an object with three functions. The decoder's output has the images' shape (N, …).
#     nll(output, images)   −log p(x|z) in nats, the batch's mean; and its derivative with respect to the output
#     picture(output)       the images to show for this output, from 0 to 1
#     least(images)         the least that nll can be for these images, whatever the output, in nats, the batch's mean

class Bernoulli:
    """Pixels that are black or white: the output is a logit for each. See `bernoulli_nll`.

    A gray pixel x counts as one that is white in a share x of all cases. Then the least is not 0, but the entropy of
    such draws, which no decoder can avoid. For photographs that is most of the loss.
    """

    def nll(self, output, images):
        return bernoulli_nll(output, images)

    def picture(self, output):
        return sigmoid(output)

    def least(self, images):
        """The nll at s = x: −Σ [x log x + (1 − x) log(1 − x)]"""
        require_one_shape(images)
        require_pixels(images)
        gray = np.asarray(images, np.float64)
        gray = gray[(0 < gray) & (gray < 1)]
        return float(-(gray * np.log(gray) + (1 - gray) * np.log1p(-gray)).sum() / len(images))

    def __repr__(self):
        return "bernoulli"


class Gaussian:
    """Grays and colours: the output is the mean of a normal distribution for each pixel, of standard deviation `sigma`.

    sigma weighs the reconstruction against the KL, as β does: a smaller sigma asks for sharper pictures, at more nats
    of KL. Raises ValueError unless it is a number from 1e-6 to 1e6, which float32 can compute with.
    """

    def __init__(self, sigma):
        if not isinstance(sigma, (int, float, np.number)) or not 1e-6 <= sigma <= 1e6:
            raise ValueError(f"sigma must be a number from 1e-6 to 1e6, not {sigma!r}")
        self.sigma = float(sigma)

    def nll(self, output, images):
        """Σ [(y − x)² / (2 sigma²) + log(sigma √(2π))] over pixels x, with y their output, and ∂/∂y = (y − x) / sigma²

        Both are divided by N, for the batch's mean.
        """
        require_one_shape(output, images)
        N, difference = len(images), output - images
        squares = float((difference ** 2).sum(dtype=np.float64)) / (2 * self.sigma ** 2)
        return squares / N + self.least(images), difference / (self.sigma ** 2 * N)

    def picture(self, output):
        return np.clip(output, 0, 1)

    def least(self, images):
        """The nll at y = x: log(sigma √(2π)) for each pixel. Below 0 for sigma < 0.4, since a density may exceed 1."""
        require_one_shape(images)
        return images[0].size * (math.log(self.sigma) + math.log(2 * math.pi) / 2)

    def __repr__(self):
        return f"gaussian(sigma={self.sigma})"


bernoulli, gaussian = Bernoulli(), Gaussian


@small_is_zero
def gaussian_kl(mean, logvar):
    """The KL(q ‖ p) of each latent (D,) in nats, and its derivatives with respect to mean and to logvar, each (N, D).

    A latent's KL depends on its own mean and logvar alone. So an objective may give each latent's KL a slope of its
    own, which multiplies that latent's derivatives.

    For each latent q = N(μ, σ²), and the prior is p = N(0, 1). The encoder gives log σ², since that may be any real
    number. The KL, or Kullback-Leibler divergence, is a mean over z drawn from q, E_q:

    KL = E_q[log q(z) − log p(z)], with log q = −½ (log 2π + log σ² + (z − μ)² / σ²) and log p = −½ (log 2π + z²).
    For z from q, (z − μ)² is σ² on average and z² is μ² + σ², so

        KL = ½ (μ² + σ² − 1 − log σ²),    ∂KL/∂μ = μ,    ∂KL/∂log σ² = ½ (σ² − 1),  as ∂σ²/∂log σ² = σ²

    (Kingma and Welling 2014, appendix B), all divided by N for the batch's mean.
    """
    require_one_shape(mean, logvar, dimensions=2)
    N = len(mean)
    variance_minus_1 = np.expm1(logvar)
    kl = (mean ** 2 + variance_minus_1 - logvar) / 2
    return kl.sum(axis=0, dtype=np.float64) / N, mean / N, variance_minus_1 / (2 * N)


# An objective is a function (kl, step) -> (penalty, slope), where kl (D,) is the KL of each latent, the batch's mean in
# nats. The penalty is added to the reconstruction loss. The slope is the penalty's derivative with respect to the KL of
# each latent (D,), or one number if that is the same for all. In the backward pass two objectives differ in nothing but
# the slope. If an objective has a method capacity(step), the history and the curves show what it returns as C.
# README.md beside this file has two examples of objectives of one's own: a β for each latent, and free bits.

def weighed(objective, kl, step, dtype):
    """An objective's penalty, a number, and its slope, an array of this dtype. Raises ValueError if it is none."""
    if not callable(objective):
        raise ValueError(f"objective must be a function (kl, step) -> (penalty, slope), not {objective!r}")
    penalty, slope = pair(objective(kl.copy(), step), [()], [(), kl.shape],
                          f"an objective takes the KL of each latent, {kl.shape}, and returns (penalty, slope), one "
                          f"number, as 4 * kl.sum() is, and one or {kl.shape}")
    return float(penalty), slope.astype(dtype)


class BetaObjective:
    """β · KL (Higgins et al. 2017, eq. 4). β is a number or a schedule.

    With β = 1 the loss estimates minus the VAE's bound (see `vae`). With β = 0 it is the loss of an autoencoder whose
    codes are noisy. Raises ValueError as `as_schedule` does.
    """

    def __init__(self, beta=4.0):
        self.beta = as_schedule("beta", beta, zero=True)

    def __call__(self, kl, step):
        beta = value_at(self.beta, step)
        return beta * np.sum(kl), beta

    def __repr__(self):
        return f"beta_objective(beta={self.beta})"


class CapacityObjective:
    """γ · |KL − C| (Burgess et al. 2018, eq. 8). γ and the capacity C, in nats, are numbers or schedules.

    The paper's C rises evenly from 0 to 25 nats in 100,000 steps. At KL = C the slope is 0, the middle of −γ and γ.
    Eq. 8 takes |KL − C| of each image. Here, as in replications of the paper, KL is the batch's mean: whether that is
    above or below C decides the sign of the slope for all images. But images differ: in examples/pretrained the KL of
    an image is 1.5 nats off the mean, on average.

    `width`, in nats, a number or a schedule, rounds the corner at KL = C: γ · (√((KL − C)² + width²) − width). The
    slope of this is 0 at C, 0.7 γ at one width above C, and comes ever closer to γ. Raises ValueError as `as_schedule`
    does.
    """

    def __init__(self, gamma=1000.0, capacity=((0, 0.0), (100_000, 25.0)), width=0.0):
        self.gamma = as_schedule("gamma", gamma, zero=True)
        self.C = as_schedule("capacity", capacity, zero=True)
        self.width = as_schedule("width", width, zero=True)

    def capacity(self, step):
        return value_at(self.C, step)

    def __call__(self, kl, step):
        gamma, width, excess = value_at(self.gamma, step), value_at(self.width, step), np.sum(kl) - self.capacity(step)
        distance = np.hypot(excess, width)
        return gamma * (distance - width), gamma * (excess / distance if distance else 0.0)

    def __repr__(self):
        return f"capacity_objective(gamma={self.gamma}, capacity={self.C}, width={self.width})"


beta_objective, capacity_objective = BetaObjective, CapacityObjective
