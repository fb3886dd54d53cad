"""A block of Llama 2 (Touvron et al., arXiv 2307.09288): RMSNorm first, rotary positions, grouped keys, SwiGLU."""

from __future__ import annotations

from typing import Any

import jax

from qmgen.learning.fp8 import Recipe
from qmgen.learning.lm.network.attention import Turns, rotary
from qmgen.learning.lm.network.layers import Attend, apply, flat, heads, joined, rms_norm, swiglu
from qmgen.learning.lm.network.shape import LmShape

Array = jax.Array
Params = dict[str, Any]


def block(
    params: Params,
    shape: LmShape,
    x: Array,
    turn: Turns,
    attend: Attend,
    recipe: Recipe,
    probes: Params | None = None,
) -> Array:
    """x (B, T, D) -> (B, T, D); ``turn`` the rotary positions."""
    lead = x.shape[:-1]
    seen = flat(rms_norm(params["norm1"], x, shape.eps))
    q = rotary(heads(apply(params, "q", seen, recipe, probes), lead, shape.heads), turn)
    k = rotary(heads(apply(params, "k", seen, recipe, probes), lead, shape.kv_heads), turn)
    v = heads(apply(params, "v", seen, recipe, probes), lead, shape.kv_heads)
    x = x + apply(params, "out", joined(attend(q, k, v)), recipe, probes).reshape(x.shape)
    seen = flat(rms_norm(params["norm2"], x, shape.eps))
    inner = swiglu(apply(params, "gate", seen, recipe, probes), apply(params, "up", seen, recipe, probes))
    return x + apply(params, "down", inner, recipe, probes).reshape(x.shape)
