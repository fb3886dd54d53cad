"""Electron repulsion integrals (ab|cd) as one symmetric matrix over packed orbital pairs.

For each pair of classes, tiles of bundles on the bra side meet tiles on the ket side, with k primitives in each:

    U_s(ck, kr)     = R_s(P_r - P_c)                         Boys function and Hermite recursion
    V(T, f'; c, kr) = sum_kT' U_(T+T')(ck, kr) E'(ck, T'; f')   the ket contracted
    Y(f', c, f, r)  = sum_kT E(rk, T; f) V(T, f'; c, kr)        the bra contracted

Both sums are written out term by term without the E that vanish by form; where that would be too much to compile, they
are matrix products. Bundles of the bra are the fastest axis. Tiles and panels have fixed sizes: these kernels are
compiled once for all molecules and basis sets. Lists are sorted by bound, so what is negligible is a tail that no loop
visits.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from qmgen.dft.integrals.hermite import coulomb_recursion, hermite_indices, sum_table
from qmgen.dft.integrals.pair_data import PairData, PairInput, pair_data, pair_order, panels, supports
from qmgen.dft.integrals.pairs import PANEL, PairClass
from qmgen.dft.materialise import materialise

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
#: up to so many pairs of functions, products are written out term by term, of what is not zero by form; beyond, as
#: matrix products (written out, (pp|pp) takes 29 instead of 70 ms a molecule, and 19 s to compile instead of 3)
_MOST_SPARSE = 64
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
                    block = row_block(bra.kinds, ket.kinds, bra_data, ket_data, offset, n_tiles)
                    half = _accumulate(half, block, bra_input, ket_input, offset, BRA_TILE[bra.kinds], diagonal)
    return _symmetrise(half)


@partial(jax.jit, static_argnums=(0, 1))
def row_block(bra_kinds: Kinds, ket_kinds: Kinds, bra: PairData, ket: PairData, offset: Array, n_tiles: Array) -> Array:
    """Integrals of one bra tile, starting at bundle ``offset`` of its panel, with the first ``n_tiles`` ket tiles.

    Returns:
        (f', bundles of the ket panel, f, bundles of the bra tile); zero where no tile was visited.
    """
    l1, l2 = pair_order(bra_kinds), pair_order(ket_kinds)
    r, width = BRA_TILE[bra_kinds], _KET_TILE[bra_kinds, ket_kinds]
    sign = np.array([(-1.0) ** sum(tuv) for tuv in hermite_indices(l2)])
    cut = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, offset, r), bra)
    k, f1, f2, s = cut.exponent.shape[1], cut.expansion.shape[-1], ket.expansion.shape[-1], ket.expansion.shape[0]
    # primitives outside, bundles inside: sums over primitives then add contiguous pieces
    bx, by, bz = (cut.center[..., d].T.reshape(1, 1, k * r) for d in range(3))
    bp = cut.exponent.T.reshape(1, 1, k * r)
    e_bra = (cut.expansion * (_SCALE / cut.exponent)[..., None, None]).transpose(1, 2, 3, 0)
    e_ket = ket.expansion * (_SCALE / ket.exponent)[..., None, None] * sign[:, None]

    def tile(i: Array, out: Array) -> Array:
        center, q, e = (
            jax.lax.dynamic_slice_in_dim(x, i * width, width) for x in (ket.center, ket.exponent[..., None], e_ket)
        )
        x, y, z = (b - center[..., d, None] for d, b in enumerate((bx, by, bz)))
        inverse = 1.0 / (bp + q)
        true = q[0, 0, 0] > -1.0
        u = materialise(lambda: tuple(coulomb_recursion(l1 + l2, bp * q * inverse, x, y, z, jnp.sqrt(inverse))), true)
        if f1 * f2 > _MOST_SPARSE:
            return jax.lax.dynamic_update_slice(out, _dense(l1, l2, u, e, e_bra), (0, i * width, 0, 0))
        v = materialise(lambda: _contract_ket(bra_kinds, ket_kinds, u, e), true)
        for f in range(f1):
            for g in range(f2):
                row = _contract_bra(bra_kinds, f, [one[g] for one in v], e_bra)
                out = jax.lax.dynamic_update_slice(out, row[None, :, None], (g, i * width, f, 0))
        return out

    return jax.lax.fori_loop(0, n_tiles, tile, jnp.zeros((f2, s, f1, r)))


def _contract_ket(bra_kinds: Kinds, ket_kinds: Kinds, u: tuple[Array, ...], e: Array) -> list[list[Array]]:
    """V[T][f'] (width, k r) = sum over ket primitives and T' of R_(T+T') E'(T', f'), where E' is not zero by form."""
    l1, l2 = pair_order(bra_kinds), pair_order(ket_kinds)
    place = {tuv: n for n, tuv in enumerate(hermite_indices(l1 + l2))}
    ket_indices = hermite_indices(l2)
    table = []
    for tuv in hermite_indices(l1):
        line = []
        for g, support in enumerate(supports(ket_kinds)):
            terms = []
            for t in support:
                value = u[place[tuple(a + b for a, b in zip(tuv, ket_indices[t], strict=True))]]  # type: ignore[index]
                terms += [value[:, kk] * e[:, kk, t, g, None] for kk in range(e.shape[1])]
            line.append(sum(terms[1:], terms[0]))
        table.append(line)
    return table


def _contract_bra(bra_kinds: Kinds, f: int, v: list[Array], e_bra: Array) -> Array:
    """Y (width, r) of one function of the bra: sum over its primitives and T of E(T, f) V(T)."""
    r = e_bra.shape[-1]
    terms = [
        v[t][:, kb * r : (kb + 1) * r] * e_bra[kb, t, f] for t in supports(bra_kinds)[f] for kb in range(e_bra.shape[0])
    ]
    return sum(terms[1:], terms[0])


def _dense(l1: int, l2: int, u: tuple[Array, ...], e: Array, e_bra: Array) -> Array:
    """(f', width, f, r) by matrix products, E' spread over the sums T + T'."""
    table = sum_table(l1, l2)
    n_sum, n_bra = table.shape
    width, k, _, f2 = e.shape
    f1, r = e_bra.shape[2:]
    padded = jnp.concatenate([e, jnp.zeros_like(e[:, :, :1])], axis=2)  # row -1 of the table
    m = padded[:, :, table.reshape(-1), :].reshape(width, k * n_sum, n_bra * f2)
    stacked = jnp.stack(u, axis=2).reshape(width, k * n_sum, k * r)
    v = jnp.einsum("csr,csn->crn", stacked, m).reshape(width, k, r, n_bra, f2)
    v = v.transpose(2, 1, 3, 0, 4).reshape(r, k * n_bra, width * f2)
    y = jnp.einsum("rtf,rtc->rfc", e_bra.reshape(k * n_bra, f1, r).transpose(2, 0, 1), v)
    return y.reshape(r, f1, width, f2).transpose(3, 2, 1, 0)


@partial(jax.jit, static_argnums=5, donate_argnums=0)
def _accumulate(
    half: Array, block: Array, bra: PairInput, ket: PairInput, offset: Array, tile: int, diagonal: Array | None
) -> Array:
    """Add a block into the half matrix whose sum with its transpose is the whole.

    Within one class each pair of bundles counts once: ``diagonal`` is the bra tile's place relative to the ket panel.
    """
    n_pairs = half.shape[0]
    if diagonal is not None:
        column, row = jnp.arange(len(ket.atom_a))[:, None, None], diagonal + jnp.arange(tile)
        block = block * jnp.where(column < row, 1.0, jnp.where(column == row, 0.5, 0.0))
    cut = [jax.lax.dynamic_slice_in_dim(x, offset, tile) for x in (bra.orbital_a, bra.orbital_b)]
    bra_index = packed_index(cut[0], cut[1], n_pairs).T.reshape(-1)
    ket_index = packed_index(ket.orbital_a, ket.orbital_b, n_pairs).T.reshape(-1)
    return half.at[ket_index[:, None], bra_index[None, :]].add(block.reshape(len(ket_index), -1), mode="drop")


def packed_index(i: Array, j: Array, nowhere: int) -> Array:
    """i(i+1)/2 + j for the larger and the smaller of two orbitals; ``nowhere`` where one is negative."""
    high, low = jnp.maximum(i, j), jnp.minimum(i, j)
    return jnp.where(low < 0, nowhere, high * (high + 1) // 2 + low)


@partial(jax.jit, donate_argnums=0)
def _symmetrise(half: Array) -> Array:
    return half + half.T
