"""The loops of accelerators against those of CPUs: the same numbers for every molecule, whoever stands beside it."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np
import pytest

from qmgen.constants import BOHR_TO_ANGSTROM
from qmgen.dft.backend import ACCELERATOR, using
from qmgen.dft.basis import load_basis
from qmgen.dft.batch import SOLVE_MANY, prepare_lists, solve_batch
from qmgen.dft.functionals import functional
from qmgen.dft.integrals.one_electron import OneElectron
from qmgen.dft.prepare import (
    Prepared,
    Shape,
    System,
    batch_lists,
    exact_integrals_batch,
    integrals_batch,
    prepare,
)
from qmgen.dft.scf import ScfOptions, Solution

#: Angstrom; one shape at level 0
MOLECULES = {
    "methanol": (
        [6, 8, 1, 1, 1, 1],
        [
            *([-0.05, 0.66, 0.0], [-0.04, -0.76, 0.02], [-1.09, 0.98, 0.01], [0.44, 1.07, 0.89]),
            *([0.44, 1.07, -0.89], [0.87, -1.06, 0.1]),
        ],
    ),
    "methylamine": (
        [6, 7, 1, 1, 1, 1, 1],
        [
            *([0.05, 0.71, 0.0], [0.05, -0.76, 0.0], [-0.94, 1.17, 0.0], [0.59, 1.06, 0.88], [0.59, 1.06, -0.88]),
            *([-0.46, -1.1, 0.81], [-0.46, -1.1, -0.81]),
        ],
    ),
    "fluoromethane": (
        [6, 9, 1, 1, 1],
        [[0.0, 0.0, 0.0], [1.38, 0.1, 0.0], [-0.36, 1.03, 0.0], [-0.36, -0.52, 0.89], [-0.36, -0.52, -0.89]],
    ),
}
SHAPE = Shape(n_orbitals=16, n_atoms=16, n_blocks=8, n_coarse=3)
BASIS, XC = load_basis("sto-3g"), functional("b3lyp5")
#: the two drivers take different paths: converged ten times further than by default, which the coarse grid can follow
#: in float64 alone, they end at levels that can be compared
OPTIONS, COARSE = ScfOptions(conv_gradient=1e-7), np.float64
#: small chunks, so that there are several
CHUNK = 2**21


def systems(*names: str) -> list[System]:
    made = []
    for name in names or MOLECULES:
        numbers, positions = MOLECULES[name]
        made.append(System(np.array(numbers), np.array(positions) / BOHR_TO_ANGSTROM))
    return made


class Solved(NamedTuple):
    solution: Solution
    one_electron: OneElectron


def solved(molecules: list[System], size: int = 4) -> Solved:
    lists = batch_lists(molecules, SHAPE, BASIS, XC, 0, size, CHUNK)
    with using(ACCELERATOR):
        prepared = prepare_lists(XC, BASIS.pair_classes, lists, COARSE)
        solution = SOLVE_MANY(XC, prepared.problem, OPTIONS, ACCELERATOR)
    return jax.tree.map(np.asarray, Solved(solution, prepared.one_electron))


@pytest.fixture(scope="module")
def together() -> Solved:
    return solved(systems())


@pytest.fixture(scope="module")
def one_by_one() -> tuple[list[Prepared], Solution]:
    prepared = [prepare(s, SHAPE, BASIS, XC, 0, COARSE) for s in systems()]
    solutions = solve_batch(XC, [p.problem for p in prepared], OPTIONS)
    return prepared, jax.tree.map(lambda *leaves: np.stack([np.asarray(x) for x in leaves]), *solutions)


def test_equals_the_path_for_cpus(together: Solved, one_by_one: tuple[list[Prepared], Solution]) -> None:
    prepared, expected = one_by_one
    assert together.solution.converged[:3].all() and expected.converged.all()
    assert np.abs(together.solution.energy[:3] - expected.energy).max() < 1e-9
    # of first order in the density, which is converged to a gradient of 1e-7 on two different paths
    levels = together.solution.orbital_energies[:3], expected.orbital_energies
    assert np.abs(levels[0] - levels[1]).max() < 1e-7
    for m, one in enumerate(prepared):
        assert np.abs(together.one_electron.dipole[m] - np.asarray(one.one_electron.dipole)).max() < 1e-11
        second = np.asarray(one.one_electron.second_moment)
        assert np.abs(together.one_electron.second_moment[m] - second).max() < 1e-11
        assert np.abs(together.one_electron.overlap[m] - np.asarray(one.one_electron.overlap)).max() < 1e-12


def test_a_place_without_molecule_does_nothing(together: Solved) -> None:
    assert together.solution.energy[3] == 0.0 and together.solution.cycles[3] == 0
    assert not any(np.isnan(matrix[3]).any() for matrix in together.one_electron)


def test_neighbours_change_nothing(together: Solved) -> None:
    """Others, in another order; ``tests/labeling/test_accelerator.py`` compares with a molecule alone. The elements are
    the same, so that the lists have the same lengths and nothing is compiled anew."""
    same, *others = systems("methylamine", "fluoromethane", "methanol")
    rng = np.random.default_rng(0)
    moved = [System(one.numbers, one.positions + 0.1 * rng.normal(size=one.positions.shape)) for one in others]
    elsewhere = solved([same, *moved])
    assert abs(elsewhere.solution.energy[0] - together.solution.energy[1]) < 1e-10
    assert np.abs(elsewhere.solution.orbital_energies[0] - together.solution.orbital_energies[1]).max() < 1e-8
    assert np.abs(elsewhere.solution.energy[1:3] - together.solution.energy[[2, 0]]).min() > 1e-4  # others indeed


@pytest.mark.slow
def test_two_electron_part(one_by_one: tuple[list[Prepared], Solution]) -> None:
    lists = batch_lists(systems(), SHAPE, BASIS, XC, 0, 3, CHUNK)

    def matrices(lists):
        _, values = integrals_batch(BASIS.pair_classes, lists)
        return values, exact_integrals_batch(ACCELERATOR, values, lists.index, XC.exact_exchange)

    values, many = jax.jit(matrices)(lists)
    density = np.random.default_rng(0).normal(size=(SHAPE.n_orbitals, SHAPE.n_orbitals))
    density = np.asarray(density + density.T)[None]
    # (ij|kl) and (kl|ij) sum the same 81 primitives, of up to 5 Hartree in all, in another order: rounding
    assert np.abs(np.asarray(values - values.transpose(0, 2, 1))).max() < 1e-12
    for m, one in enumerate(one_by_one[0]):
        # screening by other tiles, and float32 below 1e-5 Hartree leave 5e-11 an integral; sums of 136 of them, of
        # random sign, with weights of a few
        alone = jax.tree.map(lambda leaf, m=m: leaf[m], many)
        ours, theirs = alone.jk(density)[0], one.problem.coulomb_exchange.jk(density)[0]
        assert np.abs(np.asarray(ours - theirs)).max() < 1e-9
