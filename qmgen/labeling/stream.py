"""Conformers in, labels out: buckets by shape, batches on the device, retries of what does not converge."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np

from qmgen.dft.batch import mapping, solve_batch
from qmgen.dft.functionals import Functional
from qmgen.dft.guess import core_guess, superposition_of_atoms
from qmgen.dft.prepare import Prepared, Shape, System, model_gain, prepare, shape_of, sketch_precision
from qmgen.dft.properties import PROPERTIES, PropertyInputs, frontier_orbitals, property_inputs
from qmgen.dft.scf import Options, Problem, Solution
from qmgen.errors import UsageError
from qmgen.labeling.compiling import check_arithmetic, compiled, first_time
from qmgen.labeling.first_guess import densities
from qmgen.labeling.level import Level, level_of
from qmgen.labeling.memory import bytes_needed, memory_limit
from qmgen.labeling.screening import fail, reject
from qmgen.labeling.together import solve_together
from qmgen.labeling.types import ERRORS, LEARNED_CYCLES, Guess, Label, Settings, Tally, is_network
from qmgen.molecules.types import Conformer, Failure, Reason

#: molecules a batch, by way of mapping; large molecules take fewer (``batch_size_of``)
_DEFAULT_BATCH = {"map": 2, "vmap": 64}
_BATCH_BYTES = {"map": 2**31, "vmap": 2**35}


@dataclass(frozen=True)
class Retry:
    """What to change for a molecule that did not converge; ``core`` swaps the guess for the other one, without
    ``sketch`` every cycle is made on the asked grid."""

    damping: float
    level_shift: float
    cycles: int
    core: bool
    sketch: bool = True


RETRIES = (
    Retry(damping=0.0, level_shift=0.3, cycles=100, core=False),
    Retry(damping=0.5, level_shift=0.5, cycles=200, core=False),
    Retry(damping=0.3, level_shift=0.3, cycles=200, core=True),
    Retry(damping=0.7, level_shift=1.0, cycles=400, core=False, sketch=False),
)


@dataclass(frozen=True)
class Attempt:
    """The first attempt at a molecule; ``prepared``, from which retries begin, is None where the batch was prepared
    together; ``learned`` says whether it began with a learned density."""

    inputs: PropertyInputs
    solution: Solution
    prepared: Prepared | None = None
    learned: bool = False

    @property
    def cycles(self) -> int:
        """What it cost."""
        return int(self.solution.cycles) + LEARNED_CYCLES * self.learned


@dataclass(frozen=True)
class Start:
    """What first attempts begin with: ``guess``, where one was learned and has an answer, else the plain guess of the
    settings."""

    guess: Guess | None
    tally: Tally


def label(
    conformers: Iterable[Conformer],
    settings: Settings,
    starting: Callable[[list[Conformer]], None] | None = None,
    guess: Guess | None = None,
    tally: Tally | None = None,
) -> Iterator[tuple[Conformer, Label] | Failure]:
    """Labels for a stream of conformers, each exactly once, in the order in which batches fill.

    A label depends on the settings and its own conformer alone. What cannot be labelled comes as a ``Failure``.
    ``starting`` hears of the conformers of each batch just before the device gets it: whatever ends this process
    before their results have come, they are what it was busy with. ``guess`` has learned where the first attempts
    should begin, and leads to the same labels in fewer cycles; retries, and what it cannot guess, begin from atoms, or
    from the core where ``settings.guess`` says so. ``tally`` hears what it all took.

    Raises:
        UsageError: a functional, basis set, grid level, precision or guess that does not exist, or a network's name
            without its ``guess``.
        RuntimeError: float64 is off, or the arithmetic of this XLA is wrong.
    """
    level = level_of(settings)
    if is_network(settings.guess) and guess is None:
        raise UsageError(f"guess '{settings.guess}' names a network, which was not given: use 'atoms'")
    check_arithmetic()
    starting = starting or _unheard
    start = Start(guess, tally or Tally())
    buckets: dict[Shape, list[Conformer]] = {}
    for conformer in conformers:
        failure = reject(conformer, level)
        if failure is not None:
            yield failure
            continue
        shape = shape_of(conformer.numbers, level.basis, level.functional, level.grid_level)
        failure = _too_large(conformer, shape, level)
        if failure is not None:
            yield failure
            continue
        waiting = buckets.setdefault(shape, [])
        waiting.append(conformer)
        if len(waiting) == batch_size_of(shape, level, settings):
            starting(waiting)
            yield from _label_batch(buckets.pop(shape), shape, level, settings, start)
    for shape in sorted(buckets):
        starting(buckets[shape])
        yield from _label_batch(buckets[shape], shape, level, settings, start)


def _unheard(batch: list[Conformer]) -> None:
    """Nobody wants to know what is on the device."""


def batch_size_of(shape: Shape, level: Level, settings: Settings) -> int:
    """Places in a batch: fixed by the settings and the shape, never by the memory that happens to be free."""
    wanted = settings.batch_size or _DEFAULT_BATCH[mapping()]
    while wanted > 1 and _bytes(shape, level, wanted) > _BATCH_BYTES[mapping()]:
        wanted //= 2
    return wanted


def _bytes(shape: Shape, level: Level, batch: int) -> int:
    components = 4 if level.functional.needs_gradient else 1
    return bytes_needed(shape, components, batch, mapping())


def _too_large(conformer: Conformer, shape: Shape, level: Level) -> Failure | None:
    needed, there = _bytes(shape, level, 1), memory_limit(mapping())
    if needed > there:
        detail = f"{shape.n_orbitals} orbitals need {needed / 1e9:.1f} GB, this device has {there / 1e9:.1f}"
        return fail(conformer, Reason.OUT_OF_MEMORY, detail)
    return None


def _label_batch(
    conformers: list[Conformer], shape: Shape, level: Level, settings: Settings, start: Start
) -> Iterator[tuple[Conformer, Label] | Failure]:
    systems = [System(np.asarray(one.numbers, dtype=np.int64), one.positions) for one in conformers]
    first = _together if mapping() == "vmap" and settings.guess != "core" else _in_turn
    attempts = first(systems, shape, level, settings, start)
    for conformer, system, attempt in zip(conformers, systems, attempts, strict=True):
        if isinstance(attempt, Exception):
            yield _failed(conformer, attempt)
            continue
        if start.guess is not None:
            start.tally.guessed += attempt.learned
            start.tally.fallbacks += not attempt.learned
        try:
            solution, spent = _until_converged(attempt, system, shape, level, settings)
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
        yield conformer, _to_label(system, attempt.inputs, solution, cycles, level, settings)


def _failed(conformer: Conformer, error: Exception) -> Failure:
    reason = Reason.OUT_OF_MEMORY if isinstance(error, MemoryError) else Reason.INTERNAL_ERROR
    return fail(conformer, reason, f"{type(error).__name__}: {error}")


def _in_turn(
    systems: list[System], shape: Shape, level: Level, settings: Settings, start: Start
) -> list[Attempt | Exception]:
    """First attempts, prepared molecule by molecule."""
    attempts: dict[int, Attempt | Exception] = {}
    ready: dict[int, Prepared] = {}
    for place, system in enumerate(systems):
        try:
            with start.tally.during("prepare"):
                one = _prepare(system, shape, level, settings)
        except ERRORS as error:
            # a defect that one molecule brings to light must not cost its neighbours their labels
            attempts[place] = error
            continue
        ready[place] = _from_core(one) if settings.guess == "core" else one
    with start.tally.during("prepare"):
        jax.block_until_ready([one.problem for one in ready.values()])  # what comes after is to take its own time
    size = batch_size_of(shape, level, settings)
    learned = {place: _learned(one, shape, start) for place, one in ready.items()}
    begun = [learned[place] or one for place, one in ready.items()]
    with start.tally.during("field"):
        solutions = _solve(begun, level, _options(level, settings), size) if begun else []
    for (place, one), solution in zip(ready.items(), solutions, strict=True):
        attempts[place] = Attempt(property_inputs(one), solution, one, learned[place] is not None)
    return [attempts[place] for place in range(len(systems))]


def _learned(prepared: Prepared, shape: Shape, start: Start) -> Prepared | None:
    """``prepared`` with the learned density, if there is one."""
    if start.guess is None:
        return None
    with first_time(("guess", shape)):
        # alone: beside another molecule its numbers might be rounded otherwise
        (density,) = densities(start.guess, [prepared.problem], [prepared.numbers], start.tally)
    return None if density is None else _with_guess(prepared, density)


def _together(
    systems: list[System], shape: Shape, level: Level, settings: Settings, start: Start
) -> list[Attempt | Exception]:
    """First attempts, the whole batch at once."""
    size, tally = batch_size_of(shape, level, settings), start.tally
    guessing = tally.seconds["guess"]
    with tally.during("field"), first_time(("together", shape)):
        found = solve_together(
            systems, shape, level, _options(level, settings), size, _sketch(level, settings), start.guess, tally
        )
    tally.seconds["field"] -= tally.seconds["guess"] - guessing
    return [
        one if isinstance(one, Exception) else Attempt(inputs=one[0], solution=one[1], learned=one[2]) for one in found
    ]


def _options(level: Level, settings: Settings) -> Options:
    thresholds = settings.conv_energy, settings.conv_gradient
    return Options(*thresholds, settings.max_cycles, gain=model_gain(level.basis))


def _sketch(level: Level, settings: Settings) -> type[np.floating]:
    return sketch_precision(level.basis, settings.conv_gradient)


def _prepare(system: System, shape: Shape, level: Level, settings: Settings) -> Prepared:
    with first_time(("prepare", "kernels")), first_time(("prepare", shape)):
        return prepare(system, shape, level.basis, level.functional, level.grid_level, _sketch(level, settings))


def _until_converged(
    attempt: Attempt, system: System, shape: Shape, level: Level, settings: Settings
) -> tuple[Solution, int]:
    """The first solution that has converged, else the last, and the cycles of the attempts after the first."""
    solution, cycles, prepared = attempt.solution, 0, attempt.prepared
    for retry in RETRIES:
        if solution.converged:
            break
        prepared = prepared or _prepare(system, shape, level, settings)
        solution, spent = _retry(prepared, retry, shape, level, settings)
        cycles += spent
    return solution, cycles


def _retry(prepared: Prepared, retry: Retry, shape: Shape, level: Level, settings: Settings) -> tuple[Solution, int]:
    """One more attempt, and its number of cycles.

    What a level shift has steadied counts only when it also stands without: with the shift, a determinant whose
    occupied orbitals are not the lowest could pass for converged.
    """
    if retry.core:
        other = partial(_from_atoms, level=level) if settings.guess == "core" else _from_core
        prepared = other(prepared)
    if not retry.sketch:
        prepared = replace(prepared, problem=prepared.problem._replace(coarse=None))
    thresholds = settings.conv_energy, settings.conv_gradient
    options = Options(*thresholds, retry.cycles, retry.damping, retry.level_shift)
    (steadied,) = _solve([prepared], level, options, 1)
    if not steadied.converged:
        return steadied, int(steadied.cycles)
    warm = _with_guess(prepared, np.asarray(steadied.density))
    (plain,) = _solve([warm], level, Options(*thresholds, max(settings.max_cycles, 20)), 1)
    return plain, int(steadied.cycles) + int(plain.cycles)


def _with_guess(prepared: Prepared, density: np.ndarray) -> Prepared:
    return replace(prepared, problem=prepared.problem._replace(guess=density))


def _from_core(prepared: Prepared) -> Prepared:
    problem = prepared.problem
    core, overlap = np.asarray(problem.core), np.asarray(problem.overlap)
    return _with_guess(prepared, core_guess(core, overlap, int(problem.n_real), int(problem.n_occupied)))


def _from_atoms(prepared: Prepared, level: Level) -> Prepared:
    numbers = prepared.numbers
    return _with_guess(prepared, superposition_of_atoms(numbers, level.basis, prepared.problem.overlap.shape[-1]))


def _solve(prepared: list[Prepared], level: Level, options: Options, size: int) -> list[Solution]:
    how = mapping()

    def call(function: Any, functional: Functional, problem: Problem, options: Options) -> Solution:
        problem = jax.tree.map(_typed, problem)
        key = (functional.name, how, jax.tree.map(lambda x: (x.shape, str(x.dtype)), problem))
        run = compiled(repr(key), function, (functional,), (problem, options))
        return jax.tree.map(np.asarray, run(problem, options))

    options = Options(*(np.asarray(value) for value in options))
    return solve_batch(level.functional, how, [one.problem for one in prepared], options, size, call)


def _typed(leaf: Any) -> Any:
    """A leaf as an array; numbers of Python have no type of their own."""
    return leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)


def _to_label(
    system: System, inputs: PropertyInputs, solution: Solution, cycles: int, level: Level, settings: Settings
) -> Label:
    homo, lumo = frontier_orbitals(solution, inputs)
    return Label(
        energy=float(solution.energy),
        homo=homo,
        lumo=lumo,
        # the standard deviation of two numbers is half their distance
        energy_std=abs(float(solution.energy) - float(solution.previous_energy)) / 2,
        properties={name: compute(solution, inputs, system) for name, compute in PROPERTIES.items()},
        n_orbitals=level.basis.n_orbitals(system.numbers),
        converged=True,
        cycles=cycles,
        orbital_gradient=float(solution.gradient),
        precision=settings.precision,
    )
