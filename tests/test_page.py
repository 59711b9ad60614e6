"""The page in headless Chromium: it computes what the model does, a slider changes the image and only it, no errors."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

import tinybvae as tb
from tinybvae import report
from tinybvae.report import latents

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
RNG = np.random.default_rng(0)
Z, INDEX = RNG.standard_normal((3, 4)), [5, 17, 29]
SPRITES = RNG.integers(737_280, size=200)
HEARTS = latents.Seen("orientation of hearts", "orientation", .5, 2)


class Own:
    """Images without factors that vary, of any shape: but one with a name that would not fit, nor be safe."""

    factor_names, factor_sizes = ("x" * 90 + "<img>",), (1,)

    def __init__(self, shape):
        self.image_shape, self.drawn = shape, np.random.default_rng(0).random((30, *shape), np.float32)

    def __len__(self):
        return 30

    def classes(self, index):
        return np.zeros((len(index), 1), int)

    def images(self, index):
        return self.drawn[index]


def narrow(latents, shape, rng, dtype):
    """higgins2017's kinds of layers, of 30 units: its own 1,200 make a page of 60 MB."""
    pixels = int(np.prod(shape))
    return (tb.Sequential(flatten=tb.Reshape(pixels), linear1=tb.Linear(pixels, 30, rng, dtype, input_grad=False),
                          relu1=tb.ReLU(), latent=tb.Linear(30, 2 * latents, rng, dtype)),
            tb.Sequential(linear1=tb.Linear(latents, 30, rng, dtype), tanh1=tb.Tanh(),
                          linear2=tb.Linear(30, pixels, rng, dtype), unflatten=tb.Reshape(*shape)))


@pytest.fixture(scope="module", params=["burgess2018", "burgess2018 in colour", "fully connected"])
def written(request, tmp_path_factory):
    """A model, its data, and the folder with the report."""
    shape, architecture, slope = {"burgess2018": ((64, 64, 1), tb.burgess2018, 0),
                                  "burgess2018 in colour": ((32, 48, 3), tb.burgess2018, .1),
                                  "fully connected": ((16, 16, 1), narrow, 0)}[request.param]
    model = tb.BetaVAE(4, seed=1, image_shape=shape, architecture=architecture, negative_slope=slope,
                       likelihood=tb.gaussian(.5) if shape[2] == 3 else tb.bernoulli)
    for p in model.parameters.values():
        p += np.float32(.02) * RNG.standard_normal(p.shape, np.float32)  # as if trained: no bias is 0
    run = tb.Run(model, None, RNG, settings={"data": "<b>&.npz"})
    if shape[2] == 1:
        C = np.nan if architecture is narrow else 1.0
        run.history = [[step, 9., 8., 4., C, *4 * [1.], 4., *(0. for relu in model.relus), 4., step / 10]
                       for step in (0, 10)]
    data, folder = tb.DSprites() if shape == (64, 64, 1) else Own(shape), tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report.figures, "traversal_gif", lambda *given: b"")
        if shape == (64, 64, 1):
            patch.setattr(report, "seen", lambda *given: [*latents.seen(*given)[:3], HEARTS])
        tb.write_report(run, data, folder, "a <command> & 'more'")
    return model, data, (folder / "report.html").read_text(encoding="utf-8")


def test_curves_are_there_if_there_is_a_history_and_c_if_the_objective_has_one(written):
    model, _, page = written
    assert ("How it was learnt" in page) == (model.image_shape[2] == 1)
    assert ("the capacity C, which" in page) == (model.image_shape == (64, 64, 1))
    assert ("drawn anew" in page) == (model.image_shape[2] == 1)


def test_a_page_loads_nothing_and_is_small(written):
    _, _, page = written
    assert not re.search(r'(src|href)="(?!data:)|url\(|@import|https?:', page)
    assert "a &lt;command&gt; &amp;" in page and "&lt;b&gt;&amp;.npz" in page and "<img>" not in page
    assert len(page) < 3e6


SCRIPT = """
const answer = {}, find = id => document.getElementById(id), all = what => [...document.querySelectorAll(what)];
const pictures = () => Object.fromEntries(all("canvas").map((canvas, n) => [canvas.id || n, canvas.toDataURL()]));
const values = () => all(".latent input").map(input => Number(input.value));
const move = (slider, value) => { slider.value = value; slider.dispatchEvent(new Event("input")); };
const {decode, encode, latents, render} = window.tinybvae;

answer.latents = latents;
answer.images = Z.map(z => [...decode(z)]);
answer.codes = X.map(x => { const {mean, logvar} = encode(x); return [...mean, ...logvar]; });

answer.before = [pictures(), values()];
move(find("z2"), values()[2] < 0 ? 2.5 : -2.5);
answer.after = [pictures(), values()];

for (let x = .5; x < 1 && find("sprite-x"); x += .02) move(find("sprite-x"), x);  // as a hand drags it
answer.moved = Math.max(...all(".latent").map(row => Number(row.style.getPropertyValue("--moved"))));

answer.starts = ["start2", "prior", "reset"].map(id => {
  find(id).click();
  return [find("encoded").className.includes("none"), ...values()];
});

answer.sprites = find("controls") && SPRITES.map(factors => render(factors).join(""));
if (find("controls")) {
  answer.turn = [[pictures().encoded, values()]];
  move(find("sprite-orientation"), 2);
  answer.turn.push([pictures().encoded, values()]);
}

answer.on = all(".latent button").map(button => {
  button.click();
  return [button.dataset.start, find("sprite-shape").value];
});

// Shown twice, as in a notebook, which gives a page's text to an element and runs its scripts.
const notebook = document.createElement("div");
notebook.innerHTML = "<h1>mine</h1>" + PAGE + PAGE;
document.body.append(notebook);
for (const script of [...notebook.querySelectorAll("script:not([type])")]) {
  const again = document.createElement("script");
  again.textContent = script.textContent;
  script.replaceWith(again);
}
const [mine, ...theirs] = notebook.querySelectorAll("h1"), copies = [...notebook.querySelectorAll(".tinybvae")];
answer.sizes = [mine, ...theirs].map(title => getComputedStyle(title).fontSize);
answer.copies = copies.map(copy => [...copy.querySelectorAll(".latent input")].map(input => input.value));
move(copies[1].querySelector("#z2"), values()[2] < 0 ? 2.5 : -2.5);
answer.second = copies.map(copy => [...copy.querySelectorAll(".latent input")].map(input => input.value));
answer.colours = ["", "light", "dark"].map(theme => {
  copies[0].dataset.theme = theme;
  return getComputedStyle(copies[0]).backgroundColor;
});
notebook.remove();

const phone = document.createElement("iframe");  // Chromium's own window is wider, even without a head
phone.style.cssText = "width: 390px; height: 800px; border: 0";
phone.srcdoc = PAGE;
phone.onload = () => {
  const {scrollWidth, scrollHeight} = phone.contentDocument.documentElement;
  const line = phone.contentDocument.querySelector("td.number").getBoundingClientRect().height;
  find("answer").textContent = JSON.stringify({...answer, line, phone: [scrollWidth, scrollHeight]});
};
document.body.append(phone);
"""


@pytest.fixture(scope="module")
def answer(written, tmp_path_factory):
    """What SCRIPT finds in the page, a second after it was opened from its file; no error, no warning."""
    if CHROMIUM is None:
        pytest.skip("no Chromium")
    model, data, page = written
    given = {"Z": Z.tolist(), "X": data.images(INDEX).reshape(3, -1).tolist(),
             "PAGE": page,
             "SPRITES": (tb.DSprites().values(SPRITES) - (1, 0, 0, 0, 0)).tolist()}
    given = "".join(f"const {name} = {json.dumps(value)};\n" for name, value in given.items()).replace("</", "<\\/")
    tested = tmp_path_factory.mktemp("tested") / "tested.html"
    tested.write_text(f'{page}<pre id="answer"></pre><script>setTimeout(() => {{{given}{SCRIPT}}}, 1000)</script>',
                      encoding="utf-8")
    done = subprocess.run([CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
                           "--virtual-time-budget=20000", "--dump-dom", tested.as_uri()],
                          capture_output=True, text=True, timeout=120)
    assert "CONSOLE" not in done.stderr, done.stderr
    return json.loads(re.search(r'<pre id="answer">(.*?)</pre>', done.stdout, re.S)[1])


def test_it_agrees_with_the_model(written, answer):
    model, data, _ = written
    assert answer["latents"] == 4
    np.testing.assert_allclose(answer["images"], model.likelihood.picture(model.decode(Z)).reshape(3, -1), atol=2e-3)
    np.testing.assert_allclose(answer["codes"], np.concatenate(model.encode(data.images(INDEX)), axis=1), atol=2e-3)


def test_a_slider_changes_the_image_and_only_it(answer):
    (before, values), (after, moved) = answer["before"], answer["after"]
    assert [name for name in before if after[name] != before[name]] == ["decoded"]
    assert sum(a != b for a, b in zip(values, moved)) == 1


def test_what_it_starts_from(answer):
    blank, *_ = zip(*answer["starts"])
    assert blank == (False, True, False) and len({tuple(row) for row in answer["starts"]}) == 3


def test_a_sprite_is_the_renderers(written, answer):
    _, data, _ = written
    if isinstance(data, Own):
        assert answer["sprites"] is None
        return
    assert answer["sprites"] == ["".join(map(str, image.reshape(-1).astype(int))) for image in data.images(SPRITES)]
    (image, values), (turned, others) = answer["turn"]
    assert image != turned and values != others


def test_a_latent_is_shown_on_its_shape(written, answer):
    _, data, _ = written
    assert answer["on"] == ([["2", "2"]] if isinstance(data, tb.DSprites) else [])


def test_what_moves_is_marked(written, answer):
    assert (answer["moved"] > .2) == isinstance(written[1], tb.DSprites)


def test_images_that_only_look_like_dsprites(tmp_path, no_films):
    """Factors by the same names, but in colour: no renderer of ours draws them."""
    class Coloured(Own):
        factor_names, factor_sizes = tb.DSprites.factor_names, tb.DSprites.factor_sizes

        def classes(self, index):
            return tb.DSprites().classes(np.asarray(index) * 20_000)

    model = tb.BetaVAE(2, image_shape=(64, 64, 3))
    tb.write_report(tb.Run(model, None, RNG), Coloured((64, 64, 3)), tmp_path, "command")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "among images of one shape" in page and 'id="controls"' not in page and '"factors": null' in page


def test_a_likelihood_that_the_page_does_not_know(tmp_path, no_films):
    class Bernoulli(type(tb.bernoulli)):
        def picture(self, output):
            return 1 - super().picture(output)

    model = tb.BetaVAE(2, image_shape=(16, 16, 1), likelihood=Bernoulli())
    tb.write_report(tb.Run(model, None, RNG), Own((16, 16, 1)), tmp_path, "command")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "a likelihood that the page does not know" in page and "application/json" not in page


def test_layers_that_the_page_does_not_know(tmp_path, no_films):
    class Twice(tb.Layer):
        def forward(self, x):
            return 2 * x

    def architecture(latents, shape, rng, dtype):
        encoder, decoder = tb.burgess2018(latents, shape, rng, dtype)
        encoder.layers["twice"] = Twice()
        return encoder, decoder

    model = tb.BetaVAE(2, image_shape=(16, 16, 1), architecture=architecture)
    tb.write_report(tb.Run(model, None, RNG), Own((16, 16, 1)), tmp_path, "command")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "layers that the page does not know" in page and "application/json" not in page


def test_a_model_that_is_too_large_for_a_page(tmp_path, monkeypatch):
    monkeypatch.setitem(tb.report.page.__globals__, "MOST", 100_000)
    model = tb.BetaVAE(2, image_shape=(16, 16, 1))
    tb.write_report(tb.Run(model, None, RNG), Own((16, 16, 1)), tmp_path, "command")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "weights are too many for a page: it stands still here" in page and "application/json" not in page


def test_in_a_notebook(answer):
    """Two pages, each with its own sliders; what else is there keeps its looks. Light and dark on demand."""
    mine, *theirs = answer["sizes"]
    assert mine == "32px" and set(theirs) == {"27.2px"}
    (first, second), (still, moved) = answer["copies"], answer["second"]
    assert first == second == still and sum(a != b for a, b in zip(second, moved)) == 1
    assert answer["colours"] == ["rgb(255, 255, 255)", "rgb(255, 255, 255)", "rgb(22, 24, 29)"]


def test_no_sideways_scrolling_on_a_phone(answer):
    wide, high = answer["phone"]
    assert wide <= 390 < high
    assert answer["line"] < 2 * 16 * 1.55  # pixels: a number is not broken
