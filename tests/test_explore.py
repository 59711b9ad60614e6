"""examples/evaluate.py and examples/explore.py, on a checkpoint of weights alone, and given wrong input."""

import json
import re
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

import tinybvae as tb
from tinybvae.runs.folder import trained
from tinybvae.runs.settings import COMMON, SHARP

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="half a minute a run without Numba's compiler")
ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "examples"))
import evaluate  # noqa: E402
import explore  # noqa: E402


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.h5"
    tb.save(tb.Run(tb.BetaVAE(3, seed=1), None, np.random.default_rng(0), step=7, settings={"seed": 1}), path)
    return path


def test_evaluate(checkpoint, call):
    status, printed, _ = call(evaluate.main, checkpoint)
    assert status == 0
    scores = json.loads(checkpoint.with_suffix(".scores.json").read_text())
    model, sprites = tb.load_model(checkpoint), tb.DSprites()
    classes, means, _ = tb.metrics.encode_samples(model, sprites)
    assert scores["mig"] == tb.metrics.mutual_information_gap(tb.metrics.known_shares(means, classes))
    assert list(scores)[:5] == ["mig", "factor_vae", "beta_vae", "sap", "dci"]
    for title, score in zip(("MIG", "FactorVAE", "BetaVAE", "SAP", "DCI"), scores.values()):
        assert f"{title:10} {score:.3f}" in printed
    images = sprites.images(np.array(tb.metrics.NINE))
    logits = model.decode(model.encode(images)[0]).astype(float)
    nine = (np.logaddexp(0, logits) - images * logits).sum() / 9
    assert scores["nine_images"] == pytest.approx(nine, rel=1e-5) and f"nine images {nine:.1f} nats" in printed
    rng = np.random.default_rng(7)
    images = sprites.images(rng.integers(len(sprites), size=1000))
    mean, logvar = (array.astype(float) for array in model.encode(images))
    logits = model.decode(mean + np.exp(logvar / 2) * rng.standard_normal(mean.shape)).astype(float)
    reconstruction = (np.logaddexp(0, logits) - images * logits).sum() / 1000
    kl = (mean ** 2 + np.exp(logvar) - logvar - 1).sum() / 2000
    assert scores["reconstruction"] == pytest.approx(reconstruction, rel=.1)
    assert scores["kl"] == pytest.approx(kl, rel=.1)
    assert scores["units_off"] == tb.metrics.units_off(model, sprites)


def test_the_trained_model(tmp_path, call, no_films):
    status, _, _ = call(explore.main, "--out", tmp_path)
    assert status == 0
    measured = json.loads((tmp_path / "metrics.json").read_text())
    assert {"position_x", "position_y", "scale"} <= {latent["factor"] for latent in measured["latents"]}
    assert (tmp_path / "loss.png").exists() and (tmp_path / "z9.gif").exists()
    run = tb.load(explore.PRETRAINED)
    assert run.optimizer is None and run.step == SHARP["steps"]
    assert run.settings.items() <= (COMMON | SHARP | {"checkpoint_every": 5000}).items()
    classes, means, _ = tb.metrics.encode_samples(run.model, tb.DSprites())
    for name, score in (("mig", measured["mig"]), ("factor_vae", tb.metrics.factor_vae_score(means, classes)),
                        ("beta_vae", tb.metrics.beta_vae_score(means, classes))):
        assert run.scores[-1][name] == pytest.approx(score, abs=.01)  # another machine rounds otherwise


def test_explore(checkpoint, tmp_path, call, refusal, no_films):
    """All traversals from one sprite, on the page too; of other data, from an image by its number."""
    out = tmp_path / "a" / "b"
    status, printed, _ = call(explore.main, checkpoint, "--start", "2,4,3,22,11", "--out", out)
    assert status == 0 and "variance" in printed and str(out / "report.html") in printed
    assert {path.name for path in out.iterdir()} == {
        "history.csv", "metrics.json", "reconstructions.png", "traversals.png", "traversals.gif", "orientation.png",
        "report.html", "z0.gif", "z1.gif", "z2.gif"}
    measured = json.loads((out / "metrics.json").read_text())
    model, image = tb.load_model(checkpoint), tb.DSprites().images(tb.DSprites().index([[2, 4, 3, 22, 11]]))
    mean, logvar = model.encode(image)
    np.testing.assert_allclose([latent["mean"] for latent in measured["latents"]], mean[0], rtol=1e-5)
    np.testing.assert_allclose([latent["variance"] for latent in measured["latents"]], np.exp(logvar[0]), rtol=1e-5)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert measured["step"] == 7 and '"first": 5' in page
    assert "data-start" not in page and "at first on the shape" not in page
    for wrong, message in (("2,4", "give five classes"), ("a,1,1,1,1", "give five classes"),
                           ("3,0,0,0,0", "classes must lie in 0 … size − 1")):
        assert message in refusal(explore.main, checkpoint, "--start", wrong, "--out", tmp_path / "c")
    np.savez(tmp_path / "own.npz", imgs=np.random.default_rng(0).random((30, 64, 64)))
    own = "--data", tmp_path / "own.npz", "--out", tmp_path / "c"
    assert "index must lie in 0 … 29" in refusal(explore.main, checkpoint, *own, "--start", 30)
    assert call(explore.main, checkpoint, *own, "--start", 29)[0] == 0
    assert '"first": 0' in (tmp_path / "c/report.html").read_text(encoding="utf-8")


def test_evaluate_side_by_side(tmp_path, call, refusal):
    """The same model with its latents in another order, one of them negated: every latent is found again."""
    np.savez(tmp_path / "own.npz", imgs=np.random.default_rng(0).random((400, 16, 16)),
             latents_classes=np.arange(400)[:, None] // 200)
    run, files = tb.Run(tb.BetaVAE(3, seed=1, image_shape=(16, 16, 1))), [tmp_path / "one.h5", tmp_path / "other.h5"]
    run.settings["data"] = str(tmp_path / "own.npz")
    tb.save(run, files[0])
    weight, bias = (run.model.parameters[f"encoder.latent.{kind}"] for kind in ("weight", "bias"))
    order = [2, 0, 1, 5, 3, 4]
    weight[...], bias[...] = weight[:, order], bias[order]
    weight[:, 0] *= -1
    tb.save(run, files[1])
    status, printed, _ = call(evaluate.main, *files)
    assert status == 0 and f"2: {files[1]}" in printed
    scores = [json.loads(path.with_suffix(".scores.json").read_text()) for path in files]
    mig, = (line.split() for line in printed.splitlines() if line.startswith("MIG"))
    assert mig[1:] == [f"{each['mig']:.3f}" for each in scores]
    *_, table = printed.partition("the correlation of their means\n")
    found = {(line.split()[0], *re.findall(r" (z\d) .* (\S+)$", line)[0]) for line in table.splitlines()[:3]}
    assert found == {("z0", "z1", "1.00"), ("z1", "z2", "1.00"), ("z2", "z0", "-1.00")}
    assert "is one file, and there are 2 checkpoints" in refusal(evaluate.main, *files, "--out", tmp_path / "a.json")
    run.settings["data"] = str(tmp_path / "others.npz")
    np.savez(tmp_path / "others.npz", imgs=np.zeros((60, 16, 16)))
    tb.save(run, files[1])
    assert "different images: give --data" in refusal(evaluate.main, *files)


def test_own_scores(tmp_path, no_films):
    """Beside ours in the summary and on the page, the last of each; drawn by step; whatever they are called."""
    rows = [{"step": 5, "mig": .25}, {"step": 7, "mig": .5, "<mine>": np.float32(1.5)}, {"step": 7, "note": "text"}]
    run = tb.Run(tb.BetaVAE(2, image_shape=(16, 16, 1)), scores=rows, step=7)
    data = tb.Images.of(np.random.default_rng(0).integers(0, 2, (30, 16, 16)))
    measured = tb.write_report(run, data, tmp_path / "new/folder")
    assert "MIG 0.500, <mine> 1.500 after 7 steps" in explore.summary(measured)
    page = (tmp_path / "new/folder/report.html").read_text(encoding="utf-8")
    assert '<td>&lt;mine&gt;<td class="number">1.500' in page and "Made by" not in page
    assert (tmp_path / "new/folder/scores.png").read_bytes()[1:4] == b"PNG"


def test_explore_keeps_the_report_of_a_run(checkpoint, tmp_path, refusal):
    (tmp_path / "checkpoint.h5").write_bytes(checkpoint.read_bytes())
    assert "holds a run" in refusal(explore.main, checkpoint, "--out", tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


def test_evaluate_overwrites_no_checkpoint(checkpoint, refusal):
    before = checkpoint.read_bytes()
    assert "ends in .json" in refusal(evaluate.main, checkpoint, "--out", checkpoint)
    assert checkpoint.read_bytes() == before


@pytest.mark.parametrize("main", [evaluate.main, explore.main], ids=["evaluate", "explore"])
def test_wrong_input(checkpoint, tmp_path, refusal, main):
    (tmp_path / "notes.txt").write_text("mine")
    for options, message in [
            ([tmp_path / "none.h5"], "none.h5: no such checkpoint file"),
            (["."], "."),
            ([tmp_path / "notes.txt"], "notes.txt: not a tinybvae checkpoint"),
            ([checkpoint, "--data", tmp_path / "notes.txt"], "notes.txt: neither a whole .npz nor"),
            ([checkpoint, "--out", tmp_path / "notes.txt/there.json"], "notes.txt")]:
        assert message in refusal(main, *options)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def own_images(path):
    """A file of images of one's own, as large as dSprites'."""
    np.savez(path, imgs=np.random.default_rng(0).integers(0, 2, (70, 64, 64), np.uint8))


@pytest.mark.parametrize("main", [evaluate.main, explore.main], ids=["evaluate", "explore"])
def test_it_looks_at_what_the_model_was_trained_on(tmp_path, call, refusal, main, no_films):
    """Which it says; or at what is given; and at nothing else in its place."""
    model, file, data = tb.BetaVAE(2, seed=1), tmp_path / "model.h5", tmp_path / "own.npz"
    own_images(data)
    tb.save(tb.Run(model, None, np.random.default_rng(0), settings={"data": str(data)}), file)
    options = [file, "--out", tmp_path / ("a.json" if main is evaluate.main else "a")]
    status, printed, _ = call(main, *options)
    assert status == 0 and f"images: {data}\n" in printed and "no factor varies, or none is known" in printed
    _, means, logvars = tb.metrics.encode_samples(model, tb.load_data(data))
    kl = tb.gaussian_kl(means, logvars)[0].sum()
    measured = json.loads((options[2] if main is evaluate.main else options[2] / "metrics.json").read_text())
    assert measured["kl"] == pytest.approx(kl, rel=.01)
    data.rename(tmp_path / "elsewhere.npz")
    assert f"it was trained on {data}: give --data" in refusal(main, *options)
    status, printed, _ = call(main, *options, "--data", tmp_path / "elsewhere.npz")
    assert status == 0 and f"images: {tmp_path / 'elsewhere.npz'}\n" in printed
    tb.save(tb.Run(model, None, np.random.default_rng(0), settings={"data": "<Blobs>"}), file)  # a program's own
    assert "it was trained on <Blobs>: give --data" in refusal(main, *options)
    tb.save(tb.Run(model, None, np.random.default_rng(0), settings={"data": [str(data), 3]}), file)
    assert f"it was trained on ['{data}', 3]: give --data" in refusal(main, *options)


def test_each_checkpoint_has_scores_of_its_own(checkpoint, tmp_path, call, monkeypatch):
    own_images(tmp_path / "own.npz")
    monkeypatch.setattr(evaluate, "losses", lambda model, sprites: {})
    for name in "beta0.5", "beta0.25", "beta0.5.h5x", "model.h5":
        (tmp_path / name).write_bytes(checkpoint.read_bytes())
        assert call(evaluate.main, tmp_path / name, "--data", tmp_path / "own.npz")[0] == 0
    assert {path.name for path in tmp_path.glob("*.json")} == {
        "beta0.5.scores.json", "beta0.25.scores.json", "beta0.5.h5x.scores.json", "model.scores.json"}


def test_data_of_a_program_are_not_taken_for_dsprites(tmp_path, no_pictures):
    class Own:
        image_shape = (16, 16, 1)

        def __len__(self):
            return 5

        def images(self, index):
            return np.zeros((len(index), 16, 16, 1), np.float32)

    own_images(tmp_path / "own.npz")
    file = tb.Images(tmp_path / "own.npz")
    for data, named in [(Own(), "<Own>"), (tb.DSprites(), None), (file, file.path)]:
        out = tmp_path / str(len(data))
        trained(out, data, steps=1, batch_size=2, latents=2)
        assert tb.load(out / "checkpoint.h5").settings["data"] == named
        trained(out, data, steps=1, batch_size=2, latents=2)  # it is there already
