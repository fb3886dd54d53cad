"""A power law through measured points.

    t = a n^k      is the straight line      log t = log a + k log n

fitted by least squares in the logarithms, so that relative deviations count alike at small and large n.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PowerLaw:
    """``factor`` n^``exponent``, and the standard error of the exponent (None with two points, which any line fits)."""

    factor: float
    exponent: float
    exponent_error: float | None

    def __call__(self, sizes: np.ndarray) -> np.ndarray:
        """The law's values at ``sizes``."""
        return np.asarray(self.factor * sizes**self.exponent)


def power_law(sizes: Sequence[float], values: Sequence[float]) -> PowerLaw:
    """The law nearest to ``values`` at ``sizes``, all positive.

    Raises ``ValueError`` when there are fewer than two different sizes.
    """
    x, y = np.log(np.asarray(sizes, float)), np.log(np.asarray(values, float))
    centered = x - x.mean()
    spread = float(centered @ centered)
    if len(set(sizes)) < 2:
        raise ValueError("a power law needs at least two different sizes")
    exponent = float(centered @ y) / spread
    left = y - y.mean() - exponent * centered
    freedom = len(x) - 2
    error = float(np.sqrt(left @ left / freedom / spread)) if freedom else None
    return PowerLaw(float(np.exp(y.mean() - exponent * x.mean())), exponent, error)
