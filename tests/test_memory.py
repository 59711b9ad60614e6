"""Memory is used again when, and only when, nobody can see it any more."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from tinybvae.kernels import memory


def place(array):
    return array.__array_interface__["data"][0]


def free(size):
    return len(memory._free[size])


def test_memory_is_used_again_when_nobody_holds_it():
    first = memory.empty((3, 1, 5), np.float32)
    assert first.shape == (3, 1, 5) and first.dtype == np.float32 and first.flags.writeable and first.flags.c_contiguous
    before, view = place(first), first[1:, 0].T
    del first
    assert place(memory.empty((5, 3), np.float32)) != before  # a view of it is still there
    del view
    again, other = memory.empty((5, 3), np.float32), memory.empty((15,), np.float32)
    assert place(again) == before != place(other)


def test_other_sizes_have_their_own():
    before = place(memory.empty((77,), np.float32))
    assert place(memory.empty((76,), np.float32)) != before
    assert memory.empty((0, 3), np.float32).shape == (0, 3)


def test_what_nobody_asks_for_is_given_back(monkeypatch):
    held = memory.empty((1234,), np.uint8)
    for size in 1235, 1236:
        memory.empty((size,), np.uint8)
    memory.release(3600)
    assert free(1235) == free(1236) == 1
    monkeypatch.setattr(memory, "AGE", .01)
    for _ in range(2):
        time.sleep(.02)
        memory.empty((1236,), np.uint8)
    assert free(1235) == 0
    memory.release()
    assert free(1236) == 0
    held[:] = 1  # still there


def test_what_is_held_stays_until_the_very_end():
    held = """import atexit, numpy as np
atexit.register(lambda: print(memory.empty((9,), np.uint8)[0], held[0]))
from tinybvae.kernels import memory
held = memory.empty((9,), np.uint8)
held[0] = 7"""
    output = subprocess.run([sys.executable, "-c", held], text=True, capture_output=True).stdout
    assert output.split()[-2:] == ["0", "7"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_has_a_copy():
    array = memory.empty((10,), np.uint8)
    array[:] = 0
    child = os.fork()
    if child == 0:
        array[:] = 1
        os._exit(0)
    os.waitpid(child, 0)
    assert not array.any()
