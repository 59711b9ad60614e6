"""The page of a run: HTML that loads nothing, since every picture stands in it as text."""

import base64
import html

from tinybvae import metrics

STYLE = """
body {font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222}
table {border-collapse: collapse} th, td {padding: .3rem .9rem; border-bottom: 1px solid #ddd; text-align: left}
td.number {font-variant-numeric: tabular-nums; text-align: right} img {max-width: 100%} code {background: #f4f4f4}
pre {background: #f4f4f4; padding: .8rem; overflow-x: auto}
"""


def page(measured, order, files, command):
    """The page's text, from what `describe` measured, the latents in the order to show them, and {name: bytes}."""
    def image(name):
        if name not in files:
            return f"<p>{name} is not there."
        kind = name.rpartition(".")[2]
        return f'<img alt="{name}" src="data:image/{kind};base64,{base64.b64encode(files[name]).decode()}">'

    rows = "".join(
        f'<tr><td>z{latent["z"]}<td>{image("z%d.gif" % latent["z"])}<td>{html.escape(latent["factor"])}'
        f'<td class="number">{latent["share"]:.2f}<td class="number">{latent["variance"]:.2g}'
        f'<td class="number">{latent["kl"]:.2f}</tr>\n'
        for latent in (measured["latents"][d] for d in order))
    units = "".join(f'<tr><td>{layer}<td class="number">{dead}<td class="number">{units}</tr>\n'
                    for layer, (dead, units) in measured["dead_units"].items())
    scores = "".join(f'<tr><td class="number">{row["step"]:,}' + "".join(
        f'<td class="number">{row[name]:.3f}' for name in metrics.NAMES) + "</tr>\n" for row in measured["scores"])
    shown, among, gap = ", the first of the file", "", ""
    if measured["shape"]:
        shown, among = f', {measured["shape"]}', ", among images of that shape"
        gap = (" Orientation counts modulo the shape's symmetry, and takes two latents or more: an angle runs in a "
               "circle, and on a single number line its two ends, which look alike, would be far apart.")
    if measured["mig"] is not None:
        gap = f' MIG, over all images: {measured["mig"]:.3f}.{gap}'
    note = "".join(f"<p>{html.escape(text)}.</p>\n" for text in factors_text(measured["constant_factors"],
                                                                            measured["mig"] is not None))
    settings = "".join(f"<tr><td>{html.escape(name)}<td>{html.escape(str(value))}</tr>\n"
                       for name, value in measured["settings"].items())
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>tinybvae: a run of {measured["step"]} steps</title>
<style>{STYLE}</style>
<h1>A β-VAE after {measured["step"]:,} steps</h1>
<p>Made by this command, and an <code>--out</code> of its own:</p>
<pre>{html.escape(command)}</pre>
<h2>Latents</h2>
<p>Each latent from −3 to 3, the others at the means of one image{shown}. Factor: what the latent knows most of{among}
("mixed" where nothing stands out, "unused" where KL is below {metrics.UNUSED}); share: mutual information, as a part of
the factor's entropy; variance: of q(z|x) at that image, near 1 where the latent is unused.{gap}</p>
<table><tr><th>z<th>GIF<th>factor<th>share<th>variance<th>KL (nats)</tr>
{rows}</table>
<h2>Units</h2>
<p>Units that none of 2,000 images switches on: without a slope below 0 a ReLU passes no gradient to them, and they are
dead.</p>
<table><tr><th>layer<th>dead<th>of</tr>
{units}</table>
<h2>Scores</h2>
<p>Of 10,000 images' posterior means (<code>metrics.py</code>).</p>
{note}<table><tr><th>step<th>{"<th>".join(metrics.NAMES.values())}</tr>
{scores}</table>
<h2>Images, reconstructions, samples from the prior</h2>
{image("reconstructions.png")}
<h2>Traversals, by KL</h2>
{image("traversals.png")}
<h2>Curves</h2>
{image("loss.png")}
<h2>Configuration</h2>
<table>{settings}</table>
</html>
"""


def factors_text(constant, scored):
    """What there is to say of a data set's factors, a line or none."""
    if not scored:
        return ["no factor varies, or none is known: there are no scores"]
    return [f"do not vary here, and count in no score: {', '.join(constant)}"] if constant else []
