"""Numbers that change with the step: the weight of the KL, the learning rate.

A schedule is a number, or points [(step, value), ...]: between two points the value's logarithm is a straight line,
before the first and after the last it is level.
"""

import math

import numpy as np

LEAST = 1e-30  # what counts as positive: well within the range of float32


def value_at(schedule, step):
    """The schedule's value at a step."""
    if not isinstance(schedule, list):
        return schedule
    steps, values = zip(*schedule)
    return math.exp(np.interp(step, steps, np.log(values)))


def as_schedule(name, schedule, zero=False):
    """The schedule in floats and lists, as JSON can hold it. A number, but no point, may be 0 if `zero`.

    Raises ValueError unless its values are positive and finite, and its points' steps rise.
    """
    points = np.array(schedule, float)
    if points.ndim:
        if points.shape[1:] != (2,) or not _rise_from_0(points[:, 0]):
            raise ValueError(f"{name} must be a number, or points (step, value) with rising steps from 0 on, "
                             f"not {schedule}")
    elif zero and points == 0:
        return 0.0
    for value in points[:, 1] if points.ndim else [points]:
        if not LEAST <= value < math.inf:
            raise ValueError(f"{name} must be positive and finite{' or the number 0' if zero else ''}, not {value}")
    return points.tolist()


def _rise_from_0(steps):
    return len(steps) > 0 and steps[0] >= 0 and np.isfinite(steps).all() and (np.diff(steps) > 0).all()
