"""Host side: the significant primitive pairs of one molecule, packed for the device.

Every contracted pair of shells is cut into *bundles* of ``BUNDLE`` primitive pairs, largest first; bundles whose
bound is negligible are dropped, the rest sorted by their bound. This is where screening happens: of the nine primitive
pairs of two distant STO-3G shells often one to three survive. Bundles have one size whatever the contraction,
so one compiled kernel serves every basis set and every molecule.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qmgen.dft.basis import Basis
from qmgen.dft.integrals.shells import KINDS, KindTable, functions_of, kind_pairs, shell_tables

BUNDLE = 3
#: primitive pairs are dropped when bound * (largest bound) is below this (Hartree). Up to 81 of them (contraction
#: 3) add to one integral, and the bound is loose by a factor of a few: integrals stay exact to 1e-12.
PAIR_THRESHOLD = 1e-14
#: bundles per panel, by class: the lists are padded to whole panels, and the device works panel by panel.
PANEL = {(0, 0): 256, (1, 0): 256, (1, 1): 64}


@dataclass(frozen=True)
class PairClass:
    """Bundles of one class (kind a, kind b), sorted by falling bound and padded to whole panels; n are real.

    Attributes:
        exponents_a, exponents_b: (capacity, BUNDLE); padding has exponent 1.
        coefficients_a, coefficients_b: (capacity, BUNDLE, momenta); padding is zero.
        atom_a, atom_b: (capacity,) int32.
        orbital_a, orbital_b: (capacity, functions a * functions b) int32, -1 where there is none or where the
            transposed function of the same shell already counts.
        bound: (capacity,) sqrt of the largest (ab|ab) in the bundle, in sqrt(Hartree); zero for padding.
        n: number of real bundles.
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

    @property
    def capacity(self) -> int:
        return len(self.bound)


def _padded_length(kinds: tuple[int, int], n: int) -> int:
    panel = PANEL[kinds]
    return max(1, -(-n // panel)) * panel


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
    i, j, bound = raw
    keep = bound * largest > PAIR_THRESHOLD
    i, j, bound = i[keep], j[keep], bound[keep]
    pair = ta.shell[i] * (len(tb.atom) + 1) + tb.shell[j]
    order = np.lexsort((-bound, pair))
    i, j, bound, pair = i[order], j[order], bound[order], pair[order]
    starts = np.flatnonzero(np.r_[True, pair[1:] != pair[:-1]]) if len(pair) else np.zeros(0, dtype=np.int64)
    rank = np.arange(len(pair)) - np.repeat(starts, np.diff(np.r_[starts, len(pair)]))
    slot = rank % BUNDLE
    bundle = np.cumsum(slot == 0) - 1
    heads = np.flatnonzero(slot == 0)
    by_bound = np.argsort(-bound[heads], kind="stable")
    place = np.empty(len(heads), dtype=np.int64)
    place[by_bound] = np.arange(len(heads))
    row = place[bundle] if len(bundle) else bundle
    n, capacity = len(heads), _padded_length(kinds, len(heads))

    def primitives(table: KindTable, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        exponents = np.ones((capacity, BUNDLE))
        coefficients = np.zeros((capacity, BUNDLE, table.coefficients.shape[1]))
        exponents[row, slot], coefficients[row, slot] = table.exponents[index], table.coefficients[index]
        return exponents, coefficients

    def per_bundle(values: np.ndarray, fill: int) -> np.ndarray:
        out = np.full((capacity, *values.shape[1:]), fill, dtype=np.int32)
        out[place] = values
        return out

    shell_a, shell_b = ta.shell[i[heads]], tb.shell[j[heads]]
    fa, fb = len(functions_of(KINDS[kinds[0]])), len(functions_of(KINDS[kinds[1]]))
    orbital_a = np.repeat(ta.orbitals[shell_a], fb, axis=1)
    orbital_b = np.tile(tb.orbitals[shell_b], (1, fa))
    unused = (orbital_a < 0) | (orbital_b < 0)
    if kinds[0] == kinds[1]:
        unused |= (shell_a == shell_b)[:, None] & (orbital_a < orbital_b)
    exponents_a, coefficients_a = primitives(ta, i)
    exponents_b, coefficients_b = primitives(tb, j)
    bounds = np.zeros(capacity)
    bounds[place] = bound[heads]
    return PairClass(
        kinds=kinds,
        exponents_a=exponents_a,
        exponents_b=exponents_b,
        coefficients_a=coefficients_a,
        coefficients_b=coefficients_b,
        atom_a=per_bundle(ta.atom[shell_a], 0),
        atom_b=per_bundle(tb.atom[shell_b], 0),
        orbital_a=per_bundle(np.where(unused, -1, orbital_a), -1),
        orbital_b=per_bundle(np.where(unused, -1, orbital_b), -1),
        bound=bounds,
        n=n,
    )
