"""Quadrature of one element: which radii, which spheres, and what the grids need to know of an element.

Points and weights are PySCF's at the same level, in another order: radius by radius from the nucleus outwards, so that
blocks of consecutive points near a nucleus are compact. PySCF's padding points of weight zero are not made.

Sources: empirical radii of J. C. Slater, J. Chem. Phys. 41, 3199 (1964) ("Bragg radii"; hydrogen and the rare gases at
the values PySCF uses); scaling radii xi of O. Treutler, R. Ahlrichs, J. Chem. Phys. 102, 346 (1995) for H-Kr, and for
Rb-Xe the values of Psi4, as in PySCF 2.14; point counts per level and period: those of PySCF 2.14.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Final, Literal

import numpy as np

from qmgen.constants import BOHR_TO_ANGSTROM
from qmgen.errors import UsageError

#: heaviest element with a grid here: xenon
MAX_NUMBER: Final = 54
LEVELS: Final = range(6)
GridLevel = int | Literal["coarse"]

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

#: the coarse grid, for the many cycles before the last: coarser than level 0, pruned by ``coarse_orders``
COARSE: Final = "coarse"
_COARSE_RADIAL: Final = (8, 12, 16, 24, 28)
_COARSE_ORDER: Final = (9, 11, 11, 15, 15)


def check_number(number: int) -> None:
    """Raise UsageError unless the element with this atomic number has a grid."""
    if not 1 <= number <= MAX_NUMBER:
        raise UsageError(f"no integration grid for atomic number {number}: elements 1 to {MAX_NUMBER} have one")


def check_level(level: GridLevel) -> None:
    """Raise UsageError unless ``level`` is a grid level."""
    if level not in LEVELS and level != COARSE:
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


def radial_count(number: int, level: GridLevel) -> int:
    """Number of radial shells."""
    return (_COARSE_RADIAL if isinstance(level, str) else _RADIAL_COUNT[level])[period(number) - 1]


def angular_order(number: int, level: GridLevel) -> int:
    """Algebraic order of the largest Lebedev sphere."""
    return (_COARSE_ORDER if isinstance(level, str) else _ANGULAR_ORDER[level])[period(number) - 1]


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


#: algebraic orders for which a Lebedev rule is tabulated, as far as the grid levels go
ORDERS: Final = (3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31, 35, 41, 47)


@lru_cache(maxsize=len(ORDERS))
def lebedev(order: int) -> tuple[np.ndarray, np.ndarray]:
    """The Lebedev rule of an algebraic order: directions (m, 3), unit vectors, and weights (m,), which sum to one.

    V. I. Lebedev, D. N. Laikov, Doklady Mathematics 59, 477 (1999). The rules are SciPy's (to the last bit PySCF's
    tables), kept in a file by ``scripts/make_lebedev``: importing ``scipy.integrate`` costs a tenth of the wait for a
    first label.
    """
    with resources.files("qmgen.dft").joinpath("data", "lebedev.npz").open("rb") as file, np.load(file) as rules:
        rule = rules[str(order)]
    directions, weights = np.ascontiguousarray(rule[:, :3]), rule[:, 3] / (4.0 * np.pi)
    directions.setflags(write=False)
    weights.setflags(write=False)
    return directions, weights


def treutler_ahlrichs(count: int, scaling: float) -> tuple[np.ndarray, np.ndarray]:
    """Radii and weights of the radial integral of f(r) dr from 0 to infinity: Chebyshev points of the second kind
    under the map M4 (exponent 0.6).

        r(x) = xi / ln 2 * (1 + x)^0.6 * ln(2 / (1 - x)),    x_i = cos(i pi / (n + 1)),  i = 1..n

    Source: O. Treutler, R. Ahlrichs, J. Chem. Phys. 102, 346 (1995), eqs. (19), (25).

    Args:
        count: number of radii n.
        scaling: xi in Bohr.

    Returns:
        radii (n,) in Bohr, ascending, and weights (n,) in Bohr; the weights do not hold the factor 4 pi r^2.
    """
    step = np.pi / (count + 1)
    angle = step * np.arange(count, 0, -1)
    x = np.cos(angle)
    scale = scaling / np.log(2.0) * (1.0 + x) ** 0.6
    logarithm = np.log((1.0 - x) / 2.0)
    radii = -scale * logarithm
    weights = step * np.sin(angle) * scale * (1.0 / (1.0 - x) - 0.6 * logarithm / (1.0 + x))
    return radii, weights


_BOUNDARIES: Final = {
    1: (0.25, 0.5, 1.0, 4.5),
    2: (0.1667, 0.5, 0.9, 3.5),
    3: (0.1, 0.4, 0.8, 2.5),
}


def nwchem_orders(number: int, radii: np.ndarray, order: int) -> np.ndarray:
    """Lebedev order at each radius: NWChem's pruning, as in PySCF.

    Radii in units of the Bragg radius fall into five regions; the two inmost have small spheres, the fourth (bonds)
    the full one, the third and fifth the next smaller. Boundaries: P. M. W. Gill, B. G. Johnson, J. A. Pople,
    Chem. Phys. Lett. 209, 506 (1993).

    Args:
        number: atomic number.
        radii: (n,) in Bohr.
        order: the largest sphere's order, at least 11.

    Returns:
        (n,) int, orders.
    """
    if order == 11:
        by_region = (11, 13, 13, 13, 11)
    else:
        smaller = ORDERS[ORDERS.index(order) - 1]
        by_region = (11, 15, smaller, order, smaller)
    row = 1 if number <= 2 else 2 if number <= 10 else 3
    region = np.searchsorted(_BOUNDARIES[row], radii / bragg_radius(number), side="left")
    return np.asarray(by_region)[region]


#: upper bounds of the regions of the coarse grid, in units of the Bragg radius, and their spheres: what is not a bond
#: is nearly spherical. Half the points of one sphere at every radius, and as many fine-grid evaluations
#: (docs/performance.md)
_COARSE_BOUNDARIES: Final = (0.5, 0.9, 3.5)
_COARSE_ORDERS: Final = (5, 7, 99, 5)


def coarse_orders(number: int, radii: np.ndarray, order: int) -> np.ndarray:
    """Lebedev order at each radius (n,) in Bohr of the coarse grid; ``order`` is the largest sphere's."""
    region = np.searchsorted(_COARSE_BOUNDARIES, radii / bragg_radius(number), side="left")
    return np.minimum(np.asarray(_COARSE_ORDERS)[region], order)


@dataclass(frozen=True)
class AtomicGrid:
    """Quadrature around one nucleus at the origin.

    Attributes:
        points: (n, 3) float64 in Bohr, radii ascending; read-only.
        weights: (n,) float64 in Bohr^3, with 4 pi r^2 in them, without any partition; read-only.
    """

    points: np.ndarray
    weights: np.ndarray


@lru_cache(maxsize=256)
def atomic_grid(number: int, level: GridLevel) -> AtomicGrid:
    """The pruned Treutler-Ahlrichs x Lebedev grid of an element.

    Raises:
        UsageError: no such level, or no grid for this element.
    """
    check_number(number)
    check_level(level)
    radii, radial_weights = treutler_ahlrichs(radial_count(number, level), treutler_scaling(number))
    shell_weights = 4.0 * np.pi * radii**2 * radial_weights
    largest = angular_order(number, level)
    orders = (coarse_orders if level == COARSE else nwchem_orders)(number, radii, largest)
    spheres = [lebedev(int(order)) for order in orders]
    points = np.concatenate([radius * directions for radius, (directions, _) in zip(radii, spheres)])
    weights = np.concatenate([weight * angular for weight, (_, angular) in zip(shell_weights, spheres)])
    points.setflags(write=False)
    weights.setflags(write=False)
    return AtomicGrid(points, weights)


def points_count(numbers: np.ndarray, level: GridLevel) -> int:
    """Number of points of a molecule of ``numbers`` (A,); padding (0) has none."""
    return sum(len(atomic_grid(int(z), level).weights) for z in numbers if z)
