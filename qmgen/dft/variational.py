"""The energy as a function of a Hamiltonian matrix, and its gradient: what a network can be trained by without labels.

    H  ->  lowest orbitals of H  ->  idempotent density D  ->  E[D],  an upper bound of the converged energy

(variational principle; E. Mathiasen et al., arXiv 2402.04030, take it as a loss). Each of ``refine`` Roothaan
steps then goes on from the Fock matrix of the density at hand, damped so that the energy does not rise:

    H' = H + lambda (F[D] - H),    lambda = the first of 1, 1/2, 1/4, 1/8 with E' <= E; 0 where there is none

Gradients, all exact for the lambdas that were taken:

    dE/dD = F                              no second pass through the functional
    dE/dH = 2 (M + M^T),  M = C_o [ (C_o^T F C_v)_ia / (e_i - e_a) ] C_v^T
                                           occupied-virtual pairs alone: degenerate levels on either side do no harm
    through a Roothaan step                the second derivative of E is symmetric: a derivative of F along a direction
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from qmgen.dft.functionals import Functional
from qmgen.dft.orbitals import diagonalize, fill
from qmgen.dft.scf import Problem, linear_part, semilocal_of

#: attempts at a Roothaan step, each with half the step of the one before
HALVINGS: Final = 4
#: occupied and virtual levels nearer than this (Hartree) count as this far apart in the gradient: where they cross the
#: energy has a kink, and no gradient
SMALLEST_GAP: Final = 1e-5


class RoothaanStep(NamedTuple):
    """A Hamiltonian and what follows from it; n orbitals, Hartree.

    Attributes:
        hamiltonian: (n, n).
        orbitals, levels: (n, n) columns, (n,); padding last.
        density: (n, n), idempotent: D S D = 2 D.
        energy: () total energy.
        fock: (n, n) dE/dD, the Fock matrix of ``density``.
    """

    hamiltonian: Array
    orbitals: Array
    levels: Array
    density: Array
    energy: Array
    fock: Array


class RoothaanSteps(NamedTuple):
    """A chain of Roothaan steps: the last, those before with a leading axis (refine, ...), the damping (refine,) of
    the step after each of them."""

    last: RoothaanStep
    before: RoothaanStep
    dampings: Array


def density_of(problem: Problem, inverse_root: Array, hamiltonian: Array) -> Array:
    """The idempotent density (n, n) of the lowest orbitals of ``hamiltonian`` (n, n), padding zero."""
    _, orbitals = diagonalize(inverse_root, hamiltonian, problem.n_real)
    return fill(orbitals, problem.n_occupied)


def roothaan_steps(
    functional: Functional,
    problem: Problem,
    inverse_root: Array,
    hamiltonian: Array,
    refine: int,
) -> RoothaanSteps:
    """The energy of ``hamiltonian`` (n, n) and of ``refine`` damped Roothaan steps after it. Pure; maps over a leading
    axis.

    ``problem.coarse`` and ``problem.guess`` are not used.
    """
    energy_and_fock = energy_and_fock_of(functional, problem)

    def evaluated(matrix: Array) -> RoothaanStep:
        levels, orbitals = diagonalize(inverse_root, matrix, problem.n_real)
        density = fill(orbitals, problem.n_occupied)
        energy, fock = energy_and_fock(density)
        return RoothaanStep(matrix, orbitals, levels, density, energy, fock)

    def step(last: RoothaanStep) -> tuple[RoothaanStep, Array]:
        def attempt(state: tuple[RoothaanStep, Array, Array, Array]) -> tuple[RoothaanStep, Array, Array, Array]:
            _, damping, count, _ = state
            damping = jnp.where(count == 0, 1.0, 0.5 * damping)
            after = evaluated(last.hamiltonian + damping * (last.fock - last.hamiltonian))
            return after, damping, count + 1, after.energy <= last.energy

        def unfinished(state: tuple[RoothaanStep, Array, Array, Array]) -> Array:
            return ~state[3] & (state[2] < HALVINGS)

        begin = last, jnp.ones((), last.energy.dtype), jnp.asarray(0), jnp.asarray(False)
        after, damping, _, good = jax.lax.while_loop(unfinished, attempt, begin)
        kept = jax.tree.map(lambda new, old: jnp.where(good, new, old), after, last)
        return kept, jnp.where(good, damping, 0.0)

    first = evaluated(hamiltonian)
    if refine == 0:  # a loop of no steps would be compiled all the same, and take three quarters of the time
        return RoothaanSteps(first, jax.tree.map(lambda x: jnp.zeros((0, *x.shape), x.dtype), first), jnp.zeros(0))
    # a scan, or each step would be compiled for itself
    last, (before, dampings) = jax.lax.scan(lambda t, _: _with(t, *step(t)), first, None, length=refine)
    return RoothaanSteps(last, before, dampings)


def _with(before: RoothaanStep, after: RoothaanStep, damping: Array) -> tuple[RoothaanStep, tuple[RoothaanStep, Array]]:
    return after, (before, damping)


def energy_and_gradient(
    functional: Functional,
    problem: Problem,
    inverse_root: Array,
    hamiltonian: Array,
    refine: int = 0,
) -> tuple[Array, Array]:
    """The energy () after ``refine`` Roothaan steps, and its derivative (n, n) with respect to ``hamiltonian``:
    symmetric, zero on padding. Pure; maps over a leading axis."""
    chain = roothaan_steps(functional, problem, inverse_root, hamiltonian, refine)
    energy_and_fock = energy_and_fock_of(functional, problem)

    def back(by_hamiltonian: Array, step: tuple[RoothaanStep, Array]) -> tuple[Array, None]:
        here, damping = step  # H' = (1 - damping) H + damping F[D(H)]
        _, by_density = jax.jvp(lambda d: energy_and_fock(d)[1], (here.density,), (damping * by_hamiltonian,))
        return (1.0 - damping) * by_hamiltonian + _through_orbitals(problem, here, by_density), None

    end = _through_orbitals(problem, chain.last, chain.last.fock)
    if refine == 0:
        return chain.last.energy, end
    by_hamiltonian, _ = jax.lax.scan(back, end, (chain.before, chain.dampings), reverse=True)
    return chain.last.energy, by_hamiltonian


def energy_and_fock_of(functional: Functional, problem: Problem) -> Callable[[Array], tuple[Array, Array]]:
    """density (n, n) of a closed shell -> total energy (), Fock matrix (n, n)."""
    semilocal = semilocal_of(functional, problem._replace(coarse=None)).fine

    def energy_and_fock(density: Array) -> tuple[Array, Array]:
        fock, energy = linear_part(problem, density[None])
        exchange_correlation, potential, _ = semilocal(density[None])
        return energy + exchange_correlation, (fock + potential)[0]

    return energy_and_fock


def _through_orbitals(problem: Problem, step: RoothaanStep, by_density: Any) -> Array:
    """dE/dH from dE/dD (n, n)."""
    n = step.levels.shape[0]
    occupied = jnp.arange(n) < problem.n_occupied
    real = jnp.arange(n) < problem.n_real
    gap = jnp.maximum(step.levels[None, :] - step.levels[:, None], SMALLEST_GAP)
    pairs = occupied[:, None] & (~occupied & real)[None, :]
    rotated = step.orbitals.T @ by_density @ step.orbitals
    half = step.orbitals @ jnp.where(pairs, -rotated / gap, 0.0) @ step.orbitals.T
    return 2.0 * (half + half.T)
