"""A whole batch through the programs of ``qmgen.dft.batched``: how labels are made on an accelerator."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from qmgen.dft.batched import Lists, batch_lists, solve_systems
from qmgen.dft.integrals.one_electron import OneElectron
from qmgen.dft.integrals.shells import orbital_atoms
from qmgen.dft.prepare import Shape, System
from qmgen.dft.properties import PropertyInputs
from qmgen.dft.scf import Options, Solution
from qmgen.labeling.first_guess import beginning
from qmgen.labeling.level import Level
from qmgen.labeling.types import ERRORS, Guess, Tally


def solve_together(
    systems: Sequence[System],
    shape: Shape,
    level: Level,
    options: Options,
    size: int,
    sketch: type[np.floating],
    guess: Guess | None = None,
    tally: Tally | None = None,
) -> list[tuple[PropertyInputs, Solution, bool] | Exception]:
    """For each molecule what properties need, its solution, and whether that began with a density of ``guess``; or why
    it has none.

    ``size`` is the number of places of the batch.
    """
    tally = tally or Tally()
    errors: list[Exception | None] = [None] * len(systems)
    good = list(systems)
    try:
        lists = _lists(systems, shape, level, size)
    except ERRORS:
        # a defect of one must not cost its neighbours their labels
        errors = [_error_of(system, shape, level) for system in systems]
        good = [system for system, error in zip(systems, errors, strict=True) if error is None]
        if not good:
            return [error for error in errors if error is not None]
        lists = _lists(good, shape, level, size)
    begin, learned = None, [False] * len(good)
    if guess is not None:
        begin, learned = beginning(guess, [system.numbers for system in good], tally)
    try:
        result = solve_systems(level.functional, lists, options, np.dtype(sketch).name, begin)
        found = jax.tree.map(np.asarray, result)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        if size == 1:
            return [MemoryError(str(error).splitlines()[0])]
        # what does not fit together may fit alone
        alone = [solve_together([system], shape, level, options, 1, sketch, guess, tally) for system in systems]
        return [one for (one,) in alone]
    solved = iter(
        (
            _inputs(system, shape, level, jax.tree.map(lambda x, m=m: x[m], found.one_electron)),
            jax.tree.map(lambda x, m=m: x[m], found.solution),
            learned[m],
        )
        for m, system in enumerate(good)
    )
    return [next(solved) if error is None else error for error in errors]


def _lists(systems: Sequence[System], shape: Shape, level: Level, size: int) -> Lists:
    return batch_lists(systems, shape, level.basis, level.functional, level.grid_level, size)


def _error_of(system: System, shape: Shape, level: Level) -> Exception | None:
    """What is wrong with this molecule alone."""
    try:
        _lists([system], shape, level, 1)
    except ERRORS as error:
        return error
    return None


def _inputs(system: System, shape: Shape, level: Level, one_electron: OneElectron) -> PropertyInputs:
    atoms = orbital_atoms(system.numbers, level.basis, shape.n_orbitals)
    return PropertyInputs(one_electron, atoms, int(system.numbers.sum()) // 2, level.basis.n_orbitals(system.numbers))
