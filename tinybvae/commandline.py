"""Command lines that answer wrong input with one line on stderr and exit code 2."""

import argparse
import math

from tinybvae.schedule import checked


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, without the usage."""

    def error(self, message):
        self.exit(2, f"{self.prog}: {' '.join(message.split())}\n")


def positive_int(text):
    return _checked(int, text, lambda number: 1 <= number <= 10 ** 9, "a whole number from 1 to a billion")


def seed(text):
    return _checked(int, text, lambda number: number >= 0, "a whole number of at least 0")


def positive_float(text):
    return _checked(float, text, lambda number: 0 < number < math.inf, "a positive number")


def schedule(text):
    """A number, or points step:value with commas between them, as `tinybvae.schedule` takes them."""
    wanted = "a positive number, or points step:value,step:value,... with rising steps and positive values"
    return _checked(_schedule, text, lambda _: True, wanted)


def _schedule(text):
    given = [point.split(":") for point in text.split(",")] if ":" in text else float(text)
    return checked("it", given)


def spelled(setting):
    """What the command line takes for a setting: of a schedule's points, what `schedule` reads again."""
    if isinstance(setting, list):
        return ",".join(f"{step:.15g}:{value:.15g}" for step, value in setting)
    return str(setting)


def nonnegative_float(text):
    return _checked(float, text, lambda number: 0 <= number < math.inf, "a number of at least 0")


def path(text):
    return _checked(str, text, bool, "a path")


def _checked(kind, text, allowed, wanted):
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not allowed(value):
        raise argparse.ArgumentTypeError(f"must be {wanted}, not {text!r}")
    return value
