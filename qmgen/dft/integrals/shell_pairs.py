"""Host side: the significant primitive pairs of molecules, packed for the device, and the rows of pairs of orbitals.

Every pair of shells owns a column of *primitive groups* of a few primitive pairs, largest first: its first
group lies in contraction layer 0, the next in layer 1, and so on. Primitive pairs whose bound is negligible are
dropped: of the nine of two distant STO-3G shells often one to three survive, and deeper layers are short. Shell pairs
stand in the order of their number of groups, then of their bound: every layer is a full prefix, and what is negligible
a tail. Groups, layers and blocks have one size whatever the contraction, so that one compiled kernel serves every basis
set.

All shell pairs have a place, also those without a significant primitive: the exchange integrals of a pair of distant
orbitals are found through the rows of other pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from qmgen.dft.basis import Basis, ShellTable, shell_tables
from qmgen.dft.integrals.shells import (
    BLOCK_PAIRS,
    BRA_TILE,
    LAYERS,
    ShellClass,
    ShellPairClass,
)

#: primitive pairs are dropped when bound * (largest bound) is below this (Hartree). Up to 81 of them (contraction
#: 3) add to one integral, and the bound is loose by a factor of a few: integrals stay exact to 1e-12 (measured).
PAIR_THRESHOLD = 1e-13


class PairInput(NamedTuple):
    """What the device needs of shell pairs of one class; with a leading axis of a batch.

    Attributes:
        exponents_a, exponents_b: (layers, pairs, primitives of a group); padding has exponent 1.
        coefficients_a, coefficients_b: (layers, pairs, primitives of a group, angular momenta); padding is zero.
        atom_a, atom_b: (pairs,) int32.
    """

    exponents_a: Any
    exponents_b: Any
    coefficients_a: Any
    coefficients_b: Any
    atom_a: Any
    atom_b: Any


@dataclass(frozen=True)
class ShellPairs:
    """All shell pairs of one class of one molecule, padded to whole blocks; ``n`` of ``capacity`` are real.

    Attributes:
        pairs: of ``capacity`` pairs.
        orbital_a, orbital_b: (capacity, functions a * functions b) int32, -1 where there is none or where the
            transposed function of the same shell already counts.
        bound: (layers, capacity) sqrt of the largest (ab|ab) in the group, in sqrt(Hartree); zero where empty.
        n: number of real shell pairs.
        spare: whether the basis set has shells without a function in one of their slots, in this molecule or not: the
            number of rows may depend on the shape alone.
    """

    pair_class: ShellPairClass
    pairs: PairInput
    orbital_a: np.ndarray
    orbital_b: np.ndarray
    bound: np.ndarray
    n: int
    spare: bool

    @property
    def capacity(self) -> int:
        return self.bound.shape[1]

    @property
    def depth(self) -> int:
        """Layers that hold anything; at least one."""
        return max(1, int(self.bound.any(axis=1).sum()))


#: the shell pairs of a molecule, one entry for each of the pair classes of its basis set
MoleculePairs = tuple[ShellPairs, ...]


def shell_pairs(numbers: np.ndarray, positions: np.ndarray, basis: Basis) -> MoleculePairs:
    """Packed pairs of a molecule: ``numbers`` (A,), ``positions`` (A, 3) in Bohr."""
    tables = dict(zip(basis.shell_classes, shell_tables(numbers, basis), strict=True))
    classes = basis.pair_classes
    raw = [_raw_pairs(pair_class, tables[pair_class.a], tables[pair_class.b], positions) for pair_class in classes]
    largest = max((r[2].max() for r in raw if len(r[2])), default=1.0)
    packed = (
        _pack(pair_class, tables[pair_class.a], tables[pair_class.b], r, PAIR_THRESHOLD / largest)
        for pair_class, r in zip(classes, raw, strict=True)
    )
    return tuple(replace(shells, spare=basis.lone_p) for shells in packed)


def pack_pairs(
    pair_class: ShellPairClass, ta: ShellTable, tb: ShellTable, positions: np.ndarray, threshold: float
) -> ShellPairs:
    """The pairs of two tables; primitive pairs with a bound of ``threshold`` or less are dropped."""
    return _pack(pair_class, ta, tb, _raw_pairs(pair_class, ta, tb, positions), threshold)


def _raw_pairs(
    pair_class: ShellPairClass, ta: ShellTable, tb: ShellTable, positions: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All primitive pairs (i, j) with shell(i) >= shell(j), and their bounds."""
    if len(ta.exponents) == 0 or len(tb.exponents) == 0:
        none = np.zeros(0, dtype=np.int64)
        return none, none, np.zeros(0)
    i, j = (x.ravel() for x in np.meshgrid(np.arange(len(ta.exponents)), np.arange(len(tb.exponents)), indexing="ij"))
    if pair_class.a == pair_class.b:
        keep = ta.shell[i] >= tb.shell[j]
        i, j = i[keep], j[keep]
    a, b = ta.exponents[i], tb.exponents[j]
    p = a + b
    distance2 = ((positions[ta.atom[ta.shell[i]]] - positions[tb.atom[tb.shell[j]]]) ** 2).sum(axis=1)
    # size of a function at the overlap center: |c_l| (|PA| + width)^l
    width = 1.0 / np.sqrt(2 * p)
    amplitude = np.exp(-a * b / p * distance2)
    for table, index, other, place in ((ta, i, b, pair_class.a), (tb, j, a, pair_class.b)):
        reach = other / p * np.sqrt(distance2) + width
        momenta = np.array(place.angular_momenta)
        amplitude = amplitude * (np.abs(table.coefficients[index]) * reach[:, None] ** momenta).max(axis=1)
    self_repulsion = 2 * np.pi**2.5 / (p * p * np.sqrt(2 * p))
    return i, j, amplitude * np.sqrt(self_repulsion)


def _pack(
    pair_class: ShellPairClass,
    ta: ShellTable,
    tb: ShellTable,
    raw: tuple[np.ndarray, np.ndarray, np.ndarray],
    threshold: float,
) -> ShellPairs:
    # the shell pairs, and the number of each
    width = max(len(tb.atom), 1)
    shell_a, shell_b = (x.ravel() for x in np.indices((len(ta.atom), len(tb.atom))))
    if pair_class.a == pair_class.b:
        lower = shell_a >= shell_b
        shell_a, shell_b = shell_a[lower], shell_b[lower]
    n = len(shell_a)
    number = np.full(len(ta.atom) * width, -1)
    number[shell_a * width + shell_b] = np.arange(n)

    # significant primitive pairs, shell pair by shell pair, largest first
    i, j, bound = raw
    keep = bound > threshold
    i, j, bound = i[keep], j[keep], bound[keep]
    pair = number[ta.shell[i] * width + tb.shell[j]]
    order = np.lexsort((-bound, pair))
    i, j, bound, pair = i[order], j[order], bound[order], pair[order]
    counts = np.bincount(pair, minlength=n)
    rank = np.arange(len(pair)) - np.repeat(np.cumsum(counts) - counts, counts)
    group = pair_class.group
    layer, slot = rank // group, rank % group

    # the order of the shell pairs
    largest_of = np.zeros(n)
    np.maximum.at(largest_of, pair, bound)
    groups = -(-counts // group)
    by_size = np.lexsort((-largest_of, -groups))
    place = np.empty(n, dtype=np.int64)
    place[by_size] = np.arange(n)
    column = place[pair]

    layers = max(1, -(-int(counts.max(initial=0)) // (group * LAYERS))) * LAYERS
    capacity = max(1, -(-n // pair_class.block_pairs)) * pair_class.block_pairs

    def primitives(table: ShellTable, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        exponents = np.ones((layers, capacity, group))
        coefficients = np.zeros((layers, capacity, group, table.coefficients.shape[1]))
        exponents[layer, column, slot] = table.exponents[index]
        coefficients[layer, column, slot] = table.coefficients[index]
        return exponents, coefficients

    def per_pair(values: np.ndarray, fill: int) -> np.ndarray:
        out = np.full((capacity, *values.shape[1:]), fill, dtype=np.int32)
        out[place] = values
        return out

    fa, fb = pair_class.a.n_functions, pair_class.b.n_functions
    orbital_a = np.repeat(ta.orbitals[shell_a], fb, axis=1)
    orbital_b = np.tile(tb.orbitals[shell_b], (1, fa))
    unused = (orbital_a < 0) | (orbital_b < 0)
    if pair_class.a == pair_class.b:
        unused |= (shell_a == shell_b)[:, None] & (orbital_a < orbital_b)
    exponents_a, coefficients_a = primitives(ta, i)
    exponents_b, coefficients_b = primitives(tb, j)
    bounds = np.zeros((layers, capacity))
    bounds[layer[slot == 0], column[slot == 0]] = bound[slot == 0]
    return ShellPairs(
        pair_class=pair_class,
        pairs=PairInput(
            exponents_a=exponents_a,
            exponents_b=exponents_b,
            coefficients_a=coefficients_a,
            coefficients_b=coefficients_b,
            atom_a=per_pair(ta.atom[shell_a], 0),
            atom_b=per_pair(tb.atom[shell_b], 0),
        ),
        orbital_a=per_pair(np.where(unused, -1, orbital_a), -1),
        orbital_b=per_pair(np.where(unused, -1, orbital_b), -1),
        bound=bounds,
        n=n,
        spare=False,
    )


class ShellPairBlock(NamedTuple):
    """Shell pairs of fixed number in one group of layers: their bounds (l, s), and the place of the first of them."""

    pairs: PairInput
    bound: np.ndarray
    first: int


def blocks(shells: ShellPairs) -> list[ShellPairBlock]:
    """The pairs of a class in blocks of ``block_pairs`` shell pairs and ``LAYERS`` layers; none of a class that the
    molecule has no pairs of, so that nothing is compiled for it.

    Where no pair has a primitive in a group of layers, that group is left out, but for the first.
    """
    size, out = shells.pair_class.block_pairs, list[ShellPairBlock]()
    if shells.n == 0:
        return out
    for start in range(0, shells.capacity, size):
        here = slice(start, start + size)
        for low in range(0, len(shells.bound), LAYERS):
            deep = slice(low, low + LAYERS)
            bound = shells.bound[deep, here]
            if low and not bound.any():
                continue
            cut = [field[deep, here] if field.ndim >= 3 else field[here] for field in shells.pairs]
            out.append(ShellPairBlock(PairInput(*cut), bound, start))
    return out


def stacked_pairs(molecules: Sequence[MoleculePairs]) -> tuple[tuple[PairInput, ...], tuple[np.ndarray, ...]]:
    """For each class the pairs of all molecules with a leading axis, and their bounds (B, l, s).

    Their places are whole tiles, at most four sizes to an octave, so that few are compiled.
    """
    pairs, bounds = [], []
    for of_class in zip(*molecules, strict=True):
        size, deep = round_up(max(m.n for m in of_class), BRA_TILE), max(m.depth for m in of_class)
        rows = [[_fit(name, getattr(m.pairs, name), deep, size) for m in of_class] for name in PairInput._fields]
        pairs.append(PairInput(*(np.stack(row) for row in rows)))
        bounds.append(np.stack([_fit("bound", m.bound, deep, size) for m in of_class]))
    return tuple(pairs), tuple(bounds)


def round_up(n: int, least: int) -> int:
    """``n`` or a little more: a multiple of ``least`` and of an eighth of the next power of two."""
    step = max(least, 2 ** (max(n - 1, 1).bit_length() - 3))
    return max(1, -(-n // step)) * step


def _fit(name: str, values: np.ndarray, layers: int, size: int) -> np.ndarray:
    """A field of ``PairInput``, or bounds, cut or padded to so many layers and pairs."""
    lead = (size,) if name.startswith("atom") else (layers, size)
    out = np.full((*lead, *values.shape[len(lead) :]), 1.0 if name.startswith("exponents") else 0, values.dtype)
    common = tuple(slice(0, min(a, b)) for a, b in zip(lead, values.shape))
    out[common] = values[common]
    return out


class PairRows(NamedTuple):
    """Where pairs of orbitals stand among the ``size`` rows of integrals.

    Rows stand class by class, in each class function by function, and in each function shell pair by shell pair: what a
    kernel returns for two blocks (or tiles) of shell pairs is then a rectangle of the matrix of integrals. The last row
    belongs to no pair.

    Attributes:
        first: the first row of each class.
        stride: rows from one function to the next, for each class.
        size: number of rows.
    """

    first: tuple[int, ...]
    stride: tuple[int, ...]
    size: int


def row_of(first: Any, stride: Any, function: Any, pair: Any) -> Any:
    """The row of a pair of functions of shell pair ``pair``, for ``first`` and ``stride`` of its class."""
    return first + function * stride + pair


def rows_of_molecule(molecule: MoleculePairs, n_orbitals: int) -> PairRows:
    """Rows without gaps. Their number is that of ``rows_count``."""
    size = rows_count([shells.pair_class.a for shells in molecule], n_orbitals, molecule[0].spare)
    stride = tuple(shells.n for shells in molecule)
    return PairRows(first_rows([shells.pair_class for shells in molecule], stride)[:-1], stride, size)


def rows_count(classes: Sequence[ShellClass], n_orbitals: int, spare: bool) -> int:
    """Rows of a molecule of ``n_orbitals``, whatever its shells, with room behind the last class for the padding of its
    last block; ``spare`` as of ``ShellPairs``."""
    slots = n_orbitals
    if spare:  # shells with their highest angular momentum alone
        slots = max(-(-c.n_functions * n_orbitals // (2 * c.order + 1)) for c in classes)
    # in a pair of one shell with itself most functions are there twice
    twice = max(f * (f - 1) // 2 * (slots // f + 1) for f in (c.n_functions for c in classes))
    return slots * (slots + 1) // 2 + twice + BLOCK_PAIRS


def rows_of_batch(classes: Sequence[ShellPairClass], pairs: Sequence[PairInput]) -> PairRows:
    """Rows in which every function of a class has places for the pairs of the largest molecule, so that what two tiles
    give is a rectangle that no other two tiles touch; a few rows behind the last class belong to no pair."""
    stride = tuple(p.exponents_a.shape[-2] for p in pairs)
    first = first_rows(classes, stride)
    return PairRows(first[:-1], stride, first[-1] + 8)


def first_rows(classes: Sequence[ShellPairClass], stride: Sequence[int]) -> tuple[int, ...]:
    lengths = [pair_class.n_functions * n for pair_class, n in zip(classes, stride, strict=True)]
    return tuple(int(x) for x in np.cumsum([0, *lengths]))


def pair_index(molecule: MoleculePairs, rows: PairRows, n_orbitals: int) -> np.ndarray:
    """(n, n) int32, symmetric: the row of two orbitals; the last row, which is zero, where one is padding."""
    index = np.full((n_orbitals, n_orbitals), rows.size - 1, np.int32)
    for shells, first, stride in zip(molecule, rows.first, rows.stride, strict=True):
        a, b = shells.orbital_a[: shells.n], shells.orbital_b[: shells.n]
        of_pair = row_of(first, stride, np.arange(a.shape[1]), np.arange(shells.n)[:, None])
        real = a >= 0
        index[a[real], b[real]] = index[b[real], a[real]] = of_pair[real]
    return index
