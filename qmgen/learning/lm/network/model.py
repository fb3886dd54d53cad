"""A decoder-only language model: embeddings, a scan over equal blocks, normalisation, a head.

Blocks are stacked along a leading axis, so that a model of any depth compiles as one block does. Linear layers of the
blocks multiply as the recipe says; embeddings, normalisation, attention's products and the head stay as they are.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp

from qmgen.learning.fp8 import NONE, Recipe, probe
from qmgen.learning.lm.network import gpt, llama
from qmgen.learning.lm.network.attention import attend, mask_of, turns
from qmgen.learning.lm.network.layers import layer_norm, recomputed, rms_norm
from qmgen.learning.lm.network.shape import LmShape

Array = jax.Array
Params = dict[str, Any]

#: spread of the first weights (GPT-2's)
SPREAD: Final = 0.02


class Arithmetic(NamedTuple):
    """How a model computes: ``recipe`` of its linear layers, ``dtype`` of everything between, ``remat`` whether a
    block's activations are computed again in the backward pass instead of kept, ``unroll`` whether the scan over blocks
    is written out (longer to compile; on a CPU FP8 is emulated twice as fast)."""

    recipe: Recipe = NONE
    dtype: Any = jnp.float32
    remat: bool = False
    unroll: bool = False


def init(key: Array, shape: LmShape) -> Params:
    """The weights, float32: normal of spread 0.02, those that end a branch narrower by √(2 layers), as GPT-2's."""
    names = list(shape.linears())
    keys = jax.random.split(key, len(names) + 3)
    ends = SPREAD / jnp.sqrt(jnp.float32(2 * shape.layers))
    blocks: Params = {}
    for k, (name, (inputs, outputs)) in zip(keys, shape.linears().items()):
        spread = ends if name in ("out", "down") else SPREAD
        blocks[name] = {"weight": spread * jax.random.normal(k, (shape.layers, inputs, outputs), jnp.float32)}
        if shape.arch == "gpt":
            blocks[name]["bias"] = jnp.zeros((shape.layers, outputs), jnp.float32)
    for name in ("norm1", "norm2"):
        blocks[name] = _norm(shape, shape.layers)
    tokens = SPREAD * jax.random.normal(keys[-1], (shape.vocabulary, shape.width), jnp.float32)
    params: Params = {"tokens": tokens, "blocks": blocks, "norm": _norm(shape)}
    if shape.arch == "gpt":
        params["positions"] = SPREAD * jax.random.normal(keys[-2], (shape.context, shape.width), jnp.float32)
    else:
        params["head"] = SPREAD * jax.random.normal(keys[-3], (shape.width, shape.vocabulary), jnp.float32)
    return params


def _norm(shape: LmShape, *stacked: int) -> Params:
    scale = jnp.ones((*stacked, shape.width), jnp.float32)
    return {"scale": scale, "bias": jnp.zeros_like(scale)} if shape.arch == "gpt" else {"scale": scale}


def probes_of(shape: LmShape, recipe: Recipe) -> Params:
    """A probe for each linear layer of each block: name -> (layers, 3, fields)."""
    return {name: probe(recipe, shape.layers) for name in shape.linears()}


def embed(params: Params, shape: LmShape, tokens: Array, positions: Array, dtype: Any) -> Array:
    """tokens and positions (B, T) -> (B, T, D)."""
    x = params["tokens"][tokens]
    if shape.arch == "gpt":
        x = x + params["positions"][positions]
    return x.astype(dtype)


def logits_of(params: Params, shape: LmShape, x: Array) -> Array:
    """x (B, T, D) -> (B, T, V), float32."""
    norm = layer_norm if shape.arch == "gpt" else rms_norm
    x = norm(params["norm"], x, shape.eps)
    weight = params["tokens"].T if shape.arch == "gpt" else params["head"]
    flat = jnp.matmul(x.reshape(-1, x.shape[-1]), weight.astype(x.dtype), preferred_element_type=jnp.float32)
    return flat.reshape(*x.shape[:-1], shape.vocabulary)


def forward(
    params: Params,
    shape: LmShape,
    arithmetic: Arithmetic,
    tokens: Array,
    positions: Array,
    segments: Array,
    probes: Params | None = None,
) -> Array:
    """tokens, positions, segments (B, T) int32 -> logits of the next token (B, T, V), float32.

    Tokens see those of their own segment; ``positions`` count within it.
    """
    mask = mask_of(segments)
    turn = turns(positions, shape.head_width, shape.theta)
    look = recomputed(lambda q, k, v: attend(q, k, v, mask))

    def run(x: Array, layer: Any) -> tuple[Array, None]:
        weights, of_layer = layer
        given = weights, shape, x
        if shape.arch == "gpt":
            return gpt.block(*given, look, arithmetic.recipe, of_layer), None
        return llama.block(*given, turn, look, arithmetic.recipe, of_layer), None

    if arithmetic.remat:
        run = jax.checkpoint(run)
    x = embed(params, shape, tokens, positions, arithmetic.dtype)
    x, _ = jax.lax.scan(run, x, (params["blocks"], probes), unroll=shape.layers if arithmetic.unroll else 1)
    return logits_of(params, shape, x)
