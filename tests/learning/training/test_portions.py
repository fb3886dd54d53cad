"""A gradient taken in portions is that of the whole batch, dummies and all."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qmgen.learning.data.packed import MoleculeBatch
from qmgen.learning.training.step import MOST, by_portions, portion_of


def loss(parameters: Any, batch: MoleculeBatch) -> Any:
    """A mean over molecules by their weights, as ``SchnetTask.loss``."""
    each = jnp.abs(jnp.tanh(batch.positions[..., 0] @ parameters["w"]) - batch.values["y"][:, 0])
    return jnp.sum(each * batch.weights) / jnp.maximum(jnp.sum(batch.weights), 1.0)


@pytest.mark.parametrize("portion", [1, 2, 4, 5, 12])
@pytest.mark.parametrize("real", [12, 7, 0])
def test_value_and_gradient_are_those_of_the_whole(portion: int, real: int) -> None:
    rng = np.random.default_rng(0)
    weights = (np.arange(12) < real).astype(np.float64)
    batch = MoleculeBatch(
        np.ones((12, 3), np.int32), rng.normal(size=(12, 3, 3)), {"y": rng.normal(size=(12, 1))}, weights
    )
    parameters = {"w": rng.normal(size=3)}
    value, gradient = jax.jit(by_portions(loss, portion))(parameters, batch)
    expected, of_whole = jax.value_and_grad(loss)(parameters, batch)
    assert abs(value - expected) <= 1e-14  # rounding of float64 sums of twelve
    np.testing.assert_allclose(gradient["w"], of_whole["w"], rtol=0, atol=1e-14)


def test_portions_divide_what_they_are_of() -> None:
    for size in range(1, 40):
        part = portion_of(size)
        assert size % part == 0 and (part <= MOST or part == size)
    assert portion_of(32) == portion_of(112) == MOST
