"""examples/train_dsprites.py as a user runs it: its outputs, interrupted and resumed, and given wrong input."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import imageio.v3 as imageio
import numba
import numpy as np
import pytest

import tinybvae as tb
from tinybvae import metrics
from tinybvae.report.figures import LABEL
from tinybvae.runs.commandline import as_text
from tinybvae.runs.locks import locked
from tinybvae.runs.settings import DEFAULTS
from tinybvae.schedule import value_at

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="a minute a run without Numba's compiler")
ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "examples"))
from train_dsprites import main  # noqa: E402

COMMAND = [sys.executable, str(ROOT / "examples/train_dsprites.py")]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error::RuntimeWarning"}
NOTEBOOK = {"MPLBACKEND": "module://none_such.backend_inline", "NUMBA_THREADING_LAYER": "tbb", "PYTHONOPTIMIZE": "2",
            "PYTHONSAFEPATH": "1"}
SMALL = ["--steps", "25", "--batch-size", "8", "--latents", "6", "--checkpoint-every", "10", "--evaluate-every", "2"]


def run(*options, **keywords):
    return subprocess.run([*COMMAND, *map(str, options)], env=ENVIRONMENT, capture_output=True, text=True, **keywords)


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """Options for a run of seconds: on small images, without factors, so that there is nothing to score."""
    path = tmp_path_factory.mktemp("data") / "own.npz"
    np.savez(path, imgs=np.random.default_rng(0).integers(0, 2, (30, 16, 16), np.uint8))
    return [*SMALL, "--latents", "2", "--data", path]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder and the output of a small run."""
    out = tmp_path_factory.mktemp("run") / "new" / "folder"
    done = run(*SMALL, "--checkpoint-every", "20", "--evaluate-every", "1", "--out", out)
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_it_writes_everything(finished):
    out, _ = finished
    assert {path.name for path in out.iterdir()} == {
        "checkpoint.h5", "checkpoint.before.h5", "history.csv", "metrics.json", "loss.png", "reconstructions.png",
        "scores.png", "traversals.png", "traversals.gif", "orientation.png", "report.html",
        *(f"z{d}.gif" for d in range(6))}


def test_the_output_tells(finished):
    out, text = finished
    for expected in ("compiling", "step 20/25: total", "step 25/25: total", "KL-C", "images/s", "explained", "MIG",
                     "after 25 steps", str(out / "report.html")):
        assert expected in text


def test_history(finished):
    header, *rows = (finished[0] / "history.csv").read_text().splitlines()
    assert header.startswith("step,total,reconstruction,kl,capacity,kl_z0,kl_z1,kl_z2,kl_z3,kl_z4,kl_z5,used,"
                             "off_encoder.conv1,") and header.endswith(",off_decoder.conv3,price,new_encoder")
    rows = np.array([row.split(",") for row in rows], float)
    assert rows[:, 0].tolist() == [0, 10, 20]
    step, total, reconstruction, kl, capacity, *each = rows[:, :11].T
    np.testing.assert_allclose(capacity, [value_at(DEFAULTS["capacity"], n) for n in step])
    gamma = np.array([value_at(DEFAULTS["gamma"], n) for n in step])
    np.testing.assert_allclose(total, reconstruction + gamma * np.abs(kl - capacity))
    np.testing.assert_allclose(kl, np.sum(each, axis=0))
    np.testing.assert_array_equal(rows[:, 11], (np.array(each) >= metrics.UNUSED).sum(axis=0))
    off, sizes = rows[:, 12:-2], [32, 32, 32, 32, 256, 256, 256, 256, 512, 32, 32, 32]
    assert off.shape == (3, 12) and (off >= 0).all() and (off <= sizes).all() and off.any()
    np.testing.assert_allclose(rows[:, -2:], [[100, 0]] * 3)  # γ all along, as the KL is above C


def test_metrics(finished):
    out, _ = finished
    measured = json.loads((out / "metrics.json").read_text())
    model, sprites = tb.load_model(out / "checkpoint.h5"), tb.DSprites()
    _, logvar = model.encode(sprites.images(sprites.index([[shape, 2, 5, 16, 16] for shape in range(3)])))
    assert [latent["z"] for latent in measured["latents"]] == [*range(6)]
    for latent in measured["latents"]:
        shape = ("square", "ellipse", "heart").index(latent["shape"])
        assert latent["variance"] == pytest.approx(np.exp(logvar[shape, latent["z"]]), rel=1e-5)
        assert latent["name"].startswith(latent["factor"]) and 0 <= latent["explained"] <= 1
    assert all(latent["factor"] in ("mixed", "unused", *sprites.factor_names) and latent["kl"] >= 0
               for latent in measured["latents"])
    assert measured["units_off"]["encoder.linear1"][1] == 256
    assert measured["step"] == 25 and 0 <= measured["mig"] <= 1 and measured["settings"]["gamma"] == DEFAULTS["gamma"]
    _, means, logvars = tb.metrics.encode_samples(model, sprites)
    kl, _, _ = tb.gaussian_kl(means, logvars)
    np.testing.assert_allclose([latent["kl"] for latent in measured["latents"]], kl, rtol=1e-5)


def test_it_evaluates_itself_when_asked_and_at_its_end(finished):
    out, text = finished
    model, measured = tb.load_model(out / "checkpoint.h5"), json.loads((out / "metrics.json").read_text())
    before, row = measured["scores"]
    assert before["step"] == 20 and row["step"] == 25 and before.keys() == row.keys() == {"step", *metrics.NAMES}
    classes, means, _ = metrics.encode_samples(model, tb.DSprites())
    assert row["beta_vae"] == metrics.beta_vae_score(means, classes) and row["mig"] == measured["mig"]
    assert f"FactorVAE {row['factor_vae']:.3f}, BetaVAE {row['beta_vae']:.3f}" in text
    assert f"{row['dci']:.3f}<td>" in (out / "report.html").read_text(encoding="utf-8")


def test_pictures(finished):
    out, _ = finished
    for name in ("loss.png", "reconstructions.png", "traversals.png"):
        assert imageio.imread(out / name)[..., :3].std() > 1
    film = imageio.imread(out / "z0.gif")
    assert len(film) == 48 and film.shape[1:3] == (136, 132)
    assert imageio.improps(out / "z0.gif").n_images == 48 and imageio.immeta(out / "z0.gif")["loop"] == 0
    assert (film[1] == film[-1]).all() and (film[0] != film[24]).any()  # there and back
    assert imageio.imread(out / "traversals.gif").shape[:3] == (48, 2 * (LABEL + 136), 5 * 132)


def test_the_report_is_self_contained(finished):
    out, _ = finished
    page = (out / "report.html").read_text(encoding="utf-8")
    sources = re.findall(r'src="([^"]*)"', page)
    assert len(sources) == 4 and all(source.startswith("data:image/") for source in sources)
    assert "--steps 25 " in page and "--batch-size 8 " in page and "batch_size" in page


def test_a_run_is_not_overwritten(finished):
    out, before = finished[0], content(finished[0])
    done = run(*SMALL, "--out", out)
    assert done.returncode == 2 and "already holds a run" in done.stderr and done.stderr.count("\n") == 1
    assert content(out) == before


@pytest.mark.skipif(os.name != "posix", reason="other signals")
def test_an_interrupted_run_says_how_to_go_on(tmp_path, quick):
    """Three at once, each by a signal of its own."""
    def started(number):
        return subprocess.Popen([*COMMAND, *quick, "--steps", "100000", "--threads", "1", "--out",
                                 tmp_path / number.name], env=ENVIRONMENT, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                preexec_fn=lambda: signal.signal(number, signal.SIG_DFL))  # under nohup it is ignored

    runs = {number: started(number) for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)}
    for number, process in runs.items():
        while "step 10/" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(number)
    for number, process in runs.items():
        text, errors = process.communicate(timeout=120)
        assert process.returncode == 130 and not errors
        assert "go on with" in text and "--resume" in text
        assert tb.load(tmp_path / number.name / "checkpoint.h5").step >= 10


def test_a_hostile_place_ends_no_run(tmp_path, quick, call):
    """A user's matplotlib style that needs LaTeX, a report that cannot be replaced, a terminal without Unicode.

    And what a notebook, or a program that starts this one, may have set.
    """
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nfigure.dpi: 7\n")
    out = tmp_path / "größe-β"
    (out / "report.html" / "held").mkdir(parents=True)
    options = [*quick, "--steps", "11", "--out", out]
    assert call(main, *options)[0] == 2  # a report without its checkpoint
    (out / "report.html").rename(tmp_path / "held")
    process = subprocess.Popen([*COMMAND, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env={**ENVIRONMENT, "MATPLOTLIBRC": str(tmp_path), "PYTHONIOENCODING": "ascii",
                                    **NOTEBOOK})
    while b"compiling" not in process.stdout.readline():
        assert process.poll() is None
    (tmp_path / "held").rename(out / "report.html")
    text, errors = process.communicate()
    assert process.returncode == 0 and not errors, errors
    assert text.count(b"could not write report.html") == 2 and b"tries again" in text and b"gr??e-?" in text
    assert tb.load(out / "checkpoint.h5").step == 11 and (out / "z1.gif").exists()


def test_nobody_reads_what_it_prints(tmp_path, quick):
    process = subprocess.Popen([*COMMAND, *quick, "--steps", "1", "--out", tmp_path],
                               env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait() == 0
    assert tb.load(tmp_path / "checkpoint.h5").step == 1


def test_any_command_in_a_notebooks_process():
    """By an exclamation mark, of Jupyter or Colab; here all in one process, to import once."""
    commands, code = sorted(map(str, (ROOT / "examples").glob("*.py"))), """if True:
        import runpy, sys
        for command in sys.argv[1:]:
            sys.argv = [command, "--help"]
            try:
                runpy.run_path(command, run_name="__main__")
            except SystemExit as end:
                print(command, end.code)
        """
    done = subprocess.run([sys.executable, "-c", code, *commands], env={**ENVIRONMENT, **NOTEBOOK},
                          capture_output=True, text=True)
    assert not done.stderr and all(f"{command} 0" in done.stdout for command in commands), done
    assert done.stdout.count("usage: ") == len(commands) > 5 and "--scheduler" in done.stdout


def test_the_callers_backend_stays(tmp_path):
    """A notebook's own pictures are drawn as before; and what draws ours is imported when it is asked for."""
    code = """if True:
        import os, sys, tinybvae
        print("matplotlib" in sys.modules, "figures" in dir(tinybvae))
        assert tinybvae.figures and "matplotlib" in sys.modules
        import matplotlib
        print(matplotlib.rcParams["backend"], os.environ["MPLBACKEND"])
        """
    done = subprocess.run([sys.executable, "-c", code], env={**ENVIRONMENT, "MPLBACKEND": "svg"}, capture_output=True)
    assert done.stdout.split() == [b"False", b"True", b"svg", b"svg"], done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_help_in_any_terminal(encoding):
    done = subprocess.run([*COMMAND, "--help"], env={**ENVIRONMENT, "PYTHONIOENCODING": encoding}, capture_output=True)
    assert done.returncode == 0 and b"--capacity" in done.stdout and not done.stderr


def test_a_full_disk_at_a_checkpoint(tmp_path, monkeypatch, call, quick, no_pictures):
    calls = []

    def full(run, path, keep):
        calls.append(run.step)
        if run.step == 10:
            raise OSError("no space left on device")
        save(run, path, keep)

    save = tb.save
    monkeypatch.setattr(tb, "save", full)
    status, text, _ = call(main, *quick, "--steps", 11, "--out", tmp_path / "run")
    assert status == 0 and calls == [10, 11] and "step 10: could not write" in text


def test_options_reach_the_run(tmp_path, quick):
    """And with nothing to resume, --resume starts afresh."""
    done = run(*quick, "--preset", "burgess2018", "--objective", "beta", "--beta", "0:3,9:30", "--learning-rate", 1e-30,
               "--eps", "5:.5", "--seed", 7, "--steps", 1, "--batch-size", 5, "--latents", 2, "--threads", 1,
               "--resume", "--out", tmp_path)
    assert done.returncode == 0 and "nothing to resume" in done.stdout and "30 images" in done.stdout, done.stderr
    back, start = tb.load(tmp_path / "checkpoint.h5"), tb.BetaVAE(2, seed=7, image_shape=(16, 16, 1))
    for name, p in start.parameters.items():
        np.testing.assert_allclose(back.model.parameters[name], p, atol=1e-20)
    (_, total, reconstruction, kl, *_), = back.history
    assert total == pytest.approx(reconstruction + 3 * kl) and kl > 0
    assert back.settings["beta"] == [[0, 3], [9, 30]] and back.optimizer.settings["eps"] == [[5, .5]]
    assert "gamma" not in back.settings and back.settings["batch_size"] == 5 and "--beta 0:3,9:30" in done.stdout


def test_grays_and_their_likelihood(tmp_path, call, no_films):
    """Told beside the loss is the least that it can be; and the likelihood comes back when the run is gone on with."""
    rng, path = np.random.default_rng(0), tmp_path / "gray.npz"
    images = rng.integers(0, 256, (30, 16, 16), np.uint8)
    np.savez(path, imgs=images)
    x = np.clip(images / 255, 1e-9, 1 - 1e-9)
    entropy = -(x * np.log(x) + (1 - x) * np.log(1 - x)).sum() / 30
    for likelihood, least in ("bernoulli", entropy), ("gaussian:0.5", 256 * np.log(.5 * np.sqrt(2 * np.pi))):
        out = tmp_path / likelihood.replace(":", "")
        options = [*SMALL, "--latents", 2, "--data", path, "--likelihood", likelihood, "--out", out]
        assert call(main, *options, "--steps", 1)[0] == 0
        status, text, _ = call(main, "--resume", "--steps", 2, "--out", out)
        assert status == 0 and f"--likelihood {likelihood} " in text
        measured = json.loads((out / "metrics.json").read_text())
        said = f"({measured['least']:.1f} at the least, whatever the decoder)"
        assert said in text and said in (out / "report.html").read_text(encoding="utf-8")
        assert measured["least"] == pytest.approx(least, rel=.01) and measured["reconstruction"] > measured["least"]
        run = tb.load(out / "checkpoint.h5")
        assert run.step == 2 and run.settings["likelihood"] == likelihood
        assert repr(run.model.likelihood) == likelihood.replace(":", "(sigma=") + ")" * (":" in likelihood)


def test_an_architecture_and_a_rounded_corner(tmp_path, call, quick, no_pictures):
    """Apart from a preset: Higgins' network, by Adam."""
    status, text, _ = call(main, *quick, "--steps", 1, "--architecture", "higgins2017", "--width", "0:.1,600:.1,700:2",
                           "--out", tmp_path)
    assert status == 0 and "--architecture higgins2017 " in text and "--optimizer Adam" in text
    run = tb.load(tmp_path / "checkpoint.h5")
    assert run.model.architecture is tb.higgins2017 and type(run.optimizer) is tb.Adam
    assert run.settings["width"] == [[0, .1], [600, .1], [700, 2]] and run.settings["gamma"] == 1000


WRONG = [
    (["--likelihood", "laplace"], "--likelihood: must be bernoulli or gaussian:SIGMA, such as gaussian:0.1, SIGMA"),
    (["--likelihood", "gaussian"], "--likelihood: must be bernoulli or gaussian:SIGMA"),
    (["--likelihood", "gaussian:0"], "--likelihood: must be bernoulli or gaussian:SIGMA"),
    (["--architecture", "resnet"], "--architecture: invalid choice: 'resnet'"),
    (["--optimizer", "SGD"], "--optimizer: invalid choice: 'SGD'"),
    (["--width", "-1"], "--width: must be a number of at least 0"),
    (["--objective", "beta", "--width", "2"], "--width belongs to --objective capacity, not to beta"),
    (["--steps", "0"], "--steps: must be a whole number from 1 to a billion, not '0'"),
    (["--steps", "1.5"], "--steps: must be a whole number"),
    (["--batch-size", "-3"], "--batch-size: must be"),
    (["--batch-size", "1000000"], "at most the data set's 737280 images"),
    (["--latents", "0"], "--latents: must be"),
    (["--threads", "0"], "--threads: must be"),
    (["--threads", "100000"], "--threads: must be a whole number from 1 to"),
    (["--threads", "100000"],
     "as NUMBA_NUM_THREADS says" if "NUMBA_NUM_THREADS" in os.environ else "one for each core"),
    (["--learning-rate", "nan"], "--learning-rate: must be a number above 0, or points step:value,"),
    (["--gamma", "-1"], "--gamma: must be"),
    (["--gamma", "0:1,0:2"], "--gamma: must be a number of at least 0, or points step:value,step:value,... with"),
    (["--learning-rate", "0:1e-3,5:"], "--learning-rate: must be"),
    (["--eps", "5:0"], "--eps: must be a number above 0"),
    (["--eps", "0"], "--eps: must be a number above 0"),
    (["--capacity", "inf"], "--capacity: must be"),
    (["--capacity", "0:0,9:-1"], "--capacity: must be a number of at least 0, or points step:value,step:value,... "
     "with rising steps and values of at least 0, not '0:0,9:-1'"),
    (["--anneal-steps", "5"], "unrecognized arguments: --anneal-steps 5"),
    (["--negative-slope", "1"], "--negative-slope: must be a number of at least 0 and below 1, not '1'"),
    (["--beta", "4"], "--beta belongs to --objective beta"),
    (["--seed", "-1"], "--seed: must be"),
    (["--objective", "elbo"], "--objective: invalid choice: 'elbo'"),
    (["--preset", "mine"], "--preset: invalid choice: 'mine'"),
    (["--checkpoint-every", "0"], "--checkpoint-every: must be"),
    (["--data", "{folder}/none.npz"], "none.npz: no such file"),
    (["--data", "{folder}/notes.txt"], "notes.txt: neither a whole .npz nor a whole .hdf5"),
    (["--out", "{folder}/notes.txt"], "notes.txt is a file"),
    (["--out", "{folder}/notes.txt/run"], "notes.txt"),
    (["--data", ""], "--data: must be a path, not ''"),
    (["--out", ""], "--out: must be a path, not ''"),
    (["--steps", 400 * "9"], "--steps: must be"),
    (["--colour"], "unrecognized arguments: --colour"),
]


@pytest.mark.parametrize("options, message", WRONG, ids=[" ".join(options) for options, _ in WRONG])
def test_wrong_input(tmp_path, refusal, options, message):
    (tmp_path / "notes.txt").write_text("mine")
    assert message in refusal(main, "--out", tmp_path / "out", *(option.format(folder=tmp_path) for option in options))
    assert content(tmp_path) == {"notes.txt": b"mine"}


@pytest.mark.parametrize("change, message", [
    (["--gamma", "50"], f"was made with gamma {as_text(DEFAULTS['gamma'])}, not 50.0"),
    (["--eps", "0:1,5:2"], f"was made with eps {as_text(DEFAULTS['eps'])}, not 0:1,5:2: resume it without that option"),
    (["--beta", "4"], "--beta belongs to --objective beta"),
    (["--preset", "burgess2018", "--steps", "25"],
     f"was made with learning_rate {as_text(DEFAULTS['learning_rate'])}, not 0.0005"),
    (["--steps", "20"], "is at step 25 already"),
    (["--data", "none.npz"], "none.npz: no such file"),
])
def test_resumed_with_other_settings(finished, refusal, change, message):
    out, before = finished[0], content(finished[0])
    assert message in refusal(main, "--resume", "--out", out, *change)
    assert content(out) == before


def test_a_damaged_checkpoint_stays_as_it_is(tmp_path, refusal):
    (tmp_path / "checkpoint.h5").write_bytes(b"tinybvae checkpoint 1\nand no more")
    assert "checkpoint.h5: damaged" in refusal(main, "--resume", "--out", tmp_path)
    assert content(tmp_path) == {"checkpoint.h5": b"tinybvae checkpoint 1\nand no more"}


def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(tmp_path, call, quick, no_pictures):
    out = tmp_path / "run"
    assert call(main, *quick, "--steps", 11, "--out", out)[0] == 0
    whole = content(out)
    torn = whole["checkpoint.h5"][:-100]
    (out / "checkpoint.h5").write_bytes(torn)
    status, text, _ = call(main, "--resume", "--out", out)
    assert status == 0 and "going on from the one before it, at step 10" in text
    assert {**whole, "checkpoint.damaged.h5": torn} == content(out)


def test_two_damaged_checkpoints_stay_as_they_are(tmp_path, refusal):
    for name in ("checkpoint.h5", "checkpoint.before.h5"):
        (tmp_path / name).write_bytes(b"tinybvae checkpoint 1\nand no more")
    files = content(tmp_path)
    assert "checkpoint.h5: damaged" in refusal(main, "--resume", "--out", tmp_path)
    assert "already holds a run" in refusal(main, "--out", tmp_path)
    assert content(tmp_path) == files


def test_a_second_run_is_refused_while_the_first_lives(tmp_path, refusal):
    with locked(tmp_path):
        for options in ([], ["--resume"]):
            assert "another run is at work there" in refusal(main, "--out", tmp_path, *options)
    assert not content(tmp_path)


def test_results_without_a_checkpoint_stay_as_they_are(tmp_path, refusal):
    (tmp_path / "report.html").write_text("mine")
    assert "report.html, but no checkpoint.h5: give another" in refusal(main, "--resume", "--out", tmp_path)
    assert content(tmp_path) == {"report.html": b"mine"}


@pytest.mark.parametrize("steps, rate", [(25, "1e30"), (1, "1e4")])
def test_divergence_keeps_the_last_good_checkpoint(tmp_path, call, quick, no_pictures, steps, rate):
    """From which the run goes on at another rate."""
    status, _, errors = call(main, *quick, "--steps", steps, "--learning-rate", rate, "--out", tmp_path)
    assert status == 1 and "try a lower learning rate" in errors and errors.count("\n") == 1
    assert tb.load(tmp_path / "checkpoint.h5").step == 0
    status, text, _ = call(main, "--resume", "--learning-rate", "1e-4", "--steps", 1, "--out", tmp_path)
    assert status == 0 and "--learning-rate 0.0001 " in text
    assert tb.load(tmp_path / "checkpoint.h5").step == 1
