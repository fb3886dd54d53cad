"""A label depends on its own conformer alone: slots, neighbors, padding, backend, and motions of the molecule."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest

from qmgen.constants import BOHR_TO_ANGSTROM
from qmgen.dft.backend import ACCELERATOR, CPU, Backend, using
from qmgen.dft.basis import load_basis
from qmgen.dft.batch import solve_batch, stack
from qmgen.dft.functionals import functional
from qmgen.dft.prepare import Shape, System, prepare, shape_of
from qmgen.dft.scf import Problem, ScfOptions, Solution, solve
from qmgen.labeling import Label, Settings, label
from qmgen.molecules.types import Conformer

SETTINGS = Settings(grid_level=0, batch_size=3)
#: two non-hydrogen atoms each, all of one shape at level 0 (asserted below); Angstrom
METHANOL = (
    [6, 8, 1, 1, 1, 1],
    [
        *([-0.05, 0.66, 0.0], [-0.04, -0.76, 0.02], [-1.09, 0.98, 0.01], [0.44, 1.07, 0.89], [0.44, 1.07, -0.89]),
        [0.87, -1.06, 0.1],
    ],
)
METHYLAMINE = (
    [6, 7, 1, 1, 1, 1, 1],
    [
        *([0.05, 0.71, 0.0], [0.05, -0.76, 0.0], [-0.94, 1.17, 0.0], [0.59, 1.06, 0.88], [0.59, 1.06, -0.88]),
        *([-0.46, -1.1, 0.81], [-0.46, -1.1, -0.81]),
    ],
)
ETHANE = (
    [6, 6, 1, 1, 1, 1, 1, 1],
    [
        *([0.0, 0.0, 0.76], [0.0, 0.0, -0.76], [1.02, 0.0, 1.16], [-0.51, 0.88, 1.16], [-0.51, -0.88, 1.16]),
        *([-1.02, 0.0, -1.16], [0.51, -0.88, -1.16], [0.51, 0.88, -1.16]),
    ],
)


def conformer(molecule: tuple[list[int], list[list[float]]], molecule_id: int = 0) -> Conformer:
    numbers, positions = molecule
    bohr = np.asarray(positions, np.float32).astype(float) / BOHR_TO_ANGSTROM
    return Conformer(molecule_id, 0, "", "", np.array(numbers, np.uint8), bohr)


def labels(conformers: list[Conformer], settings: Settings = SETTINGS) -> dict[int, Label]:
    results = list(label(conformers, settings))
    assert len(results) == len(conformers)
    return {one.molecule_id: result for one, result in results}


def same_bits(a: Label, b: Label) -> bool:
    fields = ("energy", "homo", "lumo", "energy_std", "cycles", "orbital_gradient")
    return all(getattr(a, f) == getattr(b, f) for f in fields) and all(
        np.array_equal(a.properties[name], b.properties[name]) for name in a.properties
    )


@pytest.fixture(scope="module")
def alone() -> Label:
    """Methanol in a batch whose other places are dummies."""
    return labels([conformer(METHANOL)])[0]


@pytest.mark.parametrize("slot", [0, 1, 2])
def test_slot_and_neighbors_change_no_bit(alone: Label, slot: int) -> None:
    batch = [conformer(METHYLAMINE, 1), conformer(ETHANE, 2)]
    batch.insert(slot, conformer(METHANOL))
    assert same_bits(labels(batch)[0], alone)


def test_every_slot_gives_the_same_bits(alone: Label) -> None:
    results = labels([conformer(METHANOL, i) for i in range(5)])  # the second batch has two of three places taken
    assert all(same_bits(results[i], alone) for i in range(5))


def test_the_three_share_a_shape() -> None:
    basis, xc = load_basis("sto-3g"), functional("b3lyp5")
    assert len({shape_of(np.array(m[0]), basis, xc, 0) for m in (METHANOL, METHYLAMINE, ETHANE)}) == 1


def test_batch_size(alone: Label) -> None:
    for size in (1, 2):
        one = labels([conformer(METHANOL)], replace(SETTINGS, batch_size=size))[0]
        assert abs(one.energy - alone.energy) < 1e-10  # only the order of sums may change


def problems_of(molecules: list, shape: Shape) -> list[Problem]:
    basis, xc = load_basis("sto-3g"), functional("b3lyp5")
    systems = [System(one.numbers.astype(np.int64), one.positions) for one in map(conformer, molecules)]
    return [prepare(system, shape, basis, xc, 0).problem for system in systems]


def solve_all(molecules: list, shape: Shape, backend: Backend = CPU) -> Solution:
    problems = problems_of(molecules, shape)
    with using(backend):
        solutions = solve_batch(functional("b3lyp5"), problems, ScfOptions())
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(x) for x in leaves]), *solutions)


SHAPE = Shape(n_orbitals=16, n_atoms=16, n_blocks=8, n_coarse=3)


@pytest.mark.parametrize("backend", [CPU, ACCELERATOR], ids=lambda backend: backend.name)
def test_solve_batch_gives_the_same_bits_in_every_slot(backend: Backend) -> None:
    together = solve_all([METHANOL, ETHANE, METHANOL], SHAPE, backend)
    turned = solve_all([METHYLAMINE, METHANOL, ETHANE], SHAPE, backend)
    for name in ("energy", "orbital_energies", "density", "gradient", "cycles"):
        field, other = getattr(together, name), getattr(turned, name)
        assert np.array_equal(field[0], field[2]), name
        assert np.array_equal(field[0], other[1]), name


def test_a_vectorized_batch_agrees_with_one_by_one() -> None:
    """By the same loops over the grids; ``tests/dft/test_batched.py`` compares the loops of both backends."""
    molecules, xc = [METHANOL, METHYLAMINE, ETHANE], functional("b3lyp5")
    one = solve_all(molecules, SHAPE)
    vectorized = jax.jit(jax.vmap(lambda problem: solve(xc, problem, ScfOptions(), CPU)))
    other = jax.tree.map(lambda x: np.asarray(x)[:3], vectorized(stack(problems_of(molecules, SHAPE))))
    assert one.converged.all() and other.converged.all()
    # the order of sums alone: 1e-10 Ha; levels follow the density, which is converged to 1e-6
    assert np.abs(one.energy - other.energy).max() < 1e-10
    assert np.abs(one.orbital_energies[:3, :, :13] - other.orbital_energies[:3, :, :13]).max() < 1e-8


def test_padding() -> None:
    """Of orbitals, atoms, and points of both grids."""
    exact, padded = (solve_all([METHANOL], shape) for shape in (SHAPE, Shape(24, 32, 12, 5)))
    assert exact.cycles == padded.cycles
    assert abs(exact.energy - padded.energy)[0] < 1e-10  # sums of other lengths are added in another order


def moved(molecule: tuple[list[int], list[list[float]]], rotation: np.ndarray, shift: np.ndarray) -> Conformer:
    one = conformer(molecule)
    return replace(one, positions=one.positions @ rotation.T + shift)


def test_permutation_of_atoms(alone: Label) -> None:
    order = np.array([3, 1, 5, 0, 4, 2])
    one = conformer(METHANOL)
    other = labels([replace(one, numbers=one.numbers[order], positions=one.positions[order])])[0]
    assert abs(other.energy - alone.energy) < 1e-10  # rounding
    # of first order in the density, which is converged to an orbital gradient of 1e-6
    assert np.abs(other.properties["charges"] - alone.properties["charges"][order]).max() < 1e-6
    assert np.abs(other.properties["dipole"] - alone.properties["dipole"]).max() < 1e-6
    assert abs(other.homo - alone.homo) < 1e-6 and abs(other.lumo - alone.lumo) < 1e-6


def test_translation(alone: Label) -> None:
    other = labels([moved(METHANOL, np.eye(3), np.array([5.0, -11.0, 7.0]))])[0]
    # the grid travels with the atoms: what is left is the rounding of coordinates 10 times as large
    assert abs(other.energy - alone.energy) < 1e-10
    assert (
        np.abs(other.properties["dipole"] - alone.properties["dipole"]).max() < 1e-6
    )  # neutral: no dependence on the origin


def random_rotation(seed: int) -> np.ndarray:
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q))


@pytest.mark.parametrize(
    ("grid_level", "limit"), [(0, 1.5e-3), (1, 8e-5), pytest.param(3, 2e-5, marks=pytest.mark.slow)]
)
def test_rotation_costs_the_error_of_the_grid(grid_level: int, limit: float) -> None:
    """Lebedev grids are fixed in space: the energy changes by the error of the grid, as PySCF's does.

    Limits in Hartree: three times the largest change seen in eight rotations of methanol, 4.5e-4 at level 0, 2.6e-5 at
    level 1 and 6.0e-6 at level 3.
    """
    settings = replace(SETTINGS, grid_level=grid_level)
    turned = [replace(moved(METHANOL, random_rotation(s), np.zeros(3)), molecule_id=s) for s in (1, 2)]
    results = labels([conformer(METHANOL), *turned], settings)
    for seed in (1, 2):
        assert abs(results[seed].energy - results[0].energy) < limit


def test_rotation_without_a_grid_costs_nothing() -> None:
    settings = replace(SETTINGS, xc="hf")
    rotation = random_rotation(3)
    results = labels([conformer(METHANOL), replace(moved(METHANOL, rotation, np.ones(3)), molecule_id=1)], settings)
    assert abs(results[1].energy - results[0].energy) < 1e-10  # rounding, and screening of integrals below 1e-13
    assert (
        np.abs(results[1].properties["dipole"] - rotation @ results[0].properties["dipole"]).max() < 1e-6
    )  # first order in the gradient, 1e-6
    assert abs(results[1].homo - results[0].homo) < 1e-6
