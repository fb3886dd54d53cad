"""What follows from a converged density: frontier orbitals, dipole moment, Mulliken charges. Host side, numpy."""

from __future__ import annotations

import numpy as np

from qmgen.dft.prepare import Prepared, System
from qmgen.dft.scf import Solution


def frontier_orbitals(solution: Solution, prepared: Prepared) -> tuple[float, float]:
    """Energies of the highest occupied and the lowest virtual orbital, in Hartree; the latter NaN if there is none."""
    levels, n = np.asarray(solution.orbital_energies), int(prepared.problem.n_occupied)
    lumo = float(levels[n]) if n < int(prepared.problem.n_real) else float("nan")
    return float(levels[n - 1]), lumo


def dipole_moment(solution: Solution, prepared: Prepared, system: System) -> np.ndarray:
    """(3,) in e Bohr: sum_A Z_A R_A - tr(D r); independent of the origin for a neutral molecule."""
    electrons = np.einsum("xij,ij->x", np.asarray(prepared.one_electron.dipole), np.asarray(solution.density))
    return system.numbers.astype(float) @ system.positions - electrons


def mulliken_charges(solution: Solution, prepared: Prepared, system: System) -> np.ndarray:
    """(A,) in e: Z_A less the sum of (DS)_ii over its orbitals (R. S. Mulliken, J. Chem. Phys. 23, 1833 (1955))."""
    populations = np.einsum("ij,ij->i", np.asarray(solution.density), np.asarray(prepared.one_electron.overlap))
    by_atom = np.bincount(prepared.orbital_atom, weights=populations, minlength=len(system.numbers))
    return system.numbers - by_atom[: len(system.numbers)]
