"""What must not change the prediction does not, what turns with the molecule turns with it, forces are the gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest

from qmgen.learning.data.packed import Normalization
from qmgen.learning.schnet.model import PRESETS, gather, init, outputs_of, pair_table, predict, spread, units_of
from qmgen.learning.targets import targets_of

TARGETS = targets_of(["y", "energy", "dipole", "forces"])
SHAPE = PRESETS["tiny"].with_outputs(outputs_of(TARGETS))
NAMES = [target.name for target in TARGETS]
UNITS = units_of(
    TARGETS,
    Normalization(
        mean=dict.fromkeys(NAMES, 0.0), scale=dict.fromkeys(NAMES, 1.0), references={}, elements=(1, 6, 7, 8, 9)
    ),
)
#: float32 has 24 bits; sums of some hundred terms in another order differ by tens of units in the last place
FLOAT32 = 3e-5
#: the same in float64, with as much room
FLOAT64 = 1e-12
SIZES = [1, 2, 9, 17]


@pytest.fixture(scope="module")
def params() -> dict[str, Any]:
    fresh = init(jax.random.key(3), SHAPE)
    last = jax.random.normal(jax.random.key(4), fresh["lin2"]["weight"].shape, jnp.float32)
    return {**fresh, "lin2": {**fresh["lin2"], "weight": last}}  # zero at the start: nothing would show


_predict = jax.jit(lambda p, z, r: predict(p, SHAPE, TARGETS, UNITS, z, r))


def found(params: Any, numbers: Any, positions: Any) -> dict[str, np.ndarray]:
    return {name: np.asarray(value) for name, value in _predict(params, numbers, positions).items()}


def double(params: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)


def same(a: np.ndarray, b: np.ndarray, bound: float) -> None:
    assert a.shape == b.shape
    assert np.max(np.abs(a - b)) <= bound * max(1.0, float(np.max(np.abs(a))))


def turn(seed: int) -> np.ndarray:
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else -q


@pytest.mark.parametrize(("kind", "bound"), [("float32", FLOAT32), ("float64", FLOAT64)])
@pytest.mark.parametrize("mirrored", [False, True])
def test_rotation_and_translation(
    params: Any, molecules: Callable[..., Any], kind: str, bound: float, mirrored: bool
) -> None:
    numbers, positions = molecules(SIZES, 1)
    if kind == "float64":
        params, positions = double(params), positions.astype(np.float64)
    by = turn(5) * (-1 if mirrored else 1)
    moved = np.where((numbers > 0)[..., None], positions @ by.T + np.array([0.7, -1.3, 2.1]), 0.0).astype(
        positions.dtype
    )
    before, after = found(params, numbers, positions), found(params, numbers, moved)
    for name in ("y", "energy"):
        same(before[name], after[name], bound)
    for name in ("dipole", "forces"):
        same(before[name] @ by.T, after[name], bound)


def test_permutation_of_atoms(params: Any, molecules: Callable[..., Any]) -> None:
    numbers, positions = molecules([17, 17], 2)
    order = np.random.default_rng(0).permutation(17)
    before, after = found(params, numbers, positions), found(params, numbers[:, order], positions[:, order])
    for name in ("y", "energy", "dipole"):
        same(before[name], after[name], FLOAT32)
    same(before["forces"][:, order], after["forces"], FLOAT32)


def test_padding_and_company_change_nothing(params: Any, molecules: Callable[..., Any]) -> None:
    numbers, positions = molecules(SIZES, 4)
    wide, far = molecules(SIZES, 4, padded=25)
    together, alone = found(params, numbers, positions), found(params, wide, far)
    for name in NAMES:
        same(together[name], alone[name][:, :17] if name == "forces" else alone[name], FLOAT32)
    for row, size in enumerate(SIZES):
        one = found(params, numbers[row : row + 1, :size], positions[row : row + 1, :size])
        for name in NAMES:
            same(together[name][row, :size] if name == "forces" else together[name][row], one[name][0], FLOAT32)


def test_padding_inside_a_molecule_changes_nothing(params: Any, molecules: Callable[..., Any]) -> None:
    numbers, positions = molecules([9], 4)
    gaps = np.sort(np.random.default_rng(1).permutation(15)[:9])
    wide, far = np.zeros((1, 15), np.int32), np.zeros((1, 15, 3), np.float32)
    wide[:, gaps], far[:, gaps] = numbers, positions
    before, after = found(params, numbers, positions), found(params, wide, far)
    for name in ("y", "energy", "dipole"):
        same(before[name], after[name], FLOAT32)
    assert not after["forces"][wide == 0].any()


def test_a_dummy_gives_zero_and_finite_gradients(params: Any, molecules: Callable[..., Any]) -> None:
    numbers, positions = molecules([5, 3], 6, padded=8)
    numbers[1], positions[1] = 0, 0.0
    got = found(params, numbers, positions)
    assert all(not value[1].any() for value in got.values())

    def loss(p: Any) -> Any:
        return sum(jnp.sum(value**2) for value in predict(p, SHAPE, TARGETS, UNITS, numbers, positions).values())

    gradient = jax.jit(jax.grad(loss))(params)
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(gradient))
    assert not np.asarray(gradient["embedding"][0]).any()  # nothing is learned about padding


def test_coincident_atoms_give_finite_numbers(params: Any) -> None:
    numbers, positions = np.array([[6, 8, 1]], np.int32), np.zeros((1, 3, 3), np.float32)
    assert all(np.isfinite(value).all() for value in found(params, numbers, positions).values())


def test_forces_are_the_gradient(params: Any, molecules: Callable[..., Any]) -> None:
    numbers, positions = molecules([7], 8)
    positions, params = positions.astype(np.float64), double(params)
    forces = found(params, numbers, positions)["forces"][0]
    step = 1e-4
    for atom, axis in [(0, 0), (3, 1), (6, 2)]:
        ends = []
        for sign in (1, -1):
            moved = positions.copy()
            moved[0, atom, axis] += sign * step
            ends.append(found(params, numbers, moved)["energy"][0, 0])
        # central differences: h²/6 times a third derivative of order one, and 1e-16/h of rounding
        assert abs(-(ends[0] - ends[1]) / (2 * step) - forces[atom, axis]) <= 1e-7 * max(1.0, np.abs(forces).max())
    assert np.abs(forces.sum(axis=0)).max() <= 1e-12 * max(1.0, np.abs(forces).max())  # rounding alone: float64


def test_the_dipole_of_a_neutral_molecule_has_no_origin(params: Any, molecules: Callable[..., Any]) -> None:
    numbers, positions = molecules([6], 9)
    shifted = positions + np.float32(10.0)
    same(found(params, numbers, positions)["dipole"], found(params, numbers, shifted)["dipole"], 10 * FLOAT32)


def test_sums_over_pairs_equal_loops() -> None:
    rng = np.random.default_rng(0)
    n, features = 5, 3
    w, x, y = rng.normal(size=(2, 10, features)), rng.normal(size=(2, n, features)), rng.normal(size=(2, n, features))
    table = pair_table(n)
    expected = np.zeros_like(x)
    for place, (i, j) in enumerate(zip(table.first, table.second)):
        expected[:, i] += w[:, place] * x[:, j]
        expected[:, j] += w[:, place] * x[:, i]
    np.testing.assert_allclose(np.asarray(gather(w, x)), expected, rtol=0, atol=1e-14)  # float64 sums of five terms
    # each the other's derivative, to second order too, against central differences
    jax.test_util.check_grads(gather, (w, x), order=2, modes=["rev"])
    jax.test_util.check_grads(spread, (x, y), order=2, modes=["rev"])
