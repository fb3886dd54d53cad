"""Electron repulsion integrals (ab|cd) as one symmetric matrix over packed orbital pairs.

For each pair of classes, tiles of bundles on the bra side meet tiles on the ket side:

    U_s(r, c)      = R_s(P_r - P_c)                     elementwise: Boys function and Hermite recursion
    V(r, T, c, f') = sum_ks U_s(r, ck) M(ck, s; T f')   the ket contracted, M built from its E
    Y(R f, c f')   = sum_kT E(Rk, T; f) V(Rk, T, c, f')

so that both contractions are matrix products. Tiles and panels have fixed sizes: these kernels are compiled once for
all molecules and basis sets. Lists are sorted by bound, so what is negligible is a tail that no loop visits.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from qmgen.dft.integrals.hermite import coulomb_recursion, hermite_count, hermite_indices, sum_table
from qmgen.dft.integrals.pair_data import PairData, PairInput, pair_data, pair_order, panels
from qmgen.dft.integrals.pairs import PANEL, PairClass

Array = jax.Array
Kinds = tuple[int, int]

#: bundles per bra tile by class, and per ket tile by (bra class, ket class): U of a tile stays within the cache
BRA_TILE = {(0, 0): 64, (1, 0): 32, (1, 1): 32}
_KET_TILE = {
    ((0, 0), (0, 0)): 64,
    ((1, 0), (0, 0)): 32,
    ((1, 0), (1, 0)): 32,
    ((1, 1), (0, 0)): 16,
    ((1, 1), (1, 0)): 16,
    ((1, 1), (1, 1)): 8,
}
#: quartets of bundles are skipped when the product of their bounds (Schwarz) is below this (Hartree)
QUARTET_THRESHOLD = 1e-13
#: the square root of 2 pi^(5/2), once for each side
_SCALE = np.sqrt(2.0) * np.pi**1.25


def repulsion_integrals(classes: tuple[PairClass, ...], positions: Array, n_orbitals: int) -> Array:
    """(ij|kl) for i >= j, k >= l as a full symmetric matrix over ij = i(i+1)/2 + j.

    Args:
        classes: packed pairs from ``pair_classes``.
        positions: (A, 3) in Bohr; A may include padding.
        n_orbitals: orbitals, padding included.

    Returns:
        (n_pairs, n_pairs) with n_pairs = n_orbitals (n_orbitals + 1) / 2, in Hartree, chemists' notation.
    """
    n_pairs = n_orbitals * (n_orbitals + 1) // 2
    half = jnp.zeros((n_pairs, n_pairs))
    data = [[(panel, pair_data(c.kinds, panel, positions)) for panel in panels(c)] for c in classes]
    spreads = {
        (b, c, k): ket_matrix(classes[b].kinds, classes[c].kinds, ket_data)
        for b in range(len(classes))
        for c in range(b + 1)
        for k, (_, ket_data) in enumerate(data[c])
    }
    for bra_class, bra in enumerate(classes):
        for start in range(0, bra.n, BRA_TILE[bra.kinds]):
            panel, offset = divmod(start, PANEL[bra.kinds])
            for ket_class in range(bra_class + 1):
                ket = classes[ket_class]
                last = min(ket.n, start + BRA_TILE[bra.kinds]) if ket is bra else ket.n
                reach = int(np.searchsorted(-ket.bound[:last], -QUARTET_THRESHOLD / bra.bound[start]))
                for k, (ket_input, ket_data) in enumerate(data[ket_class]):
                    first = k * PANEL[ket.kinds]
                    if first >= reach:
                        break
                    n_tiles = -(-min(reach - first, PANEL[ket.kinds]) // _KET_TILE[bra.kinds, ket.kinds])
                    diagonal = start - first if ket is bra else None
                    bra_input, bra_data = data[bra_class][panel]
                    spread = spreads[bra_class, ket_class, k]
                    block = row_block(bra.kinds, ket.kinds, bra_data, ket_data, spread, offset, n_tiles)
                    half = _accumulate(half, block, bra_input, ket_input, offset, BRA_TILE[bra.kinds], diagonal)
    return _symmetrise(half)


@partial(jax.jit, static_argnums=(0, 1))
def ket_matrix(bra_kinds: Kinds, ket_kinds: Kinds, ket: PairData) -> Array:
    """M of a ket panel of s bundles: (s, k * n_sum, n_bra * f'), zero where T' = sum - T is no Hermite index."""
    l1, l2 = pair_order(bra_kinds), pair_order(ket_kinds)
    table = sum_table(l1, l2)
    sign = np.array([(-1.0) ** sum(tuv) for tuv in hermite_indices(l2)])
    e = ket.expansion * (_SCALE / ket.exponent)[..., None, None] * sign[:, None]
    e = jnp.concatenate([e, jnp.zeros_like(e[:, :, :1])], axis=2)  # row -1 of the table
    s, k = ket.exponent.shape
    return e[:, :, table.reshape(-1), :].reshape(s, k * table.shape[0], table.shape[1] * e.shape[-1])


@partial(jax.jit, static_argnums=(0, 1))
def row_block(
    bra_kinds: Kinds, ket_kinds: Kinds, bra: PairData, ket: PairData, spread: Array, offset: Array, n_tiles: Array
) -> Array:
    """Integrals of one bra tile, starting at bundle ``offset`` of its panel, with the first ``n_tiles`` ket tiles.

    Returns:
        (bundles of the tile * f, bundles of the ket panel * f'); zero where no tile was visited.
    """
    l1, l2 = pair_order(bra_kinds), pair_order(ket_kinds)
    n_sum, n_bra = hermite_count(l1 + l2), hermite_count(l1)
    r, width = BRA_TILE[bra_kinds], _KET_TILE[bra_kinds, ket_kinds]
    bra = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, offset, r), bra)
    k, f1 = bra.expansion.shape[1], bra.expansion.shape[-1]
    s, f2 = ket.expansion.shape[0], ket.expansion.shape[-1]
    bx, by, bz = (bra.center[..., d].reshape(1, 1, r * k) for d in range(3))
    bp = bra.exponent.reshape(1, 1, r * k)
    e_bra = (bra.expansion * (_SCALE / bra.exponent)[..., None, None]).reshape(r, k * n_bra, f1)

    def tile(i: Array, out: Array) -> Array:
        center, q, m = (
            jax.lax.dynamic_slice_in_dim(x, i * width, width) for x in (ket.center, ket.exponent[..., None], spread)
        )
        x, y, z = (b - center[..., d, None] for d, b in enumerate((bx, by, bz)))
        inverse = 1.0 / (bp + q)
        r_s = coulomb_recursion(l1 + l2, bp * q * inverse, x, y, z, jnp.sqrt(inverse))
        u = jnp.stack(r_s, axis=2).reshape(width, k * n_sum, r * k)
        v = jnp.einsum("csr,csn->crn", u, m)
        v = v.reshape(width, r, k * n_bra, f2).transpose(1, 2, 0, 3).reshape(r, k * n_bra, width * f2)
        y_tile = jnp.einsum("rtf,rtc->rfc", e_bra, v).reshape(r * f1, width * f2)
        return jax.lax.dynamic_update_slice(out, y_tile, (0, i * width * f2))

    return jax.lax.fori_loop(0, n_tiles, tile, jnp.zeros((r * f1, s * f2)))


@partial(jax.jit, static_argnums=5, donate_argnums=0)
def _accumulate(
    half: Array, block: Array, bra: PairInput, ket: PairInput, offset: Array, tile: int, diagonal: Array | None
) -> Array:
    """Add a block into the half matrix whose sum with its transpose is the whole.

    Within one class each pair of bundles counts once: ``diagonal`` is the bra tile's place relative to the ket panel.
    """
    n_pairs = half.shape[0]
    if diagonal is not None:
        rows, columns = tile, len(ket.atom_a)
        row = diagonal + jnp.arange(rows)[:, None, None, None]
        column = jnp.arange(columns)[None, None, :, None]
        weight = jnp.where(column < row, 1.0, jnp.where(column == row, 0.5, 0.0))
        block = (block.reshape(rows, -1, columns, block.shape[1] // columns) * weight).reshape(block.shape)
    cut = [jax.lax.dynamic_slice_in_dim(x, offset, tile) for x in (bra.orbital_a, bra.orbital_b)]
    rows_index = packed_index(cut[0], cut[1], n_pairs).reshape(-1)
    columns_index = packed_index(ket.orbital_a, ket.orbital_b, n_pairs).reshape(-1)
    return half.at[rows_index[:, None], columns_index[None, :]].add(block, mode="drop")


def packed_index(i: Array, j: Array, nowhere: int) -> Array:
    """i(i+1)/2 + j for the larger and the smaller of two orbitals; ``nowhere`` where one is negative."""
    high, low = jnp.maximum(i, j), jnp.minimum(i, j)
    return jnp.where(low < 0, nowhere, high * (high + 1) // 2 + low)


@partial(jax.jit, donate_argnums=0)
def _symmetrise(half: Array) -> Array:
    return half + half.T
