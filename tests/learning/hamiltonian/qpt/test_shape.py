"""Sizes by name."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qmgen.learning.hamiltonian.qpt import (
    COUNT,
    MATRICES,
    QPT_PRESETS,
    QptShape,
    assignment,
    init_qpt,
    position_features,
)


def count(shape: QptShape) -> int:
    """How many parameters there are, without making them."""
    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(lambda: init_qpt(jax.random.key(0), shape))))


@pytest.mark.parametrize(
    ("name", "millions"),
    [("qpt-tiny", 5.4), ("qpt-small", 22), ("qpt-base", 86), ("qpt-medium", 302), ("qpt-large", 708)],
)
def test_presets_have_the_published_sizes(name: str, millions: float) -> None:
    # the paper gives whole millions of the matrices; tables, norms and biases are the rest
    assert abs(count(QPT_PRESETS[name]) / 1e6 - millions) < 0.03 * millions


def test_a_layer_has_twelve_squares_of_the_width() -> None:
    one, two = (count(QptShape(64, 4, layers)) for layers in (1, 2))
    width = 64
    norms, biases, gains = 4 * width, (3 + 1 + 4 + 1) * width, 4
    assert two - one == 12 * width**2 + norms + biases + gains


def test_all_parameters_are_float32() -> None:
    assert {leaf.dtype for leaf in jax.tree.leaves(init_qpt(jax.random.key(0), QptShape(16, 2, 1)))} == {
        jnp.dtype(jnp.float32)
    }


@pytest.mark.parametrize(("width", "heads"), [(16, 3), (10, 4)])
def test_heads_that_do_not_fit_are_refused(width: int, heads: int) -> None:
    with pytest.raises(ValueError, match="heads"):
        QptShape(width, heads, 1)


@pytest.mark.parametrize("name", list(QPT_PRESETS))
def test_every_matrix_reaches_a_pair_of_heads(name: str) -> None:
    given = assignment(QPT_PRESETS[name])
    assert (given[:, ::2] == given[:, 1::2]).all()
    assert set(given.ravel()) == set(range(MATRICES + 1))


def test_published_small_sizes_leave_matrices_out() -> None:
    """Three pairs of heads, in every layer the same: four of seven matrices are never seen."""
    assert set(assignment(QPT_PRESETS["qpt-tiny"].as_published()).ravel()) == {0, 1, 2}
    assert set(assignment(QPT_PRESETS["qpt-medium"].as_published()).ravel()) == set(range(MATRICES + 1))


def test_features_are_123_and_ours_all_vary() -> None:
    points = np.random.default_rng(0).normal(size=(50, 3)) * 3
    for published, constant in ((False, 0), (True, 6)):
        found = np.asarray(position_features(jnp.asarray(points), published))
        assert found.shape == (50, COUNT) == (50, 123)
        assert (found.std(axis=0) < 1e-12).sum() == constant
