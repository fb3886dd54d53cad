"""The two-electron part of the Fock matrix from packed integrals: one matrix-vector product a cycle.

Coulomb and exchange are linear in the density. With the weight c of exact exchange known beforehand both go into one
supermatrix over packed orbital pairs (Roothaan, Rev. Mod. Phys. 23, 69 (1951)):

    G[ij, kl] = (ij|kl) - c/4 [ (ik|jl) + (il|jk) ],      F_ij = sum over k >= l of G[ij, kl] D_kl (2 - delta_kl)
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from qmgen.dft.integrals.two_electron import Repulsion

Array = jax.Array


def pair_index(n: int) -> np.ndarray:
    """(n, n) table of the packed index i(i+1)/2 + j, i >= j."""
    i, j = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    high, low = np.maximum(i, j), np.minimum(i, j)
    return high * (high + 1) // 2 + low


@jax.jit
def supermatrix(repulsion: Repulsion, n_real: Array, exact_exchange: Array) -> Array:
    """G (n_pairs, n_pairs), packed, from the integrals of n orbitals; the first ``n_real`` () are no padding."""
    values, place = jnp.asarray(repulsion.values), jnp.asarray(repulsion.place)
    i, j = (jnp.asarray(x, jnp.int32) for x in np.tril_indices(place.shape[0]))
    columns = _taken(place, i, j)

    def one_row(row: Array, out: Array) -> Array:
        bra = i[row], j[row]
        first, second = place[bra[0]], place[bra[1]]
        # single numbers from rows that stay in the cache
        exchange = _taken(values, first[i], second[j]) + _taken(values, first[j], second[i])
        line = values[place[bra]][columns] - 0.25 * exact_exchange * exchange
        return jax.lax.dynamic_update_index_in_dim(out, line, row, 0)

    return jax.lax.fori_loop(0, n_real * (n_real + 1) // 2, one_row, jnp.zeros((len(i), len(i))))


def _taken(table: Array, i: Array, j: Array) -> Array:
    """table[i, j] for indices that are inside and not negative: without the checks of either, which cost as much."""
    return table.at[i, j].get(mode="promise_in_bounds", wrap_negative_indices=False)


def pack_density(density: Array) -> Array:
    """D_kl (2 - delta_kl) over kl, k >= l: (n, n) -> (n_pairs,)."""
    n = density.shape[-1]
    i, j = np.tril_indices(n)
    return density[i, j] * jnp.asarray(np.where(i == j, 1.0, 2.0), density.dtype)


def unpack_symmetric(packed: Array, n: int) -> Array:
    """(n_pairs,) -> symmetric (n, n)."""
    return packed[pair_index(n)]
