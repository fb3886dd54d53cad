"""A decoder-only language model: its sizes and presets, and embeddings, a scan over equal blocks of GPT or Llama,
normalization, a head.

The presets are those of arXiv 2309.17224: Cerebras-GPT's shapes (GPT-2's network) and Llama 2's. ``tiny`` has about a
million parameters in either form, ``mini`` a seventh of that, for SMILES and a CPU.

Blocks are stacked along a leading axis, so that a model of any depth compiles as one block does. Linear layers of the
blocks multiply as the recipe says; embeddings, normalization, attention's products and the head stay as they are.
Attention is causal within the pieces of a packed row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp

from qmgen.errors import UsageError
from qmgen.learning.fp8 import NONE, ScalingRecipe, linear, probe


@dataclass(frozen=True)
class LmShape:
    """A decoder: ``arch`` gpt (learned positions, LayerNorm, GELU, biases, head tied to the embedding) or llama (rotary
    positions, RMSNorm, SwiGLU, no biases, a head of its own).

    Attributes:
        width, layers, heads: of the residual stream; a head has ``width / heads`` features.
        kv_heads: heads of keys and values; ``heads`` but for grouped queries.
        inner: features within the feed-forward part.
        vocabulary: tokens; ``context``: positions.
        eps: of the normalization; ``theta``: base of the rotary angles.
    """

    arch: str
    width: int
    layers: int
    heads: int
    kv_heads: int
    inner: int
    vocabulary: int
    context: int
    eps: float = 1e-5
    theta: float = 10000.0

    def __post_init__(self) -> None:
        if self.arch not in ("gpt", "llama"):
            raise ValueError(f"arch is gpt or llama, not {self.arch!r}")
        if min(self.width, self.layers, self.heads, self.kv_heads, self.inner, self.vocabulary, self.context) < 1:
            raise ValueError("a network has at least one of everything")
        if self.width % self.heads or self.heads % self.kv_heads:
            raise ValueError("heads must divide the width, and heads of keys and values the heads")

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    def of(self, vocabulary: int, context: int | None = None) -> LmShape:
        """The same network over other tokens."""
        return replace(self, vocabulary=vocabulary, context=context or self.context)

    def linears(self) -> dict[str, tuple[int, int]]:
        """(inputs, outputs) of the linear layers of a block: what FP8 is for."""
        d, kv, inner = self.width, self.kv_heads * self.head_width, self.inner
        if self.arch == "gpt":
            return {"qkv": (d, d + 2 * kv), "out": (d, d), "up": (d, inner), "down": (inner, d)}
        return {
            "q": (d, d), "k": (d, kv), "v": (d, kv), "out": (d, d),
            "gate": (d, inner), "up": (d, inner), "down": (inner, d),
        }  # fmt: skip

    def parameters(self) -> dict[str, int]:
        """Numbers of parameters by part: linear (weights of the blocks), other (biases and normalization), embedding
        (tokens and positions), head (0 where it is tied)."""
        linear = sum(inputs * outputs for inputs, outputs in self.linears().values())
        if self.arch == "gpt":
            biases = sum(outputs for _, outputs in self.linears().values())
            return {
                "linear": self.layers * linear,
                "other": self.layers * (biases + 4 * self.width) + 2 * self.width,
                "embedding": (self.vocabulary + self.context) * self.width,
                "head": 0,
            }
        return {
            "linear": self.layers * linear,
            "other": (2 * self.layers + 1) * self.width,
            "embedding": self.vocabulary * self.width,
            "head": self.vocabulary * self.width,
        }

    def total(self) -> int:
        """All parameters."""
        return sum(self.parameters().values())


#: tokens of GPT-2 and of Llama 2, and positions that all presets are counted with
GPT_VOCABULARY: Final = 50257
LLAMA_VOCABULARY: Final = 32000
PUBLISHED_CONTEXT: Final = 2048


def _gpt(width: int, layers: int, heads: int) -> LmShape:
    return LmShape("gpt", width, layers, heads, heads, 4 * width, GPT_VOCABULARY, PUBLISHED_CONTEXT)


def _llama(width: int, inner: int, layers: int, heads: int, kv_heads: int | None = None) -> LmShape:
    return LmShape("llama", width, layers, heads, kv_heads or heads, inner, LLAMA_VOCABULARY, PUBLISHED_CONTEXT)


PRESETS: Final = {
    "gpt-111m": _gpt(768, 10, 12),
    "gpt-590m": _gpt(1536, 18, 12),
    "gpt-1.3b": _gpt(2048, 24, 16),
    "gpt-6.7b": _gpt(4096, 32, 32),
    "gpt-13b": _gpt(5120, 40, 40),
    "llama2-7b": _llama(4096, 11008, 32, 32),
    "llama2-13b": _llama(5120, 13824, 40, 40),
    "llama2-70b": _llama(8192, 28672, 80, 64, 8),
}
#: sizes that come in either form
SMALL: Final = {
    "mini": {"gpt": _gpt(64, 3, 2), "llama": _llama(64, 176, 3, 2, 1)},
    "tiny": {"gpt": _gpt(128, 5, 4), "llama": _llama(128, 352, 5, 4, 2)},
}


NAMES: Final = (*SMALL, *PRESETS)


def published(preset: str, arch: str | None) -> LmShape:
    """The shape of a preset with its published vocabulary and 2048 positions.

    Raises ``UsageError``: no such preset, or one of another ``arch``.
    """
    if preset in SMALL:
        return SMALL[preset][arch or "gpt"]
    if preset not in PRESETS:
        raise UsageError(f"no preset is called {preset!r}: choose from {', '.join(NAMES)}")
    shape = PRESETS[preset]
    if arch is not None and shape.arch != arch:
        raise UsageError(f"the preset {preset} is a {shape.arch}: leave --arch out, or choose another preset")
    return shape


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
    attended = attend(*(heads(part, lead, shape.heads) for part in (q, k, v)))
    x = x + apply(params, "out", joined(attended), recipe, probes).reshape(x.shape)
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
