"""What a run leaves to look at: pictures, history, metrics, and one self-contained HTML page that holds them all."""

import csv
import gc
import io
from pathlib import Path

import numpy as np

from tinybvae import metrics
from tinybvae.data import DSprites
from tinybvae.data.files import write_atomically
from tinybvae.data.sprites import FACTOR_NAMES, FACTOR_SIZES, SHAPES, alike
from tinybvae.kernels import memory
from tinybvae.kernels.arrays import small_is_zero
from tinybvae.losses import gaussian_kl
from tinybvae.report import figures
from tinybvae.report.page import at_least, page, used
from tinybvae.runs.settings import as_json, likelihood_text

TRAVERSED = (1, 2, 5, 16, 16)  # the factor classes of the image that traversals start from: an ellipse
STARTS = (TRAVERSED, (0, 5, 4, 10, 20), (2, 4, 0, 22, 10), (1, 4, 15, 8, 8), (2, 2, 25, 14, 26))  # of the page


@small_is_zero
def write_report(run, data, folder, command, encoded=None):
    """Write FILES and z0.gif … into `folder`: each is replaced whole, and the same run gives the same bytes.

    Without a history there are no curves. `command` is shown as what made the run. Returns what `describe` found.
    Raises ValueError for images of other than 1 channel or 3, and OSError if some files could not be drawn or written,
    whatever the reason, once all others are there.
    """
    model, rng = run.model, np.random.default_rng(0)
    figures.require_gray_or_rgb(model.image_shape[2])
    measured = describe(run, data, encoded)
    latents = measured["latents"]
    mean = np.array([latent["mean"] for latent in latents])
    memory.release()  # most of what training needed: pictures need memory of other sizes
    order = [latent["z"] for latent in sorted(latents, key=lambda latent: -latent["kl"])]
    labels = [f"z{d} {latents[d]['factor']}\n{latents[d]['kl']:.2f} nats" for d in order]
    units = {layer: units for layer, (_, units) in measured["units_off"].items()}
    some, z = rng.integers(len(data), size=20), rng.standard_normal((20, model.latents))
    starts, factors = np.array([0, *some[:4]]), None
    if isinstance(data, DSprites) and model.image_shape == data.image_shape:
        starts = np.array([nearest(data, classes) for classes in STARTS])
        factors = data.values(starts) - (1, 0, 0, 0, 0)
    makers = {
        "history.csv": lambda: _history_csv(run),
        "metrics.json": lambda: as_json(measured, indent=1).encode(),
        "loss.png": lambda: figures.curves(run.history, run.history_columns, order, labels[:used(latents)], units,
                                           measured["least"]),
        "reconstructions.png": lambda: figures.reconstructions(model, data.images(some), z),
        "traversals.png": lambda: figures.traversals(model, mean, order, labels),
        "traversals.gif": lambda: figures.traversal_gif(model, mean, order, labels),
        **{f"z{d}.gif": lambda d=d: figures.traversal_gif(model, mean, [d]) for d in range(model.latents)},
        "report.html": lambda: page(run, measured, data.images(starts), factors, files,
                                    command).encode(errors="replace"),
    }
    if not run.history:
        del makers["loss.png"]
    files, failed = {}, {}
    for name, make in makers.items():
        try:
            files[name] = make()
            write_atomically(Path(folder) / name, files[name])
        except Exception as error:  # of matplotlib, imageio, the system: none is worth a run
            failed[name] = error
    gc.collect()  # matplotlib keeps exceptions, and with them the frames of its callers, this run's model among them
    memory.release()
    if failed:
        reason = next(iter(failed.values()))
        raise OSError(f"could not write {', '.join(failed)} ({type(reason).__name__}: {reason})") from reason
    return measured


@small_is_zero
def describe(run, data, encoded=None):
    """What metrics.json holds: {"latents": [{"z": 0, …}, …], …}.

    Of each latent: the factor it knows most of, and that share, as `_shares_as_seen` has it; its posterior mean and
    variance at the image that traversals start from, of dSprites the one of TRAVERSED, or else the first; its KL in
    nats, in the mean over sampled images. Raises FloatingPointError if one is not finite.
    """
    classes, means, logvars = encoded or metrics.encode_samples(run.model, data)
    names, sizes = metrics.factors_of(data)
    kl, _, _ = gaussian_kl(means, logvars)
    dsprites = (names, sizes) == (FACTOR_NAMES, FACTOR_SIZES)
    start = np.array([nearest(data, TRAVERSED) if dsprites else 0])
    mean, logvar = (array[0] for array in run.model.encode(data.images(start)))
    if not np.isfinite([kl, np.exp(logvar)]).all():
        raise FloatingPointError(f"the latents are not finite at step {run.step}: try a lower learning rate")
    shares = metrics.known_shares(means, classes)
    shape = data.classes(start)[0, 0] if dsprites else None
    seen = shares if shape is None else _shares_as_seen(means, classes, shares, shape)
    named = metrics.name_latents(seen, kl, names)
    latents = [{"z": d, "factor": factor, "share": share, "mean": at, "variance": variance, "kl": nats}
               for d, ((factor, share), at, variance, nats)
               in enumerate(zip(named, mean.tolist(), np.exp(logvar).tolist(), kl.tolist()))]
    told = ~np.isnan(shares).all(axis=0)  # of which it can be told what latents know of them
    losses = metrics.losses(run.model, data, 2000)
    return {
        "step": run.step, "mig": metrics.mutual_information_gap(shares) if told.any() else None,
        "kl": float(kl.sum()), "reconstruction": losses["reconstruction"], "least": losses["least"],
        "likelihood": likelihood_text(run.model.likelihood),
        "shape": None if shape is None else SHAPES[shape], "latents": latents,
        "units_off": metrics.units_off(run.model, data), "samples": len(means),
        "constant_factors": [name for name, column in zip(names, classes.T) if (column == column[0]).all()],
        "left_out": metrics.notes(classes, names),
        "shares": {name: share.tolist() for name, share, is_told in zip(names, shares.T, told) if is_told},
        "scores": run.scores, "settings": run.settings}


def _shares_as_seen(means, classes, shares, shape):
    """(D, K): what a person would say who sees dSprites of one shape, where orientations that look alike are one.

    The shape counts, by the share of it over all images, where a latent tells nothing of images of this one.
    """
    shown = classes[:, 0] == shape
    seen = metrics.known_shares(means[shown], alike(classes[shown]))
    seen[:, 0] = np.where(np.nan_to_num(seen).max(axis=1) < metrics.CLEAR[0], shares[:, 0], 0)
    return seen


def summary(measured):
    """What `describe` found, as text: a line a latent, by KL, then the last scores."""
    lines = [f"{'z':>3}  {'factor':12} share  variance  KL (nats)"]
    if measured["shape"]:
        lines[0] += f"    factors as in images of the {measured['shape']}"
    for latent in sorted(measured["latents"], key=lambda latent: -latent["kl"]):
        lines.append("{z:>3}  {factor:12} {share:5.2f}  {variance:8.2g}  {kl:9.2f}".format(**latent))
    lines.append(f"{used(measured['latents'])} of {len(measured['latents'])} latents used; "
                 f"{off_text(measured['units_off'])}")
    lines.append(f"reconstruction loss {measured['reconstruction']:.1f} nats{at_least(measured['least'])}")
    lines += measured["left_out"]
    for row in measured["scores"][-1:]:
        lines.append(", ".join(f"{title} {row[name]:.3f}" for name, title in metrics.NAMES.items() if name in row)
                     + f" after {row['step']} steps")
    return "\n".join(lines)


def off_text(counts):
    """What `metrics.units_off` returns, as text: the layers that have some."""
    some = ", ".join(f"{layer} {off} of {units}" for layer, (off, units) in counts.items() if off)
    return f"units no image switches on: {some or 'none'}"


def nearest(data, classes, part=2 ** 15):
    """The index of the image whose classes are closest: a file may hold a part of the data set."""
    def closest(index):
        return index[np.abs(data.classes(index) - classes).sum(axis=1).argmin()]

    return int(closest(np.array([closest(np.arange(start, min(start + part, len(data))))
                                 for start in range(0, len(data), part)])))


def _history_csv(run):
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(run.history_columns)
    writer.writerows([int(step), *values] for step, *values in run.history)
    return text.getvalue().encode()
