"""The two-electron part of the Fock matrix from packed integrals: one product with a symmetric matrix a cycle.

Coulomb and exchange are linear in the density. With the weight c of exact exchange known beforehand both go into one
supermatrix over packed orbital pairs (Roothaan, Rev. Mod. Phys. 23, 69 (1951)):

    G[ij, kl] = (ij|kl) - c/4 [ (ik|jl) + (il|jk) ],      F_ij = sum over k >= l of G[ij, kl] D_kl (2 - delta_kl)

G is symmetric, and a cycle costs what it takes to read it: only the lower triangle is made and kept, in panels of whole
rows that end with the panel's own diagonal block. That block is stored by half, so that a panel A with rows R and
columns C adds A x_C to y_R and its transpose A^T x_R to y_C, whatever the block.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from qmgen.dft.integrals.two_electron import Repulsion

#: panels of the supermatrix: n of them store (n + 1) / 2n of it
PANELS = 8


def pair_index(n: int) -> np.ndarray:
    """(n, n) table of the packed index i(i+1)/2 + j, i >= j."""
    i, j = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    high, low = np.maximum(i, j), np.minimum(i, j)
    return high * (high + 1) // 2 + low


def panel_rows(n_pairs: int) -> list[tuple[int, int]]:
    """First row of each panel, and the row behind its last."""
    size = -(-n_pairs // PANELS)
    return [(first, min(first + size, n_pairs)) for first in range(0, n_pairs, size)]


@jax.jit
def supermatrix(repulsion: Repulsion, n_real: Array, exact_exchange: Array) -> tuple[Array, ...]:
    """Panels (rows, columns) of G, from the integrals of n orbitals; the first ``n_real`` () are no padding."""
    values, place = jnp.asarray(repulsion.values), jnp.asarray(repulsion.place)
    n = place.shape[0]
    real_rows = n_real * (n_real + 1) // 2
    return tuple(
        _panel(values, place, first, last, real_rows, exact_exchange) for first, last in panel_rows(n * (n + 1) // 2)
    )


def _panel(values: Array, place: Array, first: int, last: int, real_rows: Array, exact_exchange: Array) -> Array:
    i, j = (jnp.asarray(x[:last], jnp.int32) for x in np.tril_indices(place.shape[0]))
    columns = _taken(place, i, j)
    share = jnp.where(jnp.arange(last) < first, 1.0, 0.5)

    def one_row(row: Array, out: Array) -> Array:
        bra = i[row], j[row]
        first_place, second_place = place[bra[0]], place[bra[1]]
        # single numbers from rows that stay in the cache
        exchange = _taken(values, first_place[i], second_place[j]) + _taken(values, first_place[j], second_place[i])
        line = values[place[bra]][columns] - 0.25 * exact_exchange * exchange
        return jax.lax.dynamic_update_index_in_dim(out, share * line, row - first, 0)

    end = jnp.clip(real_rows, first, last)
    return jax.lax.fori_loop(first, end, one_row, jnp.zeros((last - first, last)))


def _taken(table: Array, i: Array, j: Array) -> Array:
    """table[i, j] for indices that are inside and not negative: without the checks of either, which cost as much."""
    return table.at[i, j].get(mode="promise_in_bounds", wrap_negative_indices=False)


def two_electron(panels: tuple[Array, ...], packed: Array) -> Array:
    """G times a packed density (n_pairs,)."""
    if len(panels) == 1:  # all of G, by half
        return 2.0 * (panels[0] @ packed)
    # a vector times a matrix, not its transpose times a vector, which XLA would write out (measured: six times slower)
    out, first = jnp.zeros_like(packed), 0
    for panel in panels:
        last = panel.shape[1]
        out = out.at[first:last].add(panel @ packed[:last])
        out = out.at[:last].add(packed[first:last] @ panel)
        first = last
    return out


def pack_density(density: Array) -> Array:
    """D_kl (2 - delta_kl) over kl, k >= l: (n, n) -> (n_pairs,)."""
    n = density.shape[-1]
    i, j = np.tril_indices(n)
    return density[i, j] * jnp.asarray(np.where(i == j, 1.0, 2.0), density.dtype)


def unpack_symmetric(packed: Array, n: int) -> Array:
    """(n_pairs,) -> symmetric (n, n)."""
    return packed[pair_index(n)]
