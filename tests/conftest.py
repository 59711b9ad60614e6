"""What several test files share."""

import sys
import warnings

import pytest


@pytest.fixture
def refusal(monkeypatch, capsys):
    """A function of a command's `main` and its options: the line with which it refuses them, in this process."""
    def line(main, *options):
        monkeypatch.setattr(sys, "argv", ["command", *map(str, options)])
        with pytest.raises(SystemExit) as stopped, warnings.catch_warnings():
            warnings.simplefilter("error")  # a user would see it: a second line
            main()
        output, errors = capsys.readouterr()
        assert stopped.value.code == 2 and errors.count("\n") == 1 and not output, output + errors
        return errors
    return line
