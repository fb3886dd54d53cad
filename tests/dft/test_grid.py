"""The grid against PySCF's: points, weights, partition; padding, gradients, NaN."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pyscf import gto
from pyscf.dft import gen_grid
from scipy.integrate import lebedev_rule

from qmgen.dft.grid import (
    BLOCK,
    COARSE,
    LEVELS,
    MAX_NUMBER,
    atomic_grid,
    grid_lists,
    partition_weights,
    placed,
    points_count,
    size_adjustments,
)
from qmgen.dft.grid.atomic import ORDERS, lebedev
from qmgen.errors import UsageError

#: numbers and positions in Bohr; furan-2-carbaldehyde with a cyano group has nine heavy atoms of three elements
WATER = ([8, 1, 1], [[0.0, 0.0, 0.2217], [0.0, 1.4309, -0.8867], [0.0, -1.4309, -0.8867]])
FLUOROMETHANE = (
    [6, 9, 1, 1, 1],
    [[0.0, 0.0, -1.2], [0.0, 0.0, 1.42], [1.95, 0.0, -1.87], [-0.97, 1.69, -1.87], [-0.97, -1.69, -1.87]],
)
CYANOFURFURAL = (
    [8, 6, 6, 6, 6, 6, 8, 6, 7, 1, 1, 1],
    [
        *([0.0, 2.2, 0.0], [2.1, 0.7, 0.0], [1.35, -1.8, 0.0], [-1.35, -1.8, 0.0], [-2.1, 0.7, 0.0]),
        *([4.6, 1.8, 0.1], [6.4, 0.4, 0.2], [-4.6, 1.75, -0.1], [-6.6, 2.65, -0.2]),
        *([2.55, -3.45, 0.0], [-2.55, -3.45, 0.0], [4.75, 3.85, 0.1]),
    ],
)
MOLECULES = {"water": WATER, "fluoromethane": FLUOROMETHANE, "cyanofurfural": CYANOFURFURAL}


weigh = jax.jit(partition_weights)


def molecular_grid(numbers: np.ndarray, positions: np.ndarray, level: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points (g, 3), owners (g,) and weights before the partition (g,), without padding."""
    count = points_count(numbers, level)
    lists = grid_lists(numbers[None], level, -(-count // BLOCK))
    points, *rest = placed(lists._replace(point=lists.point[0], owner=lists.owner[0]), positions)
    assert not rest[1].reshape(-1)[count:].any()
    return points.reshape(-1, 3)[:count], *(x.reshape(-1)[:count] for x in rest)


def arrays(name: str) -> tuple[np.ndarray, np.ndarray]:
    numbers, positions = MOLECULES[name]
    return np.asarray(numbers, np.int32), np.asarray(positions, np.float64)


@functools.lru_cache
def oracle(name: str, level: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """PySCF's points, owners and weights, its padding dropped (owner -1, or points without weight at the very end)."""
    numbers, positions = arrays(name)
    atoms = list(zip(numbers.tolist(), positions.tolist()))
    mol = gto.M(atom=atoms, unit="Bohr", basis="sto-3g", spin=int(numbers.sum()) % 2, verbose=0)
    grids = gen_grid.Grids(mol)
    grids.level = level
    grids.build()
    real = grids.atm_idx >= 0
    return grids.coords[real], grids.atm_idx[real], grids.weights[real]


def canonical_order(points: np.ndarray, owner: np.ndarray) -> np.ndarray:
    # 8 decimals hide the rounding of 1e-15 from the sort; the shift keeps coordinates that are zero by symmetry, hence
    # -1e-17 or 1e-17, off a rounding edge
    return np.lexsort((*np.round(points + 1.234567e-9, 8).T, owner))


def weights_of(name: str, level: int, pad: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    numbers, positions = arrays(name)
    points, owner, atomic = molecular_grid(numbers, positions, level)
    numbers = np.concatenate([numbers, np.zeros(pad, np.int32)])
    positions = np.concatenate([positions, np.zeros((pad, 3))])
    fraction = weigh(points, owner, positions, size_adjustments(numbers), numbers > 0)
    return points, owner, atomic * np.asarray(fraction)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("number", [1, 2, 3, 6, 7, 8, 9, 10, 11, 16, 17, 18, 19, 35, 53, 54])
def test_atomic_grid_is_pyscfs(number: int, level: int) -> None:
    mol = gto.M(atom=[(number, (0, 0, 0))], basis={"default": [[0, [1.0, 1.0]]]}, spin=number % 2, verbose=0)
    grids = gen_grid.Grids(mol)
    grids.level = level
    ((points, weights),) = grids.gen_atomic_grids(mol, level=level, radi_method=grids.radi_method).values()
    ours = atomic_grid(number, level)
    assert len(ours.weights) == len(weights)
    distance = np.linalg.norm(points, axis=1)
    a = canonical_order(points / distance.max(), 0 * distance)
    b = canonical_order(ours.points / distance.max(), 0 * distance)
    # the same formulas in float64, in another order of operations: a few units in the last place (2.2e-16)
    np.testing.assert_allclose(ours.points[b], points[a], rtol=0, atol=1e-14 * distance.max())
    np.testing.assert_allclose(ours.weights[b], weights[a], rtol=1e-14, atol=0)


def test_every_element_and_level_has_a_grid() -> None:
    for number in range(1, MAX_NUMBER + 1):
        for level in LEVELS:
            grid = atomic_grid(number, level)
            assert grid.points.shape == (len(grid.weights), 3)
            assert not grid.points.flags.writeable


@pytest.mark.parametrize("exponent", [0.3, 1.0, 20.0])
@pytest.mark.parametrize("number", [1, 6, 9, 17])
def test_atomic_grid_integrates_a_gaussian(number: int, exponent: float) -> None:
    grid = atomic_grid(number, 3)
    integral = np.sum(grid.weights * np.exp(-exponent * np.sum(grid.points**2, axis=1)))
    # a smooth radial function on at least 50 Treutler-Ahlrichs radii: quadrature error below 1e-8 (relative)
    np.testing.assert_allclose(integral, (np.pi / exponent) ** 1.5, rtol=1e-8)


@pytest.mark.parametrize("level", [0, 1, 3])
@pytest.mark.parametrize("name", MOLECULES)
def test_molecular_grid_is_pyscfs(name: str, level: int) -> None:
    expected_points, expected_owner, expected = oracle(name, level)
    points, owner, weights = weights_of(name, level)
    assert len(weights) == len(expected) == points_count(arrays(name)[0], level)
    a, b = canonical_order(expected_points, expected_owner), canonical_order(points, owner)
    np.testing.assert_array_equal(owner[b], expected_owner[a])
    # float64 rounding of coordinates up to about 50 Bohr
    np.testing.assert_allclose(points[b], expected_points[a], rtol=0, atol=5e-14)
    # partition: absolute error of 0.5 - f is one rounding, times the number of atoms, on weights up to about 100 Bohr^3
    np.testing.assert_allclose(weights[b], expected[a], rtol=1e-12, atol=1e-13)
    # a sum over the molecule, of a function that falls off like a density
    falloff = np.exp(-np.abs(points).sum(axis=1)), np.exp(-np.abs(expected_points).sum(axis=1))
    # sums of up to 2e5 terms of one sign in another order: below 1e-13 relative
    np.testing.assert_allclose(weights @ falloff[0], expected @ falloff[1], rtol=1e-13)


@pytest.mark.parametrize("name", MOLECULES)
def test_partition_is_one(name: str) -> None:
    numbers, positions = arrays(name)
    points = np.random.default_rng(3).normal(scale=4.0, size=(256, 3))
    adjust, real = size_adjustments(numbers), numbers > 0
    total = sum(weigh(points, np.full(256, a, np.int32), positions, adjust, real) for a in range(len(numbers)))
    # quotients with one common denominator: rounding of the sum
    np.testing.assert_allclose(total, 1.0, rtol=1e-14)


@pytest.mark.parametrize("pad", [1, 4, 20])
def test_padding_changes_no_weight(pad: int) -> None:
    # padded atoms all sit on one spot. They multiply every cell by exact powers of two and add exact zeros to the sum;
    # what is left is the order in which XLA adds up the sum: one unit in the last place
    np.testing.assert_allclose(weights_of("fluoromethane", 0, pad)[2], weights_of("fluoromethane", 0)[2], rtol=4e-16)


def test_padding_in_the_middle_and_empty_molecule() -> None:
    numbers, positions = arrays("water")
    points, owner, atomic = molecular_grid(numbers, positions, 0)
    place = np.array([0, 2, 5])
    padded_numbers, padded_positions = np.zeros(7, np.int32), np.full((7, 3), 1e3)
    padded_numbers[place], padded_positions[place] = numbers, positions
    padded = molecular_grid(padded_numbers, padded_positions, 0)
    np.testing.assert_array_equal(padded[0], points)
    np.testing.assert_array_equal(padded[1], place[owner])
    np.testing.assert_array_equal(padded[2], atomic)
    assert [len(x) for x in molecular_grid(np.zeros(4, int), np.zeros((4, 3)), 1)] == [0, 0, 0]


def test_batch_over_molecules_is_each_molecule() -> None:
    numbers, positions = arrays("fluoromethane")
    points, owner, _ = (x[:512] for x in molecular_grid(numbers, positions, 0))
    adjust, real = size_adjustments(numbers), numbers > 0
    shifted = np.stack([positions, 1.03 * positions])
    batched = jax.jit(jax.vmap(partition_weights, (None, None, 0, None, None)))(points, owner, shifted, adjust, real)
    for row, one in zip(batched, shifted):
        # the same formula, vectorised another way: two units in the last place
        np.testing.assert_allclose(row, weigh(points, owner, one, adjust, real), rtol=0, atol=4e-16)


def test_gradient_against_finite_differences() -> None:
    numbers, positions = arrays("fluoromethane")
    points, owner, _ = (x[100:2000:5] for x in molecular_grid(numbers, positions, 0))
    adjust, real = size_adjustments(numbers), numbers > 0
    factors = np.random.default_rng(0).normal(size=len(points))
    loss = jax.jit(lambda x: jnp.sum(factors * partition_weights(points, owner, x, adjust, real)))
    gradient = jax.grad(loss)(positions)
    direction = np.random.default_rng(1).normal(size=positions.shape)
    h = 1e-4
    numeric = (
        8.0 * (loss(positions + h * direction) - loss(positions - h * direction))
        - (loss(positions + 2 * h * direction) - loss(positions - 2 * h * direction))
    ) / (12.0 * h)
    # five-point stencil: rounding 1e-15 / h = 1e-11, truncation h^4 = 1e-16 times the fifth derivative
    np.testing.assert_allclose(np.sum(gradient * direction), numeric, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_nan_on_nuclei_on_padding_and_for_coinciding_atoms(dtype: type) -> None:
    numbers = np.array([6, 9, 1, 0, 0, 0])
    positions = np.array([[0, 0, 0], [0, 0, 2.5], [0, 0, 2.5], [0, 0, 0], [7, 7, 7], [7, 7, 7]], dtype)
    points = np.array([[0, 0, 0], [0, 0, 2.5], [7, 7, 7], [0.1, 0.2, 0.3], [1e3, 0, 0]], dtype)
    adjust = size_adjustments(numbers).astype(dtype)

    def loss(positions: jax.Array, points: jax.Array) -> jax.Array:
        return jnp.sum(partition_weights(points, jnp.zeros(5, jnp.int32), positions, adjust, numbers > 0))

    assert np.isfinite(loss(positions, points))
    assert loss(positions, points).dtype == dtype
    gradients = jax.jit(jax.grad(loss, (0, 1)))(positions, points)
    assert all(np.isfinite(g).all() for g in gradients)
    np.testing.assert_array_equal(gradients[0][3:], 0.0)


def test_size_adjustments_are_antisymmetric_and_blind_to_padding() -> None:
    adjust = size_adjustments(np.array([1, 0, 6, 9, 54]))
    np.testing.assert_array_equal(adjust, -adjust.T)
    assert not adjust[1].any()
    assert np.abs(adjust).max() <= 0.5


@pytest.mark.parametrize(("number", "level"), [(55, 1), (0, 1), (6, 6), (6, -1)])
def test_unknown_element_or_level_is_a_usage_error(number: int, level: int) -> None:
    with pytest.raises(UsageError):
        atomic_grid(number, level)


def test_coarse_grid_counts_electrons_roughly_and_is_much_smaller() -> None:
    """The coarse grid only has to resemble the density: a Gaussian as wide as a carbon atom to half a per cent."""
    coarse, fine = atomic_grid(6, COARSE), atomic_grid(6, 1)
    assert len(coarse.weights) * 4 < len(fine.weights)
    for exponent in (0.3, 1.0, 3.0):
        density = (exponent / np.pi) ** 1.5 * np.exp(-exponent * (coarse.points**2).sum(axis=1))
        assert (coarse.weights * density).sum() == pytest.approx(1.0, abs=5e-3)


def test_spheres_are_those_of_scipy_to_the_last_bit() -> None:
    for order in ORDERS:
        directions, weights = lebedev(order)
        points, theirs = lebedev_rule(order)
        assert np.array_equal(directions, points.T) and np.array_equal(weights, theirs / (4 * np.pi)), order
