"""The self-consistent field of one closed-shell molecule, as an iterative solver with an explicit state.

    state = init(problem)
    while not done: state = step(state)          at most ``max_cycles`` Fock builds
    solution = finish(state)

A cycle is one Fock build. It stops when, for one and the same density, both |E - E_previous| < conv_energy and the
orbital gradient < conv_gradient. The orbital gradient is the norm of dE/d(rotation) = 2 F_ai over all occupied i and
virtual a, which is the Frobenius norm of X^T (FDS - SDF) X divided by sqrt(2); PySCF uses the same.
Failure is a value: ``converged`` is False.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from qmgen.dft.diis import DiisState, extrapolate, init_diis
from qmgen.dft.exchange_correlation import energy_and_potential, values_on_grid
from qmgen.dft.fock import pack_density, unpack_symmetric
from qmgen.dft.functionals import Functional
from qmgen.dft.orbital_values import OrbitalTable

Array = jax.Array

DIIS_SPACE = 8
#: orbital energy of padding, above any real virtual level of a valence basis (Hartree)
PADDING_LEVEL = 1e3


class Problem(NamedTuple):
    """Everything the iterations need; n orbitals (padded), b blocks of grid points. Hartree, Bohr.

    Attributes:
        overlap, core: (n, n) S and T + V; padding zero.
        supermatrix: (n_pairs, n_pairs) from ``fock.supermatrix``.
        nuclear_repulsion: ().
        n_occupied, n_real: () int, doubly occupied orbitals and unpadded ones.
        guess: (n, n) density.
        table, positions: the orbitals as functions of space.
        points, weights: (b, BLOCK, 3), (b, BLOCK); n_blocks: () int, blocks in use.
    """

    overlap: Any
    core: Any
    supermatrix: Any
    nuclear_repulsion: Any
    n_occupied: Any
    n_real: Any
    guess: Any
    table: OrbitalTable
    positions: Any
    points: Any
    weights: Any
    n_blocks: Any


class Options(NamedTuple):
    """When to stop, and what steadies a difficult case. Hartree; ``damping`` in [0, 1)."""

    conv_energy: Any = 1e-9
    conv_gradient: Any = 1e-6
    max_cycles: Any = 50
    damping: Any = 0.0
    level_shift: Any = 0.0


class State(NamedTuple):
    density: Array
    evaluated: Array
    fock: Array
    used: Array
    energy: Array
    previous_energy: Array
    gradient: Array
    electrons: Array
    cycles: Array
    done: Array
    diis: DiisState


class Solution(NamedTuple):
    """Results in atomic units; orbital energies of padding are ``PADDING_LEVEL``.

    ``density`` is the one whose energy is given; ``electrons`` its integral over the grid.
    """

    energy: Array
    previous_energy: Array
    orbital_energies: Array
    density: Array
    gradient: Array
    electrons: Array
    cycles: Array
    converged: Array


def solve(functional: Functional, problem: Problem, options: Options) -> Solution:
    """Iterate to self-consistency. Pure; maps over a leading axis of ``problem``."""
    n = problem.overlap.shape[0]
    padding = jnp.arange(n) >= problem.n_real
    overlap = problem.overlap + jnp.diag(padding.astype(problem.overlap.dtype))
    values, vectors = jnp.linalg.eigh(overlap)
    orthogonaliser = (vectors / jnp.sqrt(values)) @ vectors.T
    shelf = jnp.diag(jnp.where(padding, PADDING_LEVEL, 0.0))
    grid = values_on_grid(problem.table, problem.positions, problem.points, problem.n_blocks, functional.needs_gradient)

    def new_density(fock: Array) -> Array:
        _, orbitals = jnp.linalg.eigh(orthogonaliser @ (fock + shelf) @ orthogonaliser)
        occupied = orthogonaliser @ (orbitals * (jnp.arange(n) < problem.n_occupied))
        return 2.0 * occupied @ occupied.T

    def step(state: State) -> State:
        density = state.density
        fock, energy, electrons = build_fock(functional, problem, grid, density)
        fds = fock @ density @ problem.overlap
        error = orthogonaliser @ (fds - fds.T) @ orthogonaliser
        gradient = jnp.sqrt((error * error).sum() / 2.0)
        change = jnp.abs(energy - state.energy)
        done = (change < options.conv_energy) & (gradient < options.conv_gradient)
        diis, extrapolated = extrapolate(state.diis, fock, error)
        # damp what DIIS proposes, not what it stores: an error belongs to its own Fock matrix
        used = jnp.where(state.cycles > 0, extrapolated + options.damping * (state.used - extrapolated), extrapolated)
        occupied_part = problem.overlap @ density @ problem.overlap
        shifted = used + options.level_shift * (problem.overlap - 0.5 * occupied_part)
        return State(
            density=new_density(shifted),
            evaluated=density,
            fock=fock,
            used=used,
            energy=energy,
            previous_energy=state.energy,
            gradient=gradient,
            electrons=electrons,
            cycles=state.cycles + 1,
            done=done,
            diis=diis,
        )

    dtype = problem.overlap.dtype
    zero, big = jnp.zeros((), dtype), jnp.asarray(jnp.inf, dtype)
    start = State(
        density=problem.guess,
        evaluated=problem.guess,
        fock=jnp.zeros((n, n), dtype),
        used=jnp.zeros((n, n), dtype),
        energy=big,
        previous_energy=big,
        gradient=big,
        electrons=zero,
        cycles=jnp.asarray(0),
        done=problem.n_occupied == 0,
        diis=init_diis(DIIS_SPACE, n, dtype),
    )

    def unfinished(state: State) -> Array:
        sane = (state.cycles == 0) | jnp.isfinite(state.energy)
        return ~state.done & (state.cycles < options.max_cycles) & sane

    state = jax.lax.while_loop(unfinished, step, start)
    levels = jnp.linalg.eigvalsh(orthogonaliser @ (state.fock + shelf) @ orthogonaliser)
    return Solution(
        energy=jnp.where(state.cycles > 0, state.energy, 0.0),
        previous_energy=jnp.where(state.cycles > 0, state.previous_energy, 0.0),
        orbital_energies=levels,
        density=state.evaluated,
        gradient=state.gradient,
        electrons=state.electrons,
        cycles=state.cycles,
        converged=state.done & jnp.isfinite(state.energy),
    )


def build_fock(functional: Functional, problem: Problem, grid: Array, density: Array) -> tuple[Array, Array, Array]:
    """Fock matrix (n, n), total energy, and electrons on the grid, of a density (n, n)."""
    n = density.shape[0]
    packed = pack_density(density)
    two_electron = problem.supermatrix @ packed
    energy = (problem.core * density).sum() + 0.5 * packed @ two_electron + problem.nuclear_repulsion
    fock = problem.core + unpack_symmetric(two_electron, n)
    electrons = (problem.overlap * density).sum()
    if functional.pieces:
        semilocal, potential, electrons = energy_and_potential(
            functional, grid, problem.weights, problem.n_blocks, density
        )
        energy, fock = energy + semilocal, fock + potential
    return fock, energy, electrons
