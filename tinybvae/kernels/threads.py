"""Kernels share their work among Python's own threads, which run beside each other while they are in compiled code.

To wake a thread takes 30 microseconds, and within a step the next kernel comes sooner. So a thread that has nothing to
do looks for work, and then sleeps. OpenMP's never do, on a core that another program may be waiting for. Here patience
depends on that: it halves with each long kernel for which no other thread came in time, and grows with the others. And
each thread begins with slices of its own, which its core's cache may still hold from the kernel before, but then takes
what others have not begun: one whose core is busy elsewhere does less.
"""

import ctypes
import functools
import os
import threading
import time

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array
from numba.np.ufunc import parallel as numbas

from tinybvae.kernels.compiler import compiled, jit

SLICES = 16            # of a batch or an array: so many threads can share it, so many sums make a gradient of weights
WORTHWHILE = 2 ** 14   # numbers in a kernel's arrays; with fewer it is done before another thread has begun
LONG = 2 ** 20         # numbers in those of a kernel that takes longer than a thread to wake
PATIENCE = 200e-6      # seconds that a thread looks for work, at most

# What threads tell each other. First, for each slice of the job, how many threads came for it; how many came to add it
# to another. Then, in a line of the cache of its own, each of these: the number of the job that is OPEN, or 0; how many
# other threads are INSIDE; how many CAME; how many JOBS there were; how many SHARERS this one has; how many FAILED; how
# many LOOKS for work a thread takes before it sleeps, and the MOST that it may. Then a line for each thread: how many
# slices it LOOKED at; if it is ASLEEP, or about to be; the LOCK that it waits for then. Then the CALL: the address of
# the job's function, and its arguments.
ADDED = SLICES
OPEN, INSIDE, CAME, JOBS, SHARERS, FAILED, LOOKS, MOST, LOOKED = range(2 * SLICES, 2 * SLICES + 9 * 8, 8)
ASLEEP, LOCK, CALL = LOOKED + 1, LOOKED + 2, LOOKED + 8 * SLICES
BOARD = np.zeros(CALL + 512, np.intp)

ONE_AT_A_TIME = threading.RLock()  # a kernel takes all cores, so it is one at a time
_started = 0                       # threads, with the one that calls
_most = min(numba.config.NUMBA_NUM_THREADS, SLICES)


def set_num_threads(threads):
    """Let kernels take so many threads, at most SLICES; if `numba.set_num_threads` was called as well, the fewer.

    Raises ValueError unless it is a whole number of at least 1.
    """
    global _most
    if not isinstance(threads, (int, np.integer)) or threads < 1:
        raise ValueError(f"threads must be a whole number of at least 1, not {threads!r}")
    _most = min(int(threads), SLICES)


def num_threads():
    """How many threads a kernel takes.

    Numba counts threads once it has loaded a library of them, which may be missing, and which kernels do not need.
    """
    return _most if numbas._threading_layer is None else min(_most, numba.get_num_threads())


def parallel(function):
    """A kernel that threads share, `num_threads` of them.

    Its first argument is `work`, which callers leave out: its loop runs while `next_slice(work)` is one.
    """
    body = jit(function)

    @compiled(function, nogil=True)
    def kernel(board, threads, arguments):
        size = _post(board, body, arguments)
        if size < WORTHWHILE:
            threads = 1
        for s in range(SLICES):
            board[s] = board[ADDED + s] = 0
        for thread in range(threads):
            board[LOOKED + 8 * thread] = 0
        board[SHARERS], board[CAME], board[FAILED] = threads, 0, 0
        board[JOBS] += 1
        _swap(board, OPEN, board[JOBS])
        for thread in range(1, threads):
            _wake(board, thread)
        failed = _call(board, 0)
        _swap(board, OPEN, 0)
        looks = board[LOOKS]
        while _look(board, INSIDE) > 0:  # somebody writes into the arrays
            looks -= 1
            if looks < 0:
                _swap(board, ASLEEP, 1)
                if _look(board, INSIDE) > 0 or _swap(board, ASLEEP, 0) == 0:  # who leaves last wakes this thread
                    _acquire(board[LOCK], 1)
        if threads > 1 and size > LONG:
            more = min(board[LOOKS] + board[MOST] // 64, board[MOST])
            board[LOOKS] = more if board[CAME] > 0 else board[LOOKS] // 2 + 1
        return board[FAILED] + failed

    @functools.wraps(function)
    def run(*arguments):
        with ONE_AT_A_TIME:
            threads = num_threads()
            if threads > 1 and threads > _started:
                _start(threads)
            if kernel(BOARD, threads, arguments):
                raise MemoryError("too little memory for what a kernel works with")
    return run


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
    """The next slice that no other thread has begun, from this thread's own on, once around; then −1.

    Forth and back from job to job: what was written last is what a cache still holds. (Not a generator: what one is
    given, Numba never lets go.)
    """
    board, thread = work
    looked, sharers = LOOKED + 8 * thread, board[SHARERS]
    first, behind = SLICES * thread // sharers, SLICES * (thread + 1) // sharers
    while board[looked] < SLICES:
        s = (first + board[looked] if board[JOBS] % 2 else behind - 1 - board[looked]) % SLICES
        board[looked] += 1
        if _add(board, s, 1) == 0:
            return s
    return -1


@jit
def add_up(work, slices, s):
    """Slice s (M, K) is done: add it to its neighbour if that is done too, the two to the next two, and so on.

    In the end slices[0] is the sum of all, in an order that does not depend on who was when done.
    """
    step = 1
    while step < len(slices):
        first = s - s % (2 * step)
        if first + step < len(slices):
            if _add(work[0], ADDED + first + step, 1) == 0:
                return  # whoever does the other half goes on
            for m in range(slices.shape[1]):
                total, more = slices[first, m], slices[first + step, m]
                for k in range(len(total)):
                    total[k] += more[k]
        s, step = first, 2 * step


@jit
def _wake(board, thread):
    if _look(board, ASLEEP + 8 * thread) > 0 and _swap(board, ASLEEP + 8 * thread, 0) > 0:
        _release(board[LOCK + 8 * thread])


@compiled(nogil=True)
def _help(board, thread, looks):
    """Do this thread's share of each job; sleep when there was none for so many looks, or, without LOOKS, return."""
    done = 0
    while True:
        looks -= 1
        if looks == 0:
            _swap(board, ASLEEP + 8 * thread, 1)  # whoever has a job from now on wakes this thread
        if _look(board, OPEN) > done:
            _add(board, INSIDE, 1)  # from here on the job that is open stays, and so do its arrays
            job = _look(board, OPEN)
            if job > 0 and thread < board[SHARERS]:
                _add(board, CAME, 1)
                _add(board, FAILED, _call(board, thread))
            done = max(done, job)
            if _add(board, INSIDE, -1) == 1:
                _wake(board, 0)
            looks = min(looks, 1) * board[LOOKS]
        if looks == 0:
            if board[LOOKS] == 0:
                return
            _acquire(board[LOCK + 8 * thread], 1)
            looks = board[LOOKS]


def _start(threads):
    """Start those of so many threads that are not there."""
    global _started
    if BOARD[LOOKS] == 0:
        _help(BOARD, 0, 1)  # compiles it
        start = time.perf_counter()
        _help(BOARD, 0, 10 ** 6)
        BOARD[LOOKS] = BOARD[MOST] = PATIENCE / (time.perf_counter() - start) * 10 ** 6
        BOARD[ASLEEP] = 0
    for thread in range(_started, threads):
        BOARD[LOCK + 8 * thread] = lock = ctypes.pythonapi.PyThread_allocate_lock()
        ctypes.pythonapi.PyThread_acquire_lock(ctypes.c_void_p(lock), 1)
        if thread:
            threading.Thread(target=_help, args=(BOARD, thread, 1), name="tinybvae", daemon=True).start()
        _started = thread + 1


def _after_fork():
    """In the child the lock is free, and no other thread came along."""
    global _started
    ONE_AT_A_TIME.release()
    BOARD[:], _started = 0, 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=ONE_AT_A_TIME.acquire, after_in_parent=ONE_AT_A_TIME.release, after_in_child=_after_fork)


# What Numba has no words for.

_acquire = types.ExternalFunction("PyThread_acquire_lock", types.int32(types.intp, types.int32))
_release = types.ExternalFunction("PyThread_release_lock", types.void(types.intp))
ctypes.pythonapi.PyThread_allocate_lock.restype = ctypes.c_void_p

_ADDRESS, _CODE = ir.IntType(8).as_pointer(), ir.IntType(32)
_JOB = ir.FunctionType(_CODE, [_ADDRESS, ir.IntType(types.intp.bitwidth)])  # where its arguments are, and the thread


def _place(context, builder, board_type, board, i, kind=None):
    """The address of board[i], as that of something of a kind."""
    if isinstance(i, int):
        i = context.get_constant(types.intp, i)
    place = builder.gep(make_array(board_type)(context, builder, board).data, [i])
    return builder.bitcast(place, kind.as_pointer()) if kind else place


def _in_one_step(operation):
    """A change of board[i] by a number that no other thread can come between. Returns what was there."""
    @intrinsic
    def change(typing, board, i, number):
        def generate(context, builder, signature, arguments):
            *place, number = arguments
            return builder.atomic_rmw(operation, _place(context, builder, board, *place), number, "seq_cst")
        return types.intp(board, types.intp, types.intp), generate
    return change


_add, _swap = _in_one_step("add"), _in_one_step("xchg")


@intrinsic
def _look(typing, board, i):
    """board[i], as it is now."""
    def generate(context, builder, signature, arguments):
        return builder.load_atomic(_place(context, builder, board, *arguments), "seq_cst", types.intp.bitwidth // 8)
    return types.intp(board, types.intp), generate


@intrinsic
def _post(typing, board, body, arguments):
    """Put a job on the board, by which `_call` calls body((board, thread), *arguments). Returns its arrays' size."""
    inner = body.get_call_type(typing, (types.Tuple([board, types.intp]), *arguments), {})

    def generate(context, builder, signature, values):
        given = cgutils.pack_struct(builder, [values[0], values[2]])
        job = ir.Function(builder.module, _JOB, builder.module.get_unique_name("job"))
        job.linkage = "internal"
        within = ir.IRBuilder(job.append_basic_block())
        own, packed = cgutils.unpack_tuple(within, within.load(within.bitcast(job.args[0], given.type.as_pointer())), 2)
        work = cgutils.pack_struct(within, [own, job.args[1]])
        compiled_body = body.dispatcher.overloads[inner.args]
        context.add_linking_libs([compiled_body.library])
        status, _ = context.call_internal_no_propagate(
            within, compiled_body.fndesc, inner, [work, *cgutils.unpack_tuple(within, packed, len(arguments))])
        within.ret(status.code)
        builder.store(job, _place(context, builder, board, values[0], CALL, job.type))
        builder.store(given, _place(context, builder, board, values[0], CALL + 1, given.type))
        sizes = [make_array(kind)(context, builder, array).nitems for kind, array in
                 zip(arguments, cgutils.unpack_tuple(builder, values[2])) if isinstance(kind, types.Array)]
        return functools.reduce(builder.add, sizes)
    return types.intp(board, body, arguments), generate


@intrinsic
def _call(typing, board, thread):
    """Do a thread's share of the job on the board. Returns 0 if that went well."""
    def generate(context, builder, signature, values):
        job = builder.load(_place(context, builder, board, values[0], CALL, _JOB.as_pointer()))
        code = builder.call(job, [_place(context, builder, board, values[0], CALL + 1, _ADDRESS.pointee), values[1]])
        return builder.zext(code, values[1].type)
    return types.intp(board, types.intp), generate
