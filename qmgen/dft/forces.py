"""Forces on the nuclei, by central differences of the energy of a density that is carried along.

At a displaced geometry the orbitals stay the same in the symmetrically orthogonalized basis (Lowdin, J. Chem. Phys. 18,
365 (1950)):

    D(R') = T D T^T,      T = S(R')^(-1/2) S(R)^(1/2),      force = - dE[R, D(R)] / dR

D(R') is idempotent wherever D is. For a self-consistent density, whose energy no rotation of orbitals changes to first
order, this is the exact force, Pulay's term and the moving grid included; for any other it is the slope of the energy
that this density has. Six preparations (integrals and grid) for each atom but one, whose force balances the others.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from qmgen.dft.basis import Basis
from qmgen.dft.functionals import Functional
from qmgen.dft.orbitals import OverlapPowers, overlap_powers
from qmgen.dft.prepare import Shape, System, prepare
from qmgen.dft.scf import Problem
from qmgen.dft.variational import energy_and_fock_of

#: displacement of a coordinate in Bohr: the rule's own error is 1e-7 Hartree/Bohr for the stiffest bonds, that of
#: integrals, screened at 1e-12 Hartree and in part in float32, of 5e-8
STEP: Final = 1e-3


def forces(
    functional: Functional, basis: Basis, grid_level: int, system: System, shape: Shape, density: np.ndarray
) -> np.ndarray:
    """(A, 3) forces in Hartree/Bohr on the atoms of ``system``, whose idempotent density (n, n) is padded to ``shape``.

    Raises ``ValueError`` and the like for a geometry that has no integrals.
    """
    alone = Shape(shape.n_orbitals, shape.n_atoms, shape.n_blocks)  # the coarse grid is of no use here

    def problem_at(positions: np.ndarray) -> Problem:
        made = prepare(System(system.numbers, positions), alone, basis, functional, grid_level)
        problem: Problem = jax.tree.map(jnp.asarray, made.problem)
        return problem

    root = _powers(problem_at(system.positions)).root
    orthogonal = np.asarray(root @ density @ root)
    on_atoms = np.zeros((len(system.numbers), 3))
    for atom in range(len(system.numbers) - 1):
        for axis in range(3):
            energies = []
            for sign in (1.0, -1.0):
                moved = np.array(system.positions, float)
                moved[atom, axis] += sign * STEP
                energies.append(float(_energy(functional, problem_at(moved), orthogonal)))
            on_atoms[atom, axis] = (energies[1] - energies[0]) / (2.0 * STEP)
    on_atoms[-1] = -on_atoms[:-1].sum(axis=0)
    return on_atoms


@jax.jit
def _powers(problem: Problem) -> OverlapPowers:
    return overlap_powers(problem.overlap, problem.n_real)


@partial(jax.jit, static_argnums=0)
def _energy(functional: Functional, problem: Problem, orthogonal: Array) -> Array:
    """() the energy of a density (n, n) given in the orthogonalized basis."""
    inverse_root = _powers(problem).inverse_root
    return energy_and_fock_of(functional, problem)(inverse_root @ orthogonal @ inverse_root)[0]
