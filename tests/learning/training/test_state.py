"""What a step says of itself: the first one whose loss or gradient is not a number."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import pytest

from qmgen.learning.training import step as states


class Batch(NamedTuple):
    weights: Any


def test_a_finite_loss_with_a_gradient_that_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    # in one portion: of interest is the judgment of the step, not how its gradient was taken
    monkeypatch.setattr(states, "by_portions", lambda loss, portion: jax.value_and_grad(loss))

    def loss(parameters: Any, batch: Any) -> Any:
        return jnp.sqrt(parameters["a"] * batch)  # at 0: zero, with an infinite slope

    optimizer = optax.sgd(0.1)
    monkeypatch.setattr(states, "portion_of", lambda rows: rows)
    step = states.stepper(lambda p, b: loss(p, b.weights[0]), optimizer)
    after, value = step(states.first({"a": jnp.float32(0)}, optimizer), Batch(jnp.ones(1)))
    assert float(value) == 0.0 and int(after.bad) == 1
