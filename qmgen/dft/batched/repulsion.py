"""Device side: two-electron integrals of a batch, chunk of patches by chunk, and the supermatrices.

``values`` (B, N, N): rows as in ``pairs``, symmetric. A patch fills its rectangle and that of its transpose; where both
sides are of one class, what lies above the diagonal is the transpose of what lies below.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from qmgen.dft.batched.pairs import first_rows, functions_in
from qmgen.dft.batched.patches import Patches, ket_width
from qmgen.dft.integrals.pair_data import PairData, PairInput, pair_data
from qmgen.dft.integrals.quartets import BRA_TILE, Kinds, Side, bra_side, ket_side, tile_part
from qmgen.dft.integrals.shells import kind_pairs


def class_pairs() -> list[tuple[int, int]]:
    """(bra class, ket class) by their places among ``kind_pairs()``, in the order of the lists."""
    return [(b, k) for b in range(len(kind_pairs())) for k in range(b + 1)]


def pair_data_of(pairs: tuple[PairInput, ...], positions: Array) -> tuple[PairData, ...]:
    """Hermite form of each class, with a leading axis; ``positions`` (B, A, 3) in Bohr."""
    every = zip(kind_pairs(), pairs, strict=True)
    return tuple(jax.vmap(lambda p, x, kinds=kinds: pair_data(kinds, p, x))(p, positions) for kinds, p in every)


def repulsion_batch(data: tuple[PairData, ...], work: tuple[tuple[Patches, Patches], ...]) -> Array:
    """(ab|cd) in Hartree, (B, N, N), from ``pair_data_of`` and the lists of each of ``class_pairs``."""
    batch = data[0].exponent.shape[0]
    capacity = tuple(d.exponent.shape[2] for d in data)
    starts, size = first_rows(capacity)
    values = jnp.zeros((batch, size * size))
    for (b, k), lists in zip(class_pairs(), work, strict=True):
        bra_kinds, ket_kinds = kind_pairs()[b], kind_pairs()[k]
        index = _Rectangles(bra_kinds, ket_kinds, (starts[b], starts[k]), (capacity[b], capacity[k]), size)
        for dtype, listed in zip((jnp.float32, jnp.float64), lists, strict=True):
            bra = _all_layers(jax.vmap(lambda d, kinds=bra_kinds, t=dtype: bra_side(kinds, d, t))(data[b]))
            ket = _all_layers(jax.vmap(lambda d, kinds=ket_kinds, t=dtype: ket_side(kinds, d, t))(data[k]))
            values = _add_chunks(index, bra, ket, listed, batch, values)
    return values.reshape(batch, size, size)


def _all_layers(side: Side) -> Side:
    """Molecule and layer as one axis."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), side)


def _add_chunks(index: _Rectangles, bra: Side, ket: Side, work: Patches, batch: int, values: Array) -> Array:
    dtype = bra.weight.dtype
    depth, width = (bra.center.shape[0] // batch, ket.center.shape[0] // batch), index.width
    shape = (work.rows.shape[1], bra.weight.shape[-2], ket.weight.shape[-2], width, BRA_TILE)
    all_rows, all_layers, steps = (jnp.asarray(x) for x in (work.rows, work.layers, work.steps))

    def one_chunk(chunk: Array, values: Array) -> Array:
        rows, layers = all_rows[chunk], all_layers[chunk].astype(jnp.int32)
        molecule = jnp.minimum(rows[:, 0], batch - 1)

        def one_step(step: Array, total: Array) -> Array:
            bra_layer, ket_layer = layers[step, :, 0], layers[step, :, 1]
            there = bra_layer >= 0
            place = (
                molecule * depth[0] + jnp.maximum(bra_layer, 0),
                rows[:, 1],
                molecule * depth[1] + jnp.maximum(ket_layer, 0),
                rows[:, 2],
            )
            part = jax.vmap(
                lambda *row: tile_part(index.bra_kinds, index.ket_kinds, bra, ket, row, width, dtype),
            )(*place)
            return total + jnp.where(there[:, None, None, None, None], part, 0.0)

        total = jax.lax.fori_loop(0, steps[chunk], one_step, jnp.zeros(shape, dtype)).astype(values.dtype)
        for at in index(rows):
            values = values.at[rows[:, 0, None], at.reshape(len(rows), -1)].add(
                total.reshape(len(rows), -1), mode="drop", unique_indices=True
            )
        return values

    return jax.lax.fori_loop(0, jnp.asarray(work.n), one_chunk, values)


class _Rectangles:
    """Where the numbers of a patch stand in a flat (N, N) matrix, and those of its transpose."""

    def __init__(
        self, bra_kinds: Kinds, ket_kinds: Kinds, starts: tuple[int, int], capacity: tuple[int, int], size: int
    ) -> None:
        self.bra_kinds, self.ket_kinds, self.size = bra_kinds, ket_kinds, size
        self.width = ket_width(bra_kinds, ket_kinds)
        f, g = np.arange(functions_in(bra_kinds)), np.arange(functions_in(ket_kinds))
        # (f, g, width, r): row of the matrix is the ket's, column the bra's
        self.row = starts[1] + g[None, :, None, None] * capacity[1] + np.arange(self.width)[None, None, :, None]
        self.column = starts[0] + f[:, None, None, None] * capacity[0] + np.arange(BRA_TILE)

    def __call__(self, rows: Array) -> tuple[Array, Array]:
        """Indices (c, f, g, width, r) for the rows (c, 3) of a chunk; outside where there is nothing to write."""
        bra_first, ket_first = (
            (rows[:, c] * w)[:, None, None, None, None] for c, w in ((1, BRA_TILE), (2, self.width))
        )
        row, column = ket_first + self.row, bra_first + self.column
        direct, turned = row * self.size + column, column * self.size + row
        if self.bra_kinds != self.ket_kinds:
            return direct, turned
        q, p = ket_first + np.arange(self.width)[:, None], bra_first + np.arange(BRA_TILE)
        outside = self.size * self.size
        return jnp.where(q <= p, direct, outside), jnp.where(q < p, turned, outside)


def supermatrices(values: Array, place: Array, exact_exchange: float) -> tuple[Array]:
    """``fock.supermatrix`` of each molecule as one panel: (B, p, p) for p pairs, from (B, N, N), ``place`` (B, n, n).

    Molecule by molecule, each of which fills the device, so that the tables of indices are those of one.
    """
    i, j = (np.asarray(x, np.int32) for x in np.tril_indices(place.shape[-1]))

    def one(molecule: tuple[Array, Array]) -> Array:
        values, place = molecule
        pairs = place[i, j]
        coulomb = values[pairs][:, pairs]
        by_first, by_second = place[i], place[j]  # (n_pairs, n): the row of a bra's orbital with every other
        exchange = values[by_first[:, i], by_second[:, j]] + values[by_first[:, j], by_second[:, i]]
        return 0.5 * (coulomb - 0.25 * exact_exchange * exchange)

    return (jax.lax.map(one, (values, place)),)
