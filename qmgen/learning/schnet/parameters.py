"""The parameters of a SchNet: nested dictionaries of arrays, named as in PyTorch Geometric's, weights as (in, out).

embedding                      (elements, hidden)
interactions.K.filter1/filter2 (gaussians, filters), (filters, filters)      with bias
interactions.K.lin1            (hidden, filters)                             without
interactions.K.lin2            (filters, hidden)                             with bias
interactions.K.lin             (hidden, hidden)                              with bias
lin1, lin2                     (hidden, hidden // 2), (hidden // 2, outputs) with bias
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from qmgen.learning.schnet.shape import SchNetShape

Params = dict[str, Any]


def init(key: jax.Array, shape: SchNetShape) -> Params:
    """Fresh float32 parameters: weights uniform in ±sqrt(6 / (in + out)) (Glorot and Bengio 2010), biases zero,
    embedding from the unit normal distribution with zeros for Z = 0, as PyTorch Geometric begins; but for the last
    layer, whose weights are zero too: a sum over atoms of random outputs is ten times as large as what is to be learnt,
    and training on few rows spent itself on unlearning it."""
    keys = iter(jax.random.split(key, 3 + 5 * shape.interactions))

    def linear(inputs: int, outputs: int, bias: bool = True) -> dict[str, jax.Array]:
        bound = (6.0 / (inputs + outputs)) ** 0.5
        weight = jax.random.uniform(next(keys), (inputs, outputs), jnp.float32, -bound, bound)
        return {"weight": weight, "bias": jnp.zeros(outputs, jnp.float32)} if bias else {"weight": weight}

    embedding = jax.random.normal(next(keys), (shape.elements, shape.hidden), jnp.float32).at[0].set(0.0)
    return {
        "embedding": embedding,
        "interactions": {
            str(block): {
                "filter1": linear(shape.gaussians, shape.filters),
                "filter2": linear(shape.filters, shape.filters),
                "lin1": linear(shape.hidden, shape.filters, bias=False),
                "lin2": linear(shape.filters, shape.hidden),
                "lin": linear(shape.hidden, shape.hidden),
            }
            for block in range(shape.interactions)
        },
        "lin1": linear(shape.hidden, shape.hidden // 2),
        "lin2": jax.tree.map(jnp.zeros_like, linear(shape.hidden // 2, shape.outputs)),
    }


def abstract(shape: SchNetShape) -> Params:
    """Shapes and types of the parameters, without making them."""
    return dict(jax.eval_shape(lambda: init(jax.random.key(0), shape)))


def count(params: Params) -> int:
    """How many numbers there are, in arrays or in :func:`abstract` ones."""
    return sum(int(leaf.size) for leaf in jax.tree.leaves(params))
