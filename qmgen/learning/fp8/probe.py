"""What a product tells about its scales, without callbacks and without state.

A probe is an argument of the product, float32 of shape (3, FIELDS + history): rows are x, w and the gradient of y. Its
value is read by the recipe ``delayed`` alone (the history), its "gradient" is what it should be next:

    fields   bias, amax, share that underflows, share that overflows
    history  the last amax values, newest first

so that one ``jax.grad`` returns the gradients of the weights and all scales, under jit, scan, remat and sharding, and a
training that puts the gradient in its place keeps a history. A probe belongs to one product: the gradients of two uses
would be added.
"""

from __future__ import annotations

from typing import Final

import jax
import jax.numpy as jnp

from qmgen.learning.fp8.recipe import Recipe

Array = jax.Array

BIAS: Final = 0
AMAX: Final = 1
UNDERFLOW: Final = 2
OVERFLOW: Final = 3
FIELDS: Final = 4
TENSORS: Final = ("x", "w", "g")


def probe(recipe: Recipe, *stacked: int) -> Array:
    """A probe at the beginning, or ``stacked`` of them along leading axes."""
    history = recipe.history if recipe.kind == "delayed" else 0
    return jnp.zeros((*stacked, len(TENSORS), FIELDS + history), jnp.float32)


def renewed(old: Array, rows: list[tuple[Array, Array, Array, Array]]) -> Array:
    """The next value of a probe: ``rows`` of x, w, g are (bias, amax, underflow, overflow)."""
    fields = jnp.stack([jnp.stack([jnp.asarray(field, jnp.float32) for field in row]) for row in rows])
    if old.shape[-1] == FIELDS:
        return fields
    history = jnp.concatenate([fields[:, AMAX : AMAX + 1], old[:, FIELDS:-1]], axis=-1)
    return jnp.concatenate([fields, history], axis=-1)
