"""Threads do each slice of a kernel once, whatever keeps one of them from it."""

import os
import time
from contextlib import contextmanager
from pathlib import Path

import numba
import numpy as np
import pytest

import tinybvae as tb
from test_compiler import run
from tinybvae.kernels import threads
from tinybvae.kernels.threads import SLICES, WORTHWHILE, next_slice, parallel, part

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="there is one thread")
several = pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS == 1, reason="there is one thread")


@parallel
def add(work, numbers, times):
    """1 to each number, times[s] times in slice s."""
    s = next_slice(work)
    while s >= 0:
        some = part(numbers, s)
        for _ in range(times[s]):
            for i in range(len(some)):
                some[i] += 1
        s = next_slice(work)


@parallel
def no_memory_but_here(work, numbers):
    s = next_slice(work)
    while s >= 0:
        some = part(numbers, s)
        for _ in range(200):  # time enough for another thread to wake
            some += 1 if work[1] == 0 else np.empty(1 << 50)[0]
        s = next_slice(work)


@pytest.mark.parametrize("size", [0, 5, WORTHWHILE - SLICES - 1, WORTHWHILE - SLICES, WORTHWHILE + 37])
def test_each_slice_once(size):
    rng = np.random.default_rng(0)
    for _ in range(100):
        numbers, times = np.zeros(size), rng.integers(9, size=SLICES)
        add(numbers, times)
        assert (numbers == np.concatenate([np.full(len(part(numbers, s)), times[s]) for s in range(SLICES)])).all()


ASLEEP = threads.BOARD[threads.ASLEEP + 8:threads.CALL:8]  # of each thread but the one that calls, whether it is


@contextmanager
def unseen():
    """Meanwhile nobody knows that they sleep."""
    before = ASLEEP.copy()
    ASLEEP[:] = 0
    yield
    ASLEEP[:] = before


def asleep():
    """Wait until all other threads sleep, at most 10 seconds."""
    for _ in range(1000):
        time.sleep(.01)
        if ASLEEP.sum() == threads.num_threads() - 1:
            return
    raise AssertionError("they never do")


@several
def test_a_thread_that_does_not_come():
    """The others do its slices, and wait for nothing; and it sleeps until it is called."""
    numbers, once = np.zeros(WORTHWHILE), np.ones(SLICES, int)
    add(numbers, once)
    asleep()
    before = time.process_time()
    time.sleep(.3)
    assert time.process_time() - before < .1  # seconds of all threads
    with unseen():
        add(numbers, once)
        assert (numbers == 2).all() and not threads.BOARD[threads.CAME]
    assert another_comes()


def another_comes():
    """Whether another thread does, to one of many kernels."""
    for _ in range(100):
        add(np.zeros(WORTHWHILE), np.full(SLICES, 3000))
        if threads.BOARD[threads.CAME]:
            return True


@several
def test_patience():
    """Where nobody came to a long kernel in time, threads look for work for a shorter time; later for a longer one."""
    numbers, once = np.zeros(threads.LONG + 1), np.ones(SLICES, int)
    add(numbers, once)
    asleep()
    board = threads.BOARD
    board[threads.LOOKS] = board[threads.MOST]
    with unseen():
        for _ in range(5):
            add(numbers, once)
        assert board[threads.LOOKS] <= board[threads.MOST] // 32 + 2
    calls = 0
    while board[threads.LOOKS] <= board[threads.MOST] // 4:  # beside other programs, not every call is soon come to
        add(numbers, np.full(SLICES, 10))
        calls += 1
        assert calls < 50_000


@several
def test_who_is_in_a_kernel_is_waited_for():
    """However long: else arrays would change that have been returned, or are somebody else's by then."""
    numbers, times = np.zeros(WORTHWHILE), np.full(SLICES, 2000)
    add(numbers, times)
    looks, threads.BOARD[threads.LOOKS] = threads.BOARD[threads.LOOKS], 1  # no patience
    for i in range(2, 30):
        add(numbers, times)
        assert not threads.BOARD[threads.INSIDE] and (numbers == 2000 * i).all()
    threads.BOARD[threads.LOOKS] = looks


@several
def test_no_memory_in_another_thread():
    numbers = np.zeros(WORTHWHILE)
    with pytest.raises(MemoryError):
        for _ in range(1000):  # it may come too late nevertheless
            no_memory_but_here(numbers)
    numbers[:] = 0
    add(numbers, np.ones(SLICES, int))
    assert (numbers == 1).all()


THREADS = """
import sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
import tinybvae as tb

sys.setswitchinterval(1e-6)  # seconds: as many changes from thread to thread as there can be
sprites, rng = tb.DSprites(), np.random.default_rng(0)
for architecture in tb.vae.ARCHITECTURES.values():
    model = tb.BetaVAE(3, architecture=architecture)
    index = rng.integers(len(sprites), size=(12, 2))
    z, noise = rng.standard_normal((12, 1, 3)), rng.standard_normal((12, 2, 3))

    def look(i):
        return [*model.encode(sprites.images(index[i])), model.decode(z[i]),
                np.array(list(tb.metrics.units_off(model, sprites, 50, seed=i).values()))]

    def train(i):
        losses = model.loss_and_gradients(sprites.images(index[i]), noise[i], tb.beta_objective(4.0), 0)
        return [np.array(losses[:3])]

    jobs = [look if i % 3 else train for i in range(12)]
    expected = [job(i) for i, job in enumerate(jobs)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda i: jobs[i](i), range(12)))
    print(all(np.array_equal(a, b) for one, other in zip(expected, found) for a, b in zip(one, other, strict=True)))
"""


def test_models_serve_several_threads():
    same, complaints = run(THREADS)
    assert same.split() == ["True", "True"] and not complaints  # of both architectures


FORK = """
import multiprocessing
import tinybvae as tb

if __name__ == "__main__":
    early = multiprocessing.get_context("fork").Pool(1)
    sprites, index = tb.DSprites(), range(300)  # enough for several threads
    images = sprites.images(index)
    for pool in early, *(multiprocessing.get_context(how).Pool(1) for how in ("spawn", "fork")):
        print((pool.apply(sprites.images, (index,)) == images).all())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_processes_start_threads_of_their_own(tmp_path):
    (tmp_path / "loader.py").write_text(FORK)
    found, _ = run("import runpy; runpy.run_path('loader.py', run_name='__main__')", tmp_path,
                   PYTHONPATH=str(Path(tb.__file__).parents[1]))
    assert found.split() == ["True"] * 3


COUNTS = """
import numba, numpy as np
from tinybvae.kernels import threads
print(threads.num_threads())
threads.set_num_threads(2)
print(threads.num_threads())
numba.set_num_threads(3)
print(threads.num_threads())
numba.set_num_threads(1)
print(threads.num_threads())
"""


def test_how_many_threads():
    """Numba's own count holds, too, once it has one."""
    assert run(COUNTS, NUMBA_NUM_THREADS="3")[0].split() == ["3", "2", "2", "1"]


def test_none_of_numbas_threading_layers_is_needed():
    without = "import tinybvae as tb; from tinybvae.kernels import threads; threads.set_num_threads(1); " \
              "print(tb.DSprites().images([0]).sum())"
    assert run(without, NUMBA_THREADING_LAYER="tbb") == run(without)


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2"])
def test_numbers_of_threads_that_are_none(threads):
    with pytest.raises(ValueError, match="threads must be a whole number of at least 1"):
        tb.kernels.threads.set_num_threads(threads)
