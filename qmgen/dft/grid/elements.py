"""What the atomic grids need to know of an element: radii, and how many points each period gets.

Sources: empirical radii of J. C. Slater, J. Chem. Phys. 41, 3199 (1964) ("Bragg radii"; hydrogen and the rare gases at
the values PySCF uses); scaling radii xi of O. Treutler, R. Ahlrichs, J. Chem. Phys. 102, 346 (1995) for H-Kr, and for
Rb-Xe the values of Psi4, as in PySCF 2.14; point counts per level and period: those of PySCF 2.14.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np

from qmgen.constants import BOHR_TO_ANGSTROM
from qmgen.errors import UsageError

#: heaviest element with a grid here: xenon
MAX_NUMBER: Final = 54
LEVELS: Final = range(6)
Level = int | Literal["sketch"]

_SLATER_ANGSTROM: Final = (
    *(0.35, 1.40),  # H He
    *(1.45, 1.05, 0.85, 0.70, 0.65, 0.60, 0.50, 1.50),  # Li-Ne
    *(1.80, 1.50, 1.25, 1.10, 1.00, 1.00, 1.00, 1.80),  # Na-Ar
    *(2.20, 1.80),  # K Ca
    *(1.60, 1.40, 1.35, 1.40, 1.40, 1.40, 1.35, 1.35, 1.35, 1.35),  # Sc-Zn
    *(1.30, 1.25, 1.15, 1.15, 1.15, 1.90),  # Ga-Kr
    *(2.35, 2.00),  # Rb Sr
    *(1.80, 1.55, 1.45, 1.45, 1.35, 1.30, 1.35, 1.40, 1.60, 1.55),  # Y-Cd
    *(1.55, 1.45, 1.45, 1.40, 1.40, 2.10),  # In-Xe
)
_SCALING: Final = (
    *(0.8, 0.9),
    *(1.8, 1.4, 1.3, 1.1, 0.9, 0.9, 0.9, 0.9),
    *(1.4, 1.3, 1.3, 1.2, 1.1, 1.0, 1.0, 1.0),
    *(1.5, 1.4),
    *(1.3, 1.2, 1.2, 1.2, 1.2, 1.2, 1.2, 1.1, 1.1, 1.1),
    *(1.1, 1.0, 0.9, 0.9, 0.9, 0.9),
    *(2.0, 1.7),
    *(1.5, 1.5, 1.35, 1.35, 1.25, 1.2, 1.25, 1.3, 1.5, 1.5),
    *(1.3, 1.2, 1.2, 1.15, 1.15, 1.15),
)
_PERIOD_ENDS: Final = (2, 10, 18, 36, 54)

#: [level][period - 1]: radial points
_RADIAL_COUNT: Final = (
    (10, 15, 20, 30, 35),
    (30, 40, 50, 60, 65),
    (40, 60, 65, 75, 80),
    (50, 75, 80, 90, 95),
    (60, 90, 95, 105, 110),
    (70, 105, 110, 120, 125),
)
#: [level][period - 1]: algebraic order of the largest Lebedev sphere
_ANGULAR_ORDER: Final = (
    (11, 15, 17, 17, 17),
    (17, 23, 23, 23, 23),
    (23, 29, 29, 29, 29),
    (29, 29, 35, 35, 35),
    (35, 41, 41, 41, 41),
    (41, 47, 47, 47, 47),
)

#: a grid of our own, for the many cycles before the last: coarser than level 0, pruned by ``sketch_orders``
SKETCH: Final = "sketch"
_SKETCH_RADIAL: Final = (8, 12, 16, 24, 28)
_SKETCH_ORDER: Final = (9, 11, 11, 15, 15)


def check_number(number: int) -> None:
    """Raise UsageError unless the element with this atomic number has a grid."""
    if not 1 <= number <= MAX_NUMBER:
        raise UsageError(f"no integration grid for atomic number {number}: elements 1 to {MAX_NUMBER} have one")


def check_level(level: Level) -> None:
    """Raise UsageError unless ``level`` is a grid level."""
    if level not in LEVELS and level != SKETCH:
        raise UsageError(f"unknown grid level {level}: use one of {', '.join(map(str, LEVELS))}")


def period(number: int) -> int:
    """Row of the periodic table, from 1."""
    return 1 + sum(number > end for end in _PERIOD_ENDS)


def bragg_radius(number: int) -> float:
    """Empirical radius in Bohr."""
    return _SLATER_ANGSTROM[number - 1] / BOHR_TO_ANGSTROM


def treutler_scaling(number: int) -> float:
    """The radius xi of the radial map, in Bohr."""
    return _SCALING[number - 1]


def radial_count(number: int, level: Level) -> int:
    """Number of radial shells."""
    return (_SKETCH_RADIAL if isinstance(level, str) else _RADIAL_COUNT[level])[period(number) - 1]


def angular_order(number: int, level: Level) -> int:
    """Algebraic order of the largest Lebedev sphere."""
    return (_SKETCH_ORDER if isinstance(level, str) else _ANGULAR_ORDER[level])[period(number) - 1]


def size_adjustments(numbers: np.ndarray) -> np.ndarray:
    """Becke's atomic size parameters with Treutler's square roots of the radii.

        a_ij = (chi_ji - chi_ij) / 4, clipped to [-1/2, 1/2],  chi_ij = sqrt(R_i / R_j)

    Args:
        numbers: (A,) atomic numbers, 0 for padding.

    Returns:
        (A, A) float64, antisymmetric, zero in the rows and columns of padding.
    """
    real = np.asarray(numbers) > 0
    root = np.sqrt([bragg_radius(int(z)) if z else 1.0 for z in numbers])
    ratio = root[:, None] / root[None, :]
    adjust = np.clip(0.25 * (ratio.T - ratio), -0.5, 0.5)
    return np.where(real[:, None] & real[None, :], adjust, 0.0)
