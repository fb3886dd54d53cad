"""The kernel of the two-electron integrals: a tile of shell pairs of the bra against one of the ket.

With k primitives in each group, in one contraction layer of the bra and one of the ket:

    U_s(c, k', kr)  = R_s(P_kr - P_ck')                            Boys function and Hermite recursion
    V(T, g; c, kr)  = sum_k'T' U_(T+T')(c, k', kr) E'(ck', T'; g)  the ket contracted
    Y(f, g; c, r)   = sum_kT E(kr, T; f) V(T, g; c, kr)            the bra contracted

For s and p shells sums run over the Hermite Gaussians that a pair of functions may contain (``supports``); their places
are constant tables of whole rows, so that all functions are one loop to the compiler. With higher shells both are
products of matrices, whose sums run over all Hermite Gaussians of a class. Pairs of the bra are the fastest axis.
Which tiles are evaluated, and in which precision: ``repulsion``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from qmgen.dft.backend import materialize
from qmgen.dft.integrals.hermite import coulomb_recursion, hermite_count, hermite_indices
from qmgen.dft.integrals.pair_data import PairData, support_table
from qmgen.dft.integrals.shells import BRA_TILE, TILE_BYTES, ShellPairClass

#: the square root of 2 pi^(5/2), once for each side
_SCALE = np.sqrt(2.0) * np.pi**1.25


def sparse(bra_class: ShellPairClass, ket_class: ShellPairClass) -> bool:
    """Whether sums run term by term: up to p, where most of E vanishes."""
    return max(*bra_class.orders, *ket_class.orders) < 2


def hermite_bytes(bra_class: ShellPairClass, ket_class: ShellPairClass) -> int:
    """Bytes of U in float64, or of U_(T+T') where sums are products, for a tile of the bra and one pair of the ket."""
    if sparse(bra_class, ket_class):
        count = hermite_count(bra_class.hermite_order + ket_class.hermite_order)
    else:
        count = len(bra_class.hermites) * len(ket_class.hermites)
    return 8 * count * bra_class.group * ket_class.group * BRA_TILE


def ket_tile(bra_class: ShellPairClass, ket_class: ShellPairClass) -> int:
    """Shell pairs in a tile of the ket: a power of two, so many that U stays in the cache."""
    width = BRA_TILE
    while width > 1 and width * hermite_bytes(bra_class, ket_class) > TILE_BYTES:
        width //= 2
    return width


class QuartetSide(NamedTuple):
    """One side of a quartet, laid out for the kernel, in its precision.

    Attributes:
        center: bra (l, tiles, 3, k r) or ket (l, s, k, 3), in Bohr, always float64.
        exponent: bra (l, tiles, k r) or ket (l, s, k).
        weight: E of the terms of ``support_table``: bra (l, tiles, terms, k, f, r), ket (l, terms, k, g, s); where sums
            are products, bra (l, tiles, r, T, k, f), ket (l, s, T', k, g).
    """

    center: Array
    exponent: Array
    weight: Array


def bra_side(bra_class: ShellPairClass, ket_class: ShellPairClass, data: PairData, dtype: jnp.dtype) -> QuartetSide:
    """The side of a bra for kets of a class, in tiles of ``BRA_TILE`` pairs."""
    layers, pairs, k = data.exponent.shape
    tiles = pairs // BRA_TILE
    center = data.center.reshape(layers, tiles, BRA_TILE, k, 3).transpose(0, 1, 4, 3, 2).reshape(layers, tiles, 3, -1)
    exponent = data.exponent.reshape(layers, tiles, BRA_TILE, k).transpose(0, 1, 3, 2).reshape(layers, tiles, -1)
    if sparse(bra_class, ket_class):
        weight = _weights(bra_class, data)  # (l, s, k, terms, f)
        f = weight.shape[-1]
        weight = weight.reshape(layers, tiles, BRA_TILE, k, -1, f).transpose(0, 1, 4, 3, 5, 2)
    else:
        weight = _scaled(bra_class, data)  # (l, s, k, T, f)
        f = weight.shape[-1]
        weight = weight.reshape(layers, tiles, BRA_TILE, k, -1, f).transpose(0, 1, 2, 4, 3, 5)
    return QuartetSide(center, exponent, weight.astype(dtype))


def ket_side(bra_class: ShellPairClass, ket_class: ShellPairClass, data: PairData, dtype: jnp.dtype) -> QuartetSide:
    """The side of a ket for bras of a class, whose tiles are cut out as they are needed."""
    sign = np.array([(-1.0) ** sum(tuv) for tuv in hermite_indices(ket_class.hermite_order)])
    signed = data._replace(expansion=data.expansion * sign[:, None])
    if sparse(bra_class, ket_class):
        weight = _weights(ket_class, signed).transpose(0, 3, 2, 4, 1)
    else:
        weight = _scaled(ket_class, signed).transpose(0, 1, 3, 2, 4)
    return QuartetSide(data.center, data.exponent, weight.astype(dtype))


def _scaled(pair_class: ShellPairClass, data: PairData) -> Array:
    """(l, s, k, T, f) E of the Hermite Gaussians of the class."""
    return data.expansion[..., pair_class.hermites, :] * (_SCALE / data.exponent)[..., None, None]


def _weights(pair_class: ShellPairClass, data: PairData) -> Array:
    places, present = support_table(pair_class)
    scaled = data.expansion * (_SCALE / data.exponent)[..., None, None]
    return scaled[..., places, np.arange(places.shape[1])] * present


def tile_part(
    bra_class: ShellPairClass,
    ket_class: ShellPairClass,
    bra: QuartetSide,
    ket: QuartetSide,
    row: tuple[Array, ...],
    width: int,
    dtype: jnp.dtype,
) -> Array:
    """What one tile of the bra in one layer gives with one tile of the ket in one of its: (f, g, width, r).

    ``row`` is (layer and tile of the bra, layer and tile of the ket), () int each; ``width`` the pairs of a ket's tile.
    """
    order = bra_class.hermite_order + ket_class.hermite_order
    bra_layer, of_bra, ket_layer, of_ket = row
    first = of_ket * width
    here, p = bra.center[bra_layer, of_bra], bra.exponent[bra_layer, of_bra]
    there = _part_of_layer(ket.center, ket_layer, first, width, 1)
    q = _part_of_layer(ket.exponent, ket_layer, first, width, 1)[..., None]
    bra_weight = bra.weight[bra_layer, of_bra]
    terms = sparse(bra_class, ket_class)
    ket_weight = _part_of_layer(ket.weight, ket_layer, first, width, 4 if terms else 1)

    def distances() -> tuple[Array, ...]:
        # before rounding: a difference of rounded positions would lose what is left of a float32
        return tuple((here[d] - there[..., d, None]).astype(dtype) for d in range(3))

    def hermite() -> tuple[Array, ...]:
        a, b = p.astype(dtype), q.astype(dtype)
        root = 1.0 / jnp.sqrt(a + b)
        return tuple(coulomb_recursion(order, a * b * root * root, x, y, z, root))

    true = p[0] > 0.0
    x, y, z = materialize(distances, true)
    u = jnp.stack(materialize(hermite, true))  # stacked inside, each would be evaluated by itself
    if not terms:
        return _products(bra_class, ket_class, u, bra_weight, ket_weight)
    v = materialize(lambda: _contract_ket(bra_class, ket_class, u, ket_weight), true)
    # fused with the addition, whose operands may overlap, this would not be vectorized
    return materialize(lambda: _contract_bra(bra_class, v, bra_weight), true)


def _part_of_layer(x: Array, layer: Array, first: Array, width: int, axis: int) -> Array:
    """``x[layer]`` from ``first``, ``width`` long, along ``axis`` of x: one slice, hence one gather under ``vmap``."""
    zero = jnp.zeros_like(layer)
    start = [layer if d == 0 else first if d == axis else zero for d in range(x.ndim)]
    size = [1 if d == 0 else width if d == axis else n for d, n in enumerate(x.shape)]
    return jax.lax.dynamic_slice(x, start, size)[0]


def _products(
    bra_class: ShellPairClass, ket_class: ShellPairClass, u: Array, bra_weight: Array, ket_weight: Array
) -> Array:
    """Y (f, g, c, r) from U (s, c, k', kr) and the weights (r, T, k, f) and (c, T', k', g)."""
    k = bra_class.group
    places = _sum_places(bra_class.hermite_order, ket_class.hermite_order)
    rows = u[places[np.ix_(bra_class.hermites, ket_class.hermites)]]  # (T, T', c, k', kr)
    rows = rows.reshape(*rows.shape[:4], k, -1)
    v = jnp.einsum("TUcmkr,cUmg->cTkrg", rows, ket_weight)
    return jnp.einsum("cTkrg,rTkf->fgcr", v, bra_weight)


def _contract_ket(bra_class: ShellPairClass, ket_class: ShellPairClass, u: Array, weight: Array) -> Array:
    """V (T, g, c, kr) from U (s, c, k', kr) and the ket's weights (terms, k', g, c)."""
    sums, places = _sum_places(bra_class.hermite_order, ket_class.hermite_order), support_table(ket_class)[0]
    terms = []
    for term, of_function in enumerate(places):
        rows = u[sums[:, of_function]]  # (T, g, c, k', kr)
        factors = weight[term, ..., None]
        terms += [_part(rows, 3, k) * _part(factors, 0, k) for k in range(u.shape[2])]
    return sum(terms[1:], terms[0])


def _contract_bra(pair_class: ShellPairClass, v: Array, weight: Array) -> Array:
    """Y (f, g, c, r) from V (T, g, c, kr) and the bra's weights (terms, k, f, r)."""
    r, terms = weight.shape[-1], []
    for term, of_function in enumerate(support_table(pair_class)[0]):
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
