"""The kernel of the two-electron integrals: two panels of shell pairs against one another.

Work is a list of items; an item is a tile of the bra in one of its layers against a tile of the ket in one of its, with
k primitives in each bundle:

    U_s(c, k', kr)  = R_s(P_kr - P_ck')                            Boys function and Hermite recursion
    V(T, g; c, kr)  = sum_k'T' U_(T+T')(c, k', kr) E'(ck', T'; g)  the ket contracted
    Y(f, g; c, r)   = sum_kT E(kr, T; f) V(T, g; c, kr)            the bra contracted, added to the block

Sums run over the Hermite Gaussians that a pair of functions may contain (``supports``); their places are constant
tables of whole rows, so that all functions are one loop to the compiler. Pairs of the bra are the fastest axis.
Small quartets are evaluated in float32, and added up in float64.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from qmgen.dft.integrals.hermite import coulomb_recursion, hermite_indices
from qmgen.dft.integrals.pair_data import PairData, pair_order, support_table
from qmgen.dft.materialise import materialise

Kinds = tuple[int, int]

#: shell pairs per tile of the bra, and per tile of the ket by (bra class, ket class): U of a tile stays in the cache
BRA_TILE = 32
KET_TILE = {
    ((0, 0), (0, 0)): 32,
    ((1, 0), (0, 0)): 16,
    ((1, 0), (1, 0)): 8,
    ((1, 1), (0, 0)): 8,
    ((1, 1), (1, 0)): 4,
    ((1, 1), (1, 1)): 2,
}
#: the square root of 2 pi^(5/2), once for each side
_SCALE = np.sqrt(2.0) * np.pi**1.25


class Items(NamedTuple):
    """Rows (layer and tile of the bra, layer and tile of the ket), (capacity, 4) int32, of which ``n`` are real."""

    rows: Array | np.ndarray
    n: Array | int


class Side(NamedTuple):
    """One side of a panel, laid out for the kernel, in its precision.

    Attributes:
        center: bra (l, tiles, 3, k r) or ket (l, s, k, 3), in Bohr, always float64.
        exponent: bra (l, tiles, k r) or ket (l, s, k).
        weight: E of the terms of ``support_table``: bra (l, tiles, terms, k, f, r), ket (l, terms, k, g, s).
    """

    center: Array
    exponent: Array
    weight: Array


@partial(jax.jit, static_argnums=(0, 1))
def panel_block(bra_kinds: Kinds, ket_kinds: Kinds, bra: PairData, ket: PairData, small: Items, large: Items) -> Array:
    """Integrals of all pairs of one panel with all pairs of another.

    Args:
        bra_kinds, ket_kinds: the classes.
        bra, ket: Hermite form of the two panels.
        small, large: what to evaluate in float32, and what in float64.

    Returns:
        (f, g, pairs of the ket, pairs of the bra) float64 in Hartree; zero where no item is.
    """
    shape = (bra.expansion.shape[-1], ket.expansion.shape[-1], ket.exponent.shape[1], bra.exponent.shape[1])
    block = jnp.zeros(shape, jnp.float32)
    for items in (small, large):
        sides = bra_side(bra_kinds, bra, block.dtype), ket_side(ket_kinds, ket, block.dtype)
        block = _add_items(bra_kinds, ket_kinds, *sides, items, block)
        block = block.astype(jnp.float64)
    return block


def bra_side(kinds: Kinds, data: PairData, dtype: jnp.dtype) -> Side:
    """The side of a bra, in tiles of ``BRA_TILE`` pairs."""
    layers, pairs, k = data.exponent.shape
    tiles = pairs // BRA_TILE
    weight = _weights(kinds, data)  # (l, s, k, terms, f)
    f = weight.shape[-1]
    return Side(
        data.center.reshape(layers, tiles, BRA_TILE, k, 3).transpose(0, 1, 4, 3, 2).reshape(layers, tiles, 3, -1),
        data.exponent.reshape(layers, tiles, BRA_TILE, k).transpose(0, 1, 3, 2).reshape(layers, tiles, -1),
        weight.reshape(layers, tiles, BRA_TILE, k, -1, f).transpose(0, 1, 4, 3, 5, 2).astype(dtype),
    )


def ket_side(kinds: Kinds, data: PairData, dtype: jnp.dtype) -> Side:
    """The side of a ket, whose tiles are cut out as they are needed."""
    l = pair_order(kinds)
    sign = np.array([(-1.0) ** sum(tuv) for tuv in hermite_indices(l)])
    weight = _weights(kinds, data._replace(expansion=data.expansion * sign[:, None]))
    return Side(data.center, data.exponent, weight.transpose(0, 3, 2, 4, 1).astype(dtype))


def _weights(kinds: Kinds, data: PairData) -> Array:
    places, present = support_table(kinds)
    scaled = data.expansion * (_SCALE / data.exponent)[..., None, None]
    return scaled[..., places, np.arange(places.shape[1])] * present


def _add_items(bra_kinds: Kinds, ket_kinds: Kinds, bra: Side, ket: Side, items: Items, block: Array) -> Array:
    width = KET_TILE[bra_kinds, ket_kinds]

    def one(i: Array, block: Array) -> Array:
        row = tuple(jnp.asarray(items.rows)[i, c] for c in range(4))
        part = tile_part(bra_kinds, ket_kinds, bra, ket, row, width, block.dtype)
        zero = jnp.zeros_like(row[3])
        at = (zero, zero, row[3] * width, row[1] * BRA_TILE)
        return jax.lax.dynamic_update_slice(block, jax.lax.dynamic_slice(block, at, part.shape) + part, at)

    return jax.lax.fori_loop(0, items.n, one, block)


def tile_part(
    bra_kinds: Kinds,
    ket_kinds: Kinds,
    bra: Side,
    ket: Side,
    row: tuple[Array, ...],
    width: int,
    dtype: jnp.dtype,
) -> Array:
    """What one tile of the bra in one layer gives with one tile of the ket in one of its: (f, g, width, r).

    ``row`` is (layer and tile of the bra, layer and tile of the ket), () int each; ``width`` the pairs of a ket's tile.
    """
    order = pair_order(bra_kinds) + pair_order(ket_kinds)
    bra_layer, bra_tile, ket_layer, ket_tile = row
    first = ket_tile * width
    here, p = bra.center[bra_layer, bra_tile], bra.exponent[bra_layer, bra_tile]
    there = _part_of_layer(ket.center, ket_layer, first, width, 1)
    q = _part_of_layer(ket.exponent, ket_layer, first, width, 1)[..., None]
    bra_weight = bra.weight[bra_layer, bra_tile]
    ket_weight = _part_of_layer(ket.weight, ket_layer, first, width, 4)

    def distances() -> tuple[Array, ...]:
        # before rounding: a difference of rounded positions would lose what is left of a float32
        return tuple((here[d] - there[..., d, None]).astype(dtype) for d in range(3))

    def hermite() -> tuple[Array, ...]:
        a, b = p.astype(dtype), q.astype(dtype)
        root = 1.0 / jnp.sqrt(a + b)
        return tuple(coulomb_recursion(order, a * b * root * root, x, y, z, root))

    true = p[0] > 0.0
    x, y, z = materialise(distances, true)
    u = jnp.stack(materialise(hermite, true))  # stacked inside, each would be evaluated by itself
    v = materialise(lambda: _contract_ket(bra_kinds, ket_kinds, u, ket_weight), true)
    # fused with the addition, whose operands may overlap, this would not be vectorised
    return materialise(lambda: _contract_bra(bra_kinds, v, bra_weight), true)


def _part_of_layer(x: Array, layer: Array, first: Array, width: int, axis: int) -> Array:
    """``x[layer]`` from ``first``, ``width`` long, along ``axis`` of x: one slice, hence one gather under ``vmap``."""
    zero = jnp.zeros_like(layer)
    start = [layer if d == 0 else first if d == axis else zero for d in range(x.ndim)]
    size = [1 if d == 0 else width if d == axis else n for d, n in enumerate(x.shape)]
    return jax.lax.dynamic_slice(x, start, size)[0]


def _contract_ket(bra_kinds: Kinds, ket_kinds: Kinds, u: Array, weight: Array) -> Array:
    """V (T, g, c, kr) from U (s, c, k', kr) and the ket's weights (terms, k', g, c)."""
    sums, places = _sum_places(pair_order(bra_kinds), pair_order(ket_kinds)), support_table(ket_kinds)[0]
    terms = []
    for term, of_function in enumerate(places):
        rows = u[sums[:, of_function]]  # (T, g, c, k', kr)
        factors = weight[term, ..., None]
        terms += [_part(rows, 3, k) * _part(factors, 0, k) for k in range(u.shape[2])]
    return sum(terms[1:], terms[0])


def _contract_bra(kinds: Kinds, v: Array, weight: Array) -> Array:
    """Y (f, g, c, r) from V (T, g, c, kr) and the bra's weights (terms, k, f, r)."""
    r, terms = weight.shape[-1], []
    for term, of_function in enumerate(support_table(kinds)[0]):
        rows = v[of_function]  # (f, g, c, kr)
        factors = weight[term][:, :, None, None]
        terms += [
            jax.lax.slice_in_dim(rows, k * r, (k + 1) * r, axis=3) * _part(factors, 0, k)
            for k in range(weight.shape[1])
        ]
    return sum(terms[1:], terms[0])


def _part(x: Array, axis: int, index: int) -> Array:
    """``x[..., index, ...]``; jnp's indexing takes ten times as long to trace, and tracing is most of a start."""
    return jax.lax.index_in_dim(x, index, axis, keepdims=False)


@lru_cache(maxsize=32)
def _sum_places(order_bra: int, order_ket: int) -> np.ndarray:
    """(T, T'): the place of T + T' among the Hermite Gaussians of the sum of both orders."""
    place = {tuv: n for n, tuv in enumerate(hermite_indices(order_bra + order_ket))}
    return np.array(
        [
            [place[t[0] + s[0], t[1] + s[1], t[2] + s[2]] for s in hermite_indices(order_ket)]
            for t in hermite_indices(order_bra)
        ]
    )
