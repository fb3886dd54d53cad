"""What both kinds of block are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from qmgen.learning.fp8 import Recipe, linear

Array = jax.Array
Params = dict[str, Any]

#: attention of a block: queries, keys, values -> what the heads found
Attend = Callable[[Array, Array, Array], Array]


def layer_norm(params: Params, x: Array, eps: float) -> Array:
    """LayerNorm in float32, in the type of ``x``."""
    wide = x.astype(jnp.float32)
    centred = wide - wide.mean(-1, keepdims=True)
    scaled = centred * jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + eps)
    return (scaled * params["scale"] + params["bias"]).astype(x.dtype)


def rms_norm(params: Params, x: Array, eps: float) -> Array:
    """RMSNorm in float32, in the type of ``x``."""
    wide = x.astype(jnp.float32)
    scaled = wide * jax.lax.rsqrt((wide * wide).mean(-1, keepdims=True) + eps)
    return (scaled * params["scale"]).astype(x.dtype)


def apply(params: Params, name: str, x: Array, recipe: Recipe, probes: Params | None) -> Array:
    """The linear layer ``name`` of a block, with its bias where it has one."""
    layer = params[name]
    y = linear(x, layer["weight"], recipe, None if probes is None else probes[name])
    return y + layer["bias"].astype(y.dtype) if "bias" in layer else y


def heads(x: Array, number: int) -> Array:
    """(B, T, D) -> (B, T, number, D / number)."""
    return x.reshape(*x.shape[:-1], number, x.shape[-1] // number)


def joined(x: Array) -> Array:
    """The inverse of ``heads``."""
    return x.reshape(*x.shape[:-2], -1)
