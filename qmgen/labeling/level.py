"""The level of theory of a run, and the geometries that cannot be labeled at it: found before any work is done."""

from __future__ import annotations

from typing import get_args

import numpy as np

from qmgen import defaults
from qmgen.defaults import PLAIN_GUESSES
from qmgen.dft.basis import Basis, load_basis
from qmgen.dft.basis_names import ELEMENTS, LARGE, WHOLE, fits_coulomb_alone
from qmgen.dft.electrons import doubly_occupied
from qmgen.dft.fitting import UNIVERSAL, default_jk, load_fitting_set
from qmgen.dft.functionals import functional
from qmgen.dft.grid import LEVELS
from qmgen.dft.integrals.shells import SUPPORTED
from qmgen.dft.level import LevelOfTheory
from qmgen.errors import UsageError
from qmgen.labeling.types import Settings, is_network
from qmgen.molecules.geometry import electrons_problem, geometry_problem, symbol_of
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
    level = resolved_level(settings)
    if is_network(settings.guess) and level.basis_set.polarized:
        raise UsageError(f"basis {level.basis} has d functions, and networks know s and p alone: use --guess atoms")
    return level


def resolved_level(settings: Settings) -> LevelOfTheory:
    """The names that the settings of the level of theory stand for; ``auto`` is decided by the basis set alone.

    Raises ``UsageError`` for a name that does not exist, and for fitting functions that are of no use.
    """
    xc, basis = functional(settings.xc), load_basis(settings.basis, settings.cartesian)
    cartesian = settings.cartesian and basis.highest > 1
    jk = default_jk(basis) if settings.jk == defaults.JK else settings.jk
    if jk == "exact":
        if settings.auxbasis is not None:
            default = f", the default of {basis.name}" if settings.jk == defaults.JK else ""
            raise UsageError(
                f"auxbasis = '{settings.auxbasis}' is of no use with --jk exact{default}: leave it out, or add --jk df"
            )
        return LevelOfTheory(xc.name, basis.name, settings.grid_level, cartesian=cartesian)
    if jk != "df":
        raise UsageError(f"unknown jk '{jk}'; known: {', '.join(get_args(defaults.JkChoice))}")
    fitting = load_fitting_set(settings.auxbasis, basis)
    if xc.exact_exchange and fits_coulomb_alone(fitting.name):
        raise UsageError(f"fitting set '{fitting.name}' is made for J alone, and {xc.name} needs K: use {UNIVERSAL}")
    return LevelOfTheory(xc.name, basis.name, settings.grid_level, "df", fitting.name, cartesian)


def reject(conformer: Conformer, level: LevelOfTheory) -> Failure | None:
    """The reason why this geometry has no label at this level, if there is one."""
    numbers, positions, basis = conformer.numbers, conformer.positions, level.basis_set
    if len(numbers) == 0:
        return fail(conformer, Reason.BAD_COORDINATES, "no atoms")
    if problem := geometry_problem(numbers, positions):
        return fail(conformer, *problem)
    if lacking := element_problem(numbers, basis):
        return fail(conformer, Reason.UNSUPPORTED_ELEMENT, lacking)
    if problem := electrons_problem(numbers, 0):
        return fail(conformer, *problem)
    if problem := virtual_orbital_problem(numbers, basis):
        return fail(conformer, *problem)
    return None


def element_problem(numbers: np.ndarray, basis: Basis) -> str | None:
    """Which of the atoms ``numbers`` (A,) a basis set lacks, why, and what to use instead; None where it has all."""
    missing = {int(z) for z in numbers} - basis.elements
    whole = f"use another one, such as {WHOLE}"
    cases = (
        (missing.difference(ELEMENTS), "not in this basis, nor in others here: they have H to Ca and Ga to Kr"),
        (
            missing & basis.beyond,
            f"with functions beyond {SUPPORTED} in basis {basis.name}: use a smaller one, such as {LARGE}",
        ),
        (missing & basis.core_potentials, f"with an effective core potential in basis {basis.name}: {whole}"),
        (missing, f"not in this basis: {whole}"),
    )
    return next((f"{', '.join(map(symbol_of, sorted(which)))} {text}" for which, text in cases if which), None)


def virtual_orbital_problem(numbers: np.ndarray, basis: Basis) -> tuple[Reason, str] | None:
    """Why the atoms ``numbers`` (A,) have no lowest unoccupied orbital in a basis set; None where there is one."""
    if basis.n_orbitals(numbers) > doubly_occupied(numbers):
        return None
    return Reason.NO_VIRTUAL_ORBITAL, f"basis {basis.name} leaves no orbital unoccupied"


def fail(conformer: Conformer, reason: Reason, detail: str) -> Failure:
    return Failure(conformer.molecule_id, conformer.conformer_id, conformer.name, conformer.smiles, reason, detail)
