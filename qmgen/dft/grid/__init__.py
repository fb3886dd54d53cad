"""Integration grids: PySCF's points and weights, the partition among atoms on the device.

points, owner, atomic_weights = molecular_grid(numbers, positions, level=1)          # host, numpy
weights = atomic_weights * partition_weights(points, owner, positions, size_adjustments(numbers), numbers > 0)
"""

from qmgen.dft.grid.atomic import (
    COARSE,
    LEVELS,
    MAX_NUMBER,
    AtomicGrid,
    GridLevel,
    atomic_grid,
    points_count,
    size_adjustments,
)
from qmgen.dft.grid.partition import partition_weights
from qmgen.dft.grid.quadrature import BLOCK, Quadrature, molecular_grid

__all__ = [
    "BLOCK",
    "COARSE",
    "LEVELS",
    "MAX_NUMBER",
    "AtomicGrid",
    "GridLevel",
    "Quadrature",
    "atomic_grid",
    "molecular_grid",
    "partition_weights",
    "points_count",
    "size_adjustments",
]
