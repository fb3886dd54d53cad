"""Integration grids: PySCF's points and weights, the partition among atoms on the device.

lists = grid_lists(numbers[None], level=1, n_blocks=64)     # host, numpy: of a batch of one
grid = quadratures(backend, lists, numbers[None], positions[None], size_adjustments(numbers)[None])
grid.points, grid.weights                                   # (1, 64, 1024, 3) Bohr, (1, 64, 1024) Bohr^3
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
from qmgen.dft.grid.quadrature import BLOCK, COMMON, GridLists, Quadrature, grid_lists, placed

__all__ = [
    "BLOCK",
    "COARSE",
    "COMMON",
    "LEVELS",
    "MAX_NUMBER",
    "AtomicGrid",
    "GridLevel",
    "GridLists",
    "Quadrature",
    "atomic_grid",
    "grid_lists",
    "partition_weights",
    "placed",
    "points_count",
    "size_adjustments",
]
