"""A block of Llama 2 (Touvron et al., arXiv 2307.09288): RMSNorm first, rotary positions, grouped keys, SwiGLU."""

from __future__ import annotations

from typing import Any

import jax

from qmgen.learning.fp8 import Recipe
from qmgen.learning.lm.attention import rotary
from qmgen.learning.lm.layers import Attend, apply, heads, joined, rms_norm
from qmgen.learning.lm.shape import LmShape

Array = jax.Array
Params = dict[str, Any]


def block(
    params: Params,
    shape: LmShape,
    x: Array,
    positions: Array,
    attend: Attend,
    recipe: Recipe,
    probes: Params | None = None,
) -> Array:
    """x (B, T, D), positions (B, T) -> (B, T, D)."""
    seen = rms_norm(params["norm1"], x, shape.eps)
    q = rotary(heads(apply(params, "q", seen, recipe, probes), shape.heads), positions, shape.theta)
    k = rotary(heads(apply(params, "k", seen, recipe, probes), shape.kv_heads), positions, shape.theta)
    v = heads(apply(params, "v", seen, recipe, probes), shape.kv_heads)
    x = x + apply(params, "out", joined(attend(q, k, v)), recipe, probes)
    seen = rms_norm(params["norm2"], x, shape.eps)
    gate = jax.nn.silu(apply(params, "gate", seen, recipe, probes))
    return x + apply(params, "down", gate * apply(params, "up", seen, recipe, probes), recipe, probes)
