"""Lebedev spheres: directions and weights (V. I. Lebedev, D. N. Laikov, Doklady Mathematics 59, 477 (1999)).

They are SciPy's (to the last bit PySCF's tables), kept in a file of ours by ``scripts/make_lebedev``: importing
``scipy.integrate`` costs a tenth of the wait for a first label.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from typing import Final

import numpy as np

#: algebraic orders for which a Lebedev rule is tabulated, as far as the grid levels go
ORDERS: Final = (3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31, 35, 41, 47)


@lru_cache(maxsize=len(ORDERS))
def lebedev(order: int) -> tuple[np.ndarray, np.ndarray]:
    """The Lebedev rule of an algebraic order: directions (m, 3), unit vectors, and weights (m,), which sum to one."""
    with resources.files("qmgen.dft").joinpath("data", "lebedev.npz").open("rb") as file, np.load(file) as rules:
        rule = rules[str(order)]
    directions, weights = np.ascontiguousarray(rule[:, :3]), rule[:, 3] / (4.0 * np.pi)
    directions.setflags(write=False)
    weights.setflags(write=False)
    return directions, weights
