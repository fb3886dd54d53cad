"""What both kinds of block are made of."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from qmgen.learning.fp8 import Recipe, linear

Array = jax.Array
Params = dict[str, Any]

#: attention of a block: queries, keys, values -> what the heads found
Attend = Callable[[Array, Array, Array], Array]
#: of a function that is cheap beside the products: the backward pass computes it again, so that its inputs alone are
#: kept. Within a scan nothing can be merged with the forward pass, hence no fence against that
recomputed = partial(jax.checkpoint, prevent_cse=False)


@partial(recomputed, static_argnums=2)
def layer_norm(params: Params, x: Array, eps: float) -> Array:
    """LayerNorm in float32, in the type of ``x``."""
    wide = x.astype(jnp.float32)
    centred = wide - wide.mean(-1, keepdims=True)
    scaled = centred * jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + eps)
    return (scaled * params["scale"] + params["bias"]).astype(x.dtype)


@partial(recomputed, static_argnums=2)
def rms_norm(params: Params, x: Array, eps: float) -> Array:
    """RMSNorm in float32, in the type of ``x``."""
    wide = x.astype(jnp.float32)
    scaled = wide * jax.lax.rsqrt((wide * wide).mean(-1, keepdims=True) + eps)
    return (scaled * params["scale"]).astype(x.dtype)


@recomputed
def gelu(x: Array) -> Array:
    """GELU by tanh, as GPT-2's."""
    return jax.nn.gelu(x, approximate=True)


@recomputed
def swiglu(gate: Array, up: Array) -> Array:
    """silu(gate) · up (Shazeer, arXiv 2002.05202)."""
    return jax.nn.silu(gate) * up


def apply(params: Params, name: str, x: Array, recipe: Recipe, probes: Params | None) -> Array:
    """The linear layer ``name`` of a block, with its bias where it has one."""
    layer = params[name]
    y = linear(x, layer["weight"], recipe, None if probes is None else probes[name])
    return y + layer["bias"].astype(y.dtype) if "bias" in layer else y


def flat(x: Array) -> Array:
    """(B, T, D) -> (B T, D): layers that share this input keep it once."""
    return x.reshape(-1, x.shape[-1])


def heads(x: Array, lead: tuple[int, ...], number: int) -> Array:
    """(B T, D) -> (B, T, number, D / number), (B, T) being ``lead``."""
    return x.reshape(*lead, number, x.shape[-1] // number)


def joined(x: Array) -> Array:
    """(B, T, H, F) -> (B T, H F)."""
    return x.reshape(-1, x.shape[-2] * x.shape[-1])
