"""The self-consistent field (SCF) of one closed-shell molecule, as an iterative solver with an explicit state.

Densities and Fock matrices have a leading axis of spins (s, n, n). Closed shells have one: the density of both spins,
with two electrons in an orbital.

A cycle is one step of DIIS: a Fock matrix, its extrapolation, a new density. Most are made on a coarse grid; the fine
grid is evaluated only to compute the correction:

    model Fock matrix           F(D) = h + G D + V_coarse(D) + Delta
    fine-grid evaluation at D   Delta = V_fine(D) - V_coarse(D), so that the model is exact at D

Between fine-grid evaluations DIIS solves the model; Delta hardly depends on the density, so that each evaluation finds
the orbital gradient smaller by two to three orders of magnitude (a quasi-Newton method whose Jacobian is that of the
coarse grid). Fixed point, energy and all results are those of the fine grid. Without a coarse grid every cycle
evaluates the fine one. V_coarse is evaluated in the precision of the coarse grid's weights: its rounding, too, is
corrected by Delta.

The iteration stops at a fine-grid evaluation, when for one and the same density both |E - E of the cycle before| <
conv_energy and the orbital gradient < conv_gradient. The energy of the cycle before, which was made on the coarse grid,
follows from the Fock matrices of both, (F + F')(D - D') / 2, which is exact to third order in the step. The orbital
gradient is the norm of dE/d(rotation) = 2 F_ai over all occupied i and virtual a, which is the Frobenius norm of
X^T (FDS - SDF) X divided by sqrt(2); PySCF uses the same.
The density must also be that of the lowest levels of its own Fock matrix. The orbital gradient vanishes for other
determinants too, such as H+ H- at a long distance, where an occupied level lies above an empty one. The test is

    tr(F D) - 2 sum of the n lowest levels < conv_gradient

whose left side is zero for the lowest levels, however levels of equal energy are filled, and twice the inversion for
one inverted pair. Where it fails, the highest occupied orbital i and the lowest virtual one a are both replaced by
(i + a) / sqrt(2), the history of DIIS is dropped, virtual levels are shifted up, and every further cycle evaluates the
fine grid: rounding would decide between levels that are equal by symmetry.
Failure is a value: ``converged`` is False.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from qmgen import defaults
from qmgen.dft.backend import Backend, current
from qmgen.dft.coulomb_exchange import CoulombExchange, FittedCoulombExchange
from qmgen.dft.diis import DiisState, extrapolate, init_diis, shift
from qmgen.dft.exchange_correlation import GridFunctions, Terms, grid_functions
from qmgen.dft.functionals import Functional
from qmgen.dft.grid import Quadrature
from qmgen.dft.orbital_values import OrbitalTable
from qmgen.dft.orbitals import diagonalize, fill, in_orthonormal_basis, overlap_powers

#: with 8 Fock matrices a tenth of the molecules took more than 20 cycles, with 12 none of the sample did
DIIS_SPACE = 12
#: the model is solved to this orbital gradient before the first fine-grid evaluation: further would be lost on the
#: grid's error
FIRST_EVALUATION = 3e-2
#: and then to this fraction of the gradient at the fine-grid evaluation before, which is what an evaluation gains
GAIN = 3e-3
#: the fraction where the model is in float64: an evaluation then costs five of its cycles instead of eleven
GAIN_IN_FLOAT64 = 1e-2
#: but no further than this fraction of ``conv_gradient``: what the evaluation adds must leave it below
LEAST = 0.5
#: raises virtual orbitals above all occupied ones, and leaves them below those of padding (Hartree)
APART = 1e2
#: level shift (Hartree) from an inverted density on; what it leads to is tested without
STEADY = 0.3


class Problem(NamedTuple):
    """Everything the iterations need; n orbitals (padded). Hartree, Bohr.

    Attributes:
        overlap, core: (n, n) S and T + V; padding zero.
        coulomb_exchange: the two-electron operators of a density.
        nuclear_repulsion: ().
        n_occupied, n_real: () int, doubly occupied orbitals and unpadded ones.
        guess: (s, n, n) density.
        table, positions: the orbitals as functions of space.
        grid: the fine quadrature.
        coarse: a cheaper one, or None; weights in float32 or float64.
    """

    overlap: Any
    core: Any
    coulomb_exchange: CoulombExchange | FittedCoulombExchange
    nuclear_repulsion: Any
    n_occupied: Any
    n_real: Any
    guess: Any
    table: OrbitalTable
    positions: Any
    grid: Quadrature
    coarse: Quadrature | None = None


class ScfOptions(NamedTuple):
    """When to stop, what steadies a difficult case, and how far the model is solved between fine-grid evaluations
    (``GAIN``). Hartree; ``damping`` in [0, 1)."""

    conv_energy: Any = defaults.CONV_ENERGY
    conv_gradient: Any = defaults.CONV_GRADIENT
    max_cycles: Any = defaults.MAX_CYCLES
    damping: Any = 0.0
    level_shift: Any = 0.0
    gain: Any = GAIN


class ScfPath(NamedTuple):
    """Where DIIS stands: the next density and what is linear in it (``linear_part``), the Fock matrix that gave it, the
    history, cycles so far; and of the cycle before the density, the Fock matrix (``fock``, not extrapolated) and the
    orbital gradient."""

    density: Array
    linear: tuple[Array, Array]
    used: Array
    diis: DiisState
    cycles: Array
    before: Array
    fock: Array
    gradient: Array


class ScfState(NamedTuple):
    """The path, the correction Delta (s, n, n), and what the last evaluation of the fine grid gave;
    ``previous_energy`` is that of the cycle before it. ``inverted`` says that a stationary density was not that of the
    lowest levels, and ``settled`` that the last one was."""

    path: ScfPath
    correction: Array
    evaluated: Array
    fock: Array
    energy: Array
    previous_energy: Array
    electrons: Array
    fine_evaluations: Array
    done: Array
    inverted: Array
    settled: Array
    levels: Array


class Solution(NamedTuple):
    """Results in atomic units.

    Attributes:
        energy, previous_energy: () the energy, and that of the cycle before.
        orbital_energies: (s, n), those of padding ``orbitals.PADDING_LEVEL``.
        density: (s, n, n) the one whose energy is given.
        overlap_root: (n, n) S^(1/2).
        gradient: () orbital gradient.
        electrons: () the integral of the density over the grid.
        cycles, fine_evaluations: () int, steps of DIIS with either grid, and those with the fine one.
        converged: () bool.
    """

    energy: Array
    previous_energy: Array
    orbital_energies: Array
    density: Array
    overlap_root: Array
    gradient: Array
    electrons: Array
    cycles: Array
    fine_evaluations: Array
    converged: Array


def solve(functional: Functional, problem: Problem, options: ScfOptions, backend: Backend | None = None) -> Solution:
    """Iterate to self-consistency. Pure; maps over a leading axis of ``problem``.

    ``backend`` (default: that of this process) says how the loops over the grids are driven.
    """
    shape, dtype = problem.guess.shape, problem.overlap.dtype
    electrons = 2.0 / shape[0]  # in an orbital of one spin axis
    root, inverse_root = overlap_powers(problem.overlap, problem.n_real)
    semilocal, model = semilocal_of(functional, problem, backend)

    nothing = jnp.zeros(shape, dtype)

    def error_of(fock: Array, density: Array) -> Array:
        fds = fock @ density @ problem.overlap
        return inverse_root @ (fds - fds.mT) @ inverse_root

    def size_of(error: Array) -> Array:
        return jnp.sqrt((error * error).sum() / 2.0)

    def virtual_part(density: Array) -> Array:
        """(s, n, n) one on the virtual orbitals of an idempotent density, zero on the occupied ones."""
        return problem.overlap - problem.overlap @ density @ problem.overlap / electrons

    def occupy(orbitals: Array) -> tuple[Array, tuple[Array, Array]]:
        """The density of the lowest orbitals, and what is linear in it."""
        density = fill(orbitals, problem.n_occupied, electrons)
        return density, linear_part(problem, density, orbitals)

    def advance(path: ScfPath, fock: Array, level_shift: Array) -> ScfPath:
        """One DIIS step from ``path.density``, whose Fock matrix is ``fock``."""
        density = path.density
        error = error_of(fock, density)
        diis, extrapolated = extrapolate(path.diis, fock, error, density)
        # damp what DIIS proposes, not what it stores: an error belongs to its own Fock matrix
        damped = extrapolated + options.damping * (path.used - extrapolated)
        used = jnp.where(path.cycles > 0, damped, extrapolated)
        _, orbitals = diagonalize(inverse_root, used + level_shift * virtual_part(density), problem.n_real)
        filled, linear = occupy(orbitals)
        return ScfPath(filled, linear, used, diis, path.cycles + 1, density, fock, size_of(error))

    def solve_model(path: ScfPath, correction: Array, target: Array, done: Array) -> tuple[ScfPath, Array]:
        """DIIS on the model until the gradient of the density it stands at is below ``target``, and V_coarse there.

        The potential is evaluated in one place, so that it is compiled once: the step at which the loop is left only
        evaluates it. ``done``, which one of several molecules under ``vmap`` may be, leaves at once.
        """

        def unfinished(state: tuple[ScfPath, Array, Array]) -> Array:
            return ~state[2]

        def step(state: tuple[ScfPath, Array, Array]) -> tuple[ScfPath, Array, Array]:
            path = state[0]
            _, potential, _ = model(path.density)
            fock = path.linear[0] + potential + correction
            gradient = size_of(error_of(fock, path.density))
            out_of_cycles = path.cycles >= options.max_cycles - 1
            enough = done | out_of_cycles | (gradient <= target) | jnp.isnan(gradient)
            further = jax.lax.cond(enough, lambda: path, lambda: advance(path, fock, options.level_shift))
            return further, potential, enough

        path, potential, _ = jax.lax.while_loop(unfinished, step, (path, nothing, jnp.asarray(False)))
        return path, potential

    def evaluate_fine(state: ScfState) -> ScfState:
        path, correction = state.path, state.correction
        if problem.coarse is not None:
            least = LEAST * options.conv_gradient
            target = jnp.where(
                state.fine_evaluations == 0, FIRST_EVALUATION, jnp.maximum(options.gain * path.gradient, least)
            )
            target = jnp.where(state.inverted, jnp.inf, target)
            path, coarse_potential = solve_model(path, correction, target, state.done)
        density = path.density
        linear, energy = path.linear
        exchange_correlation, potential, counted = semilocal(density)
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
            electrons=counted,
            fine_evaluations=state.fine_evaluations + 1,
            done=(jnp.abs(change) < options.conv_energy) & (path.gradient < options.conv_gradient),
        )

    no_history = init_diis(DIIS_SPACE, shape, dtype)
    zero, big = jnp.zeros((), dtype), jnp.asarray(jnp.inf, dtype)
    start = ScfState(
        path=ScfPath(
            problem.guess,
            linear_part(problem, problem.guess),
            nothing,
            no_history,
            jnp.asarray(0),
            nothing,
            nothing,
            big,
        ),
        correction=nothing,
        evaluated=problem.guess,
        fock=nothing,
        energy=big,
        previous_energy=big,
        electrons=zero,
        fine_evaluations=jnp.asarray(0),
        done=jnp.asarray(problem.n_occupied == 0),
        inverted=jnp.asarray(False),
        settled=jnp.asarray(False),
        levels=jnp.zeros(shape[:2], dtype),
    )

    def rotated(state: ScfState) -> ScfState:
        """From a stationary density whose levels are inverted: the start of another attempt in the cycles left."""
        apart = state.fock + APART * virtual_part(state.evaluated)
        _, orbitals = diagonalize(inverse_root, apart, problem.n_real)
        last = problem.n_occupied - 1
        between = (orbitals[..., last] + orbitals[..., last + 1]) / jnp.sqrt(2.0)
        density, linear = occupy(orbitals.at[..., last].set(between))
        path = state.path._replace(density=density, linear=linear, diis=no_history)
        return state._replace(path=path, done=jnp.asarray(False), inverted=jnp.asarray(True))

    def unfinished(state: ScfState) -> Array:
        sane = (state.fine_evaluations == 0) | jnp.isfinite(state.energy)
        return ~state.done & (state.path.cycles < options.max_cycles) & sane

    def attempt(carried: tuple[ScfState, Array]) -> tuple[ScfState, Array]:
        """Fine-grid evaluations until the density is stationary, and whether it is then that of the lowest levels; from
        the second attempt on, from a rotated density."""
        state, again = carried
        state = jax.lax.cond(again & state.done & ~state.settled, rotated, lambda same: same, state)
        state = jax.lax.while_loop(unfinished, evaluate_fine, state)
        levels = jnp.linalg.eigvalsh(in_orthonormal_basis(inverse_root, state.fock, problem.n_real))
        lowest = electrons * jnp.where(jnp.arange(shape[-1]) < problem.n_occupied, levels, 0.0).sum()
        excess = (state.fock * state.evaluated).sum() - lowest
        return state._replace(levels=levels, settled=excess < options.conv_gradient), jnp.asarray(True)

    def unsettled(carried: tuple[ScfState, Array]) -> Array:
        state, again = carried
        return ~again | state.done & ~state.settled & (state.path.cycles < options.max_cycles)

    state, _ = jax.lax.while_loop(unsettled, attempt, (start, jnp.asarray(False)))
    return Solution(
        energy=jnp.where(state.fine_evaluations > 0, state.energy, 0.0),
        previous_energy=jnp.where(state.fine_evaluations > 0, state.previous_energy, 0.0),
        orbital_energies=state.levels,
        density=state.evaluated,
        overlap_root=root,
        gradient=state.path.gradient,
        electrons=state.electrons,
        cycles=state.path.cycles,
        fine_evaluations=state.fine_evaluations,
        converged=state.done & state.settled & jnp.isfinite(state.energy),
    )


def linear_part(problem: Problem, density: Array, orbitals: Array | None = None) -> tuple[Array, Array]:
    """What is linear in the density: core Hamiltonian, Coulomb and exact exchange (s, n, n), and their energy ().

    ``orbitals`` (s, n, n) are those whose lowest make the density, where they are known.
    """
    repulsion, energy = problem.coulomb_exchange.jk(density, orbitals, problem.n_occupied)
    return problem.core + repulsion, (problem.core * density).sum() + energy + problem.nuclear_repulsion


def semilocal_of(functional: Functional, problem: Problem, backend: Backend | None = None) -> GridFunctions:
    """The semilocal functional of a density on the grids of a problem, by the loops of ``backend``.

    Hartree-Fock has none: no energy, no potential, and the electrons by the overlap.
    """
    if functional.pieces:
        grids = problem.grid, problem.coarse
        return grid_functions(backend or current(), functional, problem.table, problem.positions, *grids)

    def nothing(density: Array) -> Terms:
        return jnp.zeros(()), jnp.zeros_like(density), (problem.overlap * density).sum()

    return GridFunctions(nothing, nothing)
