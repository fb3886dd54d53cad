"""Coulomb and exchange of a density: one interface, ``jk``, whatever holds the integrals.

    J_ij = sum_kl (ij|kl) D_kl,    K_ij = sum_kl (ik|jl) D_kl

J is that of the density of both spins, K that of each spin by itself. With c, the share of exact exchange, and s axes
of spin, the Fock matrix of a spin gets J[sum of D] - (s/2) c K[D] (s = 1: D holds both spins).

A ``Supermatrix`` is exact. J and K are linear in the density, and either, or for closed shells J - c/2 K in one, is a
matrix over packed orbital pairs (Roothaan, Rev. Mod. Phys. 23, 69 (1951)):

    G[ij, kl] = a (ij|kl) - b/4 [ (ik|jl) + (il|jk) ],      F_ij = sum over k >= l of G[ij, kl] D_kl (2 - delta_kl)

with a = 1, b = 0 for J, a = 0, b = -2c for c K, and a = 1, b = c for both. G is symmetric, and a cycle costs what it
takes to read it: only the lower triangle is made and kept, in blocks of whole rows that end with the block's own
diagonal. The diagonal is stored by half, so that a block A with rows R and columns C adds A x_C to y_R and its
transpose A^T x_R to y_C, whatever the block.

``FittedCoulombExchange`` holds the fitted integrals (ij|kl) = sum_P B_ijP B_klP, row by row of orbital pairs:

    J_ij = sum_P B_ijP sum_kl B_klP D_kl,    K_ij = sum_oP w_o X_ioP X_joP,  X_ioP = sum_k B_ikP C_ko

for a density D = sum_o w_o C_o C_o^T of few orbitals C.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from qmgen.dft.backend import Backend


class TwoElectronOperator(Protocol):
    """A linear function of a density that is made of two-electron integrals; a pytree of arrays."""

    def apply(self, density: Array) -> tuple[Array, Array]:
        """The matrix (n, n) of a symmetric density (n, n), and half of the trace () of their product."""
        ...


class CoulombExchange(NamedTuple):
    """The two-electron operators of a molecule.

    Attributes:
        coulomb: J; None where ``closed_shell`` holds it.
        exchange: c K; None where there is no exact exchange, or ``closed_shell`` holds it.
        closed_shell: J - c/2 K of one spin axis, which reads one matrix instead of two; None where J and K are apart.
    """

    coulomb: TwoElectronOperator | None = None
    exchange: TwoElectronOperator | None = None
    closed_shell: TwoElectronOperator | None = None

    def jk(self, density: Array, orbitals: Array | None = None, n_occupied: Any = None) -> tuple[Array, Array]:
        """J - (s/2) c K (s, n, n) of a density (s, n, n), and its energy (). Raises ``ValueError`` for two spins where
        J and K are not apart. Nothing else is needed."""
        del orbitals, n_occupied
        if self.coulomb is None:
            if self.closed_shell is None or len(density) != 1:
                raise ValueError("densities of two spins need J and K apart")
            both, energy = self.closed_shell.apply(density[0])
            return both[None], energy
        both, energy = self.coulomb.apply(density.sum(axis=0))
        if self.exchange is None:
            return jnp.broadcast_to(both, density.shape), energy
        matrices, energies = jax.vmap(self.exchange.apply)(density)
        of_spin = 0.5 * len(density)
        return both - of_spin * matrices, energy - of_spin * energies.sum()


class FittedCoulombExchange(NamedTuple):
    """The fitted integrals of a molecule.

    Attributes:
        fitted: (rows, n_fitting) B, a row for each pair of orbitals.
        pair_row: (n, n) int32 the row of two orbitals.
        exact_exchange: () c, or None where there is no exact exchange.
        places: (o,) int32 0 ... o - 1, where o is the most orbitals that are occupied.
    """

    fitted: Array
    pair_row: Array
    exact_exchange: Array | None
    places: Array

    def jk(self, density: Array, orbitals: Array | None = None, n_occupied: Any = None) -> tuple[Array, Array]:
        """J - (s/2) c K (s, n, n) of a density (s, n, n), and its energy (). The density is that of the first
        ``n_occupied`` () of ``orbitals`` (s, n, n), with 2/s electrons in each; without them it is decomposed."""
        total = density.sum(axis=0)
        packed = jnp.zeros(self.fitted.shape[0], total.dtype).at[self.pair_row].add(total)
        of_rows = self.fitted @ (packed @ self.fitted)
        both = jnp.broadcast_to(of_rows[self.pair_row], density.shape)
        if self.exact_exchange is not None:
            share = 0.5 * len(density) * self.exact_exchange
            if orbitals is None:
                exchange = jnp.stack([self._of_density(one) for one in density])
            else:
                weights = jnp.where(self.places < n_occupied, 2.0 / len(density), 0.0)
                exchange = jnp.stack([self._of_orbitals(one[:, : len(weights)], weights) for one in orbitals])
            both = both - share * exchange
        return both, 0.5 * (both * density).sum()

    def _of_density(self, density: Array) -> Array:
        """K (n, n) of a density (n, n): of its eigenvectors with positive weights, less that of the others."""
        weights, vectors = jnp.linalg.eigh(density)
        return self._of_largest(weights[::-1], vectors[:, ::-1]) - self._of_largest(-weights, vectors)

    def _of_largest(self, weights: Array, vectors: Array) -> Array:
        """K (n, n) of the vectors (n, n) whose weights (n,), which descend, are positive."""
        size, n = len(self.places), len(weights)
        vectors = jnp.pad(vectors, ((0, 0), (0, -n % size)))
        weights = jnp.pad(weights, (0, -n % size))
        # a guess has the rank of a minimal basis set
        count = (weights > _NO_WEIGHT).sum()

        def add(part: Array, total: Array) -> Array:
            first = part * size
            columns = jax.lax.dynamic_slice(vectors, (jnp.zeros_like(first), first), (n, size))
            of_columns = jnp.maximum(jax.lax.dynamic_slice(weights, (first,), (size,)), 0.0)
            return total + self._of_orbitals(columns, of_columns)

        return jax.lax.fori_loop(0, (count + size - 1) // size, add, jnp.zeros((n, n), weights.dtype))

    def _of_orbitals(self, orbitals: Array, weights: Array) -> Array:
        """K (n, n) of orbitals (n, o) with weights (o,), none of which is negative."""
        n, size = orbitals.shape[0], exchange_columns(len(orbitals), len(weights), self.fitted.shape[1])
        scaled = jnp.pad(orbitals * jnp.sqrt(weights), ((0, 0), (0, -len(weights) % size)))

        def add(total: Array, part: Array) -> tuple[Array, None]:
            # row by row, and nothing between the two products: both are then as fast as products of matrices can be
            x = jax.lax.map(lambda row: part @ self.fitted[row], self.pair_row).reshape(n, -1)
            return total + x @ x.T, None

        parts = scaled.T.reshape(-1, size, n)
        return jax.lax.scan(add, jnp.zeros((n, n), self.fitted.dtype), parts)[0]


#: weights of a density below this are rounding
_NO_WEIGHT: Final = 1e-13
#: bytes of X that are in memory at a time
_X_BYTES: Final = 2**29


def exchange_columns(n: int, occupied: int, n_fitting: int) -> int:
    """Orbitals that X is made of at a time: all of ``occupied``, as far as ``_X_BYTES`` allow."""
    return max(1, min(occupied, _X_BYTES // (8 * n * n_fitting)))


class Supermatrix(NamedTuple):
    """A ``TwoElectronOperator`` of all integrals: row blocks (rows, columns) of the lower triangle of G."""

    blocks: tuple[Array, ...]

    def apply(self, density: Array) -> tuple[Array, Array]:
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


def exact_integrals(
    backend: Backend,
    values: Array,
    index: Array | np.ndarray,
    n_real: Array | int,
    exact_exchange: float,
    apart: bool = False,
) -> CoulombExchange:
    """The operators of one molecule in supermatrices.

    Args:
        backend: says how rows are made, and in how many blocks.
        values: (rows, rows) integrals.
        index: (n, n) the row of two orbitals.
        n_real: () orbitals that are no padding.
        exact_exchange: c.
        apart: J and K in a matrix each; where False, both in one, for closed shells.
    """
    make = partial(supermatrix, backend, values, index, n_real)
    if not exact_exchange:
        return CoulombExchange(make())
    if apart:
        return CoulombExchange(make(), make(exchange=-2.0 * exact_exchange, coulomb=False))
    return CoulombExchange(closed_shell=make(exchange=exact_exchange))


def block_rows(n_pairs: int, blocks: int) -> list[tuple[int, int]]:
    """First row of each block, and the row behind its last."""
    size = -(-n_pairs // blocks)
    return [(first, min(first + size, n_pairs)) for first in range(0, n_pairs, size)]


@partial(jax.jit, static_argnames=("backend", "coulomb"))
def supermatrix(
    backend: Backend,
    values: Array,
    index: Array | np.ndarray,
    n_real: Array | int,
    exchange: Array | float | None = None,
    coulomb: bool = True,
) -> Supermatrix:
    """G of one molecule from its integrals, with a = ``coulomb`` and b = ``exchange`` (None: no exchange at all)."""
    values, index = jnp.asarray(values), jnp.asarray(index)
    n = index.shape[0]
    rows = _Rows(values, index, exchange, coulomb)
    make = _all_rows if backend.batched else _row_by_row
    bounds = block_rows(n * (n + 1) // 2, backend.supermatrix_blocks)
    return Supermatrix(tuple(make(rows, first, last, n_real) for first, last in bounds))


def _row_by_row(rows: _Rows, first: int, last: int, n_real: Array | int) -> Array:
    """Rows ``first`` to ``last`` of G as far as its diagonal, in a loop over those that are no padding."""
    i, j = (jnp.asarray(x[:last], jnp.int32) for x in np.tril_indices(rows.row_of.shape[0]))
    columns = _taken(rows.row_of, i, j)
    share = jnp.where(jnp.arange(last) < first, 1.0, 0.5)

    def one_row(row: Array, out: Array) -> Array:
        line = rows.of(i[row], j[row], i, j, columns)
        return jax.lax.dynamic_update_index_in_dim(out, share * line, row - first, 0)

    end = jnp.clip(n_real * (n_real + 1) // 2, first, last)
    return jax.lax.fori_loop(first, end, one_row, jnp.zeros((last - first, last)))


def _all_rows(rows: _Rows, first: int, last: int, n_real: Array | int) -> Array:
    """The same at once, padding too, which is zero."""
    i, j = (np.asarray(x[:last], np.int32) for x in np.tril_indices(rows.row_of.shape[0]))
    lines = rows.of(i[first:], j[first:], i, j, rows.row_of[i, j])
    return jnp.where(np.arange(last) < first, 1.0, 0.5) * lines


class _Rows(NamedTuple):
    """What rows of G are made of: the arguments of ``supermatrix``."""

    values: Array
    row_of: Array
    exchange: Array | float | None
    coulomb: bool

    def of(
        self,
        bra_i: Array | np.ndarray,
        bra_j: Array | np.ndarray,
        i: Array | np.ndarray,
        j: Array | np.ndarray,
        columns: Array,
    ) -> Array:
        """(..., pairs) of G for pairs of the bra (...) with the pairs ``i``, ``j`` (pairs,), whose rows are
        ``columns``."""
        values, index = self.values, self.row_of
        repulsion = values[index[bra_i, bra_j]][..., columns] if self.coulomb else jnp.zeros(())
        if self.exchange is None:
            return repulsion
        # single numbers from rows that stay in the cache
        first, second = index[bra_i], index[bra_j]
        exchanged = _taken(values, first[..., i], second[..., j]) + _taken(values, first[..., j], second[..., i])
        return repulsion - 0.25 * self.exchange * exchanged


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
