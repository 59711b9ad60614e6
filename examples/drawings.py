"""The README's drawings: python examples/drawings.py writes them as SVG into runs/drawings.

model.svg shows the two networks and where the chain rule branches, ellipses.svg why mixing two factors costs nats.
"""

import math
from pathlib import Path

import numpy as np
from matplotlib.patches import Ellipse, FancyArrowPatch, Polygon

from tinybvae.data.files import write_atomically
from tinybvae.report.drawing import INK, Figure, bare, picture
from tinybvae.runs.commandline import Parser, path, say

SOFT, BACK = "#626873", "#2f6fde"  # of what matters less; of derivatives


@picture
def model():
    """From x through encoder and decoder to both terms of the loss; below, in blue, how derivatives come back."""
    figure = Figure(figsize=(9, 3.4))
    axis = figure.add_axes((0, 0, 1, 1), xlim=(0, 90), ylim=(0, 34))
    axis.set_axis_off()

    def text(x, y, words, **how):
        axis.text(x, y, words, ha="center", va="center", **{"fontsize": 11, "color": INK, **how})

    def arrow(start, end, back=False, bend=0):
        axis.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=11, lw=1.2, shrinkA=2, shrinkB=2,
                                       color=BACK if back else INK, connectionstyle=f"arc3,rad={bend}"))

    for left, right, high, low, name, layers in ((9, 25, 8, 4, "encoder", "4 convolutions,\n3 linear layers"),
                                                 (53, 69, 4, 8, "decoder", "3 linear layers,\n4 transposed")):
        axis.add_patch(Polygon([(left, 21 - high), (left, 21 + high), (right, 21 + low), (right, 21 - low)],
                               facecolor="#eef1f6", edgecolor=INK, lw=1))
        text((left + right) / 2, 22.5, name)
        text((left + right) / 2, 19.3, layers, fontsize=7, color=SOFT)
    text(4, 21, "x")
    text(32, 24.5, "μ")
    text(32, 17.5, "log σ²")
    text(44, 21, "z = μ + σ ε")
    text(44, 30.5, "ε ~ N(0, 1)", fontsize=9, color=SOFT)
    text(77.5, 21, "logits")
    text(77.5, 31, "−log p(x|z)", fontsize=12)
    text(38, 3, "penalty(KL),  KL = Σ ½ (μ² + σ² − 1 − log σ²)", fontsize=11)
    text(77.5, 3, "the loss is the sum of both", fontsize=9, color=SOFT)
    for start, end in (((5.5, 21), (9, 21)), ((25, 22.5), (30.5, 24.3)), ((25, 19.5), (28.8, 17.8)),
                       ((33.5, 24), (38.5, 21.8)), ((35.2, 18), (38.5, 20.2)), ((44, 29.2), (44, 22.6)),
                       ((49.5, 21), (53, 21)), ((69, 21), (73.5, 21)), ((77.5, 22.5), (77.5, 29.3)),
                       ((31, 16), (31, 5))):
        arrow(start, end)
    arrow((30.8, 24), (27.5, 5), bend=.3)
    arrow((74, 19.4), (69.5, 15.5), back=True, bend=-.2)
    arrow((53, 16.5), (46, 19.5), back=True, bend=-.2)
    arrow((44, 19.3), (36, 15.8), back=True, bend=-.25)
    arrow((35, 5), (35, 15.2), back=True, bend=.15)
    arrow((29, 15.8), (24, 15.5), back=True, bend=-.3)
    text(79, 14.6, "s − x, s = sigmoid(logits)", color=BACK, fontsize=9)
    text(49.5, 15.6, "dz", color=BACK, fontsize=10)
    text(45, 11.3, "dz and dz · ε σ / 2", color=BACK, fontsize=10)
    text(47.5, 7.5, "slope · μ and slope · (σ² − 1) / 2", color=BACK, fontsize=10)
    text(14, 9.3, "both ways add up:\nhere the chain rule branches", color=BACK, fontsize=9)
    return figure


def mixing(narrow=.01, wide=.1):
    """Two factors known to ± narrow and ± wide, in latents of standard deviation 1: σ and nats of two codes of them.

    In the first code each factor has a latent to itself, and the two σ are wide and narrow. In the second both latents
    mix both factors, turned by 45°: the posterior is a tilted ellipse with the precision matrix Λ, the inverse of its
    covariance. Of all upright q, that with the least KL(q ‖ posterior) has the variances 1/Λ₁₁ and 1/Λ₂₂, where either
    precision is the mean of wide⁻² and narrow⁻². Returns (σ₁, σ₂, nats) for each code, where nats is −Σ log σ: the mean
    KL if the means and the noise together have the prior's variance of 1.
    """
    turn = np.array([[1, -1], [1, 1]]) / math.sqrt(2)
    precision = turn @ np.diag([wide ** -2, narrow ** -2]) @ turn.T
    mixed = 1 / np.sqrt(np.diag(precision))
    return [(*sigma, -sum(map(math.log, sigma))) for sigma in ((wide, narrow), mixed)]


@picture
def ellipses():
    """The posterior of an upright and of a tilted code, and the upright q inside of it."""
    figure, codes = Figure(figsize=(7, 2.6), layout="constrained"), mixing()
    wide, narrow, _ = codes[0]
    for axis, title, angle, (first, second, nats) in zip(
            figure.subplots(1, 2), ("a latent for each factor", "both latents mix both factors"), (0, 45), codes):
        axis.add_patch(Ellipse((0, 0), 2 * wide, 2 * narrow, angle=angle, facecolor="#dfe2e7", edgecolor=SOFT,
                               label="posterior"))
        axis.add_patch(Ellipse((0, 0), 2 * first, 2 * second, facecolor="none", edgecolor=BACK, lw=1.5, label="q"))
        axis.set_title(f"{title}\nσ = {first:.2g} and {second:.2g}: {nats:.1f} nats", fontsize=9)
        axis.set(xlim=(-.115, .115), ylim=(-.09, .09), aspect="equal", xticks=(-.1, 0, .1), yticks=(-.05, 0, .05))
        axis.set_xlabel("one latent", fontsize=8)
        axis.set_ylabel("the other", fontsize=8)
        bare(axis)
    axis.legend(fontsize=7, frameon=False, loc="lower right")
    return figure


def main():
    parser = Parser(description=__doc__)
    parser.add_argument("--out", type=path, metavar="FOLDER", default="runs/drawings",
                        help="for what it writes (default: %(default)s)")
    out = Path(parser.parse_args().out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for draw in model, ellipses:
            write_atomically(out / f"{draw.__name__}.svg", draw(format="svg"))
    except OSError as error:
        parser.error(str(error))
    say(f"see {out}")


if __name__ == "__main__":
    main()
