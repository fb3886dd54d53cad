"""A block of GPT-2 (Radford et al. 2019; Cerebras-GPT, arXiv 2304.03208): LayerNorm first, GELU by tanh, biases."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from qmgen.learning.fp8 import Recipe
from qmgen.learning.lm.network.layers import Attend, apply, flat, gelu, heads, joined, layer_norm
from qmgen.learning.lm.network.shape import LmShape

Array = jax.Array
Params = dict[str, Any]


def block(
    params: Params, shape: LmShape, x: Array, attend: Attend, recipe: Recipe, probes: Params | None = None
) -> Array:
    """x (B, T, D) -> (B, T, D)."""
    lead = x.shape[:-1]
    seen = flat(layer_norm(params["norm1"], x, shape.eps))
    q, k, v = jnp.split(apply(params, "qkv", seen, recipe, probes), 3, axis=-1)
    found = attend(*(heads(part, lead, shape.heads) for part in (q, k, v)))
    x = x + apply(params, "out", joined(found), recipe, probes).reshape(x.shape)
    seen = flat(layer_norm(params["norm2"], x, shape.eps))
    inner = gelu(apply(params, "up", seen, recipe, probes))
    return x + apply(params, "down", inner, recipe, probes).reshape(x.shape)
