"""The energy of a Hamiltonian: its gradient, the variational bound, Roothaan steps, padding, PySCF's number for it."""

from __future__ import annotations

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qmgen.constants import BOHR_TO_ANGSTROM
from qmgen.dft.basis import load_basis
from qmgen.dft.functionals import functional
from qmgen.dft.guess import core_guess
from qmgen.dft.orbitals import overlap_powers
from qmgen.dft.prepare import Shape, System, prepare, shape_of
from qmgen.dft.scf import Problem, ScfOptions, solve
from qmgen.dft.variational import (
    RoothaanSteps,
    energy_and_fock_of,
    energy_and_gradient,
    roothaan_steps,
)

B3LYP, STO3G = functional("b3lyp5"), load_basis("sto-3g")


def ring(radius: float) -> list[tuple[float, float, float]]:
    return [(radius * np.cos(k * np.pi / 3), radius * np.sin(k * np.pi / 3), 0.0) for k in range(6)]


D = 1.09 / np.sqrt(3)
#: atoms and positions in Angstrom; all but water have levels that are exactly degenerate by symmetry
MOLECULES: dict[str, tuple[list[int], list[tuple[float, float, float]]]] = {
    "water": ([8, 1, 1], [(0, 0, 0.1), (0, 0.76, -0.48), (0.05, -0.75, -0.5)]),
    "methane": ([6, 1, 1, 1, 1], [(0, 0, 0), (D, D, D), (D, -D, -D), (-D, D, -D), (-D, -D, D)]),
    "acetylene": ([6, 6, 1, 1], [(0, 0, 0.6), (0, 0, -0.6), (0, 0, 1.66), (0, 0, -1.66)]),
    "benzene": ([6] * 6 + [1] * 6, ring(1.39) + ring(2.48)),
}
#: one shape for all, so that each function is compiled once
SHAPE = Shape(40, 16, 32)


@cache
def problem_of(name: str, shape: Shape = SHAPE) -> Problem:
    numbers, places = MOLECULES[name]
    system = System(np.array(numbers), np.array(places) / BOHR_TO_ANGSTROM)
    return jax.tree.map(jnp.asarray, prepare(system, shape, STO3G, B3LYP, 0).problem)


@cache
def root_of(name: str, shape: Shape = SHAPE) -> jax.Array:
    problem = problem_of(name, shape)
    return overlap_powers(problem.overlap, problem.n_real).inverse_root


FIELD = jax.jit(lambda problem, density: energy_and_fock_of(B3LYP, problem)(density))
SOLVE = jax.jit(lambda problem: solve(B3LYP, problem, ScfOptions(1e-10, 1e-7, 100)))


@cache
def gradient_at(refine: int) -> Any:
    return jax.jit(lambda problem, root, h: energy_and_gradient(B3LYP, problem, root, h, refine))


@cache
def chain_at(refine: int) -> Any:
    return jax.jit(lambda problem, root, h: roothaan_steps(B3LYP, problem, root, h, refine))


def initial(name: str, shape: Shape = SHAPE) -> np.ndarray:
    """The Fock matrix of spherical atoms."""
    problem = problem_of(name, shape)
    return np.asarray(FIELD(problem, problem.guess[0])[1])


def disturbed(name: str, size: float, seed: int, shape: Shape = SHAPE) -> np.ndarray:
    """A symmetric matrix (n, n) of this norm, zero on padding."""
    n = int(problem_of(name, shape).n_real)
    draw = np.random.default_rng(seed).normal(size=(n, n))
    full = np.zeros((shape.n_orbitals, shape.n_orbitals))
    full[:n, :n] = draw + draw.T
    return size * full / np.linalg.norm(full)


def slope(name: str, hamiltonian: np.ndarray, direction: np.ndarray, refine: int) -> float:
    """dE along a direction by central differences of two steps, the error of fourth order: 1e-3 Ha is far below any
    gap here, and the rounding of an energy, 1e-13, is 1e-10 of it."""
    problem, root, step = problem_of(name), root_of(name), 1e-3

    def central(h: float) -> float:
        ends = [float(gradient_at(refine)(problem, root, hamiltonian + s * h * direction)[0]) for s in (1, -1)]
        return (ends[0] - ends[1]) / (2 * h)

    return (4 * central(step / 2) - central(step)) / 3


@pytest.mark.parametrize("name", MOLECULES)
@pytest.mark.parametrize("off", [0.0, 0.3])
def test_gradient_is_the_slope(name: str, off: float) -> None:
    hamiltonian = initial(name) + disturbed(name, off, 1)
    _, gradient = gradient_at(0)(problem_of(name), root_of(name), hamiltonian)
    assert np.all(np.isfinite(gradient)) and np.array_equal(gradient, np.asarray(gradient).T)
    for seed in (2, 3):
        direction = disturbed(name, 1.0, seed)
        found = float((np.asarray(gradient) * direction).sum())
        # 1e-6: central differences with this step are no better; relative to the length of the gradient, since a
        # direction may happen to be nearly across it
        assert abs(found - slope(name, hamiltonian, direction, 0)) < 1e-6 * np.linalg.norm(gradient)


@pytest.mark.parametrize("name", ["water", "methane"])
def test_gradient_through_roothaan_steps(name: str) -> None:
    hamiltonian = initial(name) + disturbed(name, 0.5, 4)
    _, gradient = gradient_at(2)(problem_of(name), root_of(name), hamiltonian)
    direction = disturbed(name, 1.0, 5)
    found = float((np.asarray(gradient) * direction).sum())
    # energies fall by orders of magnitude with each step, and their differences lose as many digits
    assert abs(found - slope(name, hamiltonian, direction, 2)) < 1e-5 * np.linalg.norm(gradient)


def test_gradient_through_steps_that_were_halved() -> None:
    """From this start the second and third step would overshoot, and half of each is taken."""
    hamiltonian = initial("acetylene") + disturbed("acetylene", 3.0, 2)
    chain = chain_at(3)(problem_of("acetylene"), root_of("acetylene"), hamiltonian)
    assert np.asarray(chain.dampings).tolist() == [1.0, 0.5, 0.5]  # else it tests what the one before does
    energy, gradient = gradient_at(3)(problem_of("acetylene"), root_of("acetylene"), hamiltonian)
    assert abs(float(energy) - float(chain.last.energy)) < 1e-10 and np.all(np.isfinite(gradient))
    direction = disturbed("acetylene", 1.0, 5)
    found = float((np.asarray(gradient) * direction).sum())
    # as above
    assert abs(found - slope("acetylene", hamiltonian, direction, 3)) < 1e-5 * np.linalg.norm(gradient)


def test_symmetric_molecules_have_no_force_out_of_their_symmetry() -> None:
    """At exactly degenerate levels the gradient must not depend on which orbitals eigh happens to choose: it has the
    symmetry of the molecule. Atoms 1 to 4 of methane are alike, so are their diagonal elements."""
    _, gradient = gradient_at(0)(problem_of("methane"), root_of("methane"), initial("methane"))
    own = np.diag(gradient)[5:9]
    # the grid is fixed in space and has not quite the symmetry of methane: 1e-5
    assert np.ptp(own) < 1e-4 * np.abs(own).max()


@pytest.mark.parametrize("name", MOLECULES)
def test_the_converged_field_is_a_stationary_point(name: str) -> None:
    problem = problem_of(name)
    found = SOLVE(problem._replace(coarse=None))
    assert bool(found.converged)
    fock = FIELD(problem, found.density[0])[1]
    energy, gradient = gradient_at(0)(problem, root_of(name), fock)
    # the energy is of second order in the orbital gradient, 1e-7
    assert abs(float(energy) - float(found.energy)) < 1e-9
    # the orbital gradient over the gap (0.3 Ha at least here)
    assert np.abs(gradient).max() < 1e-6


@pytest.mark.parametrize("name", ["water", "acetylene"])
def test_no_idempotent_density_lies_below(name: str) -> None:
    problem = problem_of(name)
    bound = float(SOLVE(problem._replace(coarse=None)).energy)
    for seed in range(12):
        size = 10.0 ** (seed / 4 - 2)
        chain = chain_at(0)(problem, root_of(name), initial(name) + disturbed(name, size, seed))
        density = np.asarray(chain.last.density)
        assert np.abs(density @ np.asarray(problem.overlap) @ density - 2 * density).max() < 1e-10
        assert float(chain.last.energy) >= bound - 1e-8


def energies(chain: RoothaanSteps) -> np.ndarray:
    return np.append(chain.before.energy, chain.last.energy)


@pytest.mark.parametrize("name", MOLECULES)
def test_roothaan_steps_never_raise_the_energy(name: str) -> None:
    problem = problem_of(name)
    starts = [initial(name), np.asarray(problem.core)] + [initial(name) + disturbed(name, 3.0, s) for s in range(3)]
    damped = 0
    for start in starts:
        chain = chain_at(3)(problem, root_of(name), start)
        found = energies(chain)
        assert np.all(np.diff(found) <= 0)
        assert found[0] == pytest.approx(float(gradient_at(0)(problem, root_of(name), start)[0]), abs=1e-10)
        assert set(np.asarray(chain.dampings)) <= {1.0, 0.5, 0.25, 0.125, 0.0}
        damped += int((np.asarray(chain.dampings) < 1).sum())
    if name == "benzene":
        assert damped > 0  # else nothing was tested of the damping


def test_a_step_that_helps_is_taken_whole() -> None:
    chain = chain_at(3)(problem_of("methane"), root_of("methane"), initial("methane"))
    assert float(chain.dampings[0]) == 1.0
    following = FIELD(problem_of("methane"), chain.before.density[0])[1]
    assert np.abs(np.asarray(chain.before.hamiltonian[1]) - np.asarray(following)).max() < 1e-10


def test_padding_changes_nothing() -> None:
    """Sums of other lengths round otherwise: 1e-10 of an energy of 76 Ha is 12 digits."""
    own = shape_of(np.array(MOLECULES["water"][0]), STO3G, B3LYP, 0)
    assert own.n_orbitals < SHAPE.n_orbitals
    n = 7
    found = []
    for shape in (own, SHAPE):
        hamiltonian = initial("water", shape)
        energy, gradient = gradient_at(2)(problem_of("water", shape), root_of("water", shape), hamiltonian)
        assert not np.asarray(gradient)[n:].any()
        found.append((float(energy), np.asarray(gradient)[:n, :n]))
    assert abs(found[0][0] - found[1][0]) < 1e-10
    assert np.abs(found[0][1] - found[1][1]).max() < 1e-10


def test_many_at_once_equal_each_alone() -> None:
    names = ["water", "methane", "acetylene"]
    every = [(problem_of(n), root_of(n), jnp.asarray(initial(n) + disturbed(n, 0.3, 7))) for n in names]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *every)
    together = jax.jit(jax.vmap(lambda p, r, h: energy_and_gradient(B3LYP, p, r, h, 0)))(*stacked)
    for k, one in enumerate(every):
        energy, gradient = gradient_at(0)(*one)
        assert abs(float(energy) - float(together[0][k])) < 1e-10
        assert np.abs(np.asarray(gradient) - np.asarray(together[1][k])).max() < 1e-10


def test_pyscf_finds_the_same_energy_for_the_same_density() -> None:
    pyscf = pytest.importorskip("pyscf")
    from pyscf import dft

    numbers, places = MOLECULES["acetylene"]
    atoms = [(z, p) for z, p in zip(numbers, np.array(places) / BOHR_TO_ANGSTROM, strict=True)]
    molecule = pyscf.gto.M(atom=atoms, unit="Bohr", basis="sto-3g", verbose=0)
    field = dft.RKS(molecule, xc="b3lyp5")
    field.grids.level = 0
    problem, n = problem_of("acetylene"), 12
    guess = core_guess(np.asarray(problem.core), np.asarray(problem.overlap), n, 7)
    chain = chain_at(0)(problem, root_of("acetylene"), initial("acetylene") + disturbed("acetylene", 0.3, 9))
    for density in (np.asarray(chain.last.density), guess):
        # the same points and weights: what differs is rounding, and PySCF's cut of densities below 1e-10
        assert float(FIELD(problem, density)[0]) == pytest.approx(field.energy_tot(dm=density[:n, :n]), abs=1e-8)
