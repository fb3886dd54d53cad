"""Electron repulsion integrals (ab|cd) of one molecule, as a symmetric matrix over pairs of orbitals.

The host lists the work: for each two panels, the tiles whose bounds say that they matter (Schwarz' inequality), and in
which precision. Integrals stand class by class, in each class function by function, and shell pairs in the order of
``pairs``: what a kernel returns is then a rectangle of the matrix, and is copied as such.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from qmgen.dft.integrals.pair_data import Panel, pair_data, panels
from qmgen.dft.integrals.pairs import LAYERS, PANEL, PairClass
from qmgen.dft.integrals.quartets import BRA_TILE, KET_TILE, Items, Kinds, panel_block

#: quartets of bundles are skipped when the product of their bounds (Schwarz) is below this (Hartree)
QUARTET_THRESHOLD = 1e-12
#: and evaluated in float32 when it is below this: 24 bits leave an error of some 1e-11 Hartree (measured: 5e-11 at
#: most, 2e-13 root mean square)
FLOAT32_BELOW = 1e-5


class Repulsion(NamedTuple):
    """(ab|cd) in Hartree, chemists' notation: ``values[place[a, b], place[c, d]]``.

    Attributes:
        values: (N, N) float64, symmetric; some rows belong to no pair.
        place: (n, n) int32, symmetric; pairs with an orbital of padding share a row of zeros.
    """

    values: Any
    place: Any


def repulsion_integrals(classes: tuple[PairClass, ...], positions: Array, n_orbitals: int) -> Repulsion:
    """All integrals of a molecule: ``classes`` from ``pair_classes``, ``positions`` (A, 3) in Bohr, A with padding."""
    place, starts, size = _places(classes, n_orbitals)
    values = jnp.zeros((size, size))
    lists = [[(panel, pair_data(c.kinds, panel.pairs, positions)) for panel in panels(c)] for c in classes]
    for b, bra in enumerate(classes):
        for bra_panel, bra_data in lists[b]:
            for k, ket in enumerate(classes[: b + 1]):
                for ket_panel, ket_data in lists[k]:
                    if k == b and ket_panel.first > bra_panel.first:
                        continue
                    same = k == b and ket_panel.first == bra_panel.first
                    small, large = work_items(bra.kinds, ket.kinds, bra_panel, ket_panel, same)
                    if small.n + large.n == 0:
                        continue
                    block = panel_block(bra.kinds, ket.kinds, bra_data, ket_data, small, large)
                    corner = starts[k] + ket_panel.first, starts[b] + bra_panel.first
                    values = _put(values, block, np.array(corner), np.array([ket.n, bra.n]), np.bool_(same))
    return Repulsion(values, place)


def work_items(bra_kinds: Kinds, ket_kinds: Kinds, bra: Panel, ket: Panel, same: bool) -> tuple[Items, Items]:
    """What two panels have to do with one another, in float32 and in float64: tile by tile, layers innermost."""
    width = KET_TILE[bra_kinds, ket_kinds]
    rows = bra.bound.reshape(LAYERS, -1, BRA_TILE).max(axis=-1)
    columns = ket.bound.reshape(LAYERS, -1, width).max(axis=-1)
    # (tile of the bra, tile of the ket, layer of the bra, layer of the ket)
    bound = rows.T[:, None, :, None] * columns.T[None, :, None, :]
    if same:
        last, first = np.arange(rows.shape[1])[:, None] * BRA_TILE + BRA_TILE - 1, np.arange(columns.shape[1]) * width
        bound = bound * (first <= last)[:, :, None, None]
    wanted = bound > QUARTET_THRESHOLD
    big = bound > FLOAT32_BELOW
    return _items(wanted & ~big), _items(wanted & big)


def _items(chosen: np.ndarray) -> Items:
    where = np.argwhere(chosen)[:, [2, 0, 3, 1]].astype(np.int32)
    rows = np.zeros((chosen.size, 4), np.int32)
    rows[: len(where)] = where
    return Items(rows, len(where))


def _places(classes: tuple[PairClass, ...], n_orbitals: int) -> tuple[np.ndarray, list[int], int]:
    """Where the pair of two orbitals stands (n, n), where each class begins, and the size of the matrix.

    The size depends on ``n_orbitals`` alone (and on whether shells have empty slots), and leaves room behind the last
    class for the padding of its last panel.
    """
    slots = n_orbitals if not any(c.spare for c in classes) else -(-4 * n_orbitals // 3)
    # in an SP SP pair of one shell with itself, six of sixteen are there twice
    size = slots * (slots + 1) // 2 + 6 * (slots // 4 + 1) + max(PANEL.values())
    place, starts, start = np.full((n_orbitals, n_orbitals), size - 1, np.int32), [], 0
    for c in classes:
        starts.append(start)
        functions = c.orbital_a.shape[1]
        a, b = c.orbital_a[: c.n], c.orbital_b[: c.n]
        rows = start + np.arange(functions) * c.n + np.arange(c.n)[:, None]
        real = a >= 0
        place[a[real], b[real]] = place[b[real], a[real]] = rows[real]
        start += functions * c.n
    return place, starts, size


@partial(jax.jit, donate_argnums=0)
def _put(values: Array, block: Array, corner: Array, stride: Array, same: Array) -> Array:
    """Add a block (f, g, s', s), and its transpose, each function's rectangle in its place; padding adds zeros.

    ``corner`` is where function 0 of the ket meets function 0 of the bra, ``stride`` how far it is to the next. Where
    both sides are the ``same`` panel, each two shell pairs count once, a pair with itself half.
    """
    functions = block.shape[1]
    column, row = np.indices(block.shape[2:])
    share = jnp.where(same, np.where(column < row, 1.0, np.where(column == row, 0.5, 0.0)), 1.0)

    def rectangle(i: Array, values: Array) -> Array:
        f, g = i // functions, i % functions
        part = block[f, g] * share
        row, column = corner[0] + g * stride[0], corner[1] + f * stride[1]
        for patch, at in ((part, (row, column)), (part.T, (column, row))):
            values = jax.lax.dynamic_update_slice(values, jax.lax.dynamic_slice(values, at, patch.shape) + patch, at)
        return values

    return jax.lax.fori_loop(0, block.shape[0] * functions, rectangle, values)
