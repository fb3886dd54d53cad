"""The gradient of a batch in portions: where what lies between two layers stays in the cache, a CPU is much faster.

Measured on two cores of an Intel Xeon (docs/schnet.md): with 4 molecules at once a step of 32 takes half the time
(``tiny``), two thirds (``small``, ``schnet-9m``); with 2 or 8 it takes longer again. A GPU wants the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import jax
import jax.numpy as jnp

from qmgen.learning.batch import Batch

Params = Any

#: molecules at once on a CPU, at most
MOST: Final = 4


def portion_of(size: int) -> int:
    """How many of ``size`` molecules to take at once on JAX's default device: all where no portion divides them."""
    if jax.default_backend() != "cpu":
        return size
    return max((part for part in range(2, MOST + 1) if size % part == 0), default=size)


def by_portions(
    loss: Callable[[Params, Batch], Any], portion: int
) -> Callable[[Params, Batch], tuple[jax.Array, Params]]:
    """``jax.value_and_grad(loss)`` of a batch, summed over parts of ``portion`` molecules; of the whole batch where
    that does not divide it. ``loss`` is a mean over molecules by their weights."""
    whole = jax.value_and_grad(loss)

    def summed(parameters: Params, batch: Batch) -> tuple[jax.Array, Params]:
        size = len(batch.weights)
        if portion >= size or size % portion:
            return whole(parameters, batch)
        parts = jax.tree.map(lambda leaf: leaf.reshape(size // portion, portion, *leaf.shape[1:]), batch)
        total = jnp.maximum(jnp.sum(batch.weights), 1.0)

        def add(sums: Any, part: Batch) -> tuple[Any, None]:
            share = jnp.sum(part.weights) / total
            found = whole(parameters, part)
            return jax.tree.map(lambda old, new: old + (share * new).astype(old.dtype), sums, found), None

        nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(whole, parameters, batch))
        return jax.lax.scan(add, nothing, parts)[0]

    return summed
