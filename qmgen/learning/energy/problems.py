"""Geometries made ready for the energy loss: integrals, grid, and the Fock matrix of spherical atoms.

Molecules of like size share a shape, so that a batch may hold different molecules and few programs are compiled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from qmgen.dft.basis import Basis
from qmgen.dft.batched.exchange_correlation import OrbitalRows, dense_semilocal, orbital_rows
from qmgen.dft.functionals import Functional
from qmgen.dft.integrals.shells import shell_orbitals
from qmgen.dft.prepare import Shape, System, prepare, shape_of
from qmgen.dft.scf import GridFunctions, Problem, Semilocal, blockwise, linear_part
from qmgen.dft.variational import orthogonaliser_of
from qmgen.labeling.level import Level
from qmgen.learning.hamiltonian.inputs import Inputs

Array = jax.Array

#: orbitals are padded to a multiple of this, atoms to the most of any molecule with as many
_STEP = 8


class Case(NamedTuple):
    """One geometry, or many with a leading axis; ``orthogonaliser`` (n, n) is S^(-1/2), ``dipole`` (3, n, n) in Bohr,
    where it is known."""

    problem: Problem
    orthogonaliser: Any
    inputs: Inputs
    dipole: Any = None


def shapes_of(molecules: Sequence[np.ndarray], level: Level) -> list[Shape]:
    """A shape for each molecule of ``numbers`` (A,): few different ones, each as large as the largest it stands for."""
    own = [shape_of(numbers, level.basis, level.functional, level.grid_level) for numbers in molecules]
    rooms: dict[int, Shape] = {}
    keys = []
    for numbers, shape in zip(molecules, own, strict=True):
        orbitals = -(-level.basis.n_orbitals(numbers) // _STEP) * _STEP
        keys.append(orbitals)
        room = rooms.get(orbitals, Shape(orbitals, 1, 1))
        rooms[orbitals] = replace(
            room,
            n_atoms=max(room.n_atoms, len(numbers)),
            n_blocks=max(room.n_blocks, shape.n_blocks),
            n_coarse=max(room.n_coarse, shape.n_coarse),
        )
    return [rooms[key] for key in keys]


def case_of(system: System, shape: Shape, level: Level) -> Case:
    """Raises ``ValueError`` and the like for a geometry that has no integrals."""
    made = prepare(system, shape, level.basis, level.functional, level.grid_level)
    problem = jax.tree.map(jnp.asarray, made.problem)
    if jax.default_backend() != "cpu":
        problem = with_rows(problem, system.numbers, level.basis)
    bare = jax.tree.map(jnp.asarray, bare_inputs(system, shape, level.basis))
    return _completed(level.functional, problem, bare)._replace(dipole=made.one_electron.dipole)


def with_rows(problem: Problem, numbers: np.ndarray, basis: Basis) -> Problem:
    """``problem`` with orbitals that an accelerator evaluates at once (``dft.batched``), not shell by shell."""
    rows = orbital_rows(numbers, basis, np.shape(problem.overlap)[0])
    return problem._replace(table=jax.tree.map(jnp.asarray, rows))  # type: ignore[arg-type]


def by_table(functional: Functional, problem: Problem) -> tuple[Semilocal, Semilocal]:
    """``scf.GridFunctions`` for either kind of table."""
    return (dense_semilocal if isinstance(problem.table, OrbitalRows) else blockwise)(functional, problem)


def bare_inputs(system: System, shape: Shape, basis: Basis) -> Inputs:
    """The inputs without matrices (they are zero)."""
    numbers, positions = np.zeros(shape.n_atoms, np.int32), np.zeros((shape.n_atoms, 3))
    numbers[: len(system.numbers)], positions[: len(system.numbers)] = system.numbers, system.positions
    atom, place, l, m = (np.full(shape.n_orbitals, fill, np.int32) for fill in (0, -1, -1, 0))
    for owner, shell, orbitals in shell_orbitals(system.numbers, basis):
        names = [(momentum, component) for momentum in shell.momenta for component in range(2 * momentum + 1)]
        for orbital, (momentum, component) in zip(orbitals, names, strict=True):
            atom[orbital], l[orbital], m[orbital] = owner, momentum, component
    for owner in range(len(system.numbers)):
        mine = (atom == owner) & (l >= 0)
        place[mine] = np.arange(mine.sum())
    nothing = np.zeros((shape.n_orbitals, shape.n_orbitals))
    return Inputs(numbers, positions, atom, place, l, m, *[nothing] * 6)


def completed(
    functional: Functional,
    problem: Problem,
    inputs: Inputs,
    grid_functions: GridFunctions | None = None,
    on_sketch: bool = False,
) -> Case:
    """The case of a problem: one Fock build from ``problem.guess``, on the asked grid or on its sketch. Pure."""
    semilocal = (grid_functions or by_table)(functional, problem)[int(on_sketch)]
    linear, _ = linear_part(problem, problem.guess)
    _, potential, _ = semilocal(problem.guess)
    full = inputs._replace(
        overlap=problem.overlap,
        core=problem.core,
        density=problem.guess,
        two_electron=linear - problem.core,
        exchange_correlation=potential,
        initial=linear + potential,
    )
    return Case(problem, orthogonaliser_of(problem.overlap, problem.n_real), full)


_completed = jax.jit(completed, static_argnums=0)


def stacked(cases: Sequence[Any], size: int) -> Any:
    """Trees of one shape with a leading axis, the first repeated to ``size`` places: its weight is for the caller."""
    every = [*cases, *[cases[0]] * (size - len(cases))]
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(x) for x in leaves]), *every)
