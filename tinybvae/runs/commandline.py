"""Command lines that answer wrong input with one line on stderr and exit code 2."""

import argparse
import io
import os
import sys
from contextlib import suppress

import numba
from tqdm import tqdm

from tinybvae.schedule import as_schedule


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, without the usage; what a terminal cannot show becomes a "?"."""

    def __init__(self, **how):
        super().__init__(**how)
        for stream in sys.stdout, sys.stderr:
            if isinstance(stream, io.TextIOWrapper) and not stream.closed:
                stream.reconfigure(errors="replace")

    def error(self, message):
        self.exit(2, f"{self.prog}: {' '.join(message.split())}\n")


def say(text, end="\n"):
    """Print, unless that is impossible: a terminal or a reader that is gone, or a full disk, ends no run."""
    try:
        print(text, end=end)
        getattr(sys.stdout, "flush", lambda: None)()
    except UnicodeEncodeError:
        if not text.isascii():
            say(text.encode("ascii", "replace").decode(), end)
    except BrokenPipeError:  # nobody will ever read it, nor what is still in the buffer when Python ends
        with suppress(Exception):  # what stands in for stdout may have no fileno
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception:  # it is closed, or what stands in for it cannot do it: no line is worth a run
        pass


def progress(quiet=False, **how):
    """A tqdm bar with these options, in a terminal or a notebook; elsewhere, or if stderr is closed, it is not shown.

    A notebook gets the line that overwrites itself, as a terminal does, but on stdout: so it needs no widgets.
    """
    if type(sys.stdout).__module__.startswith("ipykernel") and not quiet:
        return tqdm(file=sys.stdout, mininterval=.5, ncols=80, **how)
    try:
        shown = sys.stderr.isatty() and not quiet
    except (AttributeError, ValueError):  # it is None, or closed
        shown = False
    return tqdm(disable=not shown, **how)


def positive_int(text):
    return parsed(int, text, lambda number: 1 <= number <= 10 ** 9, "a whole number from 1 to a billion")


def whole(text):
    return parsed(int, text, lambda number: number >= 0, "a whole number of at least 0")


def thread_count(text=numba.config.NUMBA_NUM_THREADS):
    most = numba.config.NUMBA_NUM_THREADS
    limit = "as NUMBA_NUM_THREADS says" if "NUMBA_NUM_THREADS" in os.environ else "one for each core"
    return parsed(int, text, lambda number: 1 <= number <= most, f"a whole number from 1 to {most}, {limit}")


def slope(text):
    return parsed(float, text, lambda number: 0 <= number < 1, "a number of at least 0 and below 1")


def path(text):
    return parsed(str, text, bool, "a path")


def schedule(text, zero=False):
    """A number, or points step:value with commas between them, as `as_schedule` takes them."""
    def parse(text):
        given = [point.split(":") for point in text.split(",")] if ":" in text else float(text)
        return as_schedule("it", given, zero)

    kind = "of at least 0" if zero else "above 0"
    return parsed(parse, text, lambda _: True,
                   f"a number {kind}, or points step:value,step:value,... with rising steps and values {kind}")


def schedule_or_0(text):
    return schedule(text, zero=True)


def as_text(setting):
    """A setting as text that the command line takes: a schedule's points in the form that `schedule` reads."""
    if isinstance(setting, list):
        return ",".join(":".join(repr(number).removesuffix(".0") for number in point) for point in setting)
    return str(setting)


def parsed(parse, text, allowed, wanted):
    try:
        value = parse(text)
    except ValueError:
        value = None
    if value is None or not allowed(value):
        raise argparse.ArgumentTypeError(f"must be {wanted}, not {text!r}")
    return value
