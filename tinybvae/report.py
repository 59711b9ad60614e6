"""What a run leaves to look at: pictures, history, metrics, and one self-contained HTML page that holds them all."""

import base64
import csv
import html
import io
import json
from pathlib import Path

import numpy as np

from tinybvae import figures, memory, metrics
from tinybvae.checkpoint import write_atomically
from tinybvae.losses import gaussian_kl

TRAVERSED = (1, 2, 5, 16, 16)  # the factor classes of the image that traversals start from: an ellipse
FILES = ("history.csv", "metrics.json", "loss.png", "reconstructions.png", "traversals.png", "traversals.gif",
         "report.html")  # beside z0.gif …
PAGE_STYLE = """
body {font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222}
table {border-collapse: collapse} th, td {padding: .3rem .9rem; border-bottom: 1px solid #ddd; text-align: left}
td.number {font-variant-numeric: tabular-nums; text-align: right} img {max-width: 100%} code {background: #f4f4f4}
pre {background: #f4f4f4; padding: .8rem; overflow-x: auto}
"""


def write_report(run, sprites, folder, command):
    """Write FILES and z0.gif … into `folder`: each is replaced whole, and the same run gives the same bytes.

    Without a history there are no curves. `command` is shown as what made the run. Returns the metrics.
    """
    model = run.model
    mean, latents, measured = describe(run, sprites)
    memory.release()  # most of what training needed: pictures need memory of other sizes
    order = [latent["z"] for latent in sorted(latents, key=lambda latent: -latent["kl"])]
    labels = [f"z{d} {latents[d]['factor']}\n{latents[d]['kl']:.2f} nats" for d in order]
    some = np.random.default_rng(0).integers(len(sprites), size=10)
    files = {
        "history.csv": _history_csv(run),
        "metrics.json": json.dumps(measured, indent=1).encode(),
        **({"loss.png": figures.curves(run.history, run.history_columns)} if run.history else {}),
        "reconstructions.png": figures.reconstructions(model, sprites.images(some)),
        "traversals.png": figures.traversals(model, mean, order, labels),
        "traversals.gif": figures.traversal_gif(model, mean, order),
        **{f"z{d}.gif": figures.traversal_gif(model, mean, [d]) for d in range(model.latents)},
    }
    files["report.html"] = _page(measured, order, files, command).encode()
    for name, data in files.items():
        write_atomically(Path(folder) / name, data)
    memory.release()
    return measured


def describe(run, sprites):
    """The means (D,) that traversals start from, the latent table [{"z": 0, …}, …], and all that metrics.json holds.

    Of each latent: the factor it knows most of, and that share (`metrics`); its posterior variance at the image
    of TRAVERSED; its KL in nats, in the mean over the sampled images. Raises FloatingPointError if one is not finite.
    """
    classes, means, logvars = metrics.encode_samples(run.model, sprites)
    kl, _, _ = gaussian_kl(means, logvars)
    mean, logvar = (array[0] for array in run.model.encode(sprites.images([nearest(sprites, TRAVERSED)])))
    if not np.isfinite([kl, np.exp(logvar)]).all():
        raise FloatingPointError(f"the latents are not finite at step {run.step}: try a lower learning rate")
    shares = metrics.known_shares(means, classes)
    latents = [{"z": d, "factor": factor, "share": share, "variance": float(variance), "kl": float(nats)}
               for d, ((factor, share), variance, nats)
               in enumerate(zip(metrics.name_latents(shares, kl, sprites.factor_names), np.exp(logvar), kl))]
    last = dict(zip(run.history_columns, run.history[-1])) if run.history else {}
    return mean, latents, {
        "step": run.step, "mig": metrics.mutual_information_gap(shares), "kl": float(kl.sum()),
        "reconstruction": last.get("reconstruction"), "latents": latents,
        "shares": {name: share.tolist() for name, share in zip(sprites.factor_names, shares.T)},
        "scores": run.scores, "settings": run.settings}


def summary(measured):
    """What `write_report` returns, as text: a line a latent, by KL, then the last scores."""
    lines = [f"{'z':>3}  {'factor':12} share  variance  KL (nats)"]
    for latent in sorted(measured["latents"], key=lambda latent: -latent["kl"]):
        lines.append("{z:>3}  {factor:12} {share:5.2f}  {variance:8.2g}  {kl:9.2f}".format(**latent))
    for row in measured["scores"][-1:]:
        lines.append(", ".join(f"{title} {row[name]:.3f}" for name, title in metrics.NAMES.items())
                     + f" after {row['step']} steps")
    return "\n".join(lines)


def nearest(sprites, classes, part=2 ** 15):
    """The index of the image whose classes are closest: a file may hold a part of the data set."""
    def closest(index):
        return index[np.abs(sprites.classes(index) - classes).sum(axis=1).argmin()]

    return int(closest(np.array([closest(np.arange(start, min(start + part, len(sprites))))
                                 for start in range(0, len(sprites), part)])))


def _history_csv(run):
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(run.history_columns)
    writer.writerows([int(step), *values] for step, *values in run.history)
    return text.getvalue().encode()


def _page(measured, order, files, command):
    def image(name):
        kind = name.rpartition(".")[2]
        return f'<img alt="{name}" src="data:image/{kind};base64,{base64.b64encode(files[name]).decode()}">'

    rows = "".join(
        f'<tr><td>z{latent["z"]}<td>{image("z%d.gif" % latent["z"])}<td>{html.escape(latent["factor"])}'
        f'<td class="number">{latent["share"]:.2f}<td class="number">{latent["variance"]:.2g}'
        f'<td class="number">{latent["kl"]:.2f}</tr>\n'
        for latent in (measured["latents"][d] for d in order))
    scores = "".join(f'<tr><td class="number">{row["step"]:,}' + "".join(
        f'<td class="number">{row[name]:.3f}' for name in metrics.NAMES) + "</tr>\n" for row in measured["scores"])
    settings = "".join(f"<tr><td>{html.escape(name)}<td>{html.escape(str(value))}</tr>\n"
                       for name, value in measured["settings"].items())
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>tinybvae: a run of {measured["step"]} steps</title>
<style>{PAGE_STYLE}</style>
<h1>A β-VAE after {measured["step"]:,} steps</h1>
<p>Made by this command, and an <code>--out</code> of its own:</p>
<pre>{html.escape(command)}</pre>
<h2>Latents</h2>
<p>Each latent from −3 to 3, the others at the means of one image. Parameter: the factor that the latent knows most of;
share: mutual information, as a part of the factor's entropy ("?" where that is below {metrics.WEAK} or KL below
{metrics.UNUSED}); variance: of q(z|x) at that image, near 1 where the latent is unused. MIG {measured["mig"]:.3f}.</p>
<table><tr><th>z<th>GIF<th>parameter<th>share<th>variance<th>KL (nats)</tr>
{rows}</table>
<h2>Scores</h2>
<p>Of 10,000 images' posterior means (<code>metrics.py</code>).</p>
<table><tr><th>step<th>{"<th>".join(metrics.NAMES.values())}</tr>
{scores}</table>
<h2>Reconstructions</h2>
{image("reconstructions.png")}
<h2>Traversals, by KL</h2>
{image("traversals.png")}
<h2>Curves</h2>
{image("loss.png") if "loss.png" in files else "Not in this checkpoint."}
<h2>Configuration</h2>
<table>{settings}</table>
</html>
"""
