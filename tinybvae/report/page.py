"""The page of a run: HTML that loads nothing. Its latents can be dragged, since it holds the model and explorer.js."""

import base64
import html
import pkgutil
from numbers import Real

import numpy as np

from tinybvae import metrics
from tinybvae.data.sprites import FACTOR_VALUES, GRID, OUTLINES, SHAPES, SIZE
from tinybvae.report.latents import USUAL
from tinybvae.runs.commandline import as_text
from tinybvae.runs.description import as_json, kind, likelihood_text

SCORES = {  # a line for each; metrics explains them at length
    "mig": "for each factor, what the best latent knows of it beyond the second best",
    "factor_vae": "does the latent that varies least tell which factor is fixed?",
    "beta_vae": "do the latents of pairs that share a factor tell which one it is?",
    "sap": "for each factor, how much better the best latent predicts it than the second best",
    "dci": "is each latent important for one factor only, to a random forest?"}
MOST = 16_000_000  # the most weights that a page holds, at 4 bytes each; with more, it stands still
KINDS = "Linear", "Conv2d", "ConvTranspose2d", "ReLU", "Tanh", "Reshape"  # of layers that explorer.js knows
PIXELS = "bernoulli", "gaussian"  # and of likelihoods


def page(run, measured, starts, factors, images, command, start=None):
    """The page's text, from a run, what `describe` measured, and the images (N, …) to start from, with their factors
    (N, 5) if they are sprites of ours, else None. `images` is {name: bytes of a PNG}. `start`: from which of the images
    all traversals start. The text may stand in a notebook too, or several there."""
    latents = sorted(measured["latents"], key=lambda latent: -latent["kl"])
    sprites, weights = factors is not None, sum(p.size for p in run.model.parameters.values())
    first = start if start is not None else USUAL if sprites else 0
    model = _model(run.model, starts, factors, latents, first) if weights <= MOST else ""
    unknown = "layers that" if _kind(run.model.likelihood) in PIXELS else "a likelihood that"
    still = (f"This model's {weights:,} weights are too many for a page" if weights > MOST else
             f"This model has {unknown} the page does not know")
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>tinybvae: a run of {measured["step"]:,} steps</title>
<style>
{_file("style.css")}</style>
<body style="margin: 0"><div class="tinybvae">
<script>document.querySelectorAll(".tinybvae").forEach(page => {{
  page.dataset.theme = new URLSearchParams(location.search).get("theme") ?? "";
}})</script>
<h1>A β-VAE after {measured["step"]:,} steps</h1>
<p class="soft">{_headline(measured)}</p>

<h2>Drag a latent{", or the sprite" * sprites}</h2>
<p>Each strip shows what one latent does, from −3 to 3, the others held{
    ", at first on the shape on which it does most" * (sprites and start is None)}. Its slider redraws the decoded
image. {
    "Drag the sprite in the other image, or turn it, and the encoder moves the sliders: which latents know of it?"
    if sprites else "Choose another image, and the encoder moves the sliders."} The bar above a slider is what the
encoder says: the latent's mean, and a standard deviation to both sides. A narrow bar is precise; one as wide as the
prior, from −1 to 1, says nothing.</p>
<noscript><p>This part needs JavaScript.</p></noscript>
{"" if model else f"<p>{still}: it stands still here.</p>"}
<div id="explorer"{"" if model else ' class="still"'}>
<div id="views">
<div class="pair">
<figure><canvas id="encoded" role="img" aria-label="the image that is encoded"{' class="sprite"' * sprites}></canvas>
<figcaption>image</figcaption></figure>
<figure><canvas id="decoded" role="img" aria-label="the image that the latents decode to"></canvas>
<figcaption>decoded</figcaption></figure>
</div>
{_controls() if sprites else ""}
<div id="starts">{"".join(f'<button id="start{n}" aria-label="start from image {n + 1}"><canvas></canvas></button>'
                          for n in range(len(starts)))}
<button id="prior">a random draw from the prior</button><button id="reset">reset</button></div>
</div>
<div>
{"".join(_latent(latent, latent["shape"] if sprites and start is None else None) for latent in latents)}</div>
</div>
<p class="soft">{_legend(measured)}</p>

<h2>Reconstructions, and samples from the prior</h2>
{_image(images, "reconstructions.png", "images on the left, their reconstructions in the middle, samples on the right")}

{_orientation(images)}
{_curves(run, images)}
{_off(measured)}
{_scores(measured, images)}
{_made_by(command, measured["settings"])}
{model and f'<script type="application/json">{model}</script>'}
</div>
{model and f'<script>{_file("explorer.js")}</script>'}
</html>
"""


def _file(name):
    return pkgutil.get_data(__package__, name).decode()


def _headline(measured):
    latents = measured["latents"]
    parts = [f"{used(latents)} of {len(latents)} latents used", f"KL {measured['kl']:.2f} nats"]
    if np.isfinite(measured["reconstruction"]):
        parts.append(f"reconstruction loss {measured['reconstruction']:.1f} nats{at_least(measured['least'])}")
    if measured["likelihood"] != "bernoulli":
        parts.append(f"likelihood {html.escape(measured['likelihood'])}")
    if measured["mig"] is not None:
        parts.append(f"MIG {measured['mig']:.3f}")
    return " · ".join(parts)


def at_least(nats):
    """The least that a reconstruction loss can be, as text beside it; nothing where that is 0."""
    return f" ({nats:.1f} at the least, whatever the decoder)" * (abs(nats) >= .05)


def _controls():
    """Sliders for a sprite's true factors."""
    shapes = "".join(f'<option value="{n}">{name}' for n, name in enumerate(SHAPES))
    rows = [f'<span>shape</span><select id="sprite-shape" aria-label="shape">{shapes}</select>']
    for name, values in zip(("scale", "orientation", "x", "y"), FACTOR_VALUES[1:]):
        rows.append(f'<span>{name}</span><input type="range" id="sprite-{name}" aria-label="{name}" step="any" '
                    f'min="{values[0]}" max="{values[-1]}">')
    return f'<div id="controls">{"".join(rows)}</div>'


def _latent(latent, shape):
    """A latent's row; `shape` is None, or that of the sprite on which it is shown."""
    name = f'z{latent["z"]} {html.escape(latent["name"])}'
    explained = f'explained {latent["explained"]:.2f} · ' * (latent["factor"] not in ("used", "unused"))
    on = "" if shape in (None, SHAPES[USUAL]) else (
        f' <button data-start="{SHAPES.index(shape)}">on a {shape}</button>')
    return f"""<div class="latent" id="latent{latent["z"]}">
<div class="name"><b>{name}</b>
<small>{explained}KL {latent["kl"]:.2f} · σ²&nbsp;{_unbroken(latent["variance"])}{on}</small></div>
<div><canvas role="img" aria-label="the image as z{latent["z"]} goes from −3 to 3"></canvas>
<div class="range"><div class="spread"></div></div>
<input type="range" id="z{latent["z"]}" aria-label="{name}" min="-3" max="3" step=".05"></div>
<output aria-live="off"></output></div>
"""


def _unbroken(number):
    """Two digits, whose minus no line breaks at."""
    return f"{number:.2g}".replace("-", "&#8209;")


def _legend(measured):
    text = (f"KL: in nats, the mean over {measured['samples']:,} images; a latent with less than {metrics.UNUSED} is "
            f"unused. σ²: the variance of q(z|x) at the image from which its strip starts; near 1 the latent says "
            "nothing.")
    sprites = any(latent["shape"] for latent in measured["latents"])
    if measured["shares"] or sprites:
        text += (" By name: the factor that explains most of the latent's variance, and how much of it, or “mixed” "
                 "where nothing stands out.")
    if sprites:
        text += (" That is among images of one shape; where it holds for some shapes only, the name says which. "
                 "Orientation takes two latents or more: an angle runs in a circle, and on a single number line its "
                 "two ends, which look alike, would be far apart.")
    return text


def _orientation(images):
    if "orientation.png" not in images:
        return ""
    return f"""<h2>What turns a sprite</h2>
<p>Each latent's mean by the orientation of the sprite, for each shape. One that turns a shape makes waves, at least one
for each turn after which the shape looks as before: four for squares, two for ellipses, one for hearts.</p>
{_image(images, "orientation.png", "each latent's mean by orientation, a line for each shape")}"""


def _curves(run, images):
    if not run.history:
        return ""
    series = dict(zip(run.history_columns, np.transpose(np.array(run.history, float))))
    capacity, priced = (bool(np.isfinite(series[name]).any()) for name in ("capacity", "price"))
    renewed = bool((series["new_encoder"] == 1).any())
    return f"""<h2>How it was learnt</h2>
<p>The reconstruction loss{", and the price of a nat, for which the encoder buys what lowers that loss by more" * priced
    }; the KL of each latent, one above the other, so that one sees which opened when{
    ", and the capacity C, which it follows where the penalty's weight is large" * capacity
    }; of each layer, the units that no image of a batch switched on{
    ". Dotted: where most units were drawn anew" * renewed}.</p>
{_image(images, "loss.png", f"curves of the reconstruction loss, {'the price of a nat, ' * priced}KL and units off")}"""


def _image(images, name, text):
    if name not in images:
        return f"<p>{name} is not there.</p>"
    return (f'<div class="wide"><img alt="{text}" '
            f'src="data:image/png;base64,{base64.b64encode(images[name]).decode()}"></div>')


def _off(measured):
    rows = "".join(f'<tr><td>{html.escape(layer)}<td class="number">{off}<td class="number">{units}\n'
                   for layer, (off, units) in measured["units_off"].items() if off)
    if not rows:
        return "<p>Each unit is switched on by some image.</p>"
    return ("<p>Units that no image, or none of 2,000, switches on. Where a ReLU has no slope below 0 they are dead: "
            f"no gradient reaches them.</p>\n<table><tr><th>layer<th>off<th>of\n{rows}</table>")


def _scores(measured, images):
    notes = "".join(f"<p>{html.escape(text)}.</p>\n" for text in measured["left_out"])
    if not measured["scores"]:
        return notes
    rows = "".join(f'<tr><td>{html.escape(title)}<td class="number">{value:.3f}<td>{SCORES.get(name, "")}\n'
                   for name, title, value in latest(measured["scores"]))
    return (f"<h2>Scores after {measured['scores'][-1].get('step', measured['step']):,} steps</h2>\n"
            f"<p>Of {measured['samples']:,} images' posterior means; 1 is best.</p>\n"
            f"{notes}<table>{rows}</table>\n"
            + (_image(images, "scores.png", "each score by step") if "scores.png" in images else ""))


def latest(scores):
    """(name, title, value) of the last of each score in rows of a run's `scores`: ours first, then others by name."""
    last = {name: value for row in scores for name, value in row.items() if isinstance(value, Real) and name != "step"}
    order = sorted(last, key=[*metrics.NAMES, *last].index)
    return [(name, metrics.NAMES.get(name, name), last[name]) for name in order]


def used(latents):
    """How many of the latents that `describe` found are used."""
    return sum(latent["factor"] != "unused" for latent in latents)


def _made_by(command, settings):
    rows = "".join(f"<tr><td>{html.escape(str(name))}<td>{html.escape(as_text(value))}\n"
                   for name, value in settings.items())
    line = f"<pre>{html.escape(command)}</pre>\n" if command else ""
    if command and " --steps " in command:
        line += '<p class="soft">The folder, <code>--out</code>, is left out.</p>\n'
    return f"<h2>Made by</h2>\n{line}<table>{rows}</table>" if line or rows else ""


# The model, for explorer.js.

def _model(model, starts, factors, latents, first):
    """The model as JSON, or "" if explorer.js does not know all of its layers, or its likelihood."""
    layers = [_layer(layer) for network in (model.encoder, model.decoder) for layer in network.layers.values()]
    likelihood = _kind(model.likelihood)
    if not all(layer["kind"] in KINDS for layer in layers) or likelihood not in PIXELS:
        return ""
    encoder, decoder = layers[:len(model.encoder.layers)], layers[len(model.encoder.layers):]
    return as_json({
        "shape": model.image_shape, "likelihood": likelihood, "encoder": encoder, "decoder": decoder,
        "order": [each["z"] for each in latents],
        "first": first,
        "starts": [_base64(np.round(255 * image).astype(np.uint8)) for image in starts],
        "factors": None if factors is None else factors.tolist(),
        "sprite": {"outlines": [outline.tolist() for outline in OUTLINES], "size": SIZE, "grid": GRID}})


def _kind(likelihood):
    return likelihood_text(likelihood).partition(":")[0]


def _layer(layer):
    """A layer's class, by name, and what a forward pass needs of it."""
    said = {"kind": kind(layer), **getattr(layer, "settings", {})}
    return {**said, **_packed(**layer.parameters)} if layer.parameters and said["kind"] in KINDS else said


def _packed(weight, bias):
    """Weights as integers of 24 bits, the upper 16 and the lower 8, times a scale for each column, the last axis.

    Floats of 16 bits would err by up to .01 in a pixel's probability.
    """
    columns = weight.astype(np.float64).reshape(-1, weight.shape[-1])
    scale = np.maximum(np.abs(columns).max(axis=0), 1e-30) / (2 ** 23 - 1)
    integers = np.round(columns / scale).astype(np.int32)
    return {"columns": len(scale), "biases": len(bias), "packed": _base64(
        scale.astype("<f4"), bias.astype("<f4"), (integers >> 8).astype("<i2"), (integers & 255).astype(np.uint8))}


def _base64(*arrays):
    return base64.b64encode(b"".join(array.tobytes() for array in arrays)).decode()
