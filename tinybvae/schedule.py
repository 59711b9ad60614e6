"""Numbers that change with the step: the capacity, the weight of the KL, the learning rate.

A schedule is a number, or points [(step, value), ...] with straight lines between them, level before the first and
after the last.
"""

import math

import numpy as np

LEAST = 1e-30  # the least that counts as positive: well within the range of float32


def value_at(schedule, step):
    """The value at this step of a schedule that `as_schedule` returned."""
    if not isinstance(schedule, list):
        return schedule
    return float(np.interp(step, *zip(*schedule)))


def as_schedule(name, schedule, zero=False):
    """The schedule in floats and lists, as JSON can hold it.

    Raises ValueError unless its values are finite and positive, or at least 0 if `zero`, and its steps rise.
    """
    try:
        points = np.array(schedule, float)
    except (TypeError, ValueError):
        points = np.empty((0, 2))
    if points.ndim and (points.shape[1:] != (2,) or not _rise_from_0(points[:, 0])):
        raise ValueError(f"{name} must be a number, or points (step, value) with rising steps from 0 on, "
                         f"not {schedule}")
    for value in points[:, 1] if points.ndim else [points]:
        if not (LEAST <= value < math.inf or zero and value == 0):
            raise ValueError(f"{name} must be {'at least 0' if zero else 'positive'} and finite, not {value}")
    return points.tolist()


def _rise_from_0(steps):
    return len(steps) > 0 and steps[0] >= 0 and np.isfinite(steps).all() and (np.diff(steps) > 0).all()
