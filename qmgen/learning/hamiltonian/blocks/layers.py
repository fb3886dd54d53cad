"""Messages between atoms over invariant features x (A, F) and vectors v (A, 3, K), in the manner of PaiNN
(K. Schuett et al., ICML 2021): every pair's filter depends on what the physical matrices say about it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from qmgen.learning.fp8 import matmul

Array = jax.Array
Params = dict[str, Any]


def dense(key: Array, inputs: int, outputs: int, scale: float = 1.0) -> Params:
    """Weights of spread scale / sqrt(inputs), no bias at first."""
    weight = scale * jax.random.normal(key, (inputs, outputs), jnp.float32) / jnp.sqrt(jnp.float32(inputs))
    return {"weight": weight, "bias": jnp.zeros(outputs, jnp.float32)}


def apply(params: Params, x: Array) -> Array:
    """x (..., inputs) -> (..., outputs)."""
    return matmul(x, params["weight"]) + params["bias"]


def two_layers(key: Array, inputs: int, hidden: int, outputs: int, scale: float = 1.0) -> Params:
    """A dense layer, SiLU, a dense layer."""
    first, second = jax.random.split(key)
    return {"in": dense(first, inputs, hidden), "out": dense(second, hidden, outputs, scale)}


def run_two(params: Params, x: Array) -> Array:
    return apply(params["out"], jax.nn.silu(apply(params["in"], x)))


def message_params(key: Array, width: int, vectors: int) -> Params:
    keys = jax.random.split(key, 6)
    out = width + 3 * vectors
    return {
        "atoms": two_layers(keys[0], width, width, out),
        "pairs": dense(keys[1], width, out),
        "mix_left": dense(keys[2], vectors, vectors),
        "mix_right": dense(keys[3], vectors, vectors),
        "update": two_layers(keys[4], width + 2 * vectors, width, width + 2 * vectors),
        "pair_update": two_layers(keys[5], 3 * width, width, width),
    }


def message(
    params: Params, x: Array, v: Array, pairs: Array, direction: Array, envelope: Array
) -> tuple[Array, Array, Array]:
    """One round: x (A, F), v (A, 3, K), features of pairs (A, A, F) -> the same, renewed."""
    width, vectors = x.shape[-1], v.shape[-1]
    filters = apply(params["pairs"], pairs) * envelope[..., None]
    sent = filters * apply_atoms(params, x)[None, :, :]
    scalar, along, through, across = jnp.split(sent, [width, width + vectors, width + 2 * vectors], axis=-1)
    # atom b sends to atom a; a vector that b has may turn where the pair points
    x = x + _sum(scalar) / 4.0
    received = jnp.einsum("abk,abx->axk", along, direction) + jnp.einsum("abk,bxk->axk", through, v)
    turned = jnp.einsum("bxk,abx->abk", v, direction)
    received = received + jnp.einsum("abk,abx->axk", across * turned, direction)
    v = v + received / 4.0
    left, right = matmul(v, params["mix_left"]["weight"]), matmul(v, params["mix_right"]["weight"])
    length = jnp.sqrt((left * left).sum(1) + 1e-4)
    product = (left * right).sum(1)
    out = run_two(params["update"], jnp.concatenate([normed(x), length, product], axis=-1))
    change, scale, add = jnp.split(out, [width, width + vectors], axis=-1)
    x = x + change
    v = v * (1.0 + 0.5 * jnp.tanh(scale))[:, None, :] + 0.5 * add[:, None, :] * left
    seen = jnp.concatenate([pairs, *_both(normed(x), pairs)], axis=-1)
    pairs = pairs + run_two(params["pair_update"], seen)
    return x, v, pairs


def apply_atoms(params: Params, x: Array) -> Array:
    return run_two(params["atoms"], normed(x))


def normed(x: Array) -> Array:
    """Without mean, of spread 1."""
    x = x - x.mean(-1, keepdims=True)
    return x / jnp.sqrt((x * x).mean(-1, keepdims=True) + 1e-5)


def _sum(sent: Array) -> Array:
    return sent.sum(1)


def _both(x: Array, pairs: Array) -> list[Array]:
    shape = (*pairs.shape[:2], x.shape[-1])
    return [jnp.broadcast_to(x[:, None, :], shape), jnp.broadcast_to(x[None, :, :], shape)]
