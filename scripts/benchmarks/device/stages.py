"""Seconds a conformer of each stage of a label, beside its floor.

``measure_stages``: molecule by molecule, as labels are made on a CPU; on an accelerator only rows and Parquet.
``measure_batched_stages``: a whole batch through one program, on any device.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.device.ceilings import best_seconds, ceilings, floors
from benchmarks.device.task import HYDROGEN, Entry, Task
from qmgen.corpus.plan import Unit
from qmgen.corpus.schema import failure_schema, failure_table, row_schema, row_table
from qmgen.corpus.unit_records import write_unit
from qmgen.dft.backend import ACCELERATOR, current, using
from qmgen.dft.batch import solve_batch, solve_many
from qmgen.dft.coulomb_exchange import exact_integrals
from qmgen.dft.integrals.one_electron import one_electron_integrals
from qmgen.dft.integrals.repulsion import repulsion_integrals
from qmgen.dft.integrals.shell_pairs import pair_index, rows_of_molecule, shell_pairs
from qmgen.dft.prepare import (
    System,
    batch_lists,
    coarse_precision,
    exact_integrals_batch,
    grids_batch,
    integrals_batch,
    prepare,
    prepare_batch,
    shape_of,
)
from qmgen.dft.scf import ScfOptions
from qmgen.labeling import label
from qmgen.labeling.level import level_of
from qmgen.labeling.types import Label, Settings
from qmgen.molecules.types import Conformer, Failure
from qmgen.pipeline.rows import row


def measure_stages(task: Task) -> None:
    """An entry for each stage, ``seconds_per_conformer`` beside its ``floor``, at grid level 1 (0 for a toy)."""
    settings = Settings(grid_level=0 if task.toy else 1)
    count = 2 if task.toy else 64 if task.accelerator else 4
    _, chosen = task.geometries.of_one_shape(settings, count)
    if not task.accelerator:
        _molecule_by_molecule(task, settings, chosen)
    task.tell("labels")
    labeled = [r for r in label(iter(chosen), settings) if not isinstance(r, Failure)]
    for name, work in (
        ("rows", lambda: [row(c, one) for c, one in labeled]),
        ("parquet", lambda: write(labeled)),
    ):
        task.entry(name, partial(_timed, work, count))


def _timed(work: Callable[[], Any], count: int) -> Entry:
    return {"seconds_per_conformer": best_seconds(work, 3) / count, "floor": None}


def _molecule_by_molecule(task: Task, settings: Settings, chosen: list[Conformer]) -> None:
    """The stages on the device.

    ``grid`` is not called by itself: it is what is left of ``prepare`` after lists, integrals and supermatrix.
    """
    level, count = level_of(settings), len(chosen)
    systems = [System(np.asarray(c.numbers, np.int64), c.positions) for c in chosen]
    basis, xc = level.basis_set, level.functional
    shape = shape_of(systems[0].numbers, basis, xc, level.grid_level)
    n = shape.n_orbitals
    molecules = [shell_pairs(s.numbers, s.positions, basis) for s in systems]
    rows = [rows_of_molecule(pairs, n) for pairs in molecules]
    index = [pair_index(pairs, r, n) for pairs, r in zip(molecules, rows, strict=True)]
    numbers, xyz = [], []
    for s in systems:
        padding = shape.n_atoms - len(s.numbers)
        numbers.append(np.pad(s.numbers, (0, padding)).astype(np.int32))
        xyz.append(jnp.asarray(np.pad(s.positions, ((0, padding), (0, 0)))))

    def integrals() -> list[Any]:
        return [
            (one_electron_integrals(pairs, r, i, z, x), repulsion_integrals(pairs, r, x))
            for pairs, r, i, z, x in zip(molecules, rows, index, numbers, xyz, strict=True)
        ]

    repulsion = [repulsion_integrals(*one) for one in zip(molecules, rows, xyz, strict=True)]
    n_real = [basis.n_orbitals(s.numbers) for s in systems]

    def supermatrices() -> list[Any]:
        every = zip(repulsion, index, n_real, strict=True)
        return [exact_integrals(current(), values, i, real, xc.exact_exchange) for values, i, real in every]

    def prepared() -> list[Any]:
        return [prepare(s, shape, basis, xc, level.grid_level).problem for s in systems]

    task.tell("prepare")
    problems = prepared()
    task.tell("field")
    solutions = solve_batch(xc, problems, ScfOptions())
    cycles = float(np.mean([s.cycles for s in solutions]))
    visits = float(np.mean([s.fine_evaluations for s in solutions]))
    bounds = floors(shape, cycles, visits, 4 if xc.needs_gradient else 1, ceilings(task.accelerator, task.toy))
    seconds: dict[str, float] = {}

    def stage(name: str, work: Callable[[], Any], less: tuple[str, ...] = ()) -> None:
        def timed() -> Entry:
            seconds[name] = max(best_seconds(work, 3) / count - sum(seconds.get(other, 0.0) for other in less), 0.0)
            return {"seconds_per_conformer": seconds[name], "floor": bounds[name]}

        task.entry(name, timed)

    stage("host lists", lambda: [shell_pairs(s.numbers, s.positions, basis) for s in systems])
    stage("integrals", integrals)
    stage("supermatrix", supermatrices)
    stage("grid", prepared, less=("host lists", "integrals", "supermatrix"))
    stage("field", lambda: solve_batch(xc, problems, ScfOptions()))
    task.put(
        "about",
        {"conformers": count, "cycles": cycles, "visits": visits, "mapping": current().name, "shape": str(shape)},
    )


def write(labeled: list[tuple[Conformer, Label]]) -> None:
    """The rows as the files of a unit in a temporary folder."""
    empty, failures = row_table([], row_schema()), failure_table([], failure_schema())
    tables = {"train": row_table([row(c, one) for c, one in labeled], row_schema())}
    with tempfile.TemporaryDirectory() as folder:
        write_unit(
            Path(folder),
            Unit(0, 1, 0, len(labeled)),
            {**tables, "validation": empty, "test": empty, "failures": failures},
        )


def measure_batched_stages(task: Task) -> None:
    """Entries as of ``stages``, from host lists to field; a batch is one program on any device."""
    with using(ACCELERATOR):
        _measure_batched_stages(task)


def _measure_batched_stages(task: Task) -> None:
    settings = Settings(grid_level=0 if task.toy else 1)
    level, size = level_of(settings), 2 if task.toy else 64 if task.accelerator else 2
    shape, chosen = (HYDROGEN if task.toy else task.geometries).of_one_shape(settings, size)
    systems = [System(np.asarray(c.numbers, np.int64), c.positions) for c in chosen]
    xc, options = level.functional, ScfOptions()
    coarse = np.dtype(coarse_precision(level.basis_set)).name
    make_lists = partial(batch_lists, systems, shape, level.basis_set, xc, level.grid_level)
    found: dict[str, Any] = {}

    def made(name: str, work: Any) -> Any:
        """The value that later stages take: made untimed, before any stage is timed."""
        task.tell(f"{name}: compiling")
        found[name] = jax.block_until_ready(work())
        return found[name]

    lists = made("host lists", lambda: jax.device_put(make_lists()))
    integrals = jax.jit(partial(integrals_batch, level.basis_set.pair_classes))
    _, repulsion = made("integrals", lambda: integrals(lists))
    matrices = jax.jit(lambda r: exact_integrals_batch(ACCELERATOR, r, jnp.asarray(lists.index), xc.exact_exchange))
    grids = jax.jit(lambda x: grids_batch(ACCELERATOR, x))
    whole = jax.jit(lambda x: prepare_batch(ACCELERATOR, xc, level.basis_set.pair_classes, x, coarse))
    problems = made("problems", lambda: whole(lists)).problem
    field = jax.jit(lambda p: solve_many(xc, p, options, ACCELERATOR))
    solution = made("field", lambda: field(problems))
    cycles, visits = (float(np.mean(np.asarray(x))) for x in (solution.cycles, solution.fine_evaluations))
    bounds = floors(shape, cycles, visits, 4 if xc.needs_gradient else 1, ceilings(task.accelerator, task.toy))
    for name, work in (
        ("host lists", make_lists),
        ("integrals", lambda: integrals(lists)),
        ("supermatrix", lambda: matrices(repulsion)),
        ("grid", lambda: grids(lists)),
        ("field", lambda: field(problems)),
    ):
        task.entry(name, partial(_timed_batch, work, size, bounds[name]))
    converged = int(np.asarray(solution.converged).sum())
    task.put(
        "about", {"conformers": size, "converged": converged, "cycles": cycles, "visits": visits, "shape": str(shape)}
    )


def _timed_batch(work: Any, size: int, floor: float | None) -> Entry:
    return {"seconds_per_conformer": best_seconds(work, 3) / size, "floor": floor}
