"""Schedules: values between the points, beyond them, and what is no schedule."""

import json
import math

import pytest

from tinybvae.commandline import schedule, spelled
from tinybvae.schedule import at, checked

POINTS = checked("rate", [(0, 100), (10, 100), (30, 1)])


def test_a_number_is_always_itself():
    assert [at(step, checked("rate", 5e-4)) for step in (0, 1, 10 ** 6)] == [5e-4] * 3


@pytest.mark.parametrize("step, value", [(0, 100), (7, 100), (20, 10), (25, 10 ** .5), (30, 1), (31, 1), (10 ** 6, 1)])
def test_its_logarithm_is_straight_between_points_and_level_beyond(step, value):
    assert at(step, POINTS) == pytest.approx(value, rel=1e-14)


def test_json_and_the_command_line_give_it_back():
    assert json.loads(json.dumps(POINTS)) == POINTS == schedule(spelled(POINTS)) == schedule("0:100,10:1e2,30:1")
    assert spelled(POINTS) == "0:100,10:100,30:1"
    assert schedule(spelled(5e-4)) == 5e-4


@pytest.mark.parametrize("wrong", [0, -1, math.nan, math.inf, [(0, 1), (5, 0)], [(0, math.nan)]])
def test_values_that_are_not_positive(wrong):
    with pytest.raises(ValueError, match="^rate must be positive and finite"):
        checked("rate", wrong)


@pytest.mark.parametrize("wrong", [[], [(0, 1), (0, 2)], [(5, 1), (3, 2)], [(0, 1, 2)], [3, 4], [(math.nan, 1)]])
def test_points_that_make_no_schedule(wrong):
    with pytest.raises(ValueError, match="^rate must be a number, or points"):
        checked("rate", wrong)
