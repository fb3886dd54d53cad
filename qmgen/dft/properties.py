"""What follows from a converged density: frontier orbitals, dipole moment, Mulliken charges. Host side, numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from qmgen.dft.prepare import Prepared, System
from qmgen.dft.scf import Solution


@dataclass(frozen=True)
class PropertyInputs:
    """What properties need beside the solution; n orbitals (padded), Bohr.

    Attributes:
        overlap, dipole: (n, n) and (3, n, n) integrals.
        orbital_atom: (n,) the atom of each orbital.
        n_occupied, n_real: doubly occupied orbitals and unpadded ones.
    """

    overlap: Any
    dipole: Any
    orbital_atom: np.ndarray
    n_occupied: int
    n_real: int


def property_inputs(prepared: Prepared) -> PropertyInputs:
    """What a preparation of one molecule holds of it."""
    problem, one = prepared.problem, prepared.one_electron
    sizes = int(problem.n_occupied), int(problem.n_real)
    return PropertyInputs(one.overlap, one.dipole, prepared.orbital_atom, *sizes)


def frontier_orbitals(solution: Solution, inputs: PropertyInputs) -> tuple[float, float]:
    """Energies of the highest occupied and the lowest virtual orbital, in Hartree; the latter NaN if there is none."""
    levels, n = np.asarray(solution.orbital_energies), inputs.n_occupied
    lumo = float(levels[n]) if n < inputs.n_real else float("nan")
    return float(levels[n - 1]), lumo


def dipole_moment(solution: Solution, inputs: PropertyInputs, system: System) -> np.ndarray:
    """(3,) in e Bohr: sum_A Z_A R_A - tr(D r); independent of the origin for a neutral molecule."""
    electrons = np.einsum("xij,ij->x", np.asarray(inputs.dipole), np.asarray(solution.density))
    return system.numbers.astype(float) @ system.positions - electrons


def mulliken_charges(solution: Solution, inputs: PropertyInputs, system: System) -> np.ndarray:
    """(A,) in e: Z_A less the sum of (DS)_ii over its orbitals (R. S. Mulliken, J. Chem. Phys. 23, 1833 (1955))."""
    populations = np.einsum("ij,ij->i", np.asarray(solution.density), np.asarray(inputs.overlap))
    by_atom = np.bincount(inputs.orbital_atom, weights=populations, minlength=len(system.numbers))
    return system.numbers - by_atom[: len(system.numbers)]
