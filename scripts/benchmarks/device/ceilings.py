"""What the device can do at best, and by that the least time of each stage of a label.

Ceilings: products of matrices, and copying memory. A floor is a stage's operations over the ceiling, or its bytes over
the bandwidth; as in ``scripts/profile_stages`` only what cannot be left out is counted. None where nothing simple
bounds a stage.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.device.task import Entry, Task
from qmgen.dft.grid import BLOCK
from qmgen.dft.prepare import Shape

REPEATS = 5


def measure_ceilings(task: Task) -> None:
    """Entries ``float64``, ``float32`` and ``float32_default`` (``gflops``), and ``copy`` (``gb_s``).

    ``float32`` is at full precision; what a GPU takes by default may be TF32 with its 11 bits.
    """
    for name, dtype, precision in (
        ("float64", "float64", "highest"),
        ("float32", "float32", "highest"),
        ("float32_default", "float32", "default"),
    ):
        task.entry(name, partial(matmul, task.accelerator, task.toy, dtype, precision))
    task.entry("copy", partial(copy, task.accelerator, task.toy))


def best_seconds(work: Callable[[], Any], repeats: int = REPEATS) -> float:
    """Wall seconds of the fastest of ``repeats`` calls, after one that compiles."""
    jax.block_until_ready(work())
    times = []
    for _ in range(repeats):
        begin = perf_counter()
        jax.block_until_ready(work())
        times.append(perf_counter() - begin)
    return min(times)


def matmul(accelerator: bool, toy: bool, dtype: str, precision: str) -> Entry:
    """GFLOP/s of a product of two square matrices, large enough that starting it costs nothing."""
    n = 256 if toy else 8192 if accelerator else 1024
    a = jnp.ones((n, n), dtype)
    product = jax.jit(lambda x: jnp.matmul(x, x, precision=precision))
    return {"gflops": 2 * n**3 / best_seconds(lambda: product(a)) / 1e9, "n": n, "precision": precision}


def copy(accelerator: bool, toy: bool) -> Entry:
    """GB/s of reading a vector and writing another: both are counted."""
    n = 2**18 if toy else 2**28 if accelerator else 2**25
    vector = jnp.ones(n, "float64")
    scaled = jax.jit(lambda v: 1.5 * v)
    return {"gb_s": 2 * vector.nbytes / best_seconds(lambda: scaled(vector)) / 1e9, "bytes": vector.nbytes}


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
      fast on the coarse grid; 9 n³ of the eigensolver) and its bytes (orbitals on both grids twice a cycle, half of the
      supermatrix once).
    """
    n = shape.n_orbitals
    pairs = n * (n + 1) // 2
    fine, coarse = shape.n_blocks * BLOCK, shape.n_coarse * BLOCK
    on_coarse = max(cycles - visits, 0)
    operations = 4 * n * n * (visits * fine + on_coarse * coarse / 2) + 9 * n**3 * cycles
    read = 2 * components * n * (8 * visits * fine + 4 * on_coarse * coarse) + 4 * pairs**2 * cycles
    return {
        "host lists": None,
        "integrals": 8 * pairs**2 * top.byte,
        "supermatrix": 12 * pairs**2 * top.byte,
        "grid": 8 * 4 * (fine + coarse) * top.byte,
        "field": max(operations * top.flop, read * top.byte),
    }
