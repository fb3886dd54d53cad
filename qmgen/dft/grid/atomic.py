"""Grids of atoms, and of molecules before the partition: points and weights on the host.

    points, owner, atomic_weights = molecular_grid(numbers, positions, level=1)

The points are PySCF's at the same level, in another order: atom by atom, radius by radius from the nucleus outwards, so
that blocks of consecutive points near a nucleus are compact. PySCF's padding points of weight zero are not made.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from qmgen.dft.grid.angular import lebedev
from qmgen.dft.grid.elements import (
    SKETCH,
    Level,
    angular_order,
    check_level,
    check_number,
    radial_count,
    treutler_scaling,
)
from qmgen.dft.grid.pruning import nwchem_orders, sketch_orders
from qmgen.dft.grid.radial import treutler_ahlrichs


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
def atomic_grid(number: int, level: Level) -> AtomicGrid:
    """The pruned Treutler-Ahlrichs x Lebedev grid of an element.

    Raises:
        UsageError: no such level, or no grid for this element.
    """
    check_number(number)
    check_level(level)
    radii, radial_weights = treutler_ahlrichs(radial_count(number, level), treutler_scaling(number))
    shell_weights = 4.0 * np.pi * radii**2 * radial_weights
    largest = angular_order(number, level)
    orders = (sketch_orders if level == SKETCH else nwchem_orders)(number, radii, largest)
    spheres = [lebedev(int(order)) for order in orders]
    points = np.concatenate([radius * directions for radius, (directions, _) in zip(radii, spheres)])
    weights = np.concatenate([weight * angular for weight, (_, angular) in zip(shell_weights, spheres)])
    points.setflags(write=False)
    weights.setflags(write=False)
    return AtomicGrid(points, weights)


def points_count(numbers: np.ndarray, level: Level) -> int:
    """Number of points of ``molecular_grid``; padding (0) has none."""
    return sum(len(atomic_grid(int(z), level).weights) for z in numbers if z)


def molecular_grid(
    numbers: np.ndarray, positions: np.ndarray, level: Level
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All atoms' grids, one after the other.

    Args:
        numbers: (A,) atomic numbers; 0 is padding and gets no points.
        positions: (A, 3) in Bohr.
        level: 0 to 5, or ``SKETCH``.

    Returns:
        points (G, 3) float64 in Bohr, owner (G,) int32 (the index of the atom each point belongs to), and
        atomic_weights (G,) float64 in Bohr^3, still to be multiplied with ``partition_weights``.
    """
    real = [a for a, z in enumerate(numbers) if z]
    grids = [atomic_grid(int(numbers[a]), level) for a in real]
    if not grids:
        return np.zeros((0, 3)), np.zeros(0, np.int32), np.zeros(0)
    points = np.concatenate([grid.points + np.asarray(positions[a], np.float64) for a, grid in zip(real, grids)])
    owner = np.repeat(np.asarray(real, np.int32), [len(grid.weights) for grid in grids])
    return points, owner, np.concatenate([grid.weights for grid in grids])
