"""Memory is used again when, and only when, nobody can see it any more; and what a process holds does not grow."""

import os
import subprocess
import sys
import time

import numba
import numpy as np
import pytest

from test_compiler import run
from tinybvae.kernels import memory


SOME = memory.SMALL  # bytes: smaller arrays are malloc's


def place(array):
    return array.__array_interface__["data"][0]


def free(size):
    return len(memory._free[size])


def test_memory_is_used_again_when_nobody_holds_it():
    first = memory.empty((3, 1, SOME), np.float32)
    assert first.shape == (3, 1, SOME) and first.dtype == np.float32
    assert first.flags.writeable and first.flags.c_contiguous
    before, view = place(first), first[1:, 0].T
    del first
    assert place(memory.empty((SOME, 3), np.float32)) != before  # a view of it is still there
    del view
    again, other = memory.empty((SOME, 3), np.float32), memory.empty((3 * SOME,), np.float32)
    assert place(again) == before != place(other)


def test_other_sizes_have_their_own():
    before = place(memory.empty((SOME + 1,), np.float32))
    assert place(memory.empty((SOME,), np.float32)) != before
    assert memory.empty((0, 3), np.float32).shape == (0, 3)


def test_what_nobody_asks_for_is_given_back(monkeypatch):
    held = memory.empty((SOME + 34,), np.uint8)
    for size in SOME + 35, SOME + 36:
        memory.empty((size,), np.uint8)
    memory.release(3600)
    assert free(SOME + 35) == free(SOME + 36) == 1
    monkeypatch.setattr(memory, "AGE", .01)
    for _ in range(2):
        time.sleep(.02)
        memory.empty((SOME + 36,), np.uint8)
    assert free(SOME + 35) == 0
    memory.release()
    assert free(SOME + 36) == 0
    held[:] = 1  # still there


def test_what_is_held_stays_until_the_very_end():
    held = """import atexit, numpy as np
atexit.register(lambda: print(memory.empty((memory.SMALL,), np.uint8)[0], held[0]))
from tinybvae.kernels import memory
held = memory.empty((memory.SMALL,), np.uint8)
held[0] = 7"""
    process = subprocess.run([sys.executable, "-c", held], text=True, capture_output=True)
    assert process.stdout.split()[-2:] == ["0", "7"] and not process.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_has_a_copy():
    array = memory.empty((SOME,), np.uint8)
    array[:] = 0
    child = os.fork()
    if child == 0:
        array[:] = 1
        os._exit(0)
    os.waitpid(child, 0)
    assert not array.any()


GROWTH = """
import os
import numpy as np
import tinybvae as tb
from tinybvae import kernels
from tinybvae.kernels import threads

threads.WORTHWHILE = 0  # several threads share the smallest arrays
rng, index, layer = np.random.default_rng(0), np.arange(2), tb.Linear(3, 2, np.random.default_rng(0))
optimizers = tb.Adam(layer.parameters), tb.Adagrad(layer.parameters)
calls = [lambda: tb.DSprites().images(index), lambda: kernels.matmul(x, w), lambda: kernels.relu(x, .1),
         lambda: kernels.relu_backward(x, x, .1), lambda: tb.bernoulli_nll(x, abs(x)),
         *(lambda optimizer=optimizer: optimizer.update(layer.gradients) for optimizer in optimizers)]
x, w = rng.random((2, 9), np.float32), rng.random((9, 5), np.float32)
for H, C, O in (4, 32, 32), (1, 1, 3):  # by winograd, and by im2col
    big, taps, small = (rng.random(shape, np.float32) for shape in ((1, 2 * H, 2 * H, C), (4, 4, C, O), (1, H, H, O)))
    calls += [lambda a=big, b=taps: kernels.conv2d(a, b), lambda a=small, b=taps: kernels.conv2d_transpose(a, b),
              lambda a=big, b=small: kernels.conv2d_weight(a, b), lambda a=small: kernels.sum_pixels(a)]

def held():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

for n in 1, 2:
    threads.set_num_threads(n)
    for times in 200, 2000:
        before = held()
        for call in calls:
            for _ in range(times):
                call()
    print(held() - before)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="no way to ask this system what a process holds")
@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled, and all is slow")
def test_kernels_hold_nothing():
    """In 30,000 calls, by one thread and by two: an array lost in each would be 10 MB."""
    grown, _ = run(GROWTH, NUMBA_NUM_THREADS="2")
    assert max(map(int, grown.split())) < 4e6
