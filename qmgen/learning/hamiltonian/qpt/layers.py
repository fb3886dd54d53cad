"""Layers of a pre-norm transformer over the orbitals of one molecule, as functions of dictionaries of arrays.

    x <- x + O concat_h A_h V_h norm(x),      A_h = softmax over keys of ( Q_h K_h^T / sqrt(d_h) + g_h B_h )
    x <- x + D gelu(U norm(x))

B_h is the physical matrix of head h (``biases``) and g_h a weight learnt for it.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from qmgen.learning.fp8 import matmul

Array = jax.Array
Params = dict[str, Any]

#: score of a pair of which one is padding: its exponential is zero in float32
_NOTHING = -1e9


def linear_init(key: Array, inputs: int, outputs: int, scale: float = 1.0) -> Params:
    """Weights (inputs, outputs) uniform in ±scale / sqrt(inputs), bias zero; float32."""
    bound = scale / math.sqrt(inputs)
    weight = jax.random.uniform(key, (inputs, outputs), jnp.float32, -bound, bound)
    return {"weight": weight, "bias": jnp.zeros(outputs, jnp.float32)}


def norm_init(width: int) -> Params:
    """Gain one, bias zero."""
    return {"gain": jnp.ones(width, jnp.float32), "bias": jnp.zeros(width, jnp.float32)}


def linear(params: Params, x: Array) -> Array:
    """x @ weight + bias."""
    return matmul(x, params["weight"]) + params["bias"]


def norm(params: Params, x: Array) -> Array:
    """Layer normalisation over the last axis."""
    off = x - x.mean(-1, keepdims=True)
    return off * jax.lax.rsqrt((off * off).mean(-1, keepdims=True) + 1e-5) * params["gain"] + params["bias"]


def weights_of(scores: Array, real: Array, over_queries: bool = False) -> Array:
    """Softmax of scores (heads, queries, keys) over the keys, zero where either is padding.

    ``over_queries`` normalises over the queries instead, as the published code does: what a token receives then is no
    mean of values; it may be many times one or nearly nothing.
    """
    both = real[:, None] & real[None, :]
    scores = jnp.where(both, scores, _NOTHING)
    return jnp.where(both, jax.nn.softmax(scores, axis=-2 if over_queries else -1), 0.0)


def block_init(key: Array, width: int, heads: int, layers: int, published: bool) -> Params:
    """Parameters of one layer. Ours writes less into the residual stream the more layers do."""
    keys = jax.random.split(key, 4)
    residual = 1.0 if published else (2.0 * layers) ** -0.5
    params = {
        "norm1": norm_init(width),
        "qkv": linear_init(keys[0], width, 3 * width),
        "out": linear_init(keys[1], width, width, residual),
        "norm2": norm_init(width),
        "up": linear_init(keys[2], width, 4 * width),
        "down": linear_init(keys[3], 4 * width, width, residual),
    }
    # the published biases have no weights of their own
    return params if published else {**params, "bias_gain": jnp.ones(heads, jnp.float32)}


def block(params: Params, x: Array, biases: Array, real: Array, published: bool) -> Array:
    """One layer: x (n, width), biases (heads, n, n), real (n,) bool."""
    x = x + attention(params, norm(params["norm1"], x), biases, real, published)
    return x + linear(params["down"], jax.nn.gelu(linear(params["up"], norm(params["norm2"], x))))


def attention(params: Params, x: Array, biases: Array, real: Array, published: bool) -> Array:
    """(n, width) of what each orbital takes from the others."""
    n, width = x.shape
    heads = biases.shape[0]
    q, k, v = jnp.moveaxis(linear(params["qkv"], x).reshape(n, 3, heads, width // heads), (1, 2), (0, 1))
    if not published:
        biases = biases * params["bias_gain"][:, None, None]
    scores = jnp.einsum("hid,hjd->hij", q, k) / math.sqrt(width // heads) + biases
    taken = jnp.einsum("hij,hjd->ihd", weights_of(scores, real, over_queries=published), v)
    return linear(params["out"], taken.reshape(n, width))
