"""Causal attention within the pieces of a packed row, and rotary positions."""

from __future__ import annotations

import jax
import jax.numpy as jnp

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
