"""Causal attention within the pieces of a packed row, and rotary positions."""

from __future__ import annotations

import jax
import jax.numpy as jnp

Array = jax.Array


def rotary(x: Array, positions: Array, theta: float) -> Array:
    """x (B, T, H, F) with each pair of features (k, k + F/2) turned by positions (B, T) · theta^(−2k/F).

    Su et al., arXiv 2104.09864, with the pairing of Llama's published weights in Hugging Face's form.
    """
    half = x.shape[-1] // 2
    rates = jnp.float32(theta) ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angles = positions[..., None].astype(jnp.float32) * rates
    cos, sin = jnp.cos(angles)[:, :, None, :], jnp.sin(angles)[:, :, None, :]
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
