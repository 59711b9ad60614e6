"""Exercises in the reading order: python examples/exercises.py lists them, python examples/exercises.py 3 begins one.

The second command writes a file with a function's head, what it should return, and no body. Write the body and run the
same command again: it says whether the body is right, and if not, what is wrong. --hint helps.
"""

import inspect
from pathlib import Path
from typing import Callable, NamedTuple

import numpy as np

from tinybvae import convolution, layers, losses, metrics, optimizers, vae
from tinybvae.runs.commandline import Parser, path, say

EXERCISES = []


class Exercise(NamedTuple):
    """One to solve. The head and docstring of its function are the task, the body is the library's solution."""

    function: Callable
    gives: list      # the names of what it returns
    draw: Callable   # rng -> arguments
    mistakes: list   # (the name of what is wrong, what to say, a function that makes this mistake)
    hint: str
    where: str       # in the library

    def solution(self, *arguments):
        """What it should return, always as a tuple."""
        right = self.function(*arguments)
        return right if isinstance(right, tuple) else (right,)

    def blank(self):
        """The file to begin with."""
        head = f"def {self.function.__name__}{inspect.signature(self.function)}:"
        return f'import numpy as np\n\n\n{head}\n    """{self.function.__doc__}"""\n'


def exercise(gives, draw, mistakes, hint, where):
    """A decorator that makes a function one of EXERCISES."""
    def added(function):
        EXERCISES.append(Exercise(function, gives.split(), draw, mistakes, hint, where))
        return function
    return added


def normal(*shapes):
    """A function of rng that draws float64 arrays of these shapes."""
    return lambda rng: [rng.standard_normal(shape) for shape in shapes]


# The model. N images, D latents; dz = ∂L/∂z, and so on.

@exercise("z", normal((5, 3), (5, 3), (5, 3)), [
    ("z", "this multiplies ε by σ², the variance: σ = exp(½ log σ²)", lambda m, l, e: m + np.exp(l) * e),
    ("z", "this multiplies ε by log σ²: σ = exp(½ log σ²)", lambda m, l, e: m + l * e)],
    "σ² = exp(logvar). What is σ, then?", "vae.py:reparameterize")
def reparameterize(mean, logvar, noise):
    """z = μ + σ ε.  mean is μ, logvar log σ², noise ε, all (N, D). Return z (N, D)."""
    return vae.reparameterize(mean, logvar, noise)


@exercise("dmean dlogvar", normal((5, 3), (5, 3), (5, 3)), [
    ("dlogvar", "this is ∂L/∂σ: go on by the chain rule, ∂σ/∂log σ² = σ / 2", lambda dz, l, e: dz * e),
    ("dlogvar", "a ½ is missing: σ = exp(½ log σ²) is differentiated, too", lambda dz, l, e: dz * e * np.exp(l / 2)),
    ("dlogvar", "this takes σ² for σ", lambda dz, l, e: dz * e * np.exp(l) / 2),
    ("dmean", "this is dlogvar: return dmean first", lambda dz, l, e: dz * e * np.exp(l / 2) / 2)],
    "Differentiate μ + exp(½ log σ²) ε with respect to μ and to log σ², and multiply each by dz.",
    "vae.py:reparameterize_backward")
def reparameterize_backward(dz, logvar, noise):
    """Through z = μ + σ ε: from dz = ∂L/∂z, return dmean = ∂L/∂μ and dlogvar = ∂L/∂log σ², all (N, D)."""
    return vae.reparameterize_backward(dz, logvar, noise)


# The losses.

@exercise("kl", normal((5, 3), (5, 3)), [
    ("kl", "the 1 is missing: a latent with μ = 0 and σ = 1 says nothing, and has no KL",
     lambda m, l: (m ** 2 + np.exp(l) - l).mean(0) / 2),
    ("kl", "this is KL(p ‖ q), the other way round: the mean is over z drawn from q",
     lambda m, l: ((1 + m ** 2) / np.exp(l) - 1 + l).mean(0) / 2),
    ("kl", "this is the mean over the latents: one KL for each, the mean over the batch",
     lambda m, l: (m ** 2 + np.exp(l) - 1 - l).mean(1) / 2),
    ("kl", "this adds σ where σ² should be", lambda m, l: (m ** 2 + np.exp(l / 2) - 1 - l).mean(0) / 2)],
    "log q − log p = −½ [log σ² + (z − μ)² / σ² − z²]. What are (z − μ)² and z² on average, for z from q?",
    "losses.py:gaussian_kl")
def gaussian_kl(mean, logvar):
    """KL(q ‖ p) = ∫ q(z) log(q(z) / p(z)) dz of q = N(μ, σ²) and p = N(0, 1), for each latent; mean is μ,
    logvar log σ², both (N, D). Solve the integral. Return kl (D,), the mean over the batch, in nats."""
    return losses.gaussian_kl(mean, logvar)[0]


@exercise("dmean dlogvar", normal((5, 3), (5, 3)), [
    ("dlogvar", "this is with respect to σ²: go on by ∂σ²/∂log σ² = σ²", lambda m, l: (1 - np.exp(-l)) / 2 / len(m)),
    ("dlogvar", "−log σ² has a derivative, too: −1", lambda m, l: np.exp(l) / 2 / len(m))],
    "Write σ² as exp(log σ²) before you differentiate.", "losses.py:gaussian_kl")
def gaussian_kl_backward(mean, logvar):
    """The KL is ½ (μ² + σ² − 1 − log σ²), the mean over N images. Return dmean and dlogvar, its derivatives with
    respect to μ and log σ², all (N, D)."""
    return losses.gaussian_kl(mean, logvar)[1:]


@exercise("dmean dlogvar", lambda rng: [*normal((5, 3), (5, 3), (5, 3), (5, 3))(rng), 7.], [
    ("dmean", "this is the way through z alone: μ reaches L through the KL as well", lambda dz, m, l, e, s: dz),
    ("dmean", "the KL is the batch's mean: its derivative has a 1/N", lambda dz, m, l, e, s: dz + s * m),
    ("dmean", "slope is the penalty's: the reconstruction comes without it", lambda dz, m, l, e, s: s * (dz + m / 5)),
    ("dmean", "this is the way through the KL alone: μ reaches L through z as well", lambda dz, m, l, e, s: s * m / 5),
    ("dmean", "dz has its 1/N already", lambda dz, m, l, e, s: (dz + s * m) / 5),
    ("dlogvar", "this is the way through z alone: log σ² reaches L through the KL as well",
     lambda dz, m, l, e, s: dz * e * np.exp(l / 2) / 2),
    ("dlogvar", "the KL is the batch's mean: its derivative has a 1/N",
     lambda dz, m, l, e, s: dz * e * np.exp(l / 2) / 2 + s * np.expm1(l) / 2),
    ("dlogvar", "this is the way through the KL alone: log σ² reaches L through z as well",
     lambda dz, m, l, e, s: s * np.expm1(l) / 10),
    ("dlogvar", "a ½ is missing on the way through z: ∂σ/∂log σ² = σ / 2",
     lambda dz, m, l, e, s: dz * e * np.exp(l / 2) + s * np.expm1(l) / 10),
    ("dlogvar", "a ½ is missing on the way through the KL: its derivative is (σ² − 1) / 2",
     lambda dz, m, l, e, s: dz * e * np.exp(l / 2) / 2 + s * np.expm1(l) / 5)],
    "Two ways lead to L; add their derivatives. dz has the 1/N of the batch's mean already, the KL's still needs it.",
    "vae.py:BetaVAE.loss_and_gradients")
def branch(dz, mean, logvar, noise, slope):
    """Where the chain rule branches: L = reconstruction(z) + penalty(KL). z is μ + σ ε; the KL is the sum over
    latents of ½ (μ² + σ² − 1 − log σ²), the mean over the N images. dz is ∂(reconstruction)/∂z (N, D), which has
    its 1/N already, and slope is ∂(penalty)/∂(KL), a number. Return dmean = ∂L/∂μ and dlogvar = ∂L/∂log σ², (N, D)."""
    (dmean_z, dlogvar_z), (_, dmean_kl, dlogvar_kl) = (vae.reparameterize_backward(dz, logvar, noise),
                                                       losses.gaussian_kl(mean, logvar))
    return dmean_z + slope * dmean_kl, dlogvar_z + slope * dlogvar_kl


def logits_and_images(rng):
    return [3 * rng.standard_normal((5, 4, 4, 1)), (rng.random((5, 4, 4, 1)) < .3) * 1.]


@exercise("dlogits", logits_and_images, [
    ("dlogits", "the factor s (1 − s) is that of a squared error; the logarithm's 1/s and 1/(1 − s) cancel it",
     lambda l, x: (losses.sigmoid(l) - x) * losses.sigmoid(l) * (1 - losses.sigmoid(l)) / len(x)),
    ("dlogits", "this divides by the number of pixels: the loss is their sum, and the mean over the images only",
     lambda l, x: (losses.sigmoid(l) - x) / x.size),
    ("dlogits", "this is with respect to s: ∂s/∂l = s (1 − s) is missing",
     lambda l, x: (losses.sigmoid(l) - x) / (losses.sigmoid(l) * (1 - losses.sigmoid(l))) / len(x))],
    "The loss of a pixel is log(1 + eˡ) − x l. The derivative of the first term is s.", "losses.py:bernoulli_nll")
def bernoulli_backward(logits, images):
    """A pixel x is white with the probability s = 1 / (1 + e^−l). The loss is −Σ [x log s + (1 − x) log(1 − s)]
    over pixels, the mean over the N images. Return dlogits, its derivative with respect to the logits l; all
    (N, H, W, 1)."""
    return losses.bernoulli_nll.plain(logits, images)[1]


@exercise("slope", lambda rng: [rng.exponential(3, 4), 100., rng.choice([2., 30.])], [
    ("slope", "below C the KL must be pushed up: there the slope is −γ", lambda kl, gamma, C: gamma),
    ("slope", "it is the sum over latents that is held at C, not each of them",
     lambda kl, gamma, C: gamma * np.sign(kl - C))],
    "What is the derivative of |a| where a > 0, and where a < 0?", "losses.py:CapacityObjective")
def capacity_slope(kl, gamma, C):
    """The penalty γ |KL − C| of Burgess et al., where KL is the sum of kl (D,). Return slope, its derivative with
    respect to KL, one number."""
    return losses.capacity_objective(gamma, C)(kl, 0)[1]


@exercise("kl", lambda rng: [10., 20., rng.uniform(1, 4), rng.uniform(1, 15)], [
    ("kl", "a nat buys more than nothing: the KL settles where the slope is the price, above C",
     lambda C, gamma, width, price: C),
    ("kl", "the KL settles above C: only there does the penalty push it down, against what a nat buys",
     lambda C, gamma, width, price: C - width * price / np.sqrt(gamma ** 2 - price ** 2))],
    "There d(reconstruction)/d(KL) + slope = 0. The slope is γ a / √(a² + width²), with a = KL − C: solve for a.",
    "losses.py:CapacityObjective")
def settles(C, gamma, width, price):
    """Predict the KL. The penalty is γ (√((KL − C)² + width²) − width), that is γ |KL − C| with its
    corner rounded. Each further nat of KL lowers the reconstruction loss by price nats, 0 < price < γ. Return kl,
    the KL at which the sum of reconstruction loss and penalty is least."""
    objective, low, high = losses.capacity_objective(gamma, C, width), C, C + 1e6
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if objective(np.array([middle]), 0)[1] > price else (middle, high)
    return low


@exercise("kl", lambda rng: [rng.exponential(20, 6), 10.], [
    ("kl", "a latent whose gain is below the price stays shut, with a KL of 0, not below",
     lambda gain, price: np.log(gain / price) / 2),
    ("kl", "this is upside down: the larger the gain over the price, the smaller the best σ²",
     lambda gain, price: np.maximum(np.log(price / gain) / 2, 0)),
    ("kl", "this counts bits: the natural logarithm counts nats",
     lambda gain, price: np.log2(np.maximum(gain / price, 1)) / 2)],
    "For one latent, find the σ² at which the derivative of gain σ² / 2 − price ½ log σ² is 0. It may be above 1.",
    "")
def opened(gain, price):
    """Which latents open first? Suppose that latent i, if its variance is σ², 0 < σ² ≤ 1, leaves a reconstruction
    loss of gain[i] σ² / 2 and has a KL of −½ log σ², and that each nat of KL costs price nats of loss. Each latent
    takes the σ² at which reconstruction loss and cost together are least. Return kl (D,), their KL. (Then let the
    price fall, and see them open one after the other.)"""
    return np.maximum(np.log(gain / price), 0) / 2


# The layers. N images or examples; x a layer's input, y its output, dy = ∂L/∂y.

@exercise("dw db dx", normal((5, 3), (3, 4), (5, 4)), [
    ("dw", "this is the last example's: w enters all of them, so sum over the batch",
     lambda x, w, dy: np.outer(x[-1], dy[-1])),
    ("db", "a mean over the batch: b enters all examples, so sum", lambda x, w, dy: dy.mean(0)),
    ("db", "b is added once in each example: its derivative is dy, summed over the batch", lambda x, w, dy: dy)],
    "w[k,o] enters y[n,o] for every n, multiplied by x[n,k]. Write the sums with indices first, then as products.",
    "layers.py:Linear")
def linear_backward(x, w, dy):
    """y = x w + b, with x (N, K), w (K, O) and b (O,). From dy = ∂L/∂y (N, O), return dw, db and dx."""
    return layers.matmul.plain(x.T, dy), dy.sum(axis=0), layers.linear.plain(dy, w.T)


def relu_draw(rng):
    x = rng.standard_normal((5, 6))
    return [rng.standard_normal((5, 6)), np.where(x > 0, x, .1 * x), .1]


@exercise("dx", relu_draw, [
    ("dx", "where y ≤ 0 the slope is negative_slope, not 0", lambda dy, y, a: dy * (y > 0)),
    ("dx", "this multiplies dy by y: the derivative is the slope, 1 or negative_slope", lambda dy, y, a: dy * y)],
    "np.where. The sign of y is the sign of x.", "layers.py:ReLU")
def relu_backward(dy, y, negative_slope):
    """y = x where x > 0, else negative_slope · x, entry by entry. From dy = ∂L/∂y and y, return dx = ∂L/∂x."""
    return layers.relu_backward.plain(dy, y, negative_slope)


@exercise("dx", lambda rng: [rng.standard_normal((5, 6)), np.tanh(rng.standard_normal((5, 6)))], [
    ("dx", "y is tanh x already: 1 − tanh² x is 1 − y²", lambda dy, y: dy * (1 - np.tanh(y) ** 2)),
    ("dx", "this is the sigmoid's derivative", lambda dy, y: dy * y * (1 - y))],
    "tanh′ = 1 − tanh².", "layers.py:Tanh")
def tanh_backward(dy, y):
    """y = tanh x, entry by entry. From dy = ∂L/∂y and y, return dx = ∂L/∂x, of their shape."""
    layer = layers.Tanh()
    layer.y = y
    return layer.backward(dy)


# The convolution.

def taps(big, small, padding=1, stride=2):
    """dw with another padding or another stride, for mistakes."""
    (N, H, W, O), padded = small.shape, np.pad(big, ((0, 0), (padding, 4), (padding, 4), (0, 0)))
    return np.array([[np.tensordot(padded[:, p:, q:][:, :stride * H:stride, :stride * W:stride], small, [[0, 1, 2]] * 2)
                      for q in range(4)] for p in range(4)])


@exercise("dw", normal((3, 6, 4, 3), (3, 3, 2, 5)), [
    ("dw", "big is not padded: w[0,0] meets padded[0,0], a zero beside it", lambda b, s: taps(b, s, padding=0)),
    ("dw", "the stride is 2: small[n,i,j] meets padded[n,2i+p,2j+q]", lambda b, s: taps(b, s, stride=1)),
    ("dw", "p and q are exchanged: p is for rows, q for columns", lambda b, s: taps(b, s).swapaxes(0, 1))],
    "For each of the 16 pairs p, q: padded[:, p:p+2H:2, q:q+2W:2] has small's places. Then sum over n, i and j.",
    "convolution.py:conv2d_weight")
def conv2d_weight(big, small):
    """F(big, w, small) = Σ padded[n,2i+p,2j+q,c] w[p,q,c,o] small[n,i,j,o] over all indices; p, q = 0 … 3. big is
    (N, 2H, 2W, C), padded is big with one pixel of zeros around each image, small is (N, H, W, O). Return
    dw = ∂F/∂w (4, 4, C, O)."""
    return convolution.conv2d_weight.plain(big, small)


def big(small, w, adds=True, border=1):
    """dbig, for mistakes: with = for +=, or with the border cut off at one end only."""
    H, W = 2 * small.shape[1], 2 * small.shape[2]
    padded = np.zeros((len(small), H + 2, W + 2, w.shape[2]))
    for p, q in np.ndindex(4, 4):
        met = padded[:, p:p + H:2, q:q + W:2]
        met[...] = adds * met + small @ w[p, q].T
    return padded[:, border:border + H, border:border + W]


@exercise("dbig", normal((3, 3, 2, 5), (4, 4, 3, 5)), [
    ("dbig", "a pixel of big meets four of w's taps: add what they give, do not overwrite",
     lambda s, w: big(s, w, adds=False)),
    ("dbig", "big[0,0] is padded[1,1]: cut the border off at both ends", lambda s, w: big(s, w, border=0)),
    ("dbig", "w is turned round: padded[2i+p,2j+q] goes with w[p,q]",
     lambda s, w: convolution.conv2d_transpose.plain(s, w[::-1, ::-1])),
    ("dbig", "p and q are exchanged: p is for rows, q for columns",
     lambda s, w: convolution.conv2d_transpose.plain(s, w.swapaxes(0, 1)))],
    "Begin with zeros of (N, 2H+2, 2W+2, C); for each p, q add small @ w[p, q].T at padded[:, p:p+2H:2, q:q+2W:2].",
    "convolution.py:conv2d_transpose")
def conv2d_transpose(small, w):
    """F(big, w, small) = Σ padded[n,2i+p,2j+q,c] w[p,q,c,o] small[n,i,j,o], as in the exercise before. small is
    (N, H, W, O), w (4, 4, C, O). Return dbig = ∂F/∂big (N, 2H, 2W, C), without the border that padded has."""
    return convolution.conv2d_transpose.plain(small, w)


# What comes after the gradient.

def adam_draw(rng):
    g, m, v = normal(6, 6, 6)(rng)
    return [rng.standard_normal(6), g, m, v ** 2, .01, .9, .999, 1e-2, 3]


def adam_with(corrected=1, inside=0, shift=0):
    """p by Adam's formula with mistakes."""
    def p_after(p, g, m, v, rate, beta1, beta2, eps, t):
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        if corrected:
            m, v = m / (1 - beta1 ** (t + shift)), v / (1 - beta2 ** (t + shift))
        return p - rate * m / (np.sqrt(v + eps) if inside else np.sqrt(v) + eps)
    return p_after


@exercise("p m v", adam_draw, [
    ("p", "m and v begin at 0, and are too small at first: divide by 1 − βᵗ", adam_with(corrected=0)),
    ("p", "eps is added to the root, not under it", adam_with(inside=1)),
    ("p", "this is the t-th update: t counts from 1", adam_with(shift=1)),
    ("v", "v is the running mean of g², not of g", lambda p, g, m, v, r, b1, b2, e, t: b2 * v + (1 - b2) * g),
    ("m", "β and 1 − β are exchanged", lambda p, g, m, v, r, b1, b2, e, t: (1 - b1) * m + b1 * g)],
    "m ← β₁ m + (1 − β₁) g, v likewise with g². Had g always been 1, what would m be after t updates?",
    "optimizers.py:adam")
def adam(p, g, m, v, rate, beta1, beta2, eps, t):
    """Adam (Kingma and Ba 2015, algorithm 1), the t-th update, t = 1, 2, …. m and v are the running means of g and
    g² before it; they began at 0. Return p, m and v after it, all of p's shape; m and v as they are kept, without
    the correction for that beginning."""
    p, m, v = p.copy(), m.copy(), v.copy()
    optimizers.adam.plain(p, g, m, v, rate, beta1, beta2, eps, t)
    return p, m, v


@exercise("mig", lambda rng: [], [
    ("mig", "this is in nats: divide each gap by the factor's entropy, ln 2", lambda: .5 * np.log(2)),
    ("mig", "this is the mean of the best: subtract the second best of each factor", lambda: .75)],
    "In bits: H(a) = H(b) = 1, H(z1) = 1.5. I(z; factor) = H(z) − H(z given the factor).",
    "metrics/information.py:mutual_information_gap")
def mig_on_paper():
    """Two factors, a and b, are 0 or 1, which makes four images, equally frequent. A code has two latents: z0 = a
    and z1 = a + b. Find with paper and pencil, and return, mig: the mean over the factors of
    (I(best latent; factor) − I(second best; factor)) / H(factor)."""
    a, b = classes = np.indices((2, 2)).reshape(2, -1).repeat(500, axis=1)
    return metrics.mutual_information_gap(metrics.known_shares(np.transpose([a, a + b]) * 1., classes.T))


# What is wrong with an answer?

def complaint(exercise, function, draws=3):
    """What is wrong with this function, in words; "" if it is right."""
    for seed in range(draws):
        arguments = exercise.draw(np.random.default_rng(seed))
        given = [np.array(argument) if isinstance(argument, np.ndarray) else argument for argument in arguments]
        try:
            answer = function(*given)
        except Exception as error:  # whatever a body may raise
            return f"it raises {type(error).__name__}: {error}"
        if answer is None:
            return "it returns nothing yet"
        for name, before, after in zip(inspect.signature(exercise.function).parameters, arguments, given):
            if not np.array_equal(before, after):
                return f"it changes {name}, which the caller still needs: make a new array"
        answer = answer if isinstance(answer, tuple) else (answer,)
        if len(answer) != len(exercise.gives):
            return f"it should return {', '.join(exercise.gives)}, not {len(answer)} of them"
        wrong = [words for name, got, right in zip(exercise.gives, answer, exercise.solution(*arguments))
                 if (words := _difference(exercise, name, got, np.asarray(right), arguments))]
        if wrong:
            return "\n".join(wrong)
    return ""


def _difference(exercise, name, got, right, arguments):
    """What is wrong with one of the arrays returned; None if nothing is."""
    try:
        got = np.asarray(got, float)
    except (TypeError, ValueError):
        return f"{name}: it should be numbers, not {type(got).__name__}"
    if _same(got, right):
        return None
    for what, words, mistake in exercise.mistakes:
        if what == name and _same(got, mistake(*arguments)):
            return f"{name}: {words}"
    if got.shape != right.shape:
        return f"{name}: its shape is {got.shape}, and should be {right.shape}"
    N = len(arguments[0]) if arguments and np.ndim(arguments[0]) else 1
    for factor, words in ((-1, "its sign is wrong"), (N, "it is N times too large: divide by N, for the batch's mean"),
                          (1 / N, "it is N times too small: it should be a sum over the batch, or is a mean already"),
                          (2, "it is twice what it should be"), (.5, "it is half of what it should be")):
        if _same(got, factor * right):
            return f"{name}: {words}"
    if not np.isfinite(got).all():
        return f"{name}: it is not finite everywhere"
    close = np.isclose(got, right)
    place = tuple(int(i) for i in np.argwhere(~close)[0])
    some = f"right in {close.sum()} of {close.size} entries; " if close.any() else ""
    at = f"at {list(place)} it is" if place else "it is"
    return f"{name}: {some}{at} {got[place]:.4g}, and should be {right[place]:.4g}"


def _same(a, b):
    return np.shape(a) == np.shape(b) and np.allclose(a, b, rtol=1e-6, atol=1e-9)


# The command.

def function_in(file, name):
    """The function of this name in a file of Python. Raises ValueError in one line if it has none, or cannot be run."""
    names = {}
    try:
        exec(compile(file.read_text(encoding="utf-8"), file, "exec"), names)
    except Exception as error:  # whatever a file may raise
        wrong = f", line {error.lineno}: SyntaxError: {error.msg}" if isinstance(error, SyntaxError) else (
            f": {type(error).__name__}: {error}")
        raise ValueError(f"{file}{wrong}") from None
    if not callable(names.get(name)):
        raise ValueError(f"{file} has no function {name}")
    return names[name]


def solved(number, folder):
    """Whether this exercise is there, and right."""
    exercise = EXERCISES[number - 1]
    try:
        return complaint(exercise, function_in(file_of(number, folder), exercise.function.__name__)) == ""
    except (ValueError, OSError):
        return False


def file_of(number, folder):
    return folder / f"{number:02}_{EXERCISES[number - 1].function.__name__}.py"


def main():
    parser = Parser(description=__doc__)
    parser.add_argument("number", type=int, nargs="?", choices=range(1, len(EXERCISES) + 1), metavar="N",
                        help=f"the exercise to begin, or to check, 1 to {len(EXERCISES)} (default: list them)")
    parser.add_argument("--hint", action="store_true", help="how one might begin")
    parser.add_argument("--out", type=path, metavar="FOLDER", default="runs/exercises",
                        help="for what it writes (default: %(default)s)")
    options = parser.parse_args()
    folder = Path(options.out)
    if options.number is None:
        for number, exercise in enumerate(EXERCISES, 1):
            mark = "solved" if solved(number, folder) else ""
            say(f"{number:2}  {exercise.function.__name__:24} {exercise.where:44} {mark}".rstrip())
        say("\nBegin one by its number: python examples/exercises.py 1. It says what to do; --hint says how.")
        return
    exercise, file = EXERCISES[options.number - 1], file_of(options.number, folder)
    if options.hint:
        say(exercise.hint)
        return
    try:
        if not file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            file.write_text(exercise.blank(), encoding="utf-8")
            say(f"{exercise.function.__doc__}\n\nWrite the body of this function in {file}, and run the command again.")
            return
        wrong = complaint(exercise, function_in(file, exercise.function.__name__))
    except (ValueError, OSError) as error:
        parser.error(str(error))
    if wrong:
        say(f"Not yet: {wrong}")
        parser.exit(1)
    say(f"Right.{f' The library has it in {exercise.where}.' * bool(exercise.where)}"
        + (f" Next: python examples/exercises.py {options.number + 1}" if options.number < len(EXERCISES) else ""))


if __name__ == "__main__":
    main()
