"""A short form of `chaos`: a run that is killed a few times, and some damaged files."""

import os

import numba
import pytest

import chaos


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="a minute a run without Numba's compiler")
@pytest.mark.skipif(os.name != "posix", reason="no SIGKILL")
def test_killed_at_random(tmp_path):
    counts, runs = chaos.kill(tmp_path, kills=3, seed=34)  # by which all three kinds come in one run
    assert counts.total() >= 3 and runs


def test_damaged_at_random(tmp_path):
    for counts in chaos.damage(tmp_path, 90).values():
        assert counts["refused"] > 20
