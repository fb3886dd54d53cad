"""A decoder-only language model: embeddings, a scan over equal blocks of GPT or Llama, normalization, a head.

Blocks are stacked along a leading axis, so that a model of any depth compiles as one block does. Linear layers of the
blocks multiply as the recipe says; embeddings, normalization, attention's products and the head stay as they are.
Attention is causal within the pieces of a packed row.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp

from qmgen.learning.fp8 import NONE, ScalingRecipe, linear, probe
from qmgen.learning.lm.shape import LmShape

Array = jax.Array
Turns = tuple[Array, Array]


def turns(positions: Array, width: int, theta: float) -> Turns:
    """Cosine and sine (B, T, 1, F/2) of the angles positions (B, T) · theta^(−2k/F) of a head of F = ``width``."""
    half = width // 2
    rates = jnp.float32(theta) ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angles = positions[..., None].astype(jnp.float32) * rates
    return jnp.cos(angles)[:, :, None, :], jnp.sin(angles)[:, :, None, :]


def rotary(x: Array, turn: Turns) -> Array:
    """x (B, T, H, F) with each pair of features (k, k + F/2) turned.

    Su et al., arXiv 2104.09864, with the pairing of Llama's published weights in Hugging Face's form.
    """
    cos, sin = turn
    left, right = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1).astype(x.dtype)


def mask_of(segments: Array) -> Array:
    """(B, 1, T, T) bool: a token sees those before it, and itself, of the same piece; ``segments`` (B, T)."""
    length = segments.shape[1]
    before = jnp.tril(jnp.ones((length, length), bool))
    return (before & (segments[:, :, None] == segments[:, None, :]))[:, None]


def attend(q: Array, k: Array, v: Array, mask: Array) -> Array:
    """q (B, T, H, F), k and v (B, S, G, F), mask (B, 1, T, S) -> (B, T, H, F); scores and softmax in float32.

    Each of the G heads of keys and values serves H / G heads of queries. A query that may see nothing sees everything.
    """
    groups = k.shape[2]
    split = q.reshape(*q.shape[:2], groups, q.shape[2] // groups, q.shape[3])
    scores = jnp.einsum("btgnf,bsgf->bgnts", split, k, preferred_element_type=jnp.float32)
    scores = jnp.where(mask[:, :, None], scores * jnp.float32(q.shape[-1] ** -0.5), jnp.float32(-1e30))
    shares = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
    return jnp.einsum("bgnts,bsgf->btgnf", shares, v).reshape(q.shape)


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
    centered = wide - wide.mean(-1, keepdims=True)
    scaled = centered * jax.lax.rsqrt((centered * centered).mean(-1, keepdims=True) + eps)
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


def apply(params: Params, name: str, x: Array, recipe: ScalingRecipe, probes: Params | None) -> Array:
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


def gpt_block(
    params: Params, shape: LmShape, x: Array, attend: Attend, recipe: ScalingRecipe, probes: Params | None = None
) -> Array:
    """x (B, T, D) -> (B, T, D): a block of GPT-2 (Radford et al. 2019; Cerebras-GPT, arXiv 2304.03208): LayerNorm
    first, GELU by tanh, biases."""
    lead = x.shape[:-1]
    seen = flat(layer_norm(params["norm1"], x, shape.eps))
    q, k, v = jnp.split(apply(params, "qkv", seen, recipe, probes), 3, axis=-1)
    found = attend(*(heads(part, lead, shape.heads) for part in (q, k, v)))
    x = x + apply(params, "out", joined(found), recipe, probes).reshape(x.shape)
    seen = flat(layer_norm(params["norm2"], x, shape.eps))
    inner = gelu(apply(params, "up", seen, recipe, probes))
    return x + apply(params, "down", inner, recipe, probes).reshape(x.shape)


def llama_block(
    params: Params,
    shape: LmShape,
    x: Array,
    turn: Turns,
    attend: Attend,
    recipe: ScalingRecipe,
    probes: Params | None = None,
) -> Array:
    """x (B, T, D) -> (B, T, D): a block of Llama 2 (Touvron et al., arXiv 2307.09288): RMSNorm first, rotary positions
    ``turn``, grouped keys, SwiGLU."""
    lead = x.shape[:-1]
    seen = flat(rms_norm(params["norm1"], x, shape.eps))
    q = rotary(heads(apply(params, "q", seen, recipe, probes), lead, shape.heads), turn)
    k = rotary(heads(apply(params, "k", seen, recipe, probes), lead, shape.kv_heads), turn)
    v = heads(apply(params, "v", seen, recipe, probes), lead, shape.kv_heads)
    x = x + apply(params, "out", joined(attend(q, k, v)), recipe, probes).reshape(x.shape)
    seen = flat(rms_norm(params["norm2"], x, shape.eps))
    inner = swiglu(apply(params, "gate", seen, recipe, probes), apply(params, "up", seen, recipe, probes))
    return x + apply(params, "down", inner, recipe, probes).reshape(x.shape)


#: spread of the first weights (GPT-2's)
SPREAD: Final = 0.02


class Arithmetic(NamedTuple):
    """How a model computes: ``recipe`` of its linear layers, ``dtype`` of everything between, ``remat`` whether a
    block's activations are computed again in the backward pass instead of kept, ``unroll`` whether the scan over blocks
    is written out (longer to compile; on a CPU FP8 is emulated twice as fast)."""

    recipe: ScalingRecipe = NONE
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


def probes_of(shape: LmShape, recipe: ScalingRecipe) -> Params:
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
            return gpt_block(*given, look, arithmetic.recipe, of_layer), None
        return llama_block(*given, turn, look, arithmetic.recipe, of_layer), None

    if arithmetic.remat:
        run = jax.checkpoint(run)
    x = embed(params, shape, tokens, positions, arithmetic.dtype)
    x, _ = jax.lax.scan(run, x, (params["blocks"], probes), unroll=shape.layers if arithmetic.unroll else 1)
    return logits_of(params, shape, x)
