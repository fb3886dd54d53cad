"""Conformers in, labels out: buckets by shape, batches on the device, retries of what does not converge."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import jax
import jax.numpy as jnp
import numpy as np

from qmgen.dft.backend import Backend, current
from qmgen.dft.batch import SOLVE_MANY, prepare_lists, solve_batch, unstack
from qmgen.dft.functionals import Functional
from qmgen.dft.guess import core_guess, superposition_of_atoms
from qmgen.dft.integrals.one_electron import OneElectron
from qmgen.dft.level import LevelOfTheory
from qmgen.dft.prepare import (
    Prepared,
    Shape,
    System,
    batch_lists,
    coarse_precision,
    model_gain,
    prepare,
    shape_of,
)
from qmgen.dft.properties import PROPERTIES, frontier_orbitals, property_inputs
from qmgen.dft.scf import Problem, ScfOptions, Solution
from qmgen.errors import UsageError
from qmgen.labeling.compiling import check_arithmetic, compiled, first_time
from qmgen.labeling.level import fail, level_of, reject
from qmgen.labeling.memory import batch_size_of, bytes_needed, memory_limit
from qmgen.labeling.types import ERRORS, LEARNED_CYCLES, Guess, Label, LabelCosts, Settings, is_network
from qmgen.molecules.types import Conformer, Failure, Reason


@dataclass(frozen=True)
class Retry:
    """What to change for a molecule that did not converge; ``core`` swaps the guess for the other one, without
    ``coarse_grid`` every cycle evaluates the fine grid."""

    damping: float
    level_shift: float
    cycles: int
    core: bool
    coarse_grid: bool = True


RETRIES = (
    Retry(damping=0.0, level_shift=0.3, cycles=100, core=False),
    Retry(damping=0.5, level_shift=0.5, cycles=200, core=False),
    Retry(damping=0.3, level_shift=0.3, cycles=200, core=True),
    Retry(damping=0.7, level_shift=1.0, cycles=400, core=False, coarse_grid=False),
)


@dataclass(frozen=True)
class Attempt:
    """The first attempt at a molecule; ``prepared``, from which retries begin, is None where the batch was prepared
    together; ``learned`` says whether it began with a learned density."""

    one_electron: OneElectron
    solution: Solution
    prepared: Prepared | None
    learned: bool

    @property
    def cycles(self) -> int:
        """What it cost."""
        return int(self.solution.cycles) + LEARNED_CYCLES * self.learned


@dataclass(frozen=True)
class LabelRun:
    """What all molecules of a call of ``label`` share. ``guess``: the learned one, where there is one."""

    level: LevelOfTheory
    settings: Settings
    guess: Guess | None
    costs: LabelCosts

    @property
    def coarse_dtype(self) -> type[np.floating]:
        return coarse_precision(self.level.basis_set, self.settings.conv_gradient)

    @property
    def options(self) -> ScfOptions:
        """Of first attempts."""
        thresholds = self.settings.conv_energy, self.settings.conv_gradient
        return ScfOptions(*thresholds, self.settings.max_cycles, gain=model_gain(self.level.basis_set))


def label(
    conformers: Iterable[Conformer],
    settings: Settings,
    starting: Callable[[list[Conformer]], None] | None = None,
    guess: Guess | None = None,
    tally: LabelCosts | None = None,
) -> Iterator[tuple[Conformer, Label] | Failure]:
    """Labels for a stream of conformers, each exactly once, in the order in which batches fill.

    A label depends on the settings and its own conformer alone. What cannot be labeled comes as a ``Failure``.
    ``starting(conformers)`` is called before a batch is sent to the device: if the process ends before their results
    have come, it ended on them. ``guess`` has learned where the first attempts should begin, and leads to the same
    labels in fewer cycles; retries, and what it cannot guess, begin from atoms, or from the core where
    ``settings.guess`` says so. What labels took is added to
    ``tally``.

    Raises:
        UsageError: a functional, basis set, grid level, precision or guess that does not exist, or a network's name
            without its ``guess``.
        RuntimeError: float64 is off, or the arithmetic of this XLA is wrong.
    """
    level = level_of(settings)
    if is_network(settings.guess) and guess is None:
        raise UsageError(f"guess '{settings.guess}' names a network, which was not given: use 'atoms'")
    check_arithmetic()
    run = LabelRun(level, settings, guess, tally or LabelCosts())
    buckets: dict[Shape, list[Conformer]] = {}
    for conformer in conformers:
        failure = reject(conformer, level)
        if failure is not None:
            yield failure
            continue
        shape = shape_of(conformer.numbers, level.basis_set, level.functional, level.grid_level, level.fitting_set)
        failure = _too_large(conformer, shape, level)
        if failure is not None:
            yield failure
            continue
        waiting = buckets.setdefault(shape, [])
        waiting.append(conformer)
        if len(waiting) == batch_size_of(shape, level, settings):
            yield from _label_batch(buckets.pop(shape), shape, run, starting)
    for shape in sorted(buckets):
        yield from _label_batch(buckets[shape], shape, run, starting)


def _too_large(conformer: Conformer, shape: Shape, level: LevelOfTheory) -> Failure | None:
    backend = current()
    needed, there = bytes_needed(shape, level, 1, backend), memory_limit(backend)
    if needed > there:
        detail = f"{shape.n_orbitals} orbitals need {needed / 1e9:.1f} GB, this device has {there / 1e9:.1f}"
        # what is fitted grows with the third power of the molecule, and not with the fourth
        return fail(conformer, Reason.OUT_OF_MEMORY, detail + (": use --jk df" if level.jk == "exact" else ""))
    return None


def _label_batch(
    conformers: list[Conformer],
    shape: Shape,
    run: LabelRun,
    starting: Callable[[list[Conformer]], None] | None,
) -> Iterator[tuple[Conformer, Label] | Failure]:
    if starting is not None:
        starting(conformers)
    settings = run.settings
    systems = [System(np.asarray(one.numbers, dtype=np.int64), one.positions) for one in conformers]
    # molecules that are prepared and solved together
    groups = [systems] if current().batched else [[system] for system in systems]
    size = batch_size_of(shape, run.level, settings)
    attempts = [attempt for group in groups for attempt in _first_attempts(group, shape, size, run)]
    for conformer, system, attempt in zip(conformers, systems, attempts, strict=True):
        if isinstance(attempt, Exception):
            yield _failed(conformer, attempt)
            continue
        if run.guess is not None:
            run.costs.guessed += attempt.learned
            run.costs.fallbacks += not attempt.learned
        try:
            solution, spent = _until_converged(attempt, system, shape, run)
        except ERRORS as error:
            yield _failed(conformer, error)
            continue
        cycles = attempt.cycles + spent
        if not solution.converged:
            gradient = float(solution.gradient)
            inverted = gradient < settings.conv_gradient
            what = "the occupied levels are not the lowest" if inverted else f"orbital gradient {gradient:.1e} Ha"
            detail = f"{cycles} cycles in {1 + len(RETRIES)} attempts; {what}"
            yield fail(conformer, Reason.NOT_CONVERGED, detail)
            continue
        yield conformer, _to_label(system, attempt.one_electron, solution, cycles, run)


def _failed(conformer: Conformer, error: Exception) -> Failure:
    reason = Reason.OUT_OF_MEMORY if isinstance(error, MemoryError) else Reason.INTERNAL_ERROR
    return fail(conformer, reason, f"{type(error).__name__}: {error}")


def _first_attempts(group: list[System], shape: Shape, size: int, run: LabelRun) -> list[Attempt | Exception]:
    """First attempts at molecules that are prepared and solved together, in ``size`` places (on a CPU one molecule)."""
    try:
        try:
            with run.costs.during("prepare"):
                # what comes after is to take its own time
                prepared = jax.block_until_ready(_prepare_group(group, shape, size, run))
        except ERRORS as error:
            if len(group) == 1:
                return [error]
            # a defect that one molecule brings to light must not cost its neighbors their labels
            middle = len(group) // 2
            return [a for half in (group[:middle], group[middle:]) for a in _first_attempts(half, shape, size, run)]
        return [*_attempts(group, prepared, shape, run)]
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error) or not current().batched:
            raise
        if size == 1:
            return [MemoryError(str(error).splitlines()[0])]
        # what does not fit together may fit alone
        return [a for system in group for a in _first_attempts([system], shape, 1, run)]


def _prepare_group(group: list[System], shape: Shape, size: int, run: LabelRun) -> Prepared:
    level = run.level
    if not current().batched:
        return _prepare(group[0], shape, run)
    if level.fitting_set is not None:  # each molecule fills the device; places without one repeat the first
        made = [_prepare(system, shape, run) for system in group]
        made += made[:1] * (size - len(made))
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *made)
    lists = batch_lists(group, shape, level.basis_set, level.functional, level.grid_level, size)
    with first_time(("together", shape)):
        return prepare_lists(level.functional, level.basis_set.pair_classes, lists, run.coarse_dtype)


def _attempts(group: list[System], prepared: Prepared, shape: Shape, run: LabelRun) -> Iterator[Attempt]:
    """From what is prepared: on a CPU of one molecule, else of a batch that begins with those of ``group``."""
    problem, batched = prepared.problem, current().batched
    problems: Sequence[Problem] = Slices(problem, len(group)) if batched else [problem]
    learned: list[np.ndarray | None] = [None] * len(group)
    if run.guess is not None:
        with first_time(("guess", shape)), run.costs.during("guess"):
            learned = learned_densities(run.guess, problems, [system.numbers for system in group])
    starts = learned
    if run.settings.guess == "core":
        known = unstack(_core_parts(problem), len(group)) if batched else [_core_parts(problem)]
        starts = [core_guess(*one) if own is None else own for own, one in zip(learned, known, strict=True)]
    if any(density is not None for density in starts):
        guess = np.array(problem.guess)
        for place, density in enumerate(starts):
            if density is not None:
                guess[place if batched else ...] = density[None]
        problem = problem._replace(guess=guess)
    with run.costs.during("field"):
        if batched:
            solutions = unstack(
                _call(SOLVE_MANY, run.level.functional, problem, _typed_options(run.options), current()), len(group)
            )
        else:
            solutions = _solve([problem], run.level, run.options)
    matrices = unstack(prepared.one_electron, len(group)) if batched else [prepared.one_electron]
    for one_electron, solution, density in zip(matrices, solutions, learned, strict=True):
        yield Attempt(one_electron, solution, None if batched else prepared, density is not None)


class Slices(Sequence[Problem]):
    """The first ``count`` molecules of ``stacked``, a ``Problem`` with a leading axis, each cut out when it is asked
    for: a copy of every supermatrix at once would double the largest thing on the device."""

    def __init__(self, stacked: Problem, count: int) -> None:
        self.stacked, self._count = stacked, count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> Problem: ...
    @overload
    def __getitem__(self, place: slice) -> list[Problem]: ...
    def __getitem__(self, place: int | slice) -> Problem | list[Problem]:
        if isinstance(place, slice):
            return [self[one] for one in range(self._count)[place]]
        index = range(self._count)[place]
        cut: Problem = jax.tree.map(lambda leaf: leaf[index], self.stacked)
        return cut

    def __iter__(self) -> Iterator[Problem]:
        return (self[place] for place in range(self._count))


def learned_densities(
    guess: Guess, problems: Sequence[Problem], numbers: Sequence[np.ndarray]
) -> list[np.ndarray | None]:
    try:
        densities = guess(problems, numbers)
        if len(densities) != len(problems):
            raise ValueError(f"{len(densities)} densities for {len(problems)} molecules")
    except ERRORS:
        if len(problems) == 1:
            return [None]
        # a defect that one molecule brings to light must not cost its neighbors their guess
        return [
            learned_densities(guess, [problem], [atoms])[0] for problem, atoms in zip(problems, numbers, strict=True)
        ]
    return [_usable(density, problem) for density, problem in zip(densities, _shapes(problems), strict=True)]


def _shapes(problems: Sequence[Problem]) -> list[tuple[int, ...]]:
    if isinstance(problems, Slices):  # nothing need be cut out to know
        return [np.shape(problems.stacked.overlap)[1:]] * len(problems)
    return [np.shape(problem.overlap) for problem in problems]


def _usable(density: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    density = np.asarray(density, dtype=np.float64)
    return density if density.shape == shape and np.isfinite(density).all() else None


def _prepare(system: System, shape: Shape, run: LabelRun) -> Prepared:
    level = run.level
    with first_time(("prepare", "kernels")), first_time(("prepare", shape)):
        given = level.basis_set, level.functional, level.grid_level, run.coarse_dtype, level.fitting_set
        return prepare(system, shape, *given)


def _until_converged(attempt: Attempt, system: System, shape: Shape, run: LabelRun) -> tuple[Solution, int]:
    """The first solution that has converged, else the last, and the cycles of the attempts after the first."""
    solution, cycles, prepared = attempt.solution, 0, attempt.prepared
    for retry in RETRIES:
        if solution.converged:
            break
        prepared = prepared or _prepare(system, shape, run)
        solution, spent = _retry(prepared, retry, system, run)
        cycles += spent
    return solution, cycles


def _retry(prepared: Prepared, retry: Retry, system: System, run: LabelRun) -> tuple[Solution, int]:
    """One more attempt, and its number of cycles.

    What a level shift has steadied counts only when it also stands without: with the shift, a determinant whose
    occupied orbitals are not the lowest could pass for converged.
    """
    problem, level, settings = prepared.problem, run.level, run.settings
    if (settings.guess == "core") != retry.core:
        problem = problem._replace(guess=core_guess(*_core_parts(problem))[None])
    elif retry.core:
        n = problem.overlap.shape[-1]
        problem = problem._replace(guess=superposition_of_atoms(system.numbers, level.basis_set, n)[None])
    if not retry.coarse_grid:
        problem = problem._replace(coarse=None)
    thresholds = settings.conv_energy, settings.conv_gradient
    options = ScfOptions(*thresholds, retry.cycles, retry.damping, retry.level_shift)
    (steadied,) = _solve([problem], level, options)
    if not steadied.converged:
        return steadied, int(steadied.cycles)
    warm = problem._replace(guess=np.asarray(steadied.density))
    (plain,) = _solve([warm], level, ScfOptions(*thresholds, max(settings.max_cycles, 20)))
    return plain, int(steadied.cycles) + int(plain.cycles)


def _core_parts(problem: Problem) -> tuple[Any, ...]:
    """What ``core_guess`` takes, with the axes of ``problem``."""
    return tuple(np.asarray(part) for part in (problem.core, problem.overlap, problem.n_real, problem.n_occupied))


def _solve(problems: list[Problem], level: LevelOfTheory, options: ScfOptions) -> list[Solution]:
    """Of problems without a batch axis."""
    return solve_batch(level.functional, problems, _typed_options(options), call=_call)


def _typed_options(options: ScfOptions) -> ScfOptions:
    return ScfOptions(*(np.asarray(value) for value in options))


def _call(function: Any, functional: Functional, problem: Problem, options: ScfOptions, backend: Backend) -> Solution:
    """A jitted solver, compiled ahead of time."""
    problem = jax.tree.map(_typed, problem)
    key = (functional.name, backend.name, jax.tree.map(lambda x: (x.shape, str(x.dtype)), problem))
    run = compiled(repr(key), lambda: function.lower(functional, problem, options, backend).compile())
    solution: Solution = jax.tree.map(np.asarray, run(problem, options))
    return solution


def _typed(leaf: Any) -> Any:
    """A leaf as an array; numbers of Python have no type of their own."""
    return leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)


def _to_label(system: System, one_electron: OneElectron, solution: Solution, cycles: int, run: LabelRun) -> Label:
    inputs = property_inputs(system, run.level.basis_set, one_electron)
    homo, lumo = frontier_orbitals(solution, inputs)
    return Label(
        energy=float(solution.energy),
        homo=homo,
        lumo=lumo,
        # the standard deviation of two numbers is half their distance
        energy_std=abs(float(solution.energy) - float(solution.previous_energy)) / 2,
        properties={name: compute(solution, inputs, system) for name, compute in PROPERTIES.items()},
        n_orbitals=inputs.n_real,
        converged=True,
        cycles=cycles,
        orbital_gradient=float(solution.gradient),
        precision=run.settings.precision,
    )
