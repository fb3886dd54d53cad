"""Host side: the shell pairs of a batch, with the molecule as leading axis and one capacity for all.

Pair functions have rows of their own: class after class, in each function after function, each as long as the capacity
of the class. Tiles of a bra and of a ket divide every capacity, so that what two tiles give is a rectangle of the
matrix of integrals that no other two tiles touch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qmgen.dft.integrals.pair_data import PairInput
from qmgen.dft.integrals.pairs import PairClass
from qmgen.dft.integrals.quartets import BRA_TILE
from qmgen.dft.integrals.shells import KINDS, functions_of, kind_pairs

Molecules = Sequence[tuple[PairClass, ...]]


def capacities(molecules: Molecules) -> tuple[int, ...]:
    """Places for the pairs of each class: whole tiles, at most four sizes to an octave, so that few are compiled."""
    largest = [max(m[c].n for m in molecules) for c in range(len(kind_pairs()))]
    return tuple(round_up(n, BRA_TILE) for n in largest)


def round_up(n: int, least: int) -> int:
    """``n`` or a little more: a multiple of ``least`` and of an eighth of the next power of two."""
    step = max(least, 2 ** (max(n - 1, 1).bit_length() - 3))
    return max(1, -(-n // step)) * step


def stacked_pairs(molecules: Molecules, capacity: tuple[int, ...]) -> tuple[PairInput, ...]:
    """For each class its ``PairInput`` with a leading axis: exponents (B, l, s, k), atoms (B, s)."""
    out = []
    for c, size in enumerate(capacity):
        deep = max(depth(m[c]) for m in molecules)
        rows = [[_fit(name, getattr(m[c], name), deep, size) for m in molecules] for name in PairInput._fields]
        out.append(PairInput(*(np.stack(row) for row in rows)))
    return tuple(out)


def stacked_bounds(molecules: Molecules, capacity: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """For each class the bounds (B, l, s), in sqrt(Hartree)."""
    return tuple(
        np.stack([_fit("bound", m[c].bound, max(depth(x[c]) for x in molecules), size) for m in molecules])
        for c, size in enumerate(capacity)
    )


def depth(pairs: PairClass) -> int:
    """Layers that hold anything; at least one."""
    return max(1, int(pairs.bound.any(axis=1).sum()))


def _fit(name: str, values: np.ndarray, layers: int, size: int) -> np.ndarray:
    """A field of a ``PairClass`` cut or padded to so many layers and pairs."""
    fill = 1.0 if name.startswith("exponents") else -1 if name.startswith("orbital") else 0
    layered = name.startswith(("exponents", "coefficients", "bound"))
    lead = (layers, size) if layered else (size,)
    out = np.full((*lead, *values.shape[len(lead) :]), fill, values.dtype)
    common = tuple(slice(0, min(a, b)) for a, b in zip(lead, values.shape))
    out[common] = values[common]
    return out


def first_rows(capacity: tuple[int, ...]) -> tuple[tuple[int, ...], int]:
    """The first row of each class, and the size of the matrix, whose last row belongs to no pair."""
    starts, start = [], 0
    for kinds, size in zip(kind_pairs(), capacity, strict=True):
        starts.append(start)
        start += functions_in(kinds) * size
    return tuple(starts), start + 8


def functions_in(kinds: tuple[int, int]) -> int:
    """Pairs of functions in a pair of shells of a class."""
    return len(functions_of(KINDS[kinds[0]])) * len(functions_of(KINDS[kinds[1]]))


def places(molecules: Molecules, capacity: tuple[int, ...], n_orbitals: int) -> np.ndarray:
    """(B, n, n) int32, symmetric: the row of two orbitals; the last row, which is zero, where one is padding."""
    starts, size = first_rows(capacity)
    out = np.full((len(molecules), n_orbitals, n_orbitals), size - 1, np.int32)
    for place, classes in zip(out, molecules, strict=True):
        for c, start, room in zip(classes, starts, capacity, strict=True):
            a, b = c.orbital_a[: c.n], c.orbital_b[: c.n]
            rows = start + np.arange(a.shape[1]) * room + np.arange(c.n)[:, None]
            real = a >= 0
            place[a[real], b[real]] = place[b[real], a[real]] = rows[real]
    return out
