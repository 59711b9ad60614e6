"""The README's drawings: what they say is so, and they are SVG, the same each time."""

import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import drawings  # noqa: E402


def test_drawings(call, refusal, tmp_path):
    for folder in "a", "b":
        assert call(drawings.main, "--out", tmp_path / folder)[0] == 0
    for name in "model.svg", "ellipses.svg":
        assert ElementTree.parse(tmp_path / "a" / name).getroot().tag.endswith("svg")
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    (tmp_path / "file").touch()
    assert "file" in refusal(drawings.main, "--out", tmp_path / "file")


def test_what_mixing_costs():
    """No upright normal distribution is closer to the tilted posterior, by KL(q ‖ posterior), than the one drawn."""
    (*upright, nats), (first, second, mixed) = drawings.mixing(.01, .1)
    assert upright == [.1, .01] and nats == pytest.approx(-np.log(.001))
    turn = np.array([[1, -1], [1, 1]]) / np.sqrt(2)
    precision = np.linalg.inv(turn @ np.diag([.01, .0001]) @ turn.T)

    def divergence(a, b):
        return (precision[0, 0] * a ** 2 + precision[1, 1] * b ** 2) / 2 - np.log(a * b)

    around = [divergence(first * p, second * q) for p in (.97, 1, 1.03) for q in (.97, 1, 1.03)]
    assert np.argmin(around) == 4 and mixed - nats == pytest.approx(1.62, abs=.005)
