"""The level of theory of a run, and the geometries that cannot be labeled at it: found before any work is done."""

from __future__ import annotations

import numpy as np

from qmgen.defaults import PLAIN_GUESSES
from qmgen.dft.basis import Basis, load_basis
from qmgen.dft.electrons import doubly_occupied
from qmgen.dft.functionals import functional
from qmgen.dft.grid import LEVELS
from qmgen.dft.level import LevelOfTheory
from qmgen.errors import UsageError
from qmgen.labeling.types import Settings, is_network
from qmgen.molecules.geometry import electrons_problem, geometry_problem
from qmgen.molecules.types import Conformer, Failure, Reason

PRECISIONS = ("float64",)


def level_of(settings: Settings) -> LevelOfTheory:
    """The level of theory of a run, by canonical names.

    Raises ``UsageError`` for a name that does not exist, with the nearest one that does.
    """
    if settings.precision not in PRECISIONS:
        raise UsageError(f"unknown precision '{settings.precision}'; known: {', '.join(PRECISIONS)}")
    if settings.guess not in PLAIN_GUESSES and not is_network(settings.guess):
        raise UsageError(f"unknown guess '{settings.guess}'; known: {', '.join(PLAIN_GUESSES)}")
    if settings.grid_level not in LEVELS:
        raise UsageError(f"grid level {settings.grid_level} does not exist; choose 0 to {max(LEVELS)}")
    return LevelOfTheory(functional(settings.xc).name, load_basis(settings.basis).name, settings.grid_level)


def reject(conformer: Conformer, level: LevelOfTheory) -> Failure | None:
    """The reason why this geometry has no label at this level, if there is one."""
    numbers, positions, basis = conformer.numbers, conformer.positions, level.basis_set
    if len(numbers) == 0:
        return fail(conformer, Reason.BAD_COORDINATES, "no atoms")
    if problem := geometry_problem(numbers, positions):
        return fail(conformer, *problem)
    missing = sorted({int(z) for z in numbers} - basis.elements)
    if missing:
        return fail(conformer, Reason.UNSUPPORTED_ELEMENT, f"basis {basis.name} has no element {missing[0]}")
    if problem := electrons_problem(numbers, 0):
        return fail(conformer, *problem)
    if problem := virtual_orbital_problem(numbers, basis):
        return fail(conformer, *problem)
    return None


def virtual_orbital_problem(numbers: np.ndarray, basis: Basis) -> tuple[Reason, str] | None:
    """Why the atoms ``numbers`` (A,) have no lowest unoccupied orbital in a basis set; None where there is one."""
    if basis.n_orbitals(numbers) > doubly_occupied(numbers):
        return None
    return Reason.NO_VIRTUAL_ORBITAL, f"basis {basis.name} leaves no orbital unoccupied"


def fail(conformer: Conformer, reason: Reason, detail: str) -> Failure:
    return Failure(conformer.molecule_id, conformer.conformer_id, conformer.name, conformer.smiles, reason, detail)
