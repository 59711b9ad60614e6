"""Kernels share their work among Python's own threads, which run beside each other while they are in compiled code.

A thread that has nothing to do sleeps. OpenMP's spin between kernels, of which a step has forty, on a core that
another program may be waiting for. And each thread begins with slices of its own, which its core's cache may still hold
from the kernel before, but then takes what others have not begun: one whose core is busy elsewhere does less.
"""

import functools
import os
import queue
import threading

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from tinybvae.kernels.compiler import compiled, jit

SLICES = 16          # of a batch or an array: so many threads can share it, so many sums make a gradient of weights
WORTHWHILE = 2 ** 17  # numbers in a kernel's arrays; with fewer it is done before another thread is awake

ONE_AT_A_TIME = threading.RLock()  # a kernel takes all cores, so it is one at a time
_workers = []              # of each other thread its queue of jobs, (kernel, arguments, queue for an error or None)
_most = numba.config.NUMBA_NUM_THREADS


def set_num_threads(threads):
    """Let kernels take so many threads; if `numba.set_num_threads` was called as well, the fewer.

    Raises ValueError unless it is a whole number of at least 1.
    """
    global _most
    if not isinstance(threads, (int, np.integer)) or threads < 1:
        raise ValueError(f"threads must be a whole number of at least 1, not {threads!r}")
    _most = int(threads)


def num_threads():
    """How many threads a kernel takes.

    Numba counts threads once it has loaded a library of them, which may be missing, and which kernels do not need.
    """
    try:
        numba.threading_layer()
    except ValueError:  # none is loaded, so nobody has called numba.set_num_threads
        return _most
    return min(_most, numba.get_num_threads())


def parallel(function):
    """A kernel that threads share, `num_threads` of them.

    Its first argument is `work`, which callers leave out: its loop runs while `next_slice(work)` is one.
    """
    kernel = compiled(nogil=True)(function)

    @alone
    @functools.wraps(function)
    def run(*arguments):
        size = sum(array.size for array in arguments if isinstance(array, np.ndarray))
        threads = min(num_threads(), SLICES) if size >= WORTHWHILE else 1
        # How many threads came for each slice; how many are done; of each thread, how many slices it has looked at.
        counts, jobs = np.zeros(SLICES + 1 + threads, np.intp), []
        try:
            for i in range(1, threads):
                job = kernel, ((counts, i, SLICES * i // threads), *arguments), queue.SimpleQueue()
                _worker(i).put(job)
                jobs.append(job)
            kernel((counts, 0, 0), *arguments)
        finally:  # whatever happens: nobody writes into the arrays any more
            errors = [_end(worker, job, counts) for worker, job in zip(_workers, jobs)]
        for error in filter(None, errors):
            raise error
    return run


def _end(worker, job, counts):
    """Take the job back if its thread has not begun it, else wait until it is done. Returns its error, or None."""
    try:
        worker.get_nowait()
    except queue.Empty:
        return job[2].get() if _done(counts) < SLICES else None


def alone(function):
    """The function, but one thread at a time is in it, or in any other such function: the others wait."""
    @functools.wraps(function)
    def run(*arguments, **options):
        with ONE_AT_A_TIME:
            return function(*arguments, **options)
    return run


@jit
def indices(n, s):
    """Those of slice s of n things, as a range."""
    return range(n * s // SLICES, n * (s + 1) // SLICES)


@jit
def part(array, s):
    """Slice s of an array."""
    own = indices(len(array), s)
    return array[own.start:own.stop]


@jit
def next_slice(work):
    """The next slice that no other thread has begun, from this thread's own first one on, once around; then −1.

    Whoever asks for it is done with the one before. (Not a generator: what one is given, Numba never lets go.)
    """
    counts, thread, first = work
    looked = SLICES + 1 + thread
    if counts[looked] > 0:
        _add(counts, SLICES, 1)
    while counts[looked] < SLICES:
        s = (first + counts[looked]) % SLICES
        counts[looked] += 1
        if _add(counts, s, 1) == 0:
            return s
    return -1


@jit
def _done(counts):
    """How many slices are done."""
    return _add(counts, SLICES, 0)


@intrinsic
def _add(typing, counts, i, number):
    """Add a number to counts[i], in one step that no other thread can come between. Returns what was there."""
    def generate(context, builder, signature, arguments):
        array, i, number = arguments
        place = builder.gep(make_array(counts)(context, builder, array).data, [i])
        return builder.atomic_rmw("add", place, number, "seq_cst")
    return types.intp(counts, types.intp, types.intp), generate


def _worker(i):
    """The jobs of thread i, which is started if it is not there."""
    while len(_workers) < i:
        jobs = queue.SimpleQueue()
        threading.Thread(target=_work, args=(jobs,), name="tinybvae", daemon=True).start()
        _workers.append(jobs)
    return _workers[i - 1]


def _work(jobs):
    while True:
        kernel, arguments, end = jobs.get()
        error = None
        try:
            kernel(*arguments)
        except Exception as raised:  # a MemoryError: it belongs to the thread that called the kernel
            error = raised
        del kernel, arguments  # lest the arrays stay until the next job
        end.put(error)


def _after_fork():
    """In the child the lock is free, and no other thread came along."""
    ONE_AT_A_TIME.release()
    _workers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=ONE_AT_A_TIME.acquire, after_in_parent=ONE_AT_A_TIME.release, after_in_child=_after_fork)
