"""Host side: the two-electron work of a batch as flat lists of patches.

A patch is a tile of a bra against a tile of a ket of one molecule, with the (bra layer, ket layer) combinations that
matter. Patches with most combinations come first, and a chunk of them is evaluated at once: within a chunk all take as
many steps as its longest, which is data, so that what is screened out costs nothing. Each list has its own rectangle
of the matrix: nothing is added atomically, and results do not depend on the order in which a device works.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from qmgen.dft.batched.pairs import round_up
from qmgen.dft.integrals.hermite import hermite_count
from qmgen.dft.integrals.pair_data import pair_order
from qmgen.dft.integrals.pairs import BUNDLE
from qmgen.dft.integrals.quartets import BRA_TILE, KET_TILE, Kinds
from qmgen.dft.integrals.two_electron import FLOAT32_BELOW, QUARTET_THRESHOLD

#: bytes of Hermite Gaussians that a chunk may hold: enough to fill an accelerator, little beside its memory
CHUNK_BYTES = 2**27
#: the molecule of a patch that is padding: outside of every batch, so that nothing is written
NOBODY = np.iinfo(np.int32).max


class Patches(NamedTuple):
    """Chunks of c patches of one (bra class, ket class) in one precision, ``n`` of them real.

    Attributes:
        rows: (chunks, c, 3) int32 molecule, tile of the bra, tile of the ket.
        layers: (chunks, m, c, 2) int16 layer of the bra and of the ket; -1 where a patch has no more combinations.
        steps: (chunks,) int32 combinations of the longest patch.
        n: () int32.
    """

    rows: Any
    layers: Any
    steps: Any
    n: Any


def patches(
    bra_kinds: Kinds, ket_kinds: Kinds, bra: np.ndarray, ket: np.ndarray, chunk_bytes: int = CHUNK_BYTES
) -> tuple[Patches, Patches]:
    """What is evaluated in float32, and what in float64, from the bounds (B, l, s) of two classes.

    The same bounds as ``two_electron.work_items``: products of those of a tile, per layer.
    """
    width = ket_width(bra_kinds, ket_kinds)
    rows = bra.reshape(*bra.shape[:2], -1, BRA_TILE).max(axis=-1)
    columns = ket.reshape(*ket.shape[:2], -1, width).max(axis=-1)
    # (molecule, tile of the bra, tile of the ket, layer of the bra, layer of the ket)
    bound = rows.transpose(0, 2, 1)[:, :, None, :, None] * columns.transpose(0, 2, 1)[:, None, :, None, :]
    if bra_kinds == ket_kinds:
        last, first = np.arange(rows.shape[2])[:, None] * BRA_TILE + BRA_TILE - 1, np.arange(columns.shape[2]) * width
        bound = bound * (first <= last)[:, :, None, None]
    wanted, big = bound > QUARTET_THRESHOLD, bound > FLOAT32_BELOW
    largest = max(1, chunk_bytes // patch_bytes(bra_kinds, ket_kinds))
    return _chunks(wanted & ~big, largest), _chunks(wanted & big, largest)


def ket_width(bra_kinds: Kinds, ket_kinds: Kinds) -> int:
    """Pairs in a tile of the ket."""
    return KET_TILE[bra_kinds, ket_kinds]


def patch_bytes(bra_kinds: Kinds, ket_kinds: Kinds) -> int:
    """Bytes of the Hermite Gaussians of one patch in one combination of layers, in float64."""
    order = pair_order(bra_kinds) + pair_order(ket_kinds)
    return 8 * hermite_count(order) * ket_width(bra_kinds, ket_kinds) * BUNDLE * BUNDLE * BRA_TILE


def _chunks(chosen: np.ndarray, largest: int) -> Patches:
    """``chosen`` (B, tiles, tiles, l, l') in chunks of at most ``largest`` patches."""
    counts = chosen.sum(axis=(3, 4))
    where = np.argwhere(counts > 0).astype(np.int32)
    order = np.argsort(-counts[tuple(where.T)], kind="stable")  # then molecule by molecule
    where = where[order]
    number = counts[tuple(where.T)]
    size = min(largest, 2 ** max(len(where) - 1, 0).bit_length())
    n = -(-len(where) // size)
    room = round_up(n, 1) if n > 8 else max(n, 1)
    most = int(number.max(initial=1))
    rows = np.full((room * size, 3), NOBODY, np.int32)
    rows[:, 1:] = 0
    rows[: len(where)] = where
    # the layers of each patch, one after the other
    patch, bra_layer, ket_layer = np.nonzero(chosen[tuple(where.T)]) if len(where) else (np.zeros(0, np.intp),) * 3
    rank = np.arange(len(patch)) - np.repeat(np.cumsum(number) - number, number)
    layers = np.full((room * size, most, 2), -1, np.int16)
    layers[patch, rank] = np.stack([bra_layer, ket_layer], axis=-1)
    steps = np.zeros(room * size, np.int32)
    steps[: len(where)] = number
    return Patches(
        rows.reshape(room, size, 3),
        layers.reshape(room, size, most, 2).transpose(0, 2, 1, 3).copy(),
        steps.reshape(room, size).max(axis=1),
        np.int32(n),
    )
