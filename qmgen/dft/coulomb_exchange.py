"""Coulomb and exchange of a density: one interface, ``jk``, whatever holds the integrals.

    G D = J[D] - c/2 K[D],    J_ij = sum_kl (ij|kl) D_kl,    K_ij = sum_kl (ik|jl) D_kl,    c: share of exact exchange

``Supermatrix`` is exact: both are linear in the density, and with c known beforehand both go into one matrix over
packed orbital pairs (Roothaan, Rev. Mod. Phys. 23, 69 (1951)):

    G[ij, kl] = (ij|kl) - c/4 [ (ik|jl) + (il|jk) ],      F_ij = sum over k >= l of G[ij, kl] D_kl (2 - delta_kl)

G is symmetric, and a cycle costs what it takes to read it: only the lower triangle is made and kept, in blocks of whole
rows that end with the block's own diagonal. The diagonal is stored by half, so that a block A with rows R and columns C
adds A x_C to y_R and its transpose A^T x_R to y_C, whatever the block.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from qmgen.dft.backend import Backend


class CoulombExchange(Protocol):
    """What a self-consistent field asks of the two-electron integrals; a pytree of arrays."""

    def jk(self, density: Array) -> tuple[Array, Array]:
        """J[D] - c/2 K[D] (n, n), and its energy () tr(D (J - c/2 K)) / 2, of a symmetric density (n, n)."""
        ...


class Supermatrix(NamedTuple):
    """All integrals in row blocks (rows, columns) of the lower triangle of G."""

    blocks: tuple[Array, ...]

    def jk(self, density: Array) -> tuple[Array, Array]:
        packed = pack_density(density)
        product = self.times(packed)
        return unpack_symmetric(product, density.shape[0]), 0.5 * packed @ product

    def times(self, packed: Array) -> Array:
        """G times a packed density (n_pairs,)."""
        if len(self.blocks) == 1:  # all of G, by half
            return 2.0 * (self.blocks[0] @ packed)
        # a vector times a matrix, not its transpose times a vector, which XLA would write out (measured: six times
        # slower)
        out, first = jnp.zeros_like(packed), 0
        for block in self.blocks:
            last = block.shape[1]
            out = out.at[first:last].add(block @ packed[:last])
            out = out.at[:last].add(packed[first:last] @ block)
            first = last
        return out


def block_rows(n_pairs: int, blocks: int) -> list[tuple[int, int]]:
    """First row of each block, and the row behind its last."""
    size = -(-n_pairs // blocks)
    return [(first, min(first + size, n_pairs)) for first in range(0, n_pairs, size)]


@partial(jax.jit, static_argnums=0)
def supermatrix(backend: Backend, values: Array, index: Array, n_real: Array, exact_exchange: Array) -> Supermatrix:
    """Of one molecule, from its integrals ``values`` (rows, rows), the row of two orbitals ``index`` (n, n), and the
    number of orbitals that are no padding, ``n_real`` ()."""
    values, index = jnp.asarray(values), jnp.asarray(index)
    n = index.shape[0]
    make = _all_rows if backend.batched else _row_by_row
    return Supermatrix(
        tuple(
            make(values, index, first, last, n_real, exact_exchange)
            for first, last in block_rows(n * (n + 1) // 2, backend.supermatrix_blocks)
        )
    )


def _row_by_row(values: Array, index: Array, first: int, last: int, n_real: Array, exact_exchange: Array) -> Array:
    """Rows ``first`` to ``last`` of G as far as its diagonal, in a loop over those that are no padding."""
    i, j = (jnp.asarray(x[:last], jnp.int32) for x in np.tril_indices(index.shape[0]))
    columns = _taken(index, i, j)
    share = jnp.where(jnp.arange(last) < first, 1.0, 0.5)

    def one_row(row: Array, out: Array) -> Array:
        line = _rows_of(values, index, i[row], j[row], i, j, columns, exact_exchange)
        return jax.lax.dynamic_update_index_in_dim(out, share * line, row - first, 0)

    end = jnp.clip(n_real * (n_real + 1) // 2, first, last)
    return jax.lax.fori_loop(first, end, one_row, jnp.zeros((last - first, last)))


def _all_rows(values: Array, index: Array, first: int, last: int, n_real: Array, exact_exchange: Array) -> Array:
    """The same at once, padding too, which is zero."""
    i, j = (np.asarray(x[:last], np.int32) for x in np.tril_indices(index.shape[0]))
    lines = _rows_of(values, index, i[first:], j[first:], i, j, index[i, j], exact_exchange)
    return jnp.where(np.arange(last) < first, 1.0, 0.5) * lines


def _rows_of(
    values: Array,
    index: Array,
    bra_i: Array | np.ndarray,
    bra_j: Array | np.ndarray,
    i: Array | np.ndarray,
    j: Array | np.ndarray,
    columns: Array,
    exact_exchange: Array,
) -> Array:
    """(..., pairs) of G for pairs of the bra (...) with the pairs ``i``, ``j`` (pairs,), whose rows are ``columns``."""
    coulomb = values[index[bra_i, bra_j]][..., columns]
    # single numbers from rows that stay in the cache
    first, second = index[bra_i], index[bra_j]
    exchange = _taken(values, first[..., i], second[..., j]) + _taken(values, first[..., j], second[..., i])
    return coulomb - 0.25 * exact_exchange * exchange


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
    i, j = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    high, low = np.maximum(i, j), np.minimum(i, j)
    return packed[high * (high + 1) // 2 + low]
