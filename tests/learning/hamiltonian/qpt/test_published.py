"""What the published form gets wrong, shown on it, and that ours does not."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_up import AMINE, SMALL, answer, correction, layout, molecule, reordered, rotation_of, shaken, turned

from qmgen.learning.hamiltonian.qpt import describe_qpt, init_qpt, principal_frame, weights_of

PUBLISHED = SMALL.as_published()


@pytest.mark.parametrize("seed", range(3))
def test_published_corrections_have_no_negative_eigenvalue(seed: int) -> None:
    inputs = molecule(*AMINE)
    theirs = np.linalg.eigvalsh(np.asarray(answer(shaken(PUBLISHED, seed), PUBLISHED, inputs), np.float64))
    ours = np.linalg.eigvalsh(np.asarray(answer(shaken(SMALL, seed), SMALL, inputs), np.float64))
    assert theirs.min() > -1e-5 * theirs.max()  # rounding of float32
    assert ours.min() < -0.05 * np.abs(ours).max() and ours.max() > 0.05 * np.abs(ours).max()


def test_published_cannot_start_from_zero() -> None:
    """q q^T has no gradient at q = 0, so its last layer starts at random; ours is zero and learns."""
    inputs = molecule(*AMINE)
    n = len(inputs.orbital_l)
    target = np.random.default_rng(0).normal(size=(n, n))
    target = target + target.T

    def gradient(shape: Any) -> Any:
        params = init_qpt(jax.random.key(0), shape)
        params = {**params, "query": jax.tree.map(jnp.zeros_like, params["query"])}
        return jax.grad(lambda p: ((correction(p, shape, inputs) - target) ** 2).sum())(params)

    assert all(not np.asarray(leaf).any() for leaf in jax.tree.leaves(gradient(PUBLISHED)))
    assert np.abs(gradient(SMALL)["query"]["weight"]).max() > 0
    assert np.asarray(answer(init_qpt(jax.random.key(0), PUBLISHED), PUBLISHED, inputs)).any()


def test_published_softmax_is_over_the_queries() -> None:
    scores = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 6)) * 2, jnp.float32)
    real = jnp.arange(6) < 5
    ours, theirs = (np.asarray(weights_of(scores, real, over)) for over in (False, True))
    for weights in (ours, theirs):
        assert not weights[:, 5].any() and not weights[:, :, 5].any()
    # float32 sums of five numbers below one
    assert np.abs(ours.sum(2)[:, :5] - 1).max() < 1e-6
    assert np.abs(theirs.sum(1)[:, :5] - 1).max() < 1e-6
    # what a token receives is a mean of values in ours alone
    assert np.abs(theirs.sum(2)[:, :5] - 1).max() > 0.5


def test_published_axes_have_no_sign() -> None:
    """The same molecule, differently turned: one set of coordinates in ours, several in the published form."""
    numbers, positions = AMINE
    weights = jnp.asarray(numbers, float)

    def places(seed: int, signed: bool) -> np.ndarray:
        there = jnp.asarray(positions @ turned(seed).T)
        center, axes = principal_frame(there, weights, signed)
        return np.asarray((there - center) @ axes)

    ours, theirs = ([places(seed, signed) for seed in range(16)] for signed in (True, False))
    assert max(np.abs(x - ours[0]).max() for x in ours) < 1e-10  # rounding of float64
    assert max(np.abs(x - theirs[0]).max() for x in theirs) > 1.0  # Bohr
    assert max(np.abs(np.abs(x) - np.abs(theirs[0])).max() for x in theirs) < 1e-10  # by sign alone
    turns = (jnp.asarray(positions @ turned(seed).T) for seed in range(16))
    handed = {round(float(np.linalg.det(principal_frame(there, weights, False)[1]))) for there in turns}
    assert handed == {-1, 1}  # left and right hands as it happens


def test_published_does_not_turn_with_the_molecule() -> None:
    numbers, positions = AMINE
    turn = turned(2)
    by = rotation_of(layout(numbers), turn)
    errors = {}
    for shape in (SMALL, PUBLISHED):
        params = shaken(shape)
        before = np.asarray(answer(params, shape, molecule(numbers, positions)))
        after = np.asarray(answer(params, shape, molecule(numbers, positions @ turn.T)))
        errors[shape.published] = np.abs(by @ before @ by.T - after).max() / np.abs(before).max()
    assert errors[False] < 1e-5  # float32
    assert errors[True] > 1e-2


def test_published_orthogonalized_core_depends_on_the_order_of_atoms() -> None:
    inputs = molecule(*AMINE)
    other, orbitals = reordered(inputs, np.array([4, 2, 0, 3, 1]))
    errors = {}
    for shape in (SMALL, PUBLISHED):
        before, after = (np.asarray(describe_qpt(shape, one).matrices[2]) for one in (inputs, other))
        errors[shape.published] = np.abs(before[np.ix_(orbitals, orbitals)] - after).max()
    assert errors[False] < 1e-5  # float32, of numbers up to one
    assert errors[True] > 1e-2
