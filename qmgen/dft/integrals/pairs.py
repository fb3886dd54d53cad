"""Host side: the significant primitive pairs of one molecule, packed for the device.

Every contracted pair of shells owns a column of *bundles* of ``BUNDLE`` primitive pairs, largest first: its first
bundle lies in layer 0, the next in layer 1, and so on. Primitive pairs whose bound is negligible are dropped: of the
nine of two distant STO-3G shells often one to three survive, and deeper layers are short. Shell pairs stand in the
order of their number of bundles, then of their bound: every layer is a full prefix, and what is negligible a tail.
Bundles, layers and panels have one size whatever the contraction, so that one compiled kernel serves every basis set.

All shell pairs have a place, also those without a significant primitive: the exchange integrals of a pair of distant
orbitals are found through the places of other pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qmgen.dft.basis import Basis
from qmgen.dft.integrals.shells import KINDS, KindTable, functions_of, kind_pairs, shell_tables

BUNDLE = 3
#: layers a kernel takes at once: nine primitive pairs, those of two shells of STO-3G
LAYERS = 3
#: primitive pairs are dropped when bound * (largest bound) is below this (Hartree). Up to 81 of them (contraction
#: 3) add to one integral, and the bound is loose by a factor of a few: integrals stay exact to 1e-12 (measured).
PAIR_THRESHOLD = 1e-13
#: shell pairs per panel, by class: the lists are padded to whole panels, and the device works panel by panel.
PANEL = {(0, 0): 256, (1, 0): 128, (1, 1): 32}


@dataclass(frozen=True)
class PairClass:
    """All shell pairs of one class (kind a, kind b), padded to whole panels; ``n`` of ``capacity`` are real.

    Attributes:
        exponents_a, exponents_b: (layers, capacity, BUNDLE); padding has exponent 1.
        coefficients_a, coefficients_b: (layers, capacity, BUNDLE, momenta); padding is zero.
        atom_a, atom_b: (capacity,) int32.
        orbital_a, orbital_b: (capacity, functions a * functions b) int32, -1 where there is none or where the
            transposed function of the same shell already counts.
        bound: (layers, capacity) sqrt of the largest (ab|ab) in the bundle, in sqrt(Hartree); zero where empty.
        n: number of real shell pairs.
        spare: whether some shell has no function in one of its slots.
    """

    kinds: tuple[int, int]
    exponents_a: np.ndarray
    exponents_b: np.ndarray
    coefficients_a: np.ndarray
    coefficients_b: np.ndarray
    atom_a: np.ndarray
    atom_b: np.ndarray
    orbital_a: np.ndarray
    orbital_b: np.ndarray
    bound: np.ndarray
    n: int
    spare: bool

    @property
    def capacity(self) -> int:
        return len(self.atom_a)


def pair_classes(numbers: np.ndarray, positions: np.ndarray, basis: Basis) -> tuple[PairClass, ...]:
    """Packed pairs of a molecule, one entry per ``kind_pairs()``: ``numbers`` (A,), ``positions`` (A, 3) in Bohr."""
    tables = shell_tables(numbers, basis)
    raw = [_raw_pairs(tables[a], tables[b], a == b, positions) for a, b in kind_pairs()]
    largest = max((r[2].max() for r in raw if len(r[2])), default=1.0)
    return tuple(
        _pack(kinds, tables[kinds[0]], tables[kinds[1]], r, largest) for kinds, r in zip(kind_pairs(), raw, strict=True)
    )


def _raw_pairs(
    ta: KindTable, tb: KindTable, same: bool, positions: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All primitive pairs (i, j) with shell(i) >= shell(j), and their bounds."""
    if len(ta.exponents) == 0 or len(tb.exponents) == 0:
        none = np.zeros(0, dtype=np.int64)
        return none, none, np.zeros(0)
    i, j = (x.ravel() for x in np.meshgrid(np.arange(len(ta.exponents)), np.arange(len(tb.exponents)), indexing="ij"))
    if same:
        keep = ta.shell[i] >= tb.shell[j]
        i, j = i[keep], j[keep]
    a, b = ta.exponents[i], tb.exponents[j]
    p = a + b
    distance2 = ((positions[ta.atom[ta.shell[i]]] - positions[tb.atom[tb.shell[j]]]) ** 2).sum(axis=1)
    # size of a function at the overlap centre: |c_0| + |c_1| (|PA| + width) + ...
    width = 1.0 / np.sqrt(2 * p)
    amplitude = np.exp(-a * b / p * distance2)
    for table, index, other in ((ta, i, b), (tb, j, a)):
        reach = other / p * np.sqrt(distance2) + width
        momenta = np.arange(table.coefficients.shape[1])
        amplitude = amplitude * (np.abs(table.coefficients[index]) * reach[:, None] ** momenta).max(axis=1)
    self_repulsion = 2 * np.pi**2.5 / (p * p * np.sqrt(2 * p))
    return i, j, amplitude * np.sqrt(self_repulsion)


def _pack(
    kinds: tuple[int, int],
    ta: KindTable,
    tb: KindTable,
    raw: tuple[np.ndarray, np.ndarray, np.ndarray],
    largest: float,
) -> PairClass:
    # the shell pairs, and the number of each
    width = max(len(tb.atom), 1)
    shell_a, shell_b = (x.ravel() for x in np.indices((len(ta.atom), len(tb.atom))))
    if kinds[0] == kinds[1]:
        lower = shell_a >= shell_b
        shell_a, shell_b = shell_a[lower], shell_b[lower]
    n = len(shell_a)
    number = np.full(len(ta.atom) * width, -1)
    number[shell_a * width + shell_b] = np.arange(n)

    # significant primitive pairs, shell pair by shell pair, largest first
    i, j, bound = raw
    keep = bound * largest > PAIR_THRESHOLD
    i, j, bound = i[keep], j[keep], bound[keep]
    pair = number[ta.shell[i] * width + tb.shell[j]]
    order = np.lexsort((-bound, pair))
    i, j, bound, pair = i[order], j[order], bound[order], pair[order]
    counts = np.bincount(pair, minlength=n)
    rank = np.arange(len(pair)) - np.repeat(np.cumsum(counts) - counts, counts)
    layer, slot = rank // BUNDLE, rank % BUNDLE

    # the order of the shell pairs
    largest_of = np.zeros(n)
    np.maximum.at(largest_of, pair, bound)
    bundles = -(-counts // BUNDLE)
    by_size = np.lexsort((-largest_of, -bundles))
    place = np.empty(n, dtype=np.int64)
    place[by_size] = np.arange(n)
    column = place[pair]

    layers = max(1, -(-int(counts.max(initial=0)) // (BUNDLE * LAYERS))) * LAYERS
    panel = PANEL[kinds]
    capacity = max(1, -(-n // panel)) * panel

    def primitives(table: KindTable, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        exponents = np.ones((layers, capacity, BUNDLE))
        coefficients = np.zeros((layers, capacity, BUNDLE, table.coefficients.shape[1]))
        exponents[layer, column, slot] = table.exponents[index]
        coefficients[layer, column, slot] = table.coefficients[index]
        return exponents, coefficients

    def per_pair(values: np.ndarray, fill: int) -> np.ndarray:
        out = np.full((capacity, *values.shape[1:]), fill, dtype=np.int32)
        out[place] = values
        return out

    fa, fb = len(functions_of(KINDS[kinds[0]])), len(functions_of(KINDS[kinds[1]]))
    orbital_a = np.repeat(ta.orbitals[shell_a], fb, axis=1)
    orbital_b = np.tile(tb.orbitals[shell_b], (1, fa))
    unused = (orbital_a < 0) | (orbital_b < 0)
    spare = bool(unused.any())
    if kinds[0] == kinds[1]:
        unused |= (shell_a == shell_b)[:, None] & (orbital_a < orbital_b)
    exponents_a, coefficients_a = primitives(ta, i)
    exponents_b, coefficients_b = primitives(tb, j)
    bounds = np.zeros((layers, capacity))
    bounds[layer[slot == 0], column[slot == 0]] = bound[slot == 0]
    return PairClass(
        kinds=kinds,
        exponents_a=exponents_a,
        exponents_b=exponents_b,
        coefficients_a=coefficients_a,
        coefficients_b=coefficients_b,
        atom_a=per_pair(ta.atom[shell_a], 0),
        atom_b=per_pair(tb.atom[shell_b], 0),
        orbital_a=per_pair(np.where(unused, -1, orbital_a), -1),
        orbital_b=per_pair(np.where(unused, -1, orbital_b), -1),
        bound=bounds,
        n=n,
        spare=spare,
    )
