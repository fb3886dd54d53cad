"""Sums over the pairs of a molecule, each pair i < j taken once.

    gather(w, x)_i = Σ_j w_{ij} x_j          w symmetric, feature by feature
    spread(x, y)_{ij} = x_i y_j + x_j y_i

Each is the other's derivative, so that gradients of any order are these two again: no scatter, which is slow on a CPU
and in no fixed order on a GPU.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class PairTable(NamedTuple):
    """``first`` < ``second``: the atoms of the pairs of n atoms, (pairs,); ``place``: (n, n) number of the pair {i, j},
    that of no pair on the diagonal (``pairs``, one past the last)."""

    first: np.ndarray
    second: np.ndarray
    place: np.ndarray


@cache
def pair_table(atoms: int) -> PairTable:
    """The n (n - 1) / 2 pairs of ``atoms`` atoms, in rows of the upper triangle."""
    first, second = np.triu_indices(atoms, 1)
    place = np.full((atoms, atoms), len(first), np.int32)
    place[first, second] = place[second, first] = np.arange(len(first), dtype=np.int32)
    return PairTable(first.astype(np.int32), second.astype(np.int32), place)


def distances(positions: jax.Array) -> jax.Array:
    """(B, pairs) Bohr, from ``positions`` (B, n, 3). 0 for atoms at one place, where its derivative is 0 too."""
    table = pair_table(positions.shape[1])
    between = positions[:, table.first] - positions[:, table.second]
    square = jnp.sum(between * between, axis=-1)
    apart = square > 0
    return jnp.where(apart, jnp.sqrt(jnp.where(apart, square, 1.0)), 0.0)


@jax.custom_vjp
def gather(w: jax.Array, x: jax.Array) -> jax.Array:
    """(B, n, F): the sum over the others of ``w`` (B, pairs, F) times ``x`` (B, n, F)."""
    table = pair_table(x.shape[1])
    none = jnp.zeros((len(w), 1, w.shape[2]), w.dtype)
    dense = jnp.concatenate([w, none], axis=1)[:, table.place]  # (B, n, n, F)
    return jnp.sum(dense * x[:, None], axis=2)


@jax.custom_vjp
def spread(x: jax.Array, y: jax.Array) -> jax.Array:
    """(B, pairs, F): x_i y_j + x_j y_i of ``x`` and ``y`` (B, n, F)."""
    table = pair_table(x.shape[1])
    return x[:, table.first] * y[:, table.second] + x[:, table.second] * y[:, table.first]


gather.defvjp(
    lambda w, x: (gather(w, x), (w, x)),
    lambda kept, g: (spread(kept[1], g), gather(kept[0], g)),
)
spread.defvjp(
    lambda x, y: (spread(x, y), (x, y)),
    lambda kept, g: (gather(g, kept[1]), gather(g, kept[0])),
)
