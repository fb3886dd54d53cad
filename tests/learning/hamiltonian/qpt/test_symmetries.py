"""W is symmetric, turns with the molecule, follows the order of its atoms, and does not see padding or company."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_up import (
    AMINE,
    SMALL,
    WATER,
    answer,
    correction,
    layout,
    molecule,
    padded,
    reordered,
    rotation_of,
    shaken,
    turned,
)

from qmgen.dft.basis import load_basis
from qmgen.dft.guess import superposition_of_atoms
from qmgen.dft.integrals.one_electron import one_electron_integrals
from qmgen.dft.integrals.shell_pairs import pair_index, rows_of_molecule, shell_pairs
from qmgen.learning.hamiltonian import Inputs
from qmgen.learning.hamiltonian.qpt import correct_qpt, describe_qpt, init_qpt, orbital_rotation, principal_frame

#: float32 has 24 bits; some hundred operations one after the other
FLOAT32 = 1e-5
#: sums in another order at most, three layers deep, of numbers up to ten
SAME = 2e-6


@pytest.fixture(scope="module")
def params() -> Any:
    return shaken(SMALL)


def close(a: Any, b: Any, bound: float) -> None:
    a, b = np.asarray(a), np.asarray(b)
    assert a.shape == b.shape
    assert np.abs(a).max() > 1e-2  # something to compare
    assert np.abs(a - b).max() <= bound * np.abs(a).max()


def test_the_made_up_matrices_turn_as_matrices_do() -> None:
    """Else the tests below would ask for the wrong thing."""
    turn = turned(1)
    before, after = molecule(*AMINE), molecule(AMINE[0], AMINE[1] @ turn.T)
    by = rotation_of(layout(AMINE[0]), turn)
    for one, other in zip(before[6:], after[6:]):
        assert np.abs(by @ one @ by.T - other).max() < 1e-12 * np.abs(one).max()  # rounding of float64


def test_symmetric_in_float32(params: Any) -> None:
    found = answer(params, SMALL, molecule(*AMINE))
    assert found.dtype == jnp.float32
    assert (np.asarray(found) == np.asarray(found).T).all()


@pytest.mark.parametrize("case", [WATER, AMINE], ids=["water", "amine"])
@pytest.mark.parametrize("seed", range(4))
def test_turns_with_the_molecule(params: Any, case: Any, seed: int) -> None:
    turn, shift = turned(seed), np.array([0.7, -1.3, 2.1])
    by = rotation_of(layout(case[0]), turn)
    before = np.asarray(answer(params, SMALL, molecule(*case)))
    after = answer(params, SMALL, molecule(case[0], case[1] @ turn.T + shift))
    close(by @ before @ by.T, after, FLOAT32)
    assert np.abs(before - np.asarray(after)).max() > 1e-2 * np.abs(before).max()  # it did turn


@pytest.mark.parametrize("averaged", [False, True])
def test_symmetric_water(params: Any, averaged: bool) -> None:
    """The sign of an axis is rounding here: one frame answers up to the rotation that exchanges H, the mean exactly."""
    shape = replace(SMALL, averaged=averaged)
    numbers = np.array([8, 1, 1])
    positions = np.array([[0.0, 0.0, 0.0], [1.43, 1.1, 0.0], [-1.43, 1.1, 0.0]])
    before = np.asarray(answer(params, shape, molecule(numbers, positions)))
    exchange = rotation_of(layout(numbers), np.diag([-1.0, 1.0, -1.0]))[[0, 1, 2, 3, 4, 6, 5]]
    image = exchange @ before @ exchange.T
    assert (np.abs(before - image).max() < FLOAT32 * np.abs(before).max()) == averaged
    for seed in range(6):
        turn = turned(seed)
        by = rotation_of(layout(numbers), turn)
        after = np.asarray(answer(params, shape, molecule(numbers, positions @ turn.T)))
        errors = [np.abs(by @ one @ by.T - after).max() for one in (before, image)]
        assert min(errors) <= FLOAT32 * np.abs(before).max()
        assert not averaged or max(errors) <= FLOAT32 * np.abs(before).max()


def test_the_mean_over_frames_turns_with_the_molecule(params: Any) -> None:
    shape, turn = replace(SMALL, averaged=True), turned(3)
    by = rotation_of(layout(AMINE[0]), turn)
    before = np.asarray(answer(params, shape, molecule(*AMINE)))
    close(by @ before @ by.T, answer(params, shape, molecule(AMINE[0], AMINE[1] @ turn.T)), FLOAT32)
    assert np.abs(before - answer(params, SMALL, molecule(*AMINE))).max() > 1e-2 * np.abs(before).max()


def real_water(positions: np.ndarray) -> Inputs:
    """S, core Hamiltonian and density of spherical atoms in 6-31G, the others left out."""
    numbers, basis = np.array([8, 1, 1]), load_basis("6-31g")
    n = basis.n_orbitals(numbers)
    pairs = shell_pairs(numbers, positions, basis)
    rows = rows_of_molecule(pairs, n)
    one = one_electron_integrals(pairs, rows, pair_index(pairs, rows, n), numbers, positions)
    core = np.asarray(one.kinetic + one.nuclear)
    oxygen = [(0, i, 0, 0) for i in range(3)] + [(0, 3 + i, 1, i % 3) for i in range(6)]
    orbitals = np.array(oxygen + [(a, i, 0, 0) for a in (1, 2) for i in (0, 1)], np.int32)
    nothing = np.zeros((n, n))
    guess = superposition_of_atoms(numbers, basis, n)
    return Inputs(
        numbers.astype(np.int32), positions, *orbitals.T, np.asarray(one.overlap), core, guess, nothing, nothing, core
    )


def test_real_matrices_turn_too(params: Any) -> None:
    """That the p orbitals of the integrals stand in the order x, y, z."""
    turn = turned(7)
    before, after = real_water(WATER[1]), real_water(WATER[1] @ turn.T)
    by = np.asarray(orbital_rotation(before, jnp.asarray(turn)))
    close(by @ before.core @ by.T, after.core, 1e-10)  # primitive pairs left out below 1e-12
    close(by @ np.asarray(answer(params, SMALL, before)) @ by.T, answer(params, SMALL, after), FLOAT32)


def test_a_mirror_image_is_another_molecule(params: Any) -> None:
    """Frames are right-handed: the network is told apart left and right."""
    numbers, positions = AMINE
    _, axes = principal_frame(jnp.asarray(positions), jnp.asarray(numbers, float))
    assert abs(np.linalg.det(axes) - 1.0) < 1e-12  # rounding of float64
    mirror = np.diag([1.0, 1.0, -1.0])
    by = rotation_of(layout(numbers), mirror)
    before = np.asarray(answer(params, SMALL, molecule(numbers, positions)))
    after = np.asarray(answer(params, SMALL, molecule(numbers, positions @ mirror)))
    assert np.abs(by @ before @ by.T - after).max() > 1e-2 * np.abs(before).max()


@pytest.mark.parametrize("seed", range(3))
def test_follows_the_order_of_atoms(params: Any, seed: int) -> None:
    inputs = molecule(*AMINE)
    other, orbitals = reordered(inputs, np.random.default_rng(seed).permutation(5))
    before = np.asarray(answer(params, SMALL, inputs))
    close(before[np.ix_(orbitals, orbitals)], answer(params, SMALL, other), FLOAT32)


@pytest.mark.parametrize("published", [False, True])
def test_padding_changes_nothing(published: bool) -> None:
    shape = SMALL.as_published() if published else SMALL
    params, inputs = shaken(shape), molecule(*AMINE)
    n = len(inputs.orbital_l)
    alone, wide = answer(params, shape, inputs), np.asarray(answer(params, shape, padded(inputs, 9, 24)))
    close(alone, wide[:n, :n], SAME)
    assert not wide[n:].any() and not wide[:, n:].any()


def test_a_batch_equals_single_ones(params: Any) -> None:
    several = [padded(molecule(*case), 6, 20) for case in (WATER, AMINE)]
    batch = jax.tree.map(lambda *leaves: np.stack(leaves), *several)
    found = jax.jit(jax.vmap(lambda one: correction(params, SMALL, one)))(batch)
    for one, row in zip(several, found):
        close(answer(params, SMALL, one), row, SAME)


@pytest.mark.parametrize("published", [False, True])
def test_gradients_are_finite_and_reach_everything(published: bool) -> None:
    shape = SMALL.as_published() if published else SMALL
    wide = padded(molecule(*AMINE), 8, 24)
    target = np.random.default_rng(0).normal(size=(24, 24))
    gradient = jax.jit(jax.grad(lambda p: ((correction(p, shape, wide) - target) ** 2).sum()))
    start = gradient(init_qpt(jax.random.key(0), shape))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(start))
    assert np.abs(start["query"]["weight"]).max() > 0  # training can begin
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient(shaken(shape))):
        assert np.isfinite(leaf).all(), path
        assert np.abs(leaf).max() > 0, path


def test_nothing_is_corrected_at_the_start() -> None:
    assert not np.asarray(answer(init_qpt(jax.random.key(5), SMALL), SMALL, molecule(*AMINE))).any()


def test_remat_changes_nothing_but_memory(params: Any) -> None:
    again, seen = replace(SMALL, remat=True), describe_qpt(SMALL, molecule(*AMINE))
    ours, theirs = (jax.grad(lambda p, s=s: (correct_qpt(p, s, seen) ** 2).sum())(params) for s in (SMALL, again))
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs)):
        assert np.abs(one - other).max() <= FLOAT32 * np.abs(one).max()


def test_one_program_for_any_depth() -> None:
    """Layers are a loop: the text of the program does not grow with them."""
    seen = describe_qpt(SMALL, molecule(*WATER))
    sizes = [
        len(str(jax.make_jaxpr(lambda p, s=s: correct_qpt(p, s, seen))(init_qpt(jax.random.key(0), s))))
        for s in (replace(SMALL, layers=8), replace(SMALL, layers=16))
    ]
    assert abs(sizes[0] - sizes[1]) < 0.05 * sizes[0]


@pytest.mark.parametrize(
    ("numbers", "positions"),
    [
        ([2], [[0.0, 0.0, 0.0]]),
        ([1, 1], [[0.0, 0.0, 0.0], [0.0, 0.0, 1.4]]),
        ([6, 1, 1, 1, 1], [[0, 0, 0], [1.2, 1.2, 1.2], [1.2, -1.2, -1.2], [-1.2, 1.2, -1.2], [-1.2, -1.2, 1.2]]),
    ],
    ids=["helium", "hydrogen", "methane"],
)
def test_degenerate_axes_give_finite_answers(params: Any, numbers: list[int], positions: Any) -> None:
    found = answer(params, SMALL, molecule(np.array(numbers), np.array(positions, float)))
    assert np.isfinite(found).all()
