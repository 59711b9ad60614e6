"""examples/sweep.py as a user runs it: on this machine and on a cluster, with workers and clients that are killed."""

import csv
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path

import numba
import numpy as np
import pytest

import tinybvae as tb

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="a minute a run without Numba's compiler")
distributed = pytest.importorskip("distributed")
psutil = pytest.importorskip("psutil")  # which comes with it

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "examples"))
import sweep  # noqa: E402
import train_dsprites  # noqa: E402
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
SMALL = ["--batch-size", "4", "--latents", "2", "--checkpoint-every", "20", "--steps"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Options for small images, without factors: there is nothing to score."""
    path = tmp_path_factory.mktemp("data") / "own.npz"
    np.savez(path, imgs=np.random.default_rng(0).integers(0, 2, (30, 16, 16), np.uint8))
    return ["--data", path]


@pytest.fixture
def start(tmp_path):
    """A function that starts the command; at the test's end none is left."""
    processes = []

    def started(*options):
        errors = open(tmp_path / f"errors{len(processes)}", "w+")
        processes.append(subprocess.Popen([sys.executable, str(ROOT / "examples/sweep.py"), *map(str, options)],
                                          env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=errors, text=True))
        processes[-1].errors = errors
        return processes[-1]

    yield started
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()
        process.errors.close()


def read_until(process, text):
    """The first line with this text in it."""
    for line in process.stdout:
        if text in line:
            return line
    raise AssertionError(Path(process.errors.name).read_text())


def read_all(process):
    """What it printed since, and its exit status."""
    printed = process.stdout.read()
    return printed, process.wait()


def rows(out):
    with open(out / "results.csv", encoding="utf-8", newline="") as file:
        return {row["run"]: row for row in csv.DictReader(file)}


def alone(call, out, *options):
    """The checkpoint of a run of examples/train_dsprites.py, in bytes."""
    status, _, errors = call(train_dsprites.main, *options, "--threads", 1, "--out", out)
    assert status == 0, errors
    return (out / "checkpoint.h5").read_bytes()


def test_a_killed_worker_and_a_failed_run(tmp_path, call, start, no_pictures):
    """Runs are those of the training command, to the bit; what is done is not done again.

    Whoever reaches a scheduler or a worker runs code there: on one machine they listen on the loopback address. A run
    of a killed worker goes on elsewhere, from its last checkpoint; one that fails says why.
    """
    np.savez(tmp_path / "own.npz", imgs=np.random.default_rng(0).integers(0, 2, (60, 16, 16), np.uint8),
             latents_classes=np.arange(60)[:, None] // 30)
    options = *SMALL, 200, "--data", tmp_path / "own.npz"
    grid = ["--beta", 2, "1e38", "--seed", 3, *options, "--out", tmp_path / "a"]
    process = start(*grid)
    assert "2 runs, 400 steps in all: about 0.0 hours" in read_until(process, "steps in all")
    read_until(process, "2 runs on")
    line = read_until(process, "latents2-beta2-seed3: step ")
    step, address = re.search(r"step (\d+)/200 on (tcp://.*)", line).groups()
    port = int(address.rsplit(":", 1)[1])
    parent = psutil.Process(process.pid)
    listening = [(each, *socket.laddr) for each in [parent, *parent.children(recursive=True)]
                 for socket in each.net_connections() if socket.status == "LISTEN"]
    assert len({each for each, _, _ in listening}) > 1, listening
    assert {ip for _, ip, _ in listening} <= {"127.0.0.1", "::1"}, listening
    killed, = {each for each, _, its in listening if its == port}
    assert killed != parent
    killed.kill()
    printed, status = read_all(process)
    assert status == 1 and "1 of the runs failed" in printed, printed
    steps = [int(found) for found in re.findall(rf"step (\d+)/200 on (?!{address})", printed)]
    assert steps and min(steps) > int(step) and max(steps) == 200
    done = rows(tmp_path / "a")
    good, bad = done["latents2-beta2-seed3"], done["latents2-beta1e+38-seed3"]
    assert not good["error"] and "FloatingPointError: the gradient of" in bad["error"]
    assert float(good["sap"]) >= 0 and float(good["reconstruction"]) > 0 and good["worker"].startswith("tcp://")
    assert (tmp_path / "a/scores.png").exists() and (tmp_path / "a/kl_reconstruction.png").exists()
    assert (tmp_path / "a" / good["run"] / "checkpoint.h5").read_bytes() == alone(
        call, tmp_path / "b", "--objective", "beta", "--beta", 2, "--seed", 3, *options)
    grid.remove("1e38")
    status, printed, _ = call(sweep.main, *grid)
    assert status == 0 and "1 of 1 runs were done before" in printed and rows(tmp_path / "a") == done
    status, _, errors = call(sweep.main, *grid, "--batch-size", "5")
    assert status == 2 and "holds latents2-beta2-seed3 with other settings" in errors
    (tmp_path / "a/results.csv").unlink()  # as if it had not been done
    status, _, errors = call(sweep.main, *grid, "--batch-size", "6")
    assert status == 2 and "holds latents2-beta2-seed3 with other settings" in errors


@pytest.fixture
def dask():
    """A function that starts Dask's own command line, with this tinybvae or another; at the end none is left."""
    processes = []

    def started(*options, library=ROOT):
        processes.append(subprocess.Popen([sys.executable, "-m", "dask", *map(str, options)], cwd=library,
                                          env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return processes[-1]

    yield started
    for process in reversed(processes):  # workers before their scheduler
        process.terminate()
        process.wait()


def scheduler(dask, folder):
    """The address of a new one, without workers."""
    file = folder / "scheduler.json"
    process = dask("scheduler", "--port", 0, "--no-dashboard", "--scheduler-file", file)
    while not file.exists() or not file.read_text():
        assert process.poll() is None
        time.sleep(.1)
    return json.loads(file.read_text())["address"]


def test_workers_that_come_later_and_a_killed_client(tmp_path, call, data, dask, start, no_pictures):
    """What waits is for the second worker: the first has another version, is named, and trains nothing.

    Started again, a client does not repeat what is done, and goes on from the last checkpoint that it has. Another
    sweep, beside it, with a run of the same name, is another.
    """
    shutil.copytree(ROOT / "tinybvae", tmp_path / "other/tinybvae", ignore=shutil.ignore_patterns("__pycache__"))
    with open(tmp_path / "other/tinybvae/losses.py", "a") as file:
        file.write("# changed\n")
    address, small = scheduler(dask, tmp_path), [*SMALL, 100, *data]
    grid = ["--seed", 1, 2, *small, "--scheduler", address, "--out"]
    worker = "worker", address, "--nthreads", 1, "--local-directory", tmp_path
    process = start(*grid, tmp_path / "a")
    read_until(process, "no worker is there")
    misfit = dask(*worker, library=tmp_path / "other")
    refused = read_until(process, "gets no run: it has {").split()[1]
    dask(*worker)
    first = read_until(process, ": done").split(":")[0]
    seed = {"latents2-seed1": 2, "latents2-seed2": 1}[first]
    other = f"latents2-seed{seed}"
    step = int(re.search(r"step (\d+)/100", read_until(process, f"{other}: step")).group(1))
    process.kill()
    misfit.terminate()
    done = rows(tmp_path / "a")
    assert done.keys() == {first} and tb.load(tmp_path / "a" / other / "checkpoint.h5").step >= step
    assert not done[first]["error"] and done[first]["worker"] != refused
    misfit.wait()  # who is there when a sweep begins must fit

    again, beside = start(*grid, tmp_path / "a"), start("--seed", seed, *grid[3:], tmp_path / "b", "--batch-size", 5)
    undisturbed = {out: alone(call, tmp_path / f"{out} alone", "--seed", seed, *small, *options)
                   for out, *options in (("a",), ("b", "--batch-size", 5))}
    printed, status = read_all(again)
    assert status == 0 and "1 of 2 runs were done before" in printed, printed
    assert all(int(later) > step for later in re.findall(rf"{other}: step (\d+)/100", printed))
    assert rows(tmp_path / "a")[first] == done[first] and not rows(tmp_path / "a")[other]["error"]
    printed, status = read_all(beside)
    assert status == 0, printed
    for out, checkpoint in undisturbed.items():
        assert rows(tmp_path / out)[other]["worker"] == done[first]["worker"]
        assert (tmp_path / out / other / "checkpoint.h5").read_bytes() == checkpoint


def grid_of(*options):
    parser = sweep.Parser()
    sweep.add_grid(parser)
    return sweep.grid(parser.parse_args([*map(str, options)]))


def test_a_grid():
    """The product of what has several values, without what an objective ignores."""
    runs = grid_of("--objective", "capacity", "beta", "--gamma", 0, 30, "--capacity", 5, "0:0,9:20", "--beta", 4,
                   "--latents", 5, 10, "--seed", 0, 1, "--steps", 7)
    assert len(runs) == 2 * 2 * 2 * 2 + 2 * 2
    assert runs["latents5-beta-beta4-seed0"] == (
        {"latents": 5, "objective": "beta", "beta": 4, "seed": 0, "steps": 7}, None)
    name, = [name for name in runs if re.fullmatch(r"latents10-capacity-gamma30-capacity0to20_\w{4}-seed1", name)]
    assert runs[name] == ({"latents": 10, "objective": "capacity", "gamma": 30, "capacity": [[0, 0], [9, 20]],
                           "seed": 1, "steps": 7}, None)
    assert grid_of() == {"seed0": ({"seed": 0}, None)}
    assert grid_of("--preset", "sharp", "higgins2017", "--latents", 2) == {
        f"{preset}-latents2-seed0": ({"latents": 2, "seed": 0}, preset) for preset in ("sharp", "higgins2017")}


def test_an_objective_is_that_of_its_options():
    runs = grid_of("--beta", 1, ".5", 16)
    assert [*runs] == ["beta1-seed0", "beta0.5-seed0", "beta16-seed0"]
    assert runs["beta0.5-seed0"] == ({"beta": .5, "objective": "beta", "seed": 0}, None)
    assert {run["objective"] for run, _ in grid_of("--gamma", 1, "--beta", 2).values()} == {"beta", "capacity"}


def test_names_stay_short_and_apart():
    """Up to 100 characters; schedules that begin and end alike, and files of one name, have names of their own."""
    schedules = [f"0:1,{step}:2,99:3" for step in range(1, 30)]
    assert len(grid_of("--learning-rate", *schedules)) == 29
    assert len(grid_of("--data", "a/b", "a:b", "a_b")) == 3
    many = grid_of(*(value for name in ("learning-rate", "eps", "beta") for value in
                     (f"--{name}", *schedules[:2])), "--data", "x" * 90, "y" * 90, "--seed", 0, 1)
    assert len(many) == 2 ** 5 and max(map(len, many)) <= 100


class Cluster:
    """A client by hand: of workers {address: its versions, or an exception}; `sent` are [name, worker, future]."""

    def __init__(self, **workers):
        self.workers, self.threads, self.busy, self.asked, self.sent = workers, {}, set(), [], []

    def nthreads(self):
        return {worker: self.threads.get(worker, 1) for worker in self.workers}

    def processing(self):
        return {worker: ("another's",) if worker in self.busy else () for worker in self.workers}

    def run(self, function, workers, on_error):
        self.asked += [(function.__name__, worker) for worker in workers]
        found = {worker: self.workers[worker] for worker in workers}
        if function is not platform.python_version:
            return found
        return {worker: theirs if isinstance(theirs, Exception) else theirs["python"]
                for worker, theirs in found.items()}

    def submit(self, function, name, *_, workers, **how):
        future = Future()
        future.status = "error"  # which is read only if it ended with one
        self.sent.append((name, *workers, future))
        return future

    def subscribe_topic(self, topic, handler):
        pass


def test_workers_that_are_refused(tmp_path):
    """Who is there at the start is refused with the sweep; what is of another Python is asked for no more than that."""
    ours = sweep.versions()
    client = Cluster(fits=ours, old={**ours, "numpy": "0.1"}, python={**ours, "python": "2.7"}, two=ours,
                     bare=ModuleNotFoundError("No module named 'tinybvae'"))
    client.threads["two"] = 2
    found = sweep.refusals(client, [*client.workers], ours)
    assert found.pop("fits") == "" and '"numpy": "0.1"' in found.pop("old")
    assert found.pop("python").startswith('has {"python": "2.7"}, and') and ("versions", "python") not in client.asked
    assert found.pop("two").startswith("has 2 threads")
    assert found == {"bare": "cannot run this: ModuleNotFoundError: No module named 'tinybvae'"}
    with pytest.raises(ValueError, match='worker old has {.*"numpy": "0.1"'):
        sweep.sweep(client, {}, tmp_path, 1)


@pytest.fixture
def on_the_way(tmp_path, monkeypatch):
    """Two runs, on a cluster without workers; their checkpoints are kept here."""
    class Variable:
        def __init__(self, name, client):
            pass

        def set(self, content):
            self.content = content

        def get(self):
            return self.content

    monkeypatch.setattr(distributed, "Variable", Variable)
    runs = {name: ({"seed": i}, None) for i, name in enumerate(("one", "two"))}
    return sweep.OnTheWay(Cluster(), runs, tmp_path, 1, sweep.versions(), {})


def test_who_gets_a_run(tmp_path, on_the_way):
    """A worker that fits and has nothing to do. Each is asked once, and again if it finds that it does not fit."""
    client, ours = on_the_way.client, sweep.versions()
    assert "wait for one" in on_the_way.look()[0] and not on_the_way.look()
    client.workers = {"old": {**ours, "numpy": "0.1"}}
    line, = on_the_way.look()
    assert line.startswith('worker old gets no run: it has {') and not on_the_way.look()
    client.workers |= {"a": ours, "b": ours}
    client.busy.add("a")
    assert not on_the_way.look() and not on_the_way.look()
    (name, worker, future), = client.sent
    assert (name, worker) == ("one", "b") and client.asked.count(("versions", "b")) == 1
    client.busy.clear()
    on_the_way.look()
    assert client.sent[1][:2] == ("two", "a") and not on_the_way.waiting
    client.workers["b"] = client.workers["old"]  # at the same address there is another, or its files have changed
    future.set_result(None)
    assert not on_the_way.keep_results() and on_the_way.waiting == ["one"]
    line, = on_the_way.look()
    assert line.startswith("worker b gets no run") and len(client.sent) == 2
    on_the_way.last["two"].set(b"the last")
    client.sent[1][2].set_result({"worker": "a"})
    assert on_the_way.keep_results() == ["two: done"] and rows(tmp_path)["two"]["worker"] == "a"
    assert (tmp_path / "two/checkpoint.h5").read_bytes() == b"the last"
    on_the_way.look()
    assert client.sent[2][:2] == ("one", "a")


def test_a_run_whose_workers_are_gone(tmp_path, on_the_way):
    """It goes to the next, from its last checkpoint. After four that were gone before they had another, it fails."""
    client, ours = on_the_way.client, sweep.versions()
    on_the_way.waiting.remove("two")

    def lose(worker):
        client.workers = {worker: ours}
        on_the_way.look()
        assert client.sent[-1][:2] == ("one", worker)
        client.workers = {}
        assert on_the_way.look() == ["no worker is there for the runs: they wait for one"]
        told = on_the_way.keep_results()
        assert client.sent[-1][2].cancelled() and not on_the_way.futures
        return told

    assert not lose("a") and not lose("b") and not lose("c")
    on_the_way.last["one"].set(b"another")
    assert not lose("d") and not lose("e") and not lose("f")
    client.workers = {"g": ours}
    on_the_way.look()
    client.sent[-1][2].set_exception(distributed.KilledWorker("one", None, 3))  # as the scheduler says it
    told, = on_the_way.keep_results()
    assert told.startswith("one: 4 workers, one after the other, were gone") and not on_the_way.waiting
    assert rows(tmp_path)["one"]["error"] in told and on_the_way.failed == 1


def test_wrong_input(tmp_path, refusal, monkeypatch):
    monkeypatch.setattr(sweep, "PATIENCE", 1)
    (tmp_path / "notes.txt").write_text("mine")
    for options, message in [(["--beta", "-1"], "--beta: must be a number of at least 0"),
                             (["--seed", "x"], "--seed: must be"),
                             (["--objective", "beta", "--capacity", "5"], "--capacity belongs to --objective"),
                             (["--out", tmp_path / "notes.txt"], "notes.txt is a file"),
                             (["--data", tmp_path / "none.npz", "--out", tmp_path / "a"], "none.npz: no such file"),
                             (["--batch-size", 10 ** 6, "--out", tmp_path / "a"], "at most the data set's 737280"),
                             (["--scheduler", "tcp://127.0.0.1:1", "--out", tmp_path / "a"], "no scheduler answers")]:
        assert message in refusal(sweep.main, *options)
