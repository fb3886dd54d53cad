"""What follows from a converged density: frontier orbitals, and the properties of ``PROPERTIES``. Host side, numpy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from qmgen.dft.basis import Basis, orbital_atoms
from qmgen.dft.electrons import doubly_occupied
from qmgen.dft.integrals.one_electron import OneElectron
from qmgen.dft.prepare import System
from qmgen.dft.scf import Solution


@dataclass(frozen=True)
class PropertyInputs:
    """What properties need beside the solution; n orbitals (padded), Bohr.

    Attributes:
        one_electron: integrals of one molecule.
        orbital_atom: (n,) the atom of each orbital.
        n_occupied, n_real: doubly occupied orbitals and unpadded ones.
    """

    one_electron: OneElectron
    orbital_atom: np.ndarray
    n_occupied: int
    n_real: int


def property_inputs(system: System, basis: Basis, one_electron: OneElectron) -> PropertyInputs:
    """What a molecule and its integrals hold of it."""
    atoms = orbital_atoms(system.numbers, basis, np.shape(one_electron.overlap)[-1])
    sizes = int(doubly_occupied(system.numbers)), basis.n_orbitals(system.numbers)
    return PropertyInputs(one_electron, atoms, *sizes)


def frontier_orbitals(solution: Solution, inputs: PropertyInputs) -> tuple[float, float]:
    """Energies of the highest occupied and the lowest virtual orbital, in Hartree; the latter NaN if there is none."""
    levels, n = np.asarray(solution.orbital_energies)[0], inputs.n_occupied
    lumo = float(levels[n]) if n < inputs.n_real else float("nan")
    return float(levels[n - 1]), lumo


def total_density(solution: Solution) -> np.ndarray:
    """(n, n) the density of both spins."""
    return np.asarray(solution.density).sum(axis=0)


def dipole_moment(solution: Solution, inputs: PropertyInputs, system: System) -> np.ndarray:
    """(3,) in e Bohr: sum_A Z_A R_A - tr(D r); independent of the origin for a neutral molecule."""
    electrons = np.einsum("xij,ij->x", np.asarray(inputs.one_electron.dipole), total_density(solution))
    return system.numbers.astype(float) @ system.positions - electrons


def quadrupole_moment(solution: Solution, inputs: PropertyInputs, system: System) -> np.ndarray:
    """(6,) in e Bohr^2, xx xy xz yy yz zz: the traceless (3 M_ij - delta_ij tr M) / 2 of the second moments M about the
    center of nuclear charge (A. D. Buckingham, Q. Rev. Chem. Soc. 13, 183 (1959))."""
    charges = system.numbers.astype(float)
    arms = system.positions - charges @ system.positions / charges.sum()
    first, second = np.triu_indices(3)
    electrons = np.einsum("xij,ij->x", np.asarray(inputs.one_electron.second_moment), total_density(solution))
    moments = charges @ (arms[:, first] * arms[:, second]) - electrons
    return 1.5 * moments - 0.5 * moments[first == second].sum() * (first == second)


def mulliken_charges(solution: Solution, inputs: PropertyInputs, system: System) -> np.ndarray:
    """(A,) in e: Z_A less the sum of (DS)_ii over its orbitals (R. S. Mulliken, J. Chem. Phys. 23, 1833 (1955))."""
    populations = np.einsum("ij,ij->i", total_density(solution), np.asarray(inputs.one_electron.overlap))
    return _atomic_charges(populations, inputs, system)


def lowdin_charges(solution: Solution, inputs: PropertyInputs, system: System) -> np.ndarray:
    """(A,) in e: Z_A less the sum of (S^(1/2) D S^(1/2))_ii over its orbitals (P.-O. Löwdin, J. Chem. Phys. 18, 365
    (1950))."""
    root = np.asarray(solution.overlap_root)
    populations = np.einsum("ij,ij->i", root @ total_density(solution), root)
    return _atomic_charges(populations, inputs, system)


def _atomic_charges(populations: np.ndarray, inputs: PropertyInputs, system: System) -> np.ndarray:
    """(A,) in e: Z_A less the ``populations`` (n,) of its orbitals."""
    by_atom = np.bincount(inputs.orbital_atom, weights=populations, minlength=len(system.numbers))
    return system.numbers - by_atom[: len(system.numbers)]


#: what every label holds, by name, in atomic units
PROPERTIES: Final[Mapping[str, Callable[[Solution, PropertyInputs, System], np.ndarray]]] = {
    "dipole": dipole_moment,
    "charges": mulliken_charges,
    "quadrupole": quadrupole_moment,
    "lowdin_charges": lowdin_charges,
}
