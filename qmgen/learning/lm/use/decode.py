"""Texts drawn from a language model, token by token, many at once.

Keys and values of earlier tokens are kept (B, layers, T, heads, features), so that a token costs one column of each
product. Every text has a random stream of its own, by its number: what is drawn does not depend on how many are drawn
together, but for the scales of FP8, which are of the tensor at hand.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from qmgen.learning.lm.network import gpt, llama
from qmgen.learning.lm.network.attention import attend, turns
from qmgen.learning.lm.network.model import Arithmetic, embed, logits_of
from qmgen.learning.lm.network.shape import LmShape
from qmgen.learning.lm.texts.tokens import BEGIN_ID, END_ID, PAD_ID

Array = jax.Array
Params = dict[str, Any]


class Draw(NamedTuple):
    """How the next token is chosen: probabilities p^(1/temperature), of the ``top_k`` likeliest (0: all), and of these
    the fewest that hold ``top_p`` of the probability."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0


class Cache(NamedTuple):
    """Keys and values of the tokens so far: (layers, B, T, kv_heads, features)."""

    keys: Any
    values: Any


def empty(shape: LmShape, arithmetic: Arithmetic, size: int, length: int) -> Cache:
    """A cache for ``size`` texts of ``length`` tokens."""
    room = (shape.layers, size, length, shape.kv_heads, shape.head_width)
    return Cache(jnp.zeros(room, arithmetic.dtype), jnp.zeros(room, arithmetic.dtype))


def advance(
    weights: Params, shape: LmShape, arithmetic: Arithmetic, cache: Cache, tokens: Array, place: Array
) -> tuple[Array, Cache]:
    """tokens (B,) at ``place`` -> logits of the next (B, V), and the cache with them."""
    size, length = tokens.shape[0], cache.keys.shape[2]
    positions = jnp.broadcast_to(place, (size, 1))
    turn = turns(positions, shape.head_width, shape.theta)
    mask = (jnp.arange(length) <= place)[None, None, None, :]

    def run(x: Array, layer: Any) -> tuple[Array, Any]:
        params, keys, values = layer
        found = {}

        def look(q: Array, k: Array, v: Array) -> Array:
            found["k"] = jax.lax.dynamic_update_slice_in_dim(keys, k, place, 1)
            found["v"] = jax.lax.dynamic_update_slice_in_dim(values, v, place, 1)
            return attend(q, found["k"], found["v"], mask)

        if shape.arch == "gpt":
            x = gpt.block(params, shape, x, look, arithmetic.recipe)
        else:
            x = llama.block(params, shape, x, turn, look, arithmetic.recipe)
        return x, (found["k"], found["v"])

    x = embed(weights, shape, tokens[:, None], positions, arithmetic.dtype)
    x, (keys, values) = jax.lax.scan(run, x, (weights["blocks"], cache.keys, cache.values))
    return logits_of(weights, shape, x)[:, 0], Cache(keys, values)


def narrowed(logits: Array, draw: Draw) -> Array:
    """logits (B, V) over the temperature, −∞ for what is not to be drawn: special tokens but the end, and what
    ``top_k`` and ``top_p`` leave out."""
    logits = logits.at[:, jnp.array([PAD_ID, BEGIN_ID])].set(-jnp.inf) / jnp.float32(draw.temperature)
    if draw.top_k:
        least = jax.lax.top_k(logits, min(draw.top_k, logits.shape[1]))[0][:, -1:]
        logits = jnp.where(logits < least, -jnp.inf, logits)
    if draw.top_p < 1.0:
        ordered = jnp.sort(logits, axis=-1)[:, ::-1]
        before = jnp.cumsum(jax.nn.softmax(ordered, axis=-1), axis=-1) - jax.nn.softmax(ordered, axis=-1)
        least = jnp.min(jnp.where(before < draw.top_p, ordered, jnp.inf), axis=-1, keepdims=True)
        logits = jnp.where(logits < least, -jnp.inf, logits)
    return logits


@partial(jax.jit, static_argnums=(1, 2, 3, 4))
def sample(
    weights: Params, shape: LmShape, arithmetic: Arithmetic, draw: Draw, length: int, seed: Array, numbers: Array
) -> Array:
    """(B, length) int32: the tokens after the begin of texts ``numbers`` (B,) of the stream ``seed``, padded after the
    end. A text that does not end within ``length`` has no end."""
    keys = jax.vmap(partial(jax.random.fold_in, jax.random.key(seed)))(numbers)
    size = numbers.shape[0]

    def one(carry: Any, place: Array) -> tuple[Any, Array]:
        cache, tokens, ended = carry
        logits, cache = advance(weights, shape, arithmetic, cache, tokens, place)
        each = jax.vmap(partial(jax.random.fold_in, data=place))(keys)
        chosen = jax.vmap(jax.random.categorical)(each, narrowed(logits, draw)).astype(jnp.int32)
        chosen = jnp.where(ended, PAD_ID, chosen)
        return (cache, chosen, ended | (chosen == END_ID)), chosen

    begin = empty(shape, arithmetic, size, length), jnp.full(size, BEGIN_ID, jnp.int32), jnp.zeros(size, bool)
    _, drawn = jax.lax.scan(one, begin, jnp.arange(length, dtype=jnp.int32))
    return drawn.T
