"""examples/sweep.py as a user runs it: on this machine and on a cluster, with workers and clients that are killed."""

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import time
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

    That of a killed worker goes on elsewhere, from its last checkpoint; one that fails says why.
    """
    np.savez(tmp_path / "own.npz", imgs=np.random.default_rng(0).integers(0, 2, (30, 16, 16), np.uint8),
             latents_classes=np.arange(30)[:, None] // 10)
    options = *SMALL, 200, "--data", tmp_path / "own.npz"
    grid = ["--objectives", "beta", "--strengths", 2, "1e38", "--seeds", 3, *options, "--out", tmp_path / "a"]
    process = start(*grid)
    assert "http://" in read_until(process, "2 runs on")
    line = read_until(process, "beta-2-seed3: step ")
    step, address = re.search(r"step (\d+)/200 on (tcp://.*)", line).groups()
    port = int(address.rsplit(":", 1)[1])
    for child in psutil.Process(process.pid).children(recursive=True):
        if any(each.laddr.port == port and each.status == "LISTEN" for each in child.net_connections()):
            child.send_signal(signal.SIGKILL)
    printed, status = read_all(process)
    assert status == 1 and "1 of the runs failed" in printed, printed
    steps = [int(found) for found in re.findall(rf"step (\d+)/200 on (?!{address})", printed)]
    assert steps and min(steps) > int(step) and max(steps) == 200
    done = rows(tmp_path / "a")
    good, bad = done["beta-2-seed3"], done["beta-1e+38-seed3"]
    assert not good["error"] and "FloatingPointError: the gradient of" in bad["error"]
    assert float(good["mig"]) >= 0 and float(good["reconstruction"]) > 0 and good["worker"].startswith("tcp://")
    assert (tmp_path / "a/scores.png").exists() and (tmp_path / "a/kl_reconstruction.png").exists()
    assert (tmp_path / "a" / good["run"] / "checkpoint.h5").read_bytes() == alone(
        call, tmp_path / "b", "--objective", "beta", "--beta", 2, "--seed", 3, *options)
    grid.remove("1e38")
    status, printed, _ = call(sweep.main, *grid)
    assert status == 0 and "1 of 1 runs were done before" in printed and rows(tmp_path / "a") == done
    status, _, errors = call(sweep.main, *grid, "--eps", ".5")
    assert status == 2 and "holds beta-2-seed3 with other settings" in errors
    (tmp_path / "a/results.csv").unlink()  # as if it had not been done
    status, _, errors = call(sweep.main, *grid, "--learning-rate", ".5")
    assert status == 2 and "holds beta-2-seed3 with other settings" in errors


def dask(*options, library=ROOT):
    """A process of Dask's own command line, in which tinybvae is this one or another."""
    return subprocess.Popen([sys.executable, "-m", "dask", *map(str, options)], cwd=library, env=ENVIRONMENT,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A client of a scheduler with one worker, started by Dask's own commands in processes of their own."""
    folder = tmp_path_factory.mktemp("cluster")
    file = folder / "scheduler.json"
    scheduler = dask("scheduler", "--port", 0, "--no-dashboard", "--scheduler-file", file)
    worker = dask("worker", "--scheduler-file", file, "--nthreads", 1, "--local-directory", folder)
    while not file.exists() or not file.read_text():
        assert scheduler.poll() is None
        time.sleep(.1)
    with distributed.Client(scheduler_file=str(file), set_as_default=False) as client:
        client.wait_for_workers(1, timeout=60)
        yield client
    for process in worker, scheduler:
        process.terminate()
        process.wait()


def test_a_killed_client_of_a_cluster(tmp_path, call, data, cluster, start, no_pictures):
    """Started again, it does not repeat what is done, and goes on from the last checkpoint that it has.

    Another sweep, beside it, with a run of the same name, is another; and a worker of another version, which comes
    later, trains nothing.
    """
    small = [*SMALL, 200, *data]
    grid = ["--seeds", 1, 2, *small, "--scheduler", cluster.scheduler.address, "--out"]
    process = start(*grid, tmp_path / "a")
    first = read_until(process, ": done").split(":")[0]
    other = {"seed1": "seed2", "seed2": "seed1"}[first]
    step = int(re.search(r"step (\d+)/200", read_until(process, f"{other}: step")).group(1))
    process.kill()
    done = rows(tmp_path / "a")
    assert done.keys() == {first} and tb.load(tmp_path / "a" / other / "checkpoint.h5").step >= step

    ours, = cluster.scheduler_info()["workers"]
    again, beside = start(*grid, tmp_path / "a"), start("--seeds", other[4:], *grid[3:], tmp_path / "b", "--eps", ".1")
    shutil.copytree(ROOT / "tinybvae", tmp_path / "other/tinybvae", ignore=shutil.ignore_patterns("__pycache__"))
    with open(tmp_path / "other/tinybvae/losses.py", "a") as file:
        file.write("# changed\n")
    for process in again, beside:
        read_until(process, " on 1 workers")
    worker = dask("worker", cluster.scheduler.address, "--nthreads", 1, "--local-directory", tmp_path,
                  library=tmp_path / "other")
    printed, status = read_all(again)
    assert status == 0 and "1 of 2 runs were done before" in printed, printed
    assert all(int(later) > step for later in re.findall(rf"{other}: step (\d+)/200", printed))
    assert rows(tmp_path / "a")[first] == done[first] and not rows(tmp_path / "a")[other]["error"]
    printed, status = read_all(beside)
    assert status == 0, printed
    worker.terminate()
    worker.wait()
    for out, *options in ("a",), ("b", "--eps", ".1"):
        assert rows(tmp_path / out)[other]["worker"] == ours
        assert (tmp_path / out / other / "checkpoint.h5").read_bytes() == alone(
            call, tmp_path / f"{out} alone", "--seed", other[4:], *small, *options)


def grid_of(*options):
    parser = sweep.Parser()
    sweep.add_grid(parser)
    return sweep.grid(parser.parse_args([*map(str, options)]))


def test_a_grid():
    """C is the capacity objective's only; a strength is β or γ; what is not given is the preset's."""
    runs = grid_of("--objectives", "capacity", "beta", "--strengths", 0, 30, "--capacities", 5, "0:0,9:20",
                   "--seeds", 0, 1, "--steps", 7)
    assert len(runs) == 2 * 2 * 2 + 2 * 2
    assert runs["capacity-30-C0_0-9_20-seed1"] == ({"steps": 7, "objective": "capacity", "gamma": 30.0,
                                                     "capacity": [[0, 0], [9, 20]], "seed": 1}, None)
    assert runs["beta-0-seed0"] == ({"steps": 7, "objective": "beta", "beta": 0.0, "seed": 0}, None)
    assert grid_of() == {"seed0": ({"seed": 0}, None)}
    assert grid_of("--presets", "sharp", "higgins2017", "--strengths", 2) == {
        "sharp-2-seed0": ({"gamma": 2.0, "seed": 0}, "sharp"),
        "higgins2017-2-seed0": ({"beta": 2.0, "seed": 0}, "higgins2017")}


@pytest.mark.parametrize("theirs, threads, message", [
    ({"numpy": "0.1"}, 1, 'worker tcp://two has {.*"numpy": "0.1"'), ({}, 2, "tcp://two has 2 threads")])
def test_workers_that_are_refused(theirs, threads, message):
    class Client:
        def run(self, function):
            return {"tcp://one": sweep.versions(), "tcp://two": {**sweep.versions(), **theirs}}

        def nthreads(self):
            return {"tcp://one": 1, "tcp://two": threads}

    with pytest.raises(ValueError, match=message):
        sweep.workers_like_this_one(Client())


def test_wrong_input(tmp_path, refusal, monkeypatch):
    monkeypatch.setattr(sweep, "PATIENCE", 1)
    (tmp_path / "notes.txt").write_text("mine")
    for options, message in [(["--strengths", "-1"], "--strengths: must be a number of at least 0"),
                             (["--seeds", "x"], "--seeds: must be"),
                             (["--objectives", "beta", "--capacities", "5"], "--capacities belong to --objectives"),
                             (["--out", tmp_path / "notes.txt"], "notes.txt is a file"),
                             (["--scheduler", "tcp://127.0.0.1:1", "--out", tmp_path / "a"], "no scheduler answers")]:
        assert message in refusal(sweep.main, *options)
