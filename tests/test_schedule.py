"""Schedules: values between the points, beyond them, and what is no schedule."""

import json
import math

import pytest

from tinybvae.runs.commandline import as_text, schedule
from tinybvae.runs.settings import changed
from tinybvae.schedule import as_schedule, value_at

POINTS = as_schedule("rate", [(0, 100), (10, 100), (30, 1)])


def test_a_number_is_always_itself():
    assert [value_at(as_schedule("rate", 5e-4), step) for step in (0, 1, 10 ** 6)] == [5e-4] * 3


@pytest.mark.parametrize("step, value", [(0, 100), (7, 100), (20, 50.5), (25, 25.75), (30, 1), (31, 1), (10 ** 6, 1)])
def test_lines_are_straight_between_points_and_level_beyond(step, value):
    assert value_at(POINTS, step) == pytest.approx(value, rel=1e-14)


def test_json_and_the_command_line_give_it_back():
    assert json.loads(json.dumps(POINTS)) == POINTS == schedule(as_text(POINTS)) == schedule("0:100,10:1e2,30:1")
    assert as_text(POINTS) == "0:100,10:100,30:1"
    third = as_schedule("rate", [(0, 1 / 3), (1e7 / 3, 1e-300 ** .05)])
    assert schedule(as_text(third)) == third
    assert schedule(as_text(5e-4)) == 5e-4


def test_0_where_it_is_allowed():
    assert value_at(as_schedule("weight", 0, zero=True), 7) == 0
    assert value_at(as_schedule("weight", [(0, 0), (5, 1), (9, 0)], zero=True), 7) == .5
    for wrong in (-1, [(0, 1), (5, -1e-9)], math.nan):
        with pytest.raises(ValueError, match="^weight must be at least 0 and finite"):
            as_schedule("weight", wrong, zero=True)


@pytest.mark.parametrize("wrong", [0, -1, math.nan, math.inf, [(0, 1), (5, 0)], [(0, math.nan)]])
def test_values_that_are_not_positive(wrong):
    with pytest.raises(ValueError, match="^rate must be positive and finite"):
        as_schedule("rate", wrong)


@pytest.mark.parametrize("wrong", [[], [(0, 1), (0, 2)], [(5, 1), (3, 2)], [(0, 1, 2)], [3, 4], [(math.nan, 1)],
                                   [(0, 1), (math.inf, 2)], [(-5, 1), (3, 2)],
                                   "fast", 1j, [(0, 1), (2,)]])
def test_points_that_make_no_schedule(wrong):
    with pytest.raises(ValueError, match="^rate must be a number, or points"):
        as_schedule("rate", wrong)


@pytest.mark.parametrize("new", [3.0, [[0, 7.0], [40, 2.0]], [[12.0, 5.0]]])
@pytest.mark.parametrize("old", [1.0, POINTS])
@pytest.mark.parametrize("step", [1, 10, 11, 29, 30, 50])
def test_changed_at_a_step(old, new, step):
    both = as_schedule("rate", changed(old, new, step))
    for at in range(60):
        assert value_at(both, at) == pytest.approx(value_at(old if at < step else new, at), rel=1e-12)
    assert changed(both, new, step) == changed(both, both, step + 5) == both
    assert value_at(changed(both, new, step + 5), 59) == value_at(new, 59)


def test_no_change():
    assert changed(5.0, 5.0, 7) == 5.0 and changed(POINTS, 1.0, 30) == POINTS and changed(POINTS, 3.0, 0) == 3.0
