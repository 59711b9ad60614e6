"""Kills a real run at random, and damages its files at random: python tests/chaos.py --kills 200 --damages 1000

A run kills itself, by SIGKILL, some time after one of MOMENTS; it is resumed on some number of threads, and killed
again, until it is done. No step may be lost that was in a checkpoint, and in the end all its files must be, bit by bit,
those of a run that nobody disturbed. A damaged file must be refused, or hold what it held. With --whole it is the
whole default run that is killed, at any time, beside one that nobody disturbs.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numba
import numpy as np

import tinybvae as tb
from tinybvae.data.__main__ import hdf5
from tinybvae.runs.checkpoint import newest_of

ROOT = Path(__file__).parent.parent
TRAIN, ENVIRONMENT = [str(ROOT / "examples/train_dsprites.py")], {**os.environ, "PYTHONPATH": str(ROOT)}
SMALL = ["--steps", "9", "--checkpoint-every", "3", "--evaluate-every", "2", "--batch-size", "8", "--latents", "3"]
MOMENTS = {"a step": ("tinybvae.vae", "gaussian_kl", 9, .05),  # in one of so many calls, within these seconds
           "a checkpoint's write": ("tinybvae.runs.checkpoint", "write_atomically", 4, .02),
           "drawing": ("tinybvae", "write_report", 3, 1)}
CHILD = """
import importlib, os, runpy, signal, sys, threading, time
module, name, call, seconds, script, *sys.argv[1:] = sys.argv[1:]
module, left, sys.argv[0] = importlib.import_module(module), [int(call)], script
function = getattr(module, name)

def kill():
    time.sleep(float(seconds))
    os.kill(os.getpid(), signal.SIGKILL)

def counted(*arguments):
    left[0] -= 1
    if not left[0]:
        threading.Thread(target=kill, daemon=True).start()
    return function(*arguments)

setattr(module, name, counted)
runpy.run_path(script, run_name="__main__")
"""


def start(out, data, moment=("tinybvae", "write_report", 0, 0), threads=1):
    """A run that is resumed in `out`."""
    command = [sys.executable, "-c", CHILD, *map(str, moment), *TRAIN, *SMALL, "--resume", "--out", str(out),
               "--data", str(data), "--threads", str(threads)]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "checkpoint.before.h5"}


def kill(folder, kills, seed=0):
    """{moment: how often a run was killed there}; how many runs that took to their ends."""
    rng, counts, runs = np.random.default_rng(seed), Counter(), 0
    data = folder / "data.npz"
    np.savez(data, imgs=rng.integers(0, 256, (30, 16, 16), np.uint8), latents_classes=np.arange(30)[:, None] // 10)
    (folder / "alone").mkdir()
    out, step = folder / "run0", 0
    out.mkdir()
    with start(folder / "alone", data) as undisturbed:
        while counts.total() < kills or step:
            name = list(MOMENTS)[rng.integers(len(MOMENTS))]
            module, function, calls, seconds = MOMENTS[name]
            moment = module, function, rng.integers(1, calls + 1), rng.uniform(0, seconds)
            with start(out, data, moment, rng.integers(1, numba.config.NUMBA_NUM_THREADS + 1)) as process:
                errors, code = process.stderr.read(), process.wait()
            newest = newest_of(out / "checkpoint.h5")
            before, step = step, tb.load(newest).step if newest else 0
            assert step >= before, f"step {before} was lost: now {step}"
            if code == 0:
                assert undisturbed.wait() == 0, undisturbed.stderr.read()
                assert content(out) == content(folder / "alone"), f"{out} is not what an undisturbed run leaves"
                runs += 1
                out, step = folder / f"run{runs}", 0
                out.mkdir()
            else:
                assert code == -signal.SIGKILL and not errors, errors
                counts[name] += 1
                print(f"\r{counts.total()} kills, {runs} runs done, step {step} ", end="", flush=True)
    return counts, runs


def kill_whole(folder, kills, seed=0):
    """How often the default run was killed until it was done: on average once in a `kills`th of the time of the other.

    At random times: so no kill need come at all.
    """
    rng, count, step = np.random.default_rng(seed), 0, 0
    how, start = {"env": ENVIRONMENT, "stdout": subprocess.DEVNULL}, time.monotonic()
    alone, out = folder / "alone", folder / "killed"
    command = [sys.executable, *TRAIN, "--resume", "--threads"]
    with subprocess.Popen([*command, "1", "--out", str(alone)], **how) as undisturbed:
        while True:
            threads = str(rng.integers(1, numba.config.NUMBA_NUM_THREADS + 1))
            with subprocess.Popen([*command, threads, "--out", str(out)], **how) as process:
                try:
                    process.wait(rng.exponential(1500 / kills))  # seconds
                    break
                except subprocess.TimeoutExpired:
                    process.kill()
            newest, count = newest_of(out / "checkpoint.h5"), count + 1
            before, step = step, tb.load(newest).step if newest else 0
            assert step >= before, f"step {before} was lost: now {step}"
            print(f"\r{count} kills, step {step}, {time.monotonic() - start:.0f} s ", end="", flush=True)
        assert process.returncode == undisturbed.wait() == 0
    assert content(out) == content(alone), f"{out} is not what an undisturbed run leaves"
    return count


def damaged(data, rng):
    """The bytes, cut short, with a bit flipped, or with a part that is zeros, noise, or from elsewhere in them."""
    place, size = int(rng.integers(len(data))), int(rng.integers(1, 600))
    other, part = int(rng.integers(len(data))), data[place:place + size]
    return [data[:place],
            data[:place] + bytes([data[place] ^ 1 << int(rng.integers(8))]) + data[place + 1:],
            data[:place] + bytes(len(part)) + data[place + len(part):],
            data[:place] + rng.bytes(len(part)) + data[place + len(part):],
            data[:place] + data[other:other + len(part)] + data[place + len(part):]][rng.integers(5)]


def damage(folder, count, seed=0):
    """{file: {"refused": …, "harmless": …}}, of `count` damages, in turn to a checkpoint and two files of dSprites."""
    rng, sprites, counts = np.random.default_rng(seed), tb.DSprites(), {}
    index = rng.integers(len(sprites), size=100)
    np.savez_compressed(folder / "dsprites.npz", imgs=sprites.images(index)[..., 0].astype(np.uint8),
                        latents_classes=np.insert(sprites.classes(index), 0, 0, axis=1))
    (folder / "dsprites.hdf5").write_bytes(hdf5(tb.DSprites(folder / "dsprites.npz")))
    model = tb.BetaVAE(2, image_shape=(16, 16, 1))
    tb.save(tb.Run(model, tb.Adam(model.parameters), rng), folder / "checkpoint.h5")

    def look(path):
        if path.suffix == ".h5":
            return [*tb.load(path).model.parameters.values()]
        data = tb.load_data(path)
        return [data.images(range(len(data))), data.classes(range(len(data))), np.array(data.factor_names)]

    for i in range(count):
        path = folder / ("checkpoint.h5", "dsprites.npz", "dsprites.hdf5")[i % 3]
        if i < 3:
            counts[path.name] = Counter()
        whole = path.read_bytes()
        wanted, bad = look(path), whole
        while bad == whole:
            bad = damaged(whole, rng)
        path.write_bytes(bad)
        try:
            found = look(path)
            assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True)), f"{path} was believed"
            counts[path.name]["harmless"] += 1
        except ValueError as error:
            assert "\n" not in str(error), error
            counts[path.name]["refused"] += 1
        path.write_bytes(whole)
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--damages", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--whole", action="store_true", help="kill the default run, and damage nothing: an hour")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        if options.whole:
            print(f"\n{kill_whole(Path(made), options.kills, options.seed)} kills, and all files as if undisturbed")
            return
        for name, counts in damage(Path(made), options.damages, options.seed).items():
            print(f"{name}: {', '.join(f'{count} {what}' for what, count in counts.items())}")
        counts, runs = kill(Path(made), options.kills, options.seed)
        print("\nkilled in", ", ".join(f"{name} {count} times" for name, count in counts.items()),
              f"in {runs} runs, all of which ended as if undisturbed")


if __name__ == "__main__":
    main()
