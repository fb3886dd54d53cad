"""Lebedev spheres: directions and weights, from SciPy (the same points to the last bit as PySCF's tables)."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from scipy.integrate import lebedev_rule

#: algebraic orders for which a Lebedev rule is tabulated, as far as the grid levels go
ORDERS: Final = (3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31, 35, 41, 47)


@lru_cache(maxsize=len(ORDERS))
def lebedev(order: int) -> tuple[np.ndarray, np.ndarray]:
    """The Lebedev rule of an algebraic order: directions (m, 3), unit vectors, and weights (m,), which sum to one."""
    directions, weights = lebedev_rule(order)
    directions, weights = np.ascontiguousarray(directions.T), weights / (4.0 * np.pi)
    directions.setflags(write=False)
    weights.setflags(write=False)
    return directions, weights
