"""The two-electron part of the Fock matrix from packed integrals: one matrix-vector product a cycle.

Coulomb and exchange are linear in the density. With the weight c of exact exchange known beforehand both go into one
supermatrix over packed orbital pairs (Roothaan, Rev. Mod. Phys. 23, 69 (1951)):

    G[ij, kl] = (ij|kl) - c/4 [ (ik|jl) + (il|jk) ],      F_ij = sum over k >= l of G[ij, kl] D_kl (2 - delta_kl)
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array


def pair_index(n: int) -> np.ndarray:
    """(n, n) table of the packed index i(i+1)/2 + j, i >= j."""
    i, j = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    high, low = np.maximum(i, j), np.minimum(i, j)
    return high * (high + 1) // 2 + low


@partial(jax.jit, static_argnums=1)
def supermatrix(repulsion: Array, n: int, exact_exchange: Array) -> Array:
    """G (n_pairs, n_pairs) from (ij|kl) in the same packing."""
    i, j = np.tril_indices(n)
    table = jnp.asarray(pair_index(n), dtype=jnp.int32)
    rows_i, rows_j = table[i], table[j]  # (n_pairs, n): packed index of (i, x), of (j, x)

    def one_row(row: tuple[Array, Array, Array]) -> Array:
        coulomb, with_i, with_j = row
        half = repulsion[with_i][:, with_j]  # (ik|jl) over k and l: whole rows first, which is a copy
        return coulomb - 0.25 * exact_exchange * (half + half.T)[i, j]

    return jax.lax.map(one_row, (repulsion, rows_i, rows_j))


def pack_density(density: Array) -> Array:
    """D_kl (2 - delta_kl) over kl, k >= l: (n, n) -> (n_pairs,)."""
    n = density.shape[-1]
    i, j = np.tril_indices(n)
    return density[i, j] * jnp.asarray(np.where(i == j, 1.0, 2.0), density.dtype)


def unpack_symmetric(packed: Array, n: int) -> Array:
    """(n_pairs,) -> symmetric (n, n)."""
    return packed[pair_index(n)]
