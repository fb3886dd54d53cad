"""A straight line through points, with the error of its slope."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Trend(NamedTuple):
    """y = ``middle[1]`` + ``slope`` · (x - ``middle[0]``); ``slope_error`` is its standard error, None for less than
    three points."""

    slope: float
    slope_error: float | None
    middle: tuple[float, float]

    def __call__(self, x: float) -> float:
        return self.middle[1] + self.slope * (x - self.middle[0])


def trend(points: Sequence[tuple[float, float]]) -> Trend:
    """The least-squares line. The slope is 0 where all x are one.

    Neighbouring samples of a process resemble each other, so that the error is rather too small. Raises ``ValueError``
    without points.
    """
    if not points:
        raise ValueError("a trend needs points")
    x, y = np.asarray(points, dtype=float).T
    middle = (float(x.mean()), float(y.mean()))
    dx, dy = x - middle[0], y - middle[1]
    spread = float(dx @ dx)
    slope = float(dx @ dy) / spread if spread else 0.0
    rest = dy - slope * dx
    known = len(points) > 2 and spread > 0
    error = float(np.sqrt(rest @ rest / (len(points) - 2) / spread)) if known else None
    return Trend(slope, error, middle)
