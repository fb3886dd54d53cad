"""Conformers in, labels out: buckets by shape, batches on the device, retries of what does not converge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import jax
import numpy as np

from qmgen.dft.batch import mapping, solve_batch, stack
from qmgen.dft.prepare import Prepared, Shape, System, prepare, shape_of
from qmgen.dft.properties import dipole_moment, frontier_orbitals, mulliken_charges
from qmgen.dft.scf import Options, Solution
from qmgen.labeling.compiling import check_arithmetic, compiled
from qmgen.labeling.level import Level, level_of
from qmgen.labeling.screening import bytes_needed, fail, memory_available, reject
from qmgen.labeling.types import Label, Settings
from qmgen.molecules.types import Conformer, Failure, Reason

#: molecules a batch, by way of mapping; large molecules take fewer (``_batch_size``)
_DEFAULT_BATCH = {"map": 2, "vmap": 64}
_BATCH_BYTES = 2**31


@dataclass(frozen=True)
class Retry:
    """What to change for a molecule that did not converge; ``core`` starts from the bare nuclei."""

    damping: float
    level_shift: float
    cycles: int
    core: bool


RETRIES = (
    Retry(damping=0.0, level_shift=0.3, cycles=100, core=False),
    Retry(damping=0.5, level_shift=0.5, cycles=200, core=False),
    Retry(damping=0.3, level_shift=0.3, cycles=200, core=True),
    Retry(damping=0.7, level_shift=1.0, cycles=400, core=False),
)


def label(conformers: Iterable[Conformer], settings: Settings) -> Iterator[tuple[Conformer, Label] | Failure]:
    """Labels for a stream of conformers, each exactly once, in the order in which batches fill.

    A label depends on the settings and its own conformer alone. What cannot be labelled comes as a ``Failure``.

    Raises:
        UsageError: a functional, basis set, grid level, precision or guess that does not exist.
        RuntimeError: float64 is off, or the arithmetic of this XLA is wrong.
    """
    level = level_of(settings)
    check_arithmetic()
    buckets: dict[Shape, list[Conformer]] = {}
    for conformer in conformers:
        failure = reject(conformer, level) or _too_large(conformer, level)
        if failure is not None:
            yield failure
            continue
        shape = shape_of(conformer.numbers, level.basis, level.functional, level.grid_level)
        waiting = buckets.setdefault(shape, [])
        waiting.append(conformer)
        if len(waiting) == _batch_size(shape, level, settings):
            yield from _label_batch(buckets.pop(shape), shape, level, settings)
    for shape in sorted(buckets):
        yield from _label_batch(buckets[shape], shape, level, settings)


def _batch_size(shape: Shape, level: Level, settings: Settings) -> int:
    """Places in a batch: fixed by the settings and the shape, never by the memory that happens to be free."""
    wanted = settings.batch_size or _DEFAULT_BATCH[mapping()]
    while wanted > 1 and bytes_needed(shape, _components(level), wanted) > _BATCH_BYTES:
        wanted //= 2
    return wanted


def _components(level: Level) -> int:
    return 4 if level.functional.needs_gradient else 1


def _too_large(conformer: Conformer, level: Level) -> Failure | None:
    shape = shape_of(conformer.numbers, level.basis, level.functional, level.grid_level)
    needed, free = bytes_needed(shape, _components(level), 1), memory_available()
    if needed > max(free, _BATCH_BYTES):
        detail = f"{shape.n_orbitals} orbitals need {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
        return fail(conformer, Reason.OUT_OF_MEMORY, detail)
    return None


def _label_batch(
    conformers: list[Conformer], shape: Shape, level: Level, settings: Settings
) -> Iterator[tuple[Conformer, Label] | Failure]:
    systems = [System(np.asarray(c.numbers, dtype=np.int64), c.positions) for c in conformers]
    prepared = [prepare(s, shape, level.basis, level.functional, level.grid_level) for s in systems]
    if settings.guess == "core":
        prepared = [_from_core(p) for p in prepared]
    options = Options(settings.conv_energy, settings.conv_gradient, settings.max_cycles)
    solutions = _solve(prepared, shape, level, settings, options)
    for conformer, system, one, solution in zip(conformers, systems, prepared, solutions, strict=True):
        cycles = int(solution.cycles)
        for retry in RETRIES:
            if solution.converged:
                break
            options = Options(
                settings.conv_energy, settings.conv_gradient, retry.cycles, retry.damping, retry.level_shift
            )
            (solution,) = _solve([_from_core(one) if retry.core else one], shape, level, settings, options)
            cycles += int(solution.cycles)
        if not solution.converged:
            detail = (
                f"{cycles} cycles in {1 + len(RETRIES)} attempts; orbital gradient {float(solution.gradient):.1e} Ha"
            )
            yield fail(conformer, Reason.NOT_CONVERGED, detail)
            continue
        yield conformer, _to_label(system, one, solution, cycles, level, settings)


def _from_core(prepared: Prepared) -> Prepared:
    """No density at all as the first guess: the first Fock matrix is then the core Hamiltonian."""
    guess = np.zeros_like(prepared.problem.guess)
    return Prepared(prepared.problem._replace(guess=guess), prepared.one_electron, prepared.orbital_atom)


def _solve(
    prepared: list[Prepared], shape: Shape, level: Level, settings: Settings, options: Options
) -> list[Solution]:
    how, size = mapping(), _batch_size(shape, level, settings)
    batch = stack([p.problem for p in prepared], size)
    key = (level.functional.name, how, jax.tree.map(lambda x: (x.shape, str(x.dtype)), batch))
    options = Options(*(np.asarray(value) for value in options))
    run = compiled(repr(key), solve_batch, (level.functional, how), (batch, options))
    solutions = jax.tree.map(np.asarray, run(batch, options))
    return [jax.tree.map(lambda x, i=i: x[i], solutions) for i in range(len(prepared))]


def _to_label(
    system: System, prepared: Prepared, solution: Solution, cycles: int, level: Level, settings: Settings
) -> Label:
    homo, lumo = frontier_orbitals(solution, prepared)
    return Label(
        energy=float(solution.energy),
        homo=homo,
        lumo=lumo,
        # the standard deviation of two numbers is half their distance
        energy_std=abs(float(solution.energy) - float(solution.previous_energy)) / 2,
        dipole=dipole_moment(solution, prepared, system),
        charges=mulliken_charges(solution, prepared, system),
        n_orbitals=level.basis.n_orbitals(system.numbers),
        converged=True,
        cycles=cycles,
        orbital_gradient=float(solution.gradient),
        precision=settings.precision,
    )
