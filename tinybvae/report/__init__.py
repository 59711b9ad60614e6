"""What a run leaves to look at: pictures, history, metrics, and one self-contained HTML page that holds them all."""

import csv
import gc
import io
from pathlib import Path

import numpy as np

from tinybvae import metrics
from tinybvae.data import DSprites
from tinybvae.data.files import write_atomically
from tinybvae.data.sprites import SHAPES
from tinybvae.kernels import memory
from tinybvae.kernels.arrays import small_is_zero
from tinybvae.losses import gaussian_kl
from tinybvae.report import figures
from tinybvae.report.latents import by_orientation, is_dsprites, nearest, seen, starts
from tinybvae.report.page import at_least, latest, page, used
from tinybvae.runs import settings
from tinybvae.runs.description import as_json, likelihood_text
from tinybvae.runs.run import require_run

ALSO = (0, 5, 4, 10, 20), (2, 4, 0, 22, 10)  # classes of sprites that the page may start from, beside `starts`


@small_is_zero
def write_report(run, data, folder, command=None, encoded=None, start=None):
    """Write report.html, pictures, curves and numbers into `folder`, which is made if it is not there.

    Each file is replaced whole, and the same run gives the same bytes. Without a history there are no curves. `command`
    is shown as what made the run; without it, the training command if the run's settings are those of one. Traversals
    start from the image with the index `start`; without it, as `describe` says. Returns what `describe` found.
    Raises ValueError for images of other than 1 channel or 3, and OSError if some files could not be drawn or written,
    whatever the reason, once all others are there.
    """
    require_run(run, "write_report")
    model, rng, folder = run.model, np.random.default_rng(0), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if command is None and "steps" in run.settings:
        command = settings.command(run.settings)
    figures.require_gray_or_rgb(model.image_shape[2])
    classes, encoded_means, _ = encoded = encoded or metrics.encode_samples(model, data)
    measured = describe(run, data, encoded, start)
    latents, begun = measured["latents"], starts(data, start)
    # (D, D): a row for each latent, the means at the image that its traversal starts from.
    means = model.encode(data.images(begun))[0][[_start(latent) % len(begun) for latent in latents]]
    memory.release()  # most of what training needed: pictures need memory of other sizes
    order = [latent["z"] for latent in sorted(latents, key=lambda latent: -latent["kl"])]
    labels = [f"z{d} {latents[d]['name']}\n{latents[d]['kl']:.2f} nats" for d in order]
    units = {layer: units for layer, (_, units) in measured["units_off"].items()}
    some, z = rng.integers(len(data), size=20), rng.standard_normal((20, model.latents))
    shown, factors = np.array([*begun, *some[:4]]), None
    if isinstance(data, DSprites) and model.image_shape == data.image_shape:
        shown = np.array([*starts(data), *(nearest(data, classes) for classes in ALSO), *begun[:start is not None]])
        factors = data.values(shown) - (1, 0, 0, 0, 0)
    makers = {
        "history.csv": lambda: _history_csv(run),
        "metrics.json": lambda: as_json(measured, indent=1).encode(),
        "loss.png": lambda: figures.curves(run, order, labels[:used(latents)], units, measured["least"]),
        "scores.png": lambda: figures.scores(run.scores),
        "reconstructions.png": lambda: figures.reconstructions(model, data.images(some), z),
        "traversals.png": lambda: figures.traversals(model, means[order], order, labels),
        "traversals.gif": lambda: figures.traversal_gif(model, means[order], order, labels),
        **{f"z{d}.gif": lambda d=d: figures.traversal_gif(model, means[d], [d]) for d in range(model.latents)},
        "orientation.png": lambda: figures.by_orientation(by_orientation(encoded_means, classes),
                                                          order[:used(latents) or 1], labels),
        "report.html": lambda: page(run, measured, data.images(shown), factors, files, command,
                                    None if start is None else shown.tolist().index(start)).encode(errors="replace"),
    }
    if not run.history:
        del makers["loss.png"]
    if len(run.scores) < 2:
        del makers["scores.png"]
    if not is_dsprites(data):
        del makers["orientation.png"]
    files, failed = {}, {}
    for name, make in makers.items():
        try:
            files[name] = make()
            write_atomically(folder / name, files[name])
        except Exception as error:  # of matplotlib, imageio, the system: none is worth a run
            failed[name] = error
    gc.collect()  # matplotlib keeps exceptions, and with them the frames of its callers, this run's model among them
    memory.release()
    if failed:
        reason = next(iter(failed.values()))
        raise OSError(f"could not write {', '.join(failed)} ({type(reason).__name__}: {reason})") from reason
    return measured


@small_is_zero
def describe(run, data, encoded=None, start=None):
    """What metrics.json holds: {"latents": [{"z": 0, …}, …], …}.

    For each latent: what `seen` says; its posterior mean and variance at the image that its traversal starts from,
    which is that with the index `start`, or else, of dSprites, one of the shape on which the latent does most; its KL
    in nats, the mean over sampled images. Raises FloatingPointError if a latent is not finite.
    """
    classes, means, logvars = encoded or metrics.encode_samples(run.model, data)
    names, _ = metrics.factors_of(data)
    kl, _, _ = gaussian_kl(means, logvars)
    begun = starts(data, start)
    mean, logvar = run.model.encode(data.images(begun))
    if not (np.isfinite(kl).all() and np.isfinite(np.exp(logvar)).all()):
        raise FloatingPointError(f"the latents are not finite at step {run.step}: try a lower learning rate")
    shares = metrics.known_shares(means, classes)
    latents = [{"z": d, "name": name, "factor": factor, "explained": explained,
                "shape": None if shape is None else SHAPES[shape], "mean": float(mean[n, d]),
                "variance": float(np.exp(logvar[n, d])), "kl": float(kl[d])}
               for d, (name, factor, explained, shape) in enumerate(seen(data, means, classes, kl))
               for n in [(shape or 0) % len(begun)]]
    told = ~np.isnan(shares).all(axis=0)  # for which factors it can be told what latents know
    losses = metrics.losses(run.model, data, 2000)
    return {
        "step": run.step, "mig": metrics.mutual_information_gap(shares) if told.any() else None,
        "kl": float(kl.sum()), "reconstruction": losses["reconstruction"], "least": losses["least"],
        "likelihood": likelihood_text(run.model.likelihood),
        "latents": latents,
        "units_off": metrics.units_off(run.model, data), "samples": len(means),
        "constant_factors": [name for name, column in zip(names, classes.T) if (column == column[0]).all()],
        "left_out": metrics.notes(classes, names),
        "shares": {name: share.tolist() for name, share, is_told in zip(names, shares.T, told) if is_told},
        "scores": run.scores, "settings": run.settings}


def _start(latent):
    """Which of `starts` this latent's traversal starts from, if there is one for each shape."""
    return SHAPES.index(latent["shape"]) if latent["shape"] else 0


def summary(measured):
    """What `describe` found, as text: a line for each latent, the largest KL first, then the last scores."""
    wide = max(len(latent["name"]) for latent in measured["latents"])
    lines = [f"{'z':>3}  {'name':{wide}}  explained  variance  KL (nats)"]
    for latent in sorted(measured["latents"], key=lambda latent: -latent["kl"]):
        lines.append("{z:>3}  {name:{wide}}  {explained:9.2f}  {variance:8.2g}  {kl:9.2f}".format(wide=wide, **latent))
    lines.append(f"{used(measured['latents'])} of {len(measured['latents'])} latents used; "
                 f"{off_text(measured['units_off'])}")
    lines.append(f"reconstruction loss {measured['reconstruction']:.1f} nats{at_least(measured['least'])}")
    lines += measured["left_out"]
    if measured["scores"]:
        lines.append(", ".join(f"{title} {value:.3f}" for _, title, value in latest(measured["scores"]))
                     + f" after {measured['scores'][-1].get('step', measured['step'])} steps")
    return "\n".join(lines)


def off_text(counts):
    """What `metrics.units_off` returns, as text: the layers that have units off."""
    some = ", ".join(f"{layer} {off} of {units}" for layer, (off, units) in counts.items() if off)
    return f"units no image switches on: {some or 'none'}"


def _history_csv(run):
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(run.history_columns)
    writer.writerows([int(step), *values] for step, *values in run.history)
    return text.getvalue().encode()
