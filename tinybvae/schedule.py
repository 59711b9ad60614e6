"""Numbers that change while a model trains: the price of a nat, the learning rate.

A schedule is a number, or points [(step, value), ...]: between two points the value's logarithm is a straight line,
before the first and after the last it is level.
"""

import math

import numpy as np


def at(step, schedule):
    """The schedule's value at a step."""
    if not isinstance(schedule, list):
        return schedule
    steps, values = zip(*schedule)
    return math.exp(np.interp(step, steps, np.log(values)))


def checked(name, schedule):
    """The schedule in floats and lists, as JSON can hold it.

    Raises ValueError unless its values are positive and finite, and its points' steps rise.
    """
    points = np.array(schedule, float)
    if points.ndim:
        if points.shape[1:] != (2,) or not (np.diff(points[:, 0], append=np.inf) > 0).all():
            raise ValueError(f"{name} must be a number, or points (step, value) with rising steps, not {schedule}")
    for value in points[:, 1] if points.ndim else [points]:
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be positive and finite, not {value}")
    return points.tolist()
