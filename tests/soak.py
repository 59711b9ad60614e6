"""Watches what a long run holds in memory: python tests/soak.py --steps 20000

One process trains by the default recipe, and now and then evaluates itself, writes a report, and goes on from its own
checkpoint, while another thread encodes and decodes with the same model. After the first minute its resident memory,
looked at before each checkpoint, must stay within MOST MiB. Prints it, and at the end the peak.
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

import tinybvae as tb
from tinybvae.kernels.threads import set_num_threads
from tinybvae.runs.folder import opened, score_if_due
from tinybvae.runs.settings import objective_of

MOST = 20  # MiB


def held(what="VmRSS"):
    """MiB that are resident now; or, as VmHWM, that have been at most."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(what)) / 1024


def soak(folder, steps, every):
    """[(seconds, MiB), …], before each checkpoint."""
    seen, start, done, sprites = [], time.perf_counter(), threading.Event(), tb.DSprites()
    looking = threading.Lock()

    def look(model):
        """Another thread's use of the model, until all is done."""
        rng = np.random.default_rng(0)
        while not done.wait(.5):
            with looking:
                mean, _ = model.encode(sprites.images(rng.integers(len(sprites), size=200)))
                model.decode(mean)

    def checkpoint(run):
        with looking:
            seen.append((time.perf_counter() - start, held()))
        print(f"step {run.step}: {seen[-1][0]:.0f} s, {seen[-1][1]:.0f} MiB", flush=True)
        encoded = score_if_due(run, sprites)
        tb.save(run, folder / "checkpoint.h5")
        tb.write_report(run, sprites, folder, "tests/soak.py", encoded)

    given = {"checkpoint_every": every, "evaluate_every": 2, "steps": steps}
    for last in range(2 * every, steps + 1, 2 * every):  # where it is stopped, and goes on
        with opened(folder, given, resume=last > 2 * every) as (run, _):
            done.clear()
            other = threading.Thread(target=look, args=(run.model,))
            other.start()
            try:
                tb.train(run, sprites, objective_of(run.settings), last, run.settings["batch_size"], every, checkpoint)
            finally:
                done.set()
                other.join()
    return seen


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--every", type=int, default=500, help="steps between two checkpoints")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as made:
        seen = soak(Path(made), options.steps, options.every)
    later = [mib for seconds, mib in seen if seconds > 60]
    print(f"peak {held('VmHWM'):.0f} MiB; after the first minute {min(later):.0f} to {max(later):.0f} MiB")
    if max(later) - min(later) > MOST:
        sys.exit(f"that is more than {MOST} MiB apart: something grows")
