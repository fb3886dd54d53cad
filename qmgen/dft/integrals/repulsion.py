"""Electron repulsion integrals (ab|cd) as a symmetric matrix over pairs of orbitals (``PairRows``).

The host lists the work: the tiles whose bounds say that they matter (Schwarz' inequality), and in which precision.
Small quartets are evaluated in float32, and added up in float64.

Two drivers of the one kernel: ``repulsion_integrals`` loops over pairs of blocks of one molecule, whose programs have
one size for every molecule; ``repulsion_batch`` evaluates chunks of tiles of a whole batch at once.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from qmgen.dft.integrals.pair_data import PairData, pair_data
from qmgen.dft.integrals.quartets import QuartetSide, bra_side, hermite_bytes, ket_side, ket_tile, sparse, tile_part
from qmgen.dft.integrals.shell_pairs import MoleculePairs, PairRows, blocks, round_up, row_of
from qmgen.dft.integrals.shells import BRA_TILE, ShellPairClass

#: quartets of groups are skipped when the product of their bounds (Schwarz) is below this (Hartree)
QUARTET_THRESHOLD = 1e-12
#: and evaluated in float32 when it is below this: 24 bits leave an error of some 1e-11 Hartree (measured: 5e-11 at
#: most, 2e-13 root mean square)
FLOAT32_BELOW = 1e-5
#: the molecule of a tile that is padding: outside of every batch, so that nothing is written
_NO_MOLECULE: Final = np.iinfo(np.int32).max


def quartet_classes(count: int) -> tuple[tuple[int, int], ...]:
    """(bra class, ket class) by their places among ``count`` classes of shell pairs, in the order of the lists."""
    return tuple((b, k) for b in range(count) for k in range(b + 1))


def significant(
    bra_class: ShellPairClass,
    ket_class: ShellPairClass,
    bra: np.ndarray,
    ket: np.ndarray,
    same: bool,
    threshold: float = QUARTET_THRESHOLD,
    float32_below: float = FLOAT32_BELOW,
) -> tuple[np.ndarray, np.ndarray]:
    """What is evaluated in float32, and what in float64: (..., tile of the bra, tile of the ket, layer of the bra,
    layer of the ket) bool, from the bounds (..., l, s) of both sides.

    Where both sides are the ``same`` pairs, tiles above the diagonal follow from those below.
    """
    width = ket_tile(bra_class, ket_class)
    rows = bra.reshape(*bra.shape[:-1], -1, BRA_TILE).max(axis=-1)
    columns = ket.reshape(*ket.shape[:-1], -1, width).max(axis=-1)
    of_rows, of_columns = rows.swapaxes(-1, -2), columns.swapaxes(-1, -2)
    bound = of_rows[..., :, None, :, None] * of_columns[..., None, :, None, :]
    if same:
        last, first = np.arange(rows.shape[-1])[:, None] * BRA_TILE + BRA_TILE - 1, np.arange(columns.shape[-1]) * width
        bound = bound * (first <= last)[:, :, None, None]
    # kernels of higher shells are compiled once, in float64
    wanted, big = bound > threshold, bound > (float32_below if sparse(bra_class, ket_class) else 0.0)
    return wanted & ~big, wanted & big


class TileItems(NamedTuple):
    """Rows (layer and tile of the bra, layer and tile of the ket), (capacity, 4) int32, of which ``n`` are real."""

    rows: Array | np.ndarray
    n: Array | int


def repulsion_integrals(molecule: MoleculePairs, rows: PairRows, positions: Array) -> Array:
    """(ab|cd) of one molecule in Hartree, (rows, rows); ``positions`` (A, 3) in Bohr, A with padding."""
    values = jnp.zeros((rows.size, rows.size))
    lists = [[(block, pair_data(s.pair_class, block.pairs, positions)) for block in blocks(s)] for s in molecule]
    for b, k in quartet_classes(len(molecule)):
        bra_class, ket_class = molecule[b].pair_class, molecule[k].pair_class
        for bra, bra_data in lists[b]:
            for ket, ket_data in lists[k]:
                if k == b and ket.first > bra.first:
                    continue
                same = k == b and ket.first == bra.first
                small, large = significant(bra_class, ket_class, bra.bound, ket.bound, same)
                if not (small.any() or large.any()):
                    continue
                of_small = tile_items(small) if sparse(bra_class, ket_class) else None
                block = block_integrals(bra_class, ket_class, bra_data, ket_data, of_small, tile_items(large))
                place = tile_place(rows, b, k)
                values = _put_block(values, block, place, np.int32(bra.first), np.int32(ket.first))
    return values


class TilePlace(NamedTuple):
    """Where integrals of two classes of shell pairs stand in the matrix: its row is the ket's, its column the bra's,
    and the transpose stands there too.

    Attributes:
        first, stride: (2,) int of bra and ket, as in ``PairRows``.
        same: () bool, whether both are of one class.
    """

    first: Any
    stride: Any
    same: Any

    def corner(self, f: Any, g: Any, bra_pair: Any, ket_pair: Any) -> tuple[Any, Any]:
        """Row and column of shell pair ``bra_pair`` with its functions ``f``, and ``ket_pair`` with ``g``."""
        row = row_of(self.first[1], self.stride[1], g, ket_pair)
        return row, row_of(self.first[0], self.stride[0], f, bra_pair)

    def share(self, bra_pair: Any, ket_pair: Any) -> Array:
        """What is added, here and at the transpose: of one class each two shell pairs count once, a pair with itself
        half."""
        below = jnp.where(ket_pair < bra_pair, 1.0, jnp.where(ket_pair == bra_pair, 0.5, 0.0))
        return jnp.where(self.same, below, 1.0)


def tile_items(chosen: np.ndarray) -> TileItems:
    """Tile by tile, layers innermost."""
    where = np.argwhere(chosen)[:, [2, 0, 3, 1]].astype(np.int32)
    rows = np.zeros((chosen.size, 4), np.int32)
    rows[: len(where)] = where
    return TileItems(rows, len(where))


@partial(jax.jit, static_argnums=(0, 1))
def block_integrals(
    bra_class: ShellPairClass,
    ket_class: ShellPairClass,
    bra: PairData,
    ket: PairData,
    small: TileItems | None,
    large: TileItems,
) -> Array:
    """Integrals of all pairs of one block with all pairs of another.

    Args:
        bra_class, ket_class: the classes.
        bra, ket: Hermite form of the two blocks.
        small, large: what to evaluate in float32 (None: nothing is compiled for it), and what in float64.

    Returns:
        (f, g, pairs of the ket, pairs of the bra) float64 in Hartree; zero where no item is.
    """
    shape = (bra.expansion.shape[-1], ket.expansion.shape[-1], ket.exponent.shape[1], bra.exponent.shape[1])
    block = jnp.zeros(shape, jnp.float64 if small is None else jnp.float32)
    for items in (small, large):
        if items is None:
            continue
        of_bra = bra_side(bra_class, ket_class, bra, block.dtype)
        of_ket = ket_side(bra_class, ket_class, ket, block.dtype)
        block = _add_items(bra_class, ket_class, of_bra, of_ket, items, block)
        block = block.astype(jnp.float64)
    return block


def _add_items(
    bra_class: ShellPairClass,
    ket_class: ShellPairClass,
    bra: QuartetSide,
    ket: QuartetSide,
    items: TileItems,
    block: Array,
) -> Array:
    width = ket_tile(bra_class, ket_class)

    def one(i: Array, block: Array) -> Array:
        row = tuple(jnp.asarray(items.rows)[i, c] for c in range(4))
        part = tile_part(bra_class, ket_class, bra, ket, row, width, block.dtype)
        zero = jnp.zeros_like(row[3])
        at = (zero, zero, row[3] * width, row[1] * BRA_TILE)
        return jax.lax.dynamic_update_slice(block, jax.lax.dynamic_slice(block, at, part.shape) + part, at)

    return jax.lax.fori_loop(0, items.n, one, block)


def tile_place(rows: PairRows, bra: int, ket: int) -> TilePlace:
    """Of classes by their places among those of the rows."""
    first, stride = (np.array([x[bra], x[ket]]) for x in (rows.first, rows.stride))
    return TilePlace(first, stride, np.bool_(bra == ket))


@partial(jax.jit, donate_argnums=0)
def _put_block(values: Array, block: Array, place: TilePlace, bra_first: Array, ket_first: Array) -> Array:
    """Add a block (f, g, s', s), each function's rectangle in its place and its transpose; padding adds zeros.

    ``bra_first`` and ``ket_first`` are the first shell pairs of either side.
    """
    functions = block.shape[1]
    ket_pair, bra_pair = np.indices(block.shape[2:])
    share = place.share(bra_first + bra_pair, ket_first + ket_pair)

    def rectangle(i: Array, values: Array) -> Array:
        f, g = i // functions, i % functions
        part = block[f, g] * share
        row, column = place.corner(f, g, bra_first, ket_first)
        for here, at in ((part, (row, column)), (part.T, (column, row))):
            values = jax.lax.dynamic_update_slice(values, jax.lax.dynamic_slice(values, at, here.shape) + here, at)
        return values

    return jax.lax.fori_loop(0, block.shape[0] * functions, rectangle, values)


class TileChunks(NamedTuple):
    """Chunks of c tiles of one (bra class, ket class) in one precision, ``n`` of the chunks real.

    A tile of the bra of one molecule stands against one of the ket, with the combinations of their layers that matter.
    Those with most combinations come first, and a chunk is evaluated at once: within a chunk all take as many steps as
    the longest, which is data, so that what is screened out costs nothing. Each has its own rectangle of the matrix:
    nothing is added atomically, and results do not depend on the order in which a device works.

    Attributes:
        rows: (chunks, c, 3) int32 molecule, tile of the bra, tile of the ket.
        layers: (chunks, m, c, 2) int16 layer of the bra and of the ket; -1 where a tile has no more combinations.
        steps: (chunks,) int32 combinations of the longest.
        n: () int32.
    """

    rows: Any
    layers: Any
    steps: Any
    n: Any


#: of each of ``quartet_classes``, in float32 and in float64
BatchWork = tuple[tuple[TileChunks, TileChunks], ...]


def batch_work(classes: tuple[ShellPairClass, ...], bounds: tuple[np.ndarray, ...], chunk_bytes: int) -> BatchWork:
    """The chunks of a batch from the bounds (B, l, s) of each class; a chunk holds ``chunk_bytes`` at most."""
    work = []
    for b, k in quartet_classes(len(classes)):
        two = classes[b], classes[k]
        largest = max(1, chunk_bytes // (hermite_bytes(*two) * ket_tile(*two)))
        small, large = significant(*two, bounds[b], bounds[k], b == k)
        work.append((_chunks(small, largest), _chunks(large, largest)))
    return tuple(work)


def _chunks(chosen: np.ndarray, largest: int) -> TileChunks:
    """``chosen`` (B, tiles, tiles, l, l') in chunks of at most ``largest`` tiles."""
    counts = chosen.sum(axis=(3, 4))
    where = np.argwhere(counts > 0).astype(np.int32)
    order = np.argsort(-counts[tuple(where.T)], kind="stable")  # then molecule by molecule
    where = where[order]
    number = counts[tuple(where.T)]
    size = min(largest, 2 ** max(len(where) - 1, 0).bit_length())
    n = -(-len(where) // size)
    room = round_up(n, 1) if n > 8 else max(n, 1)
    most = int(number.max(initial=1))
    rows = np.full((room * size, 3), _NO_MOLECULE, np.int32)
    rows[:, 1:] = 0
    rows[: len(where)] = where
    # the layers of each tile, one after the other
    tile, bra_layer, ket_layer = np.nonzero(chosen[tuple(where.T)]) if len(where) else (np.zeros(0, np.intp),) * 3
    rank = np.arange(len(tile)) - np.repeat(np.cumsum(number) - number, number)
    layers = np.full((room * size, most, 2), -1, np.int16)
    layers[tile, rank] = np.stack([bra_layer, ket_layer], axis=-1)
    steps = np.zeros(room * size, np.int32)
    steps[: len(where)] = number
    return TileChunks(
        rows.reshape(room, size, 3),
        layers.reshape(room, size, most, 2).transpose(0, 2, 1, 3).copy(),
        steps.reshape(room, size).max(axis=1),
        np.int32(n),
    )


def repulsion_batch(
    classes: tuple[ShellPairClass, ...], data: tuple[PairData, ...], rows: PairRows, work: BatchWork
) -> Array:
    """(ab|cd) of a batch in Hartree, (B, rows, rows), from its ``batched_pair_data``."""
    batch = data[0].exponent.shape[0]
    values = jnp.zeros((batch, rows.size * rows.size))
    for (b, k), lists in zip(quartet_classes(len(classes)), work, strict=True):
        bra_class, ket_class = classes[b], classes[k]
        place = tile_place(rows, b, k)
        for dtype, listed in zip((jnp.float32, jnp.float64), lists, strict=True):
            bra = _all_layers(jax.vmap(partial(bra_side, bra_class, ket_class, dtype=dtype))(data[b]))
            ket = _all_layers(jax.vmap(partial(ket_side, bra_class, ket_class, dtype=dtype))(data[k]))
            values = _add_chunks((bra_class, ket_class), place, rows.size, bra, ket, listed, batch, values)
    return values.reshape(batch, rows.size, rows.size)


def _all_layers(side: QuartetSide) -> QuartetSide:
    """Molecule and layer as one axis."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), side)


def _add_chunks(
    classes: tuple[ShellPairClass, ShellPairClass],
    place: TilePlace,
    size: int,
    bra: QuartetSide,
    ket: QuartetSide,
    work: TileChunks,
    batch: int,
    values: Array,
) -> Array:
    """Add the tiles of ``work`` to ``values`` (B, size size)."""
    dtype = bra.weight.dtype
    depth, width = (bra.center.shape[0] // batch, ket.center.shape[0] // batch), ket_tile(*classes)
    shape = (work.rows.shape[1], classes[0].n_functions, classes[1].n_functions, width, BRA_TILE)
    _, f, g, ket_pair, bra_pair = np.ogrid[tuple(slice(n) for n in shape)]
    all_rows, all_layers, steps = (jnp.asarray(x) for x in (work.rows, work.layers, work.steps))

    def one_chunk(chunk: Array, values: Array) -> Array:
        rows, layers = all_rows[chunk], all_layers[chunk].astype(jnp.int32)
        molecule = jnp.minimum(rows[:, 0], batch - 1)

        def one_step(step: Array, total: Array) -> Array:
            bra_layer, ket_layer = layers[step, :, 0], layers[step, :, 1]
            there = bra_layer >= 0
            item = (
                molecule * depth[0] + jnp.maximum(bra_layer, 0),
                rows[:, 1],
                molecule * depth[1] + jnp.maximum(ket_layer, 0),
                rows[:, 2],
            )
            part = jax.vmap(lambda *row: tile_part(*classes, bra, ket, row, width, dtype))(*item)
            return total + jnp.where(there[:, None, None, None, None], part, 0.0)

        total = jax.lax.fori_loop(0, steps[chunk], one_step, jnp.zeros(shape, dtype)).astype(values.dtype)
        bra_first, ket_first = ((rows[:, c] * w)[:, None, None, None, None] for c, w in ((1, BRA_TILE), (2, width)))
        pairs = bra_first + bra_pair, ket_first + ket_pair
        total = total * place.share(*pairs)
        row, column = place.corner(f, g, *pairs)
        for at in (row * size + column, column * size + row):
            values = values.at[rows[:, 0, None], at.reshape(len(rows), -1)].add(
                total.reshape(len(rows), -1), mode="drop", unique_indices=True
            )
        return values

    return jax.lax.fori_loop(0, jnp.asarray(work.n), one_chunk, values)
