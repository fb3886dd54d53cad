"""The least time of each stage of one label: its operations over the ceiling, or its bytes over the bandwidth.

As in ``scripts/profile_stages``: only what cannot be left out is counted. None where nothing simple bounds a stage.
"""

from __future__ import annotations

from dataclasses import dataclass

from qmgen.benchmark.device.ceilings import copy, matmul
from qmgen.dft.exchange_correlation import BLOCK
from qmgen.dft.prepare import Shape


@dataclass(frozen=True)
class Ceilings:
    """Seconds a float64 operation, and a byte."""

    flop: float
    byte: float


def ceilings(accelerator: bool, toy: bool) -> Ceilings:
    """Measured anew in this process, so that a stage and its floor belong together."""
    gflops, gb_s = matmul(accelerator, toy, "float64", "highest")["gflops"], copy(accelerator, toy)["gb_s"]
    return Ceilings(1e-9 / gflops, 1e-9 / gb_s)


def floors(shape: Shape, cycles: float, visits: float, components: int, top: Ceilings) -> dict[str, float | None]:
    """Seconds a conformer by stage, for n orbitals, p pairs and G points, in ``cycles`` of which ``visits`` take the
    asked grid.

    - integrals: writing p² of them; supermatrix: reading these and writing half as many.
    - grid: writing three coordinates and a weight a point.
    - field: the larger of its operations (4 n² G for the two products with orbitals on a grid, in float32 twice as
      fast on the sketch; 9 n³ of the eigensolver) and its bytes (orbitals on both grids twice a cycle, half of the
      supermatrix once).
    """
    n = shape.n_orbitals
    pairs = n * (n + 1) // 2
    fine, coarse = shape.n_blocks * BLOCK, shape.n_coarse * BLOCK
    sketched = max(cycles - visits, 0)
    operations = 4 * n * n * (visits * fine + sketched * coarse / 2) + 9 * n**3 * cycles
    read = 2 * components * n * (8 * visits * fine + 4 * sketched * coarse) + 4 * pairs**2 * cycles
    return {
        "host lists": None,
        "integrals": 8 * pairs**2 * top.byte,
        "supermatrix": 12 * pairs**2 * top.byte,
        "grid": 8 * 4 * (fine + coarse) * top.byte,
        "field": max(operations * top.flop, read * top.byte),
    }
