"""The loop: interrupted and resumed, or on another number of threads, it leaves the same bits."""

import io
import os
import signal
import subprocess
import sys
import time
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numba
import numpy as np
import pytest

import tinybvae as tb
from tinybvae.runs.signals import AT_ONCE, ENDING

OBJECTIVE = tb.capacity_objective(100.0, [(0, 0.0), (30, 20.0)])
SPRITES = tb.DSprites()


@pytest.fixture(autouse=True)
def signals():
    """As usual: under nohup, one is ignored."""
    ignored = [number for number in ENDING if signal.getsignal(number) == signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


def fresh(rate=1e-3):
    model = tb.BetaVAE(3, seed=0)
    return tb.Run(model, tb.Adam(model.parameters, rate), np.random.default_rng(0))


def train(run, steps, checkpoint=None, every=10):
    """Whether it came to its end."""
    try:
        tb.train(run, SPRITES, OBJECTIVE, steps, batch_size=7, checkpoint_every=every, checkpoint=checkpoint)
    except KeyboardInterrupt:
        return False
    return True


def test_an_objective_of_ones_own(capsys):
    """Any function of the KL and the step: without a capacity there is none in the history."""
    run = fresh()
    tb.train(run, SPRITES, lambda kl, step: (4 * kl.sum(), 4.0), 3, batch_size=7)
    step, total, reconstruction, kl, capacity, *_ = run.history[0]
    assert total == pytest.approx(reconstruction + 4 * kl) and np.isnan(capacity)
    assert "KL-C" not in capsys.readouterr().out


def test_a_capacity_that_is_no_function_is_none():
    class Own:
        capacity = 5.0

        def __call__(self, kl, step):
            return kl.sum(), 1.0

    run = fresh()
    tb.train(run, SPRITES, Own(), 1, batch_size=7)
    assert np.isnan(run.history[0][4])


def test_the_price_is_a_running_mean_of_the_slope():
    """From the first slope on, each counts a hundredth; of latents with slopes of their own, their mean."""
    run = fresh()
    tb.train(run, SPRITES, lambda kl, step: (kl.sum(), np.array([step, 2 * step, 6 * step])), 21, batch_size=5)
    price = 0.0
    for step, at in ((10, 1), (20, 2)):
        for s in range(step - 9, step + 1):
            price += (3 * s - price) / 100
        assert run.history[at][run.history_columns.index("price")] == pytest.approx(price, rel=1e-6)
    assert run.history[0][run.history_columns.index("price")] == 0 and run.price == pytest.approx(price, rel=1e-6)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The bytes of a run of 30 steps."""
    path, run = tmp_path_factory.mktemp("run") / "checkpoint.h5", fresh()
    assert train(run, 30) and run.step == 30 and [row[0] for row in run.history] == [0, 10, 20]
    tb.save(run, path)
    return path.read_bytes()


def test_resumed_is_uninterrupted(tmp_path, uninterrupted):
    path = tmp_path / "checkpoint.h5"
    tb.save(fresh(), path)
    for steps in (1, 13, 14, 30):
        run = tb.load(path)
        train(run, steps, every=7)
        tb.save(run, path)
    assert path.read_bytes() == uninterrupted


THREADS = """
import hashlib
import numba, numpy as np
import tinybvae as tb
for threads in 1, 2, 3:
    numba.set_num_threads(threads)
    model, digest = tb.BetaVAE(3, seed=0), hashlib.sha256()
    run = tb.Run(model, tb.Adam(model.parameters, 1e-3), np.random.default_rng(0))
    tb.train(run, tb.DSprites(), tb.capacity_objective(), 10, batch_size=37)
    for arrays in (model.parameters, *run.optimizer.moments.values()):
        for array in arrays.values():
            digest.update(array.tobytes())
    print("digest", numba.get_num_threads(), digest.hexdigest())
"""


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="NumPy's kernels have no threads of ours")
def test_threads_change_no_bit():
    """In a process of its own, since a machine of one core has but one thread unless told otherwise."""
    process = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True, check=True,
                             env={**os.environ, "NUMBA_NUM_THREADS": "3"})
    threads, digests = zip(*(line.split()[1:] for line in process.stdout.splitlines() if line.startswith("digest")))
    assert threads == ("1", "2", "3") and len({*digests}) == 1


def test_three_steps_by_hand():
    run, model, rng = fresh(), tb.BetaVAE(3, seed=0), np.random.default_rng(0)
    adam = tb.Adam(model.parameters, 1e-3)
    train(run, 3)
    for step in range(3):
        images = SPRITES.images(rng.integers(len(SPRITES), size=7))
        model.loss_and_gradients(images, rng.standard_normal((7, 3)), OBJECTIVE, step)
        adam.update(model.gradients)
    assert all((p == run.model.parameters[name]).all() for name, p in model.parameters.items())


@pytest.mark.parametrize("number", ENDING)
def test_an_interrupt_ends_with_a_checkpoint(number):
    """And with no sooner death: a terminal that is closed, and some schedulers, send theirs twice."""
    seen, before = [], signal.getsignal(number)

    def checkpoint(run):
        seen.append(run.step)
        if seen == [2, 4]:
            signal.raise_signal(number)
        if len(seen) == 3 and number not in AT_ONCE:
            signal.raise_signal(number)

    assert not train(fresh(), 30, checkpoint, every=2)
    assert seen == [2, 4, 4] and signal.getsignal(number) is before


@pytest.mark.skipif(os.name != "posix", reason="no such signals")
def test_a_signal_while_another_is_received():
    """As from a terminal that is closed: the kernel's, the shell's, and whoever else thinks of it."""
    sent = []

    def again(frame, event, argument):
        """Called whenever a function is, or returns: also between any two of those that the handler calls."""
        while frame and frame.f_code.co_name != "receive":
            frame = frame.f_back
        if frame and len(sent) < 30:
            sent.append(event)
            signal.raise_signal(signal.SIGHUP)

    def checkpoint(run):
        if not sent:
            sys.setprofile(again)
            signal.raise_signal(signal.SIGHUP)
            sys.setprofile(None)

    def stuck(number, frame):
        raise TimeoutError("the handlers wait for each other")

    before = signal.signal(signal.SIGALRM, stuck)
    signal.alarm(60)
    try:
        assert not train(fresh(), 30, checkpoint, every=2) and len(sent) == 30
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("number", set(ENDING) - {signal.SIGINT})
def test_signals_that_others_use_are_left_to_them(number):
    """One that is ignored, as SIGHUP is under nohup; or a handler of the caller's own, but for SIGTERM."""
    calls, before = [], signal.getsignal(number)
    try:
        for handler in signal.SIG_IGN, lambda number, frame: calls.append(number):
            signal.signal(number, handler)
            done = train(fresh(), 4, lambda run: signal.raise_signal(number), every=2)
            assert signal.getsignal(number) is handler
            if handler == signal.SIG_IGN:
                assert done and not calls
            else:
                assert done == (number not in AT_ONCE) and len(calls) == (2 if done else 1)
    finally:
        signal.signal(number, before)


class Closed(io.StringIO):
    """A stream whose reader, or which itself, is gone; or with nothing but `write`."""

    def __init__(self, wrong):
        super().__init__()
        self.wrong = wrong

    def write(self, text):
        if self.wrong:
            raise self.wrong
        return super().write(text)


@pytest.mark.parametrize("stream", [
    None, Closed(ValueError("I/O operation on closed file")), Closed(OSError(5, "gone")),
    SimpleNamespace(write=lambda text: len(text)), io.TextIOWrapper(io.BytesIO(), "ascii"),
    Closed(BrokenPipeError()), Closed(RuntimeError("a notebook's own")),
    Closed(UnicodeEncodeError("x", "ß", 0, 1, ""))])
def test_whatever_the_callers_process_has_set(monkeypatch, stream, uninterrupted, tmp_path):
    """Streams that cannot be written to, NumPy's errors as exceptions: the bits are the same."""
    for name in "stdout", "stderr":
        monkeypatch.setattr(sys, name, stream)
    with np.errstate(all="raise"):
        run = fresh()
        assert train(run, 30)
    tb.save(run, tmp_path / "checkpoint.h5")
    assert (tmp_path / "checkpoint.h5").read_bytes() == uninterrupted


def test_an_index_is_an_integer_array():
    """(N,), always, as a data set of one's own may rely on."""
    class Own:
        image_shape, factor_names, factor_sizes = (16, 16, 1), ("kind",), (2,)
        kept = np.random.default_rng(0).integers(0, 2, (30, 16, 16, 1)).astype(np.float32)

        def __len__(self):
            return len(self.kept)

        def images(self, index):
            assert index.dtype == np.int64 and index.ndim == 1
            return self.kept[index]

        def classes(self, index):
            assert index.dtype == np.int64 and index.ndim == 1
            return index[:, None] % 2

    model = tb.BetaVAE(2, image_shape=(16, 16, 1))
    run = tb.Run(model, tb.Adam(model.parameters), np.random.default_rng(0))
    tb.train(run, Own(), OBJECTIVE, 2, batch_size=7)
    tb.metrics.evaluate(model, Own())
    with TemporaryDirectory() as folder:
        tb.write_report(run, Own(), folder, "")


def test_checkpoints_come_at_intervals_and_at_the_end(capsys):
    seen, run = [], fresh()
    assert train(run, 5, lambda run: seen.append(run.step), every=2) and seen == [2, 4, 5]
    assert train(run, 5, lambda run: seen.append(run.step)) and seen == [2, 4, 5, 5]
    out = capsys.readouterr().out
    assert "compiling" in out and "step 4/5: total" in out and "KL-C" in out and "images/s" in out


def test_divergence_is_not_saved():
    seen = []
    for steps, every in [(5, 2), (1, 1)]:  # found in the second step; and before the checkpoint after the first
        with pytest.raises(FloatingPointError, match="the KL is (inf|nan) at step 1, .*: try a lower learning rate"):
            train(fresh(rate=1e10), steps, lambda run: seen.append(run.step), every=every)
    assert not seen


def spoilt(term):
    """A run and an objective of which one term is not finite."""
    run = fresh()
    if term == "KL":
        run.model.parameters["encoder.latent.bias"][3:] = 200  # log σ²
    elif term == "reconstruction loss":
        run.model.parameters["decoder.conv4.bias"][:] = np.inf
    elif term == "gradient of decoder.conv3.bias":
        run.model.parameters["decoder.conv4.weight"][:] = 1e20
    return run, {"objective's penalty": lambda kl, step: (np.nan, 1.0),
                 "gradient of encoder.latent.bias": lambda kl, step: (kl.sum(), np.nan)}.get(term, OBJECTIVE)


@pytest.mark.parametrize("term, cause", [
    ("KL", "lower learning rate"), ("reconstruction loss", "lower learning rate"),
    ("objective's penalty", "look at the objective$"), ("gradient of encoder.latent.bias", "the objective's slope"),
    ("gradient of decoder.conv3.bias", "try a lower learning rate")])
def test_what_is_not_finite_is_named_before_the_update(term, cause):
    run, objective = spoilt(term)
    before = {name: p.copy() for name, p in run.model.parameters.items()}
    with pytest.raises(FloatingPointError, match=f"the {term} is (inf|nan) at step 0, .*{cause}"):
        tb.train(run, SPRITES, objective, 5, batch_size=7)
    assert run.step == 0 and all((p == before[name]).all() for name, p in run.model.parameters.items())


@pytest.mark.parametrize("logit, logvar", [(1e4, 0), (-1e4, 0), (0, 80), (0, -80)])
def test_extreme_outputs_train_on(logit, logvar):
    run = fresh()
    run.model.parameters["decoder.conv4.bias"][:] = logit
    run.model.parameters["encoder.latent.bias"][3:] = logvar
    if logvar > 0:
        with pytest.raises(FloatingPointError, match="the gradient of"):
            train(run, 1)
    else:
        train(run, 3)
        assert run.step == 3 and all(np.isfinite(p).all() for p in run.model.parameters.values())


def test_counts_of_numpys():
    seen, run = [], fresh()
    tb.train(run, SPRITES, OBJECTIVE, np.uint16(260), np.uint8(2), np.uint8(130), lambda run: seen.append(run.step))
    assert seen == [130, 260]
    for wrong in ({"steps": 2.5}, {"steps": np.nan}, {"batch_size": np.float32(7)}):
        with pytest.raises(ValueError, match="steps, batch_size and checkpoint_every must be integers"):
            tb.train(fresh(), SPRITES, OBJECTIVE, **{"steps": 5, **wrong})


def test_an_optimizer_that_is_not_the_models():
    for optimizer in (None, fresh().optimizer):
        run = fresh()
        run.optimizer = optimizer
        with pytest.raises(ValueError, match="the run needs an optimizer of its model's parameters"):
            train(run, 5)


def test_parameters_that_the_optimizer_has_not():
    """To assign to the model's, or a layer's, is to write into them; others in their place would not be learnt."""
    run = fresh()
    layer = run.model.encoder.layers["conv1"]
    run.model.parameters["encoder.conv1.bias"] = np.full(32, .5)
    layer.parameters["weight"] = np.full((4, 4, 1, 32), .25)
    run.optimizer.update({name: np.ones_like(p) for name, p in run.model.parameters.items()})
    assert (layer.parameters["weight"] < .25).all() and (layer.parameters["bias"] < .5).all() and train(run, 1)
    layer.parameters = {name: p.copy() for name, p in layer.parameters.items()}
    with pytest.raises(ValueError, match="the run needs an optimizer of its model's parameters"):
        train(run, 2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_worker_that_is_forked_meanwhile_can_be_ended():
    workers, (here, there) = [], os.pipe()

    def fork(run):
        workers.append(os.fork())
        if not workers[0]:
            os.write(there, b"1")  # from here on Python takes signals
            time.sleep(60)
            os._exit(0)

    train(fresh(), 1, fork)
    os.read(here, 1)
    os.kill(workers[0], signal.SIGTERM)
    assert os.waitpid(workers[0], 0)[1] == signal.SIGTERM


@pytest.mark.parametrize("wrong, message", [
    (lambda run: (run.model, SPRITES, OBJECTIVE), r"train takes a run, not BetaVAE: tb.Run\(model, tb.Adam\("),
    (lambda run: (tb.Run(run.model), SPRITES, OBJECTIVE), "needs an optimizer .*, and has none: tb.Run"),
    (lambda run: (run, OBJECTIVE, SPRITES), r"data must have images\(index\) and a length, .*, not be <?"),
    (lambda run: (run, SPRITES, 4.0), r"objective must be a function .*, as tb.beta_objective\(4.0\) is, not 4.0"),
], ids=["model", "no optimizer", "exchanged", "number"])
def test_wrong_uses_at_a_prompt(wrong, message, capsys):
    """One line, that shows what would be right, before anything is compiled."""
    with pytest.raises(ValueError, match=message) as refused:
        tb.train(*wrong(fresh()), steps=3)
    assert "\n" not in str(refused.value) and not capsys.readouterr().out


def test_a_run_from_a_model_and_a_seed(uninterrupted, tmp_path):
    model = tb.BetaVAE(3, seed=0)
    run = tb.Run(model, tb.Adam(model.parameters, 1e-3), 0)
    train(run, 30)
    tb.save(run, tmp_path / "checkpoint.h5")
    assert (tmp_path / "checkpoint.h5").read_bytes() == uninterrupted
    assert tb.Run(model).optimizer is None
    with pytest.raises(ValueError, match="a run needs a model, tb.BetaVAE.*, not Adam"):
        tb.Run(tb.Adam(model.parameters))


def test_quiet(capfd):
    tb.train(fresh(), SPRITES, OBJECTIVE, 3, batch_size=7, quiet=True)
    assert capfd.readouterr() == ("", "")


def test_the_bar_of_a_notebook(monkeypatch):
    """On stdout, which is no terminal: one line that overwrites itself."""
    class OutStream(io.StringIO):
        pass

    OutStream.__module__ = "ipykernel.iostream"
    monkeypatch.setattr(sys, "stdout", OutStream())
    train(fresh(), 3)
    printed = sys.stdout.getvalue()
    assert "3/3" in printed and "\r" in printed and "step 3/3" not in printed


def test_without_a_place_for_the_progress_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)  # as Python has it where stderr was closed
    assert train(fresh(), 2)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"batch_size": 0}, {"checkpoint_every": -1}])
def test_counts_that_are_none(wrong):
    with pytest.raises(ValueError, match="must be at least 1"):
        tb.train(fresh(), SPRITES, OBJECTIVE, **{"steps": 5, **wrong})
