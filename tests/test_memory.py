"""Memory is used again when, and only when, nobody can see it any more."""

import numpy as np

from tinybvae import memory


def place(array):
    return array.__array_interface__["data"][0]


def test_memory_is_used_again_when_nobody_holds_it():
    first = memory.empty((3, 1, 5), np.float32)
    assert first.shape == (3, 1, 5) and first.dtype == np.float32 and first.flags.writeable and first.flags.c_contiguous
    before, view = place(first), first[1:, 0].T
    del first
    assert place(memory.empty((5, 3), np.float32)) != before  # a view of it is still there
    del view
    again, other = memory.empty((5, 3), np.float32), memory.empty((15,), np.float32)
    assert place(again) == before != place(other)


def test_other_sizes_and_dtypes_have_their_own():
    before = place(memory.empty((77,), np.float32))
    assert before not in (place(memory.empty((76,), np.float32)), place(memory.empty((77,), np.float64)))
    assert memory.empty((0, 3), np.float32).shape == (0, 3)


def test_what_nobody_asks_for_is_given_back():
    memory.empty((1234,), np.float32)
    for _ in range(2 * memory.AGE):
        memory.empty((1235,), np.float32)
    free = [len(memory._free[size, np.dtype(np.float32)]) for size in (1234, 1235)]
    assert free == [0, 1]
