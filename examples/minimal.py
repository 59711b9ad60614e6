"""The whole idea in one file: a β-VAE of 16×16 pixels, its backward pass by hand, in NumPy alone. Read it downwards.

    python examples/minimal.py

takes a quarter of a minute, checks its own gradient, and writes two pictures into runs/minimal. The rest of the project
is this with convolutions, on a data set of sprites, and fast.
"""

import argparse
from pathlib import Path

import matplotlib.figure
import numpy as np

N, SIDE, HIDDEN, D = 64, 16, 128, 5                     # images in a batch, pixels on a side, hidden units, latents
STEPS, RATE, GAMMA, LAST_C = 6000, 2e-3, 30, 9          # updates, the learning rate, γ, and where C ends, in nats
OUT = Path("runs/minimal")


# 1. The data: a white disc on black. Three numbers fix it: x, y and the radius. The model is given the pixels only.
# x ranges wider than y, and so is worth more; with equal ranges, both latents would open at once.

def discs(n, rng):
    """(n, 256), 0 or 1."""
    x, y, radius = (rng.uniform(low, high, (n, 1, 1)) for low, high in ((3, 13), (5, 11), (2, 3.5)))
    row, column = np.mgrid[:SIDE, :SIDE] + .5
    return (np.hypot(column - x, row - y) < radius).reshape(n, -1).astype(float)


# 2. The model: two networks, each with one hidden layer. The encoder turns an image into 2·D numbers: for each of D
# latents the mean μ and log σ² of a normal distribution. The decoder turns D numbers z into a logit l for each pixel:
# the pixel is white with the probability s = 1 / (1 + e^−l). All weights start small and random, all biases at 0.

def new_parameters(rng):
    sizes = {"encoder1": (SIDE ** 2, HIDDEN), "encoder2": (HIDDEN, 2 * D), "decoder1": (D, HIDDEN),
             "decoder2": (HIDDEN, SIDE ** 2)}
    weights = {f"{name}.w": rng.standard_normal(size) / np.sqrt(size[0]) for name, size in sizes.items()}
    return weights | {f"{name}.b": np.zeros(size[1]) for name, size in sizes.items()}


# 3. Forward: the loss of a batch in nats per image (nats are like bits, but by natural logarithms), and everything that
# the backward pass will need. ε is noise from N(0, 1), and z = μ + σ ε is a draw from N(μ, σ²), written so that it has
# derivatives with respect to μ and σ.
#   reconstruction  −log p(x|z) = Σ log(1 + e^l) − x l over pixels: what it costs to tell the image to one who knows z
#   KL              Σ ½ (μ² + σ² − 1 − log σ²) over latents, from N(μ, σ²) to N(0, 1): how much z says about the image
#   the loss        reconstruction + γ |KL − C|: z is held near C nats, and should choose well what it says

def forward(p, x, noise, C):
    h = np.tanh(x @ p["encoder1.w"] + p["encoder1.b"])                          # (N, HIDDEN)
    mean, logvar = np.split(h @ p["encoder2.w"] + p["encoder2.b"], 2, axis=1)   # (N, D) each
    z = mean + np.exp(logvar / 2) * noise                                       # (N, D)
    k = np.tanh(z @ p["decoder1.w"] + p["decoder1.b"])                          # (N, HIDDEN)
    logits = k @ p["decoder2.w"] + p["decoder2.b"]                              # (N, 256)
    reconstruction = (np.logaddexp(0, logits) - x * logits).sum() / len(x)
    kl = (mean ** 2 + np.exp(logvar) - 1 - logvar).sum(axis=0) / 2 / len(x)     # (D,)
    loss = reconstruction + GAMMA * abs(kl.sum() - C)
    return loss, reconstruction, kl, (h, mean, logvar, z, k, logits)


# 4. Backward: through the same lines, from last to first. da stands for ∂loss/∂a, and has the shape of a. Three rules:
#   y = x w + b   gives   dw = xᵀ dy,  db = the sum of dy over the batch,  dx = dy wᵀ
#   y = tanh(a)   gives   da = dy (1 − y²)
#   what reaches the loss in two ways gets the sum of two derivatives: so do μ and log σ², through z and through the KL

def backward(p, x, noise, C, kl, kept):
    h, mean, logvar, z, k, logits = kept
    d = {}
    dlogits = (1 / (1 + np.exp(-logits)) - x) / len(x)                          # s − x
    d["decoder2.w"], d["decoder2.b"] = k.T @ dlogits, dlogits.sum(axis=0)
    da = dlogits @ p["decoder2.w"].T * (1 - k ** 2)
    d["decoder1.w"], d["decoder1.b"] = z.T @ da, da.sum(axis=0)
    dz = da @ p["decoder1.w"].T
    slope = GAMMA * np.sign(kl.sum() - C) / len(x)                              # all that Burgess et al. add to a VAE
    dmean = dz + slope * mean
    dlogvar = dz * noise * np.exp(logvar / 2) / 2 + slope * (np.exp(logvar) - 1) / 2
    dcode = np.concatenate([dmean, dlogvar], axis=1)
    d["encoder2.w"], d["encoder2.b"] = h.T @ dcode, dcode.sum(axis=0)
    da = dcode @ p["encoder2.w"].T * (1 - h ** 2)
    d["encoder1.w"], d["encoder1.b"] = x.T @ da, da.sum(axis=0)
    return d


# 5. Training: draw discs, go forward and back, and let Adam take a step: m and v are running means of the derivative
# and of its square. C rises from 0, slowly at first. A latent is worth opening once it saves more of the reconstruction
# loss than others would with the same nats: so they open one after the other, the most useful one first. (In the first
# 300 steps the KL is about a nat, although the code says nothing useful yet; then γ has taken that away.)

def capacity(t):
    return LAST_C * min(1, t / (.8 * STEPS)) ** 2


def train(rng):
    """The parameters, and the KL of each latent at each step (STEPS, D)."""
    p, history = new_parameters(rng), []
    m, v = ({name: 0 * a for name, a in p.items()} for _ in "mv")
    for t in range(1, STEPS + 1):
        x, noise, C = discs(N, rng), rng.standard_normal((N, D)), capacity(t)
        _, reconstruction, kl, kept = forward(p, x, noise, C)
        for name, g in backward(p, x, noise, C, kl, kept).items():
            m[name] += .1 * (g - m[name])
            v[name] += .001 * (g ** 2 - v[name])
            p[name] -= RATE * (m[name] / (1 - .9 ** t)) / (np.sqrt(v[name] / (1 - .999 ** t)) + 1e-8)
        history.append(kl)
        if t % 1000 == 0:
            print(f"step {t}: reconstruction {reconstruction:.1f} nats, C {C:.1f}, KL of each latent {kl.round(1)}")
    return p, np.array(history)


# 6. Is the backward pass right? Change all parameters a little along a random direction, and a little against it: the
# loss must change by as much as the derivatives say.

def gradient_error(p, rng, C=5., step=1e-5):
    """The relative error of the derivative along one direction."""
    x, noise = discs(N, rng), rng.standard_normal((N, D))
    towards = {name: rng.standard_normal(a.shape) for name, a in p.items()}
    above, below = (forward({name: p[name] + h * towards[name] for name in p}, x, noise, C)[0] for h in (step, -step))
    _, _, kl, kept = forward(p, x, noise, C)
    slope = sum((g * towards[name]).sum() for name, g in backward(p, x, noise, C, kl, kept).items())
    return abs((above - below) / (2 * step) - slope) / abs(slope)


# 7. Two pictures: when did each latent open, and what does it do? In the second, each row moves one latent from −2 to 2
# while the others stay at 0: one for x, one for y, one for the radius, and two for which nothing was left.

def draw(p, history):
    OUT.mkdir(parents=True, exist_ok=True)
    figure = matplotlib.figure.Figure(layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel="KL (nats)")
    axes.stackplot(range(len(history)), history.T, labels=[f"z{i}" for i in range(D)])
    axes.plot([capacity(t) for t in range(len(history))], "k--", label="C")
    axes.legend(loc="upper left")
    figure.savefig(OUT / "kl.png")

    order = np.argsort(-history[-1])                                            # the most informative one first
    z = np.zeros((D, 11, D))
    z[range(D), :, order] = np.linspace(-2, 2, 11)
    logits = np.tanh(z @ p["decoder1.w"] + p["decoder1.b"]) @ p["decoder2.w"] + p["decoder2.b"]
    pictures = (1 / (1 + np.exp(-logits))).reshape(D, 11, SIDE, SIDE)
    pictures = np.pad(pictures, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=.4)   # a line around each
    figure = matplotlib.figure.Figure(figsize=(6.4, 3.2), layout="constrained")
    axes = figure.add_subplot(xticks=[], yticks=(SIDE + 1) * (np.arange(D) + .5), yticklabels=[f"z{i}" for i in order])
    axes.imshow(np.block([[*row] for row in pictures]), cmap="gray")
    figure.savefig(OUT / "traversals.png")


def main():
    argparse.ArgumentParser(description=__doc__).parse_args()
    rng = np.random.default_rng(0)
    p, history = train(rng)
    print(f"The backward pass is within {gradient_error(p, rng):.0e} of a central difference, relatively.")
    draw(p, history)
    print(f"See kl.png and traversals.png in {OUT}.")


if __name__ == "__main__":
    main()
