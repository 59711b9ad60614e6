"""Signals end a run after the step in hand, not within it."""

import os
import signal
import threading
from contextlib import contextmanager

AT_ONCE = signal.SIGINT, signal.SIGTERM  # Ctrl-C, and what clusters send: a second one acts at once
ENDING = *AT_ONCE, *(getattr(signal, name) for name in ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGBREAK")
                     if hasattr(signal, name))  # a closed terminal, and schedulers' warnings


@contextmanager
def interruptible():
    """A list, empty until a signal of ENDING comes; from then on those of AT_ONCE act as they did before.

    (Not a threading.Event: a second signal may come within its `set`, which would then wait for itself.) A signal that
    is ignored, as under nohup, or that somebody else has a use for, stays as it is.
    """
    interrupted, process = [], os.getpid()
    if threading.current_thread() is not threading.main_thread():  # Python takes signals in the main thread only
        yield interrupted
        return
    before = {number: signal.getsignal(number) for number in ENDING}
    before = {number: handler for number, handler in before.items()
              if handler == signal.SIG_DFL or number in AT_ONCE and callable(handler)}

    def restore(numbers):
        for number in numbers:
            signal.signal(number, before[number])

    def receive(number, frame):
        interrupted.append(number)
        if os.getpid() != process:  # a worker that was forked meanwhile: it has no loop to end
            restore(before)
            signal.raise_signal(number)
        restore(before.keys() & AT_ONCE)

    for number in before:
        signal.signal(number, receive)
    try:
        yield interrupted
    finally:
        restore(before)
