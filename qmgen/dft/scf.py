"""The self-consistent field of one closed-shell molecule, as an iterative solver with an explicit state.

A cycle is one step of DIIS: a Fock matrix, its extrapolation, a new density. Most are made on a coarse grid; the asked
grid is visited only to correct it:

    model Fock matrix      F(D) = h + G D + V_coarse(D) + Delta
    a visit at D           Delta = V_fine(D) - V_coarse(D), so that the model is exact at D

Between visits DIIS solves the model; Delta hardly depends on the density, so that each visit finds the orbital
gradient smaller by two to three orders of magnitude (a quasi-Newton method whose Jacobian is that of the coarse grid).
Fixed point, energy and all that is reported are those of the asked grid. Without a coarse grid every cycle is a visit.
V_coarse is evaluated in the precision of the coarse grid's weights: its rounding, too, is corrected by Delta.

It stops at a visit, when for one and the same density both |E - E of the cycle before| < conv_energy and the
orbital gradient < conv_gradient. The energy of the cycle before, which was made on the coarse grid, follows from the
Fock matrices of both, (F + F')(D - D') / 2, which is exact to third order in the step. The orbital gradient is the norm
of dE/d(rotation) = 2 F_ai over all occupied i and virtual a, which is the Frobenius norm of X^T (FDS - SDF) X divided
by sqrt(2); PySCF uses the same.
The density must also be that of the lowest levels of its own Fock matrix. The orbital gradient vanishes for other
determinants too, such as H+ H- at a long distance, where an occupied level lies above an empty one. The test is

    tr(F D) - 2 sum of the n lowest levels < conv_gradient

whose left side is zero for the lowest levels, however levels of equal energy are filled, and twice the inversion for
one inverted pair. Where it fails, the highest occupied orbital i and the lowest virtual one a are both replaced by
(i + a) / sqrt(2), the history of DIIS is dropped, virtual levels are shifted up, and every further cycle is a visit:
rounding would decide between levels that are equal by symmetry.
Failure is a value: ``converged`` is False.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from qmgen import defaults
from qmgen.dft.diis import DiisState, extrapolate, init_diis, shift
from qmgen.dft.exchange_correlation import (
    Quadrature,
    energy_and_potential,
    energy_and_potential_anew,
    values_on_grid,
)
from qmgen.dft.fock import pack_density, two_electron, unpack_symmetric
from qmgen.dft.functionals import Functional
from qmgen.dft.orbital_values import OrbitalTable

#: with 8 Fock matrices a tenth of the molecules took more than 20 cycles, with 12 none of the sample did
DIIS_SPACE = 12
#: orbital energy of padding, above any real virtual level of a valence basis (Hartree)
PADDING_LEVEL = 1e3
#: the model is solved to this orbital gradient before the first visit: further would be lost on the grid's error
FIRST_VISIT = 3e-2
#: and then to this fraction of the gradient found at the visit before, which is what a visit gains
GAIN = 3e-3
#: the fraction where the model is in float64: a visit then costs five of its cycles instead of eleven
GAIN_IN_FLOAT64 = 1e-2
#: but no further than this fraction of ``conv_gradient``: what the visit adds must leave it below
LEAST = 0.5
#: raises virtual orbitals above all occupied ones, and leaves them below those of padding (Hartree)
APART = 1e2
#: level shift (Hartree) from an inverted density on; what it leads to is tested without
STEADY = 0.3


class Problem(NamedTuple):
    """Everything the iterations need; n orbitals (padded). Hartree, Bohr.

    Attributes:
        overlap, core: (n, n) S and T + V; padding zero.
        supermatrix: panels of it from ``fock.supermatrix``.
        nuclear_repulsion: ().
        n_occupied, n_real: () int, doubly occupied orbitals and unpadded ones.
        guess: (n, n) density.
        table, positions: the orbitals as functions of space.
        grid: the asked quadrature.
        coarse: a cheaper one, or None; weights in float32 or float64.
    """

    overlap: Any
    core: Any
    supermatrix: tuple[Any, ...]
    nuclear_repulsion: Any
    n_occupied: Any
    n_real: Any
    guess: Any
    table: OrbitalTable
    positions: Any
    grid: Quadrature
    coarse: Quadrature | None = None


class Options(NamedTuple):
    """When to stop, what steadies a difficult case, and how far the model is solved between visits (``GAIN``). Hartree;
    ``damping`` in [0, 1)."""

    conv_energy: Any = defaults.CONV_ENERGY
    conv_gradient: Any = defaults.CONV_GRADIENT
    max_cycles: Any = defaults.MAX_CYCLES
    damping: Any = 0.0
    level_shift: Any = 0.0
    gain: Any = GAIN


class Path(NamedTuple):
    """Where DIIS stands: the next density, the Fock matrix that gave it, the history, cycles so far; and of the cycle
    before the density, the Fock matrix (``fock``, not extrapolated) and the orbital gradient."""

    density: Array
    used: Array
    diis: DiisState
    cycles: Array
    before: Array
    fock: Array
    gradient: Array


class State(NamedTuple):
    """The path, the correction Delta (n, n), and what the last visit to the asked grid found; ``previous_energy`` is
    that of the cycle before it. ``inverted`` says that a stationary density was not that of the lowest levels, and
    ``settled`` that the last one was."""

    path: Path
    correction: Array
    evaluated: Array
    fock: Array
    energy: Array
    previous_energy: Array
    electrons: Array
    visits: Array
    done: Array
    inverted: Array
    settled: Array
    levels: Array


class Solution(NamedTuple):
    """Results in atomic units; orbital energies of padding are ``PADDING_LEVEL``.

    ``density`` is the one whose energy is given, ``previous_energy`` that of the cycle before; ``overlap_root`` is
    S^(1/2), with 1 on the diagonal of padding; ``electrons`` is the density's
    integral over the grid; ``cycles`` counts steps of DIIS with either grid, ``visits`` those with the asked one.
    """

    energy: Array
    previous_energy: Array
    orbital_energies: Array
    density: Array
    overlap_root: Array
    gradient: Array
    electrons: Array
    cycles: Array
    visits: Array
    converged: Array


def solve(
    functional: Functional, problem: Problem, options: Options, grid_functions: GridFunctions | None = None
) -> Solution:
    """Iterate to self-consistency. Pure; maps over a leading axis of ``problem``.

    ``grid_functions`` gives the semilocal functions of a density on both grids (default: ``blockwise``).
    """
    n = problem.overlap.shape[0]
    dtype = problem.overlap.dtype
    padding = jnp.arange(n) >= problem.n_real
    overlap = problem.overlap + jnp.diag(padding.astype(dtype))
    values, vectors = jnp.linalg.eigh(overlap)
    orthogonaliser = (vectors / jnp.sqrt(values)) @ vectors.T
    shelf = jnp.diag(jnp.where(padding, PADDING_LEVEL, 0.0))
    semilocal, model = (grid_functions or blockwise)(functional, problem)

    nothing = jnp.zeros((n, n), dtype)

    def error_of(fock: Array, density: Array) -> Array:
        fds = fock @ density @ problem.overlap
        return orthogonaliser @ (fds - fds.T) @ orthogonaliser

    def size_of(error: Array) -> Array:
        return jnp.sqrt((error * error).sum() / 2.0)

    def advance(path: Path, fock: Array, level_shift: Array) -> Path:
        """One DIIS step from ``path.density``, whose Fock matrix is ``fock``."""
        density = path.density
        error = error_of(fock, density)
        diis, extrapolated = extrapolate(path.diis, fock, error, density)
        # damp what DIIS proposes, not what it stores: an error belongs to its own Fock matrix
        damped = extrapolated + options.damping * (path.used - extrapolated)
        used = jnp.where(path.cycles > 0, damped, extrapolated)
        occupied_part = problem.overlap @ density @ problem.overlap
        shifted = used + level_shift * (problem.overlap - 0.5 * occupied_part)
        _, orbitals = jnp.linalg.eigh(orthogonaliser @ (shifted + shelf) @ orthogonaliser)
        occupied = orthogonaliser @ (orbitals * (jnp.arange(n) < problem.n_occupied))
        return Path(2.0 * occupied @ occupied.T, used, diis, path.cycles + 1, density, fock, size_of(error))

    def solve_model(path: Path, correction: Array, target: Array, done: Array) -> tuple[Path, Array]:
        """DIIS on the model until the gradient of the density it stands at is below ``target``, and V_coarse there.

        The potential is evaluated in one place, so that it is compiled once: the step at which the loop is left only
        evaluates it. ``done``, which one of several molecules under ``vmap`` may be, leaves at once.
        """

        def unfinished(state: tuple[Path, Array, Array]) -> Array:
            return ~state[2]

        def step(state: tuple[Path, Array, Array]) -> tuple[Path, Array, Array]:
            path = state[0]
            _, potential, _ = model(path.density)
            linear, _ = linear_part(problem, path.density)
            fock = linear + potential + correction
            gradient = size_of(error_of(fock, path.density))
            out_of_cycles = path.cycles >= options.max_cycles - 1
            enough = done | out_of_cycles | (gradient <= target) | jnp.isnan(gradient)
            further = advance(path, fock, options.level_shift)
            path = jax.tree.map(lambda old, new: jnp.where(enough, old, new), path, further)
            return path, potential, enough

        path, potential, _ = jax.lax.while_loop(unfinished, step, (path, nothing, jnp.asarray(False)))
        return path, potential

    def visit(state: State) -> State:
        path, correction = state.path, state.correction
        if problem.coarse is not None:
            least = LEAST * options.conv_gradient
            target = jnp.where(state.visits == 0, FIRST_VISIT, jnp.maximum(options.gain * path.gradient, least))
            target = jnp.where(state.inverted, jnp.inf, target)
            path, coarse_potential = solve_model(path, correction, target, state.done)
        density = path.density
        linear, energy = linear_part(problem, density)
        exchange_correlation, potential, electrons = semilocal(density)
        fock, energy = linear + potential, energy + exchange_correlation
        if problem.coarse is not None:
            correction = potential - coarse_potential
            path = path._replace(diis=shift(path.diis, correction - state.correction, error_of))
        change = 0.5 * ((fock + path.fock) * (density - path.before)).sum()
        # the first density of all has nothing before it to be compared with
        change = jnp.where(path.cycles > 0, change, jnp.inf)
        # levels that are equal by symmetry would be occupied by chance, and be inverted again
        path = advance(
            path, fock, jnp.where(state.inverted, jnp.maximum(options.level_shift, STEADY), options.level_shift)
        )
        return state._replace(
            path=path,
            correction=correction,
            evaluated=density,
            fock=fock,
            energy=energy,
            previous_energy=energy - change,
            electrons=electrons,
            visits=state.visits + 1,
            done=(jnp.abs(change) < options.conv_energy) & (path.gradient < options.conv_gradient),
        )

    zero, big = jnp.zeros((), dtype), jnp.asarray(jnp.inf, dtype)
    start = State(
        path=Path(problem.guess, nothing, init_diis(DIIS_SPACE, n, dtype), jnp.asarray(0), nothing, nothing, big),
        correction=nothing,
        evaluated=problem.guess,
        fock=nothing,
        energy=big,
        previous_energy=big,
        electrons=zero,
        visits=jnp.asarray(0),
        done=jnp.asarray(problem.n_occupied == 0),
        inverted=jnp.asarray(False),
        settled=jnp.asarray(False),
        levels=jnp.zeros(n, dtype),
    )

    def rotated(state: State) -> State:
        """From a stationary density whose levels are inverted: the start of another attempt in the cycles left."""
        density = state.evaluated
        apart = state.fock + APART * (problem.overlap - 0.5 * problem.overlap @ density @ problem.overlap)
        _, orbitals = jnp.linalg.eigh(orthogonaliser @ (apart + shelf) @ orthogonaliser)
        number = jnp.arange(n)
        highest = orthogonaliser @ orbitals[:, problem.n_occupied - 1]
        lowest = orthogonaliser @ orbitals[:, problem.n_occupied]
        below = orthogonaliser @ (orbitals * (number < problem.n_occupied - 1))
        between = (highest + lowest) / jnp.sqrt(2.0)
        path = state.path._replace(
            density=2.0 * (below @ below.T + jnp.outer(between, between)), diis=init_diis(DIIS_SPACE, n, dtype)
        )
        return state._replace(path=path, done=jnp.asarray(False), inverted=jnp.asarray(True))

    def unfinished(state: State) -> Array:
        sane = (state.visits == 0) | jnp.isfinite(state.energy)
        return ~state.done & (state.path.cycles < options.max_cycles) & sane

    def attempt(carried: tuple[State, Array]) -> tuple[State, Array]:
        """Visits until the density is stationary, and whether it is then that of the lowest levels; from the second
        attempt on, from a rotated density."""
        state, again = carried
        state = jax.lax.cond(again & state.done & ~state.settled, rotated, lambda same: same, state)
        state = jax.lax.while_loop(unfinished, visit, state)
        levels = jnp.linalg.eigvalsh(orthogonaliser @ (state.fock + shelf) @ orthogonaliser)
        lowest = 2.0 * jnp.where(jnp.arange(n) < problem.n_occupied, levels, 0.0).sum()
        excess = (state.fock * state.evaluated).sum() - lowest
        return state._replace(levels=levels, settled=excess < options.conv_gradient), jnp.asarray(True)

    def unsettled(carried: tuple[State, Array]) -> Array:
        state, again = carried
        return ~again | state.done & ~state.settled & (state.path.cycles < options.max_cycles)

    state, _ = jax.lax.while_loop(unsettled, attempt, (start, jnp.asarray(False)))
    return Solution(
        energy=jnp.where(state.visits > 0, state.energy, 0.0),
        previous_energy=jnp.where(state.visits > 0, state.previous_energy, 0.0),
        orbital_energies=state.levels,
        density=state.evaluated,
        overlap_root=(vectors * jnp.sqrt(values)) @ vectors.T,
        gradient=state.path.gradient,
        electrons=state.electrons,
        cycles=state.path.cycles,
        visits=state.visits,
        converged=state.done & state.settled & jnp.isfinite(state.energy),
    )


def linear_part(problem: Problem, density: Array) -> tuple[Array, Array]:
    """What is linear in the density: core Hamiltonian, Coulomb and exact exchange (n, n), and their energy."""
    packed = pack_density(density)
    repulsion = two_electron(problem.supermatrix, packed)
    energy = (problem.core * density).sum() + 0.5 * packed @ repulsion + problem.nuclear_repulsion
    return problem.core + unpack_symmetric(repulsion, density.shape[0]), energy


#: density -> semilocal energy, potential (n, n) and electrons
Semilocal = Callable[[Array], tuple[Array, Array, Array]]
#: of the asked grid, and of the coarse one
GridFunctions = Callable[[Functional, Problem], tuple[Semilocal, Semilocal]]


def without_functional(problem: Problem) -> Semilocal:
    """What Hartree-Fock has in its place: no energy, no potential, and the electrons by the overlap."""
    return lambda density: (jnp.zeros(()), jnp.zeros_like(density), (problem.overlap * density).sum())


def blockwise(functional: Functional, problem: Problem) -> tuple[Semilocal, Semilocal]:
    """density -> semilocal energy, potential (n, n) and electrons, on the asked grid and on the coarse one.

    The orbitals on the coarse grid, which every cycle reads, are kept; those on the asked one, which is visited three
    times or so, are evaluated at each visit. Without a coarse grid the second is the first.
    """
    if not functional.pieces:
        without = without_functional(problem)
        return without, without
    table, positions = problem.table, problem.positions
    order = jnp.asarray(table.order)
    inverse = jnp.argsort(order)

    def on_rows(evaluate: Semilocal, dtype: Any) -> Semilocal:
        """``evaluate`` takes and gives matrices in the order of the rows of the table."""

        def ordered(density: Array) -> tuple[Array, Array, Array]:
            energy, potential, electrons = evaluate(density[order][:, order].astype(dtype))
            return energy, potential[inverse][:, inverse].astype(density.dtype), electrons

        return ordered

    def anew(density: Array) -> tuple[Array, Array, Array]:
        return energy_and_potential_anew(functional, table, positions, problem.grid, density)

    asked = on_rows(anew, problem.overlap.dtype)
    coarse = problem.coarse
    if coarse is None:
        return asked, asked
    dtype = jnp.asarray(coarse.weights).dtype
    kept = values_on_grid(table, positions, coarse, functional.needs_gradient).astype(dtype)
    return asked, on_rows(lambda density: energy_and_potential(functional, kept, coarse, density), dtype)
