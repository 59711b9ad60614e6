"""What several test files share."""

import signal
import sys
import warnings

import pytest

import tinybvae as tb
from tinybvae.kernels import threads
from tinybvae.report import describe, figures

signal.signal(signal.SIGINT, signal.default_int_handler)  # tests send it; what a shell starts by & ignores it


@pytest.fixture
def call(monkeypatch, capsys):
    """A function of a command's `main` and its options: exit status, output and complaints, in this process."""
    def called(main, *options):
        monkeypatch.setattr(sys, "argv", ["command", *map(str, options)])
        status, before = 0, threads.num_threads()
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a user would see it
            try:
                main()
            except SystemExit as stopped:
                status = stopped.code
            finally:
                threads.set_num_threads(before)
        return status, *capsys.readouterr()
    return called


@pytest.fixture
def no_pictures(monkeypatch):
    """Most of a small run's seconds."""
    monkeypatch.setattr(tb, "write_report", lambda run, data, out, command, *more: describe(run, data, *more))


@pytest.fixture
def no_films(monkeypatch):
    """Most of a report's seconds; `test_figures` and a run of `test_train_dsprites` have them."""
    monkeypatch.setattr(figures, "traversal_gif", lambda *given: b"")


@pytest.fixture
def refusal(call):
    """A function of a command's `main` and its options: the line with which it refuses them."""
    def line(main, *options):
        status, output, errors = call(main, *options)
        assert status == 2 and errors.count("\n") == 1 and not output, output + errors
        return errors
    return line
