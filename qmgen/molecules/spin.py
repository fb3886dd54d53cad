"""Closed-shell geometries whose ground state is known to be a triplet.

    spin_hint(np.array([8, 8]), positions)      # "O2: the ground state is a triplet"

A restricted calculation of such a molecule converges as well as any other, to an excited state. What is known here are
single atoms, diatomics, carbenes and nitrenes; a part of the geometry that no bond connects to the rest counts as well.
An empty text is no proof of a singlet: diradicals of other kinds (trimethylenemethane, broken bonds) are not known.
A carbene or nitrene is told by bonds that are too long for a multiple one, to hydrogen or to an atom with three
partners at least; where an atom without any partner is near, as when a bond is stretched, nothing is told.

Ground states of atoms and diatomics: K. P. Huber, G. Herzberg, Constants of Diatomic Molecules (1979), and the NIST
Atomic Spectra Database. Carbenes and nitrenes: W. T. Borden, N. P. Gritsan, C. M. Hadad et al., Acc. Chem. Res. 33, 765
(2000); D. Bourissou, O. Guerret, F. P. Gabbaie, G. Bertrand, Chem. Rev. 100, 39 (2000): triplets between hydrogen and
carbon, singlets beside an atom with a lone pair.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from qmgen.constants import BOHR_TO_ANGSTROM
from qmgen.molecules.connectivity import near_pairs
from qmgen.molecules.elements import COVALENT_RADII, symbol_of

#: atoms with p2 or p4 outside of closed subshells
_ATOMS: Final = frozenset((6, 8, 14, 16, 32, 34))
_DIATOMICS: Final = frozenset(
    frozenset(pair) for pair in ((8,), (16,), (34,), (8, 16), (8, 34), (16, 34), (5,), (13,), (14,), (6, 14), (5, 7))
) | frozenset(frozenset((pnictogen, other)) for pnictogen in (7, 15, 33) for other in (1, 9, 17, 35))
#: of up to this share of the sum of their covalent radii two atoms are bonded
_BONDED: Final = 1.3
#: an atom without partners within this share of the radii may belong to a bond that is stretched
_STRETCHED: Final = 2.5
#: shortest single bond of a carbene or nitrene (Angstrom) to carbon: above double bonds at their equilibrium (C=C in
#: allene 1.31, N=C 1.29), below C-C of phenylcarbene (1.35) and C-N of phenylnitrene (1.33)
_SINGLE: Final = {6: 1.325, 7: 1.31}


def spin_hint(numbers: np.ndarray, positions: np.ndarray) -> str:
    """What of the geometry has a triplet ground state, in words; "" where nothing is known to have one.

    ``numbers`` (atoms,), ``positions`` (atoms, 3) in Bohr.
    """
    bonds: dict[int, list[tuple[int, float]]] = {at: [] for at in range(len(numbers))}
    for share, (i, j) in near_pairs(numbers, positions):
        if share <= _BONDED:
            distance = float(np.linalg.norm(positions[i] - positions[j])) * BOHR_TO_ANGSTROM
            bonds[i].append((j, distance))
            bonds[j].append((i, distance))
    for at, partners in bonds.items():
        if what := _triplet(at, partners, numbers, bonds, bool(partners) and _lone_near(at, numbers, positions, bonds)):
            return f"{what}: the ground state is a triplet, the label is of the closed-shell singlet"
    return ""


def _triplet(
    at: int,
    partners: list[tuple[int, float]],
    numbers: np.ndarray,
    bonds: dict[int, list[tuple[int, float]]],
    stretched: bool,
) -> str:
    number = int(numbers[at])
    others = [int(numbers[other]) for other, _ in partners]
    if not partners:
        return f"atom {at + 1} ({symbol_of(number)}) alone" if number in _ATOMS else ""
    if len(partners) == 1 and len(bonds[partners[0][0]]) == 1:
        known = frozenset((number, others[0])) in _DIATOMICS
        return _formula(number, others[0]) if known else ""
    shortest = _SINGLE.get(number, np.inf)
    single = all(other == 1 or distance >= shortest for other, (_, distance) in zip(others, partners, strict=True))
    if not single or not set(others) <= {1, 6, 14} or stretched:
        return ""
    if any(number != 1 and len(bonds[other]) < 3 for number, (other, _) in zip(others, partners, strict=True)):
        return ""
    if number == 7 and len(partners) == 1:
        return f"nitrene at atom {at + 1}"
    if number == 6 and len(partners) == 2 and not _in_three_ring(at, partners, bonds):
        return f"carbene at atom {at + 1}"
    return ""


def _lone_near(at: int, numbers: np.ndarray, positions: np.ndarray, bonds: dict[int, list[tuple[int, float]]]) -> bool:
    """Whether an atom without partners lies near."""
    radius = COVALENT_RADII[int(numbers[at])]
    return any(
        float(np.linalg.norm(positions[at] - positions[other])) * BOHR_TO_ANGSTROM
        < _STRETCHED * (radius + COVALENT_RADII[int(numbers[other])])
        for other, partners in bonds.items()
        if not partners
    )


def _formula(first: int, second: int) -> str:
    if first == second:
        return f"{symbol_of(first)}2"
    return "".join(map(symbol_of, sorted((first, second), key=lambda z: (z in (8, 9, 17, 35), z != 1, z))))


def _in_three_ring(at: int, partners: list[tuple[int, float]], bonds: dict[int, list[tuple[int, float]]]) -> bool:
    """Whether the two partners of an atom are bonded: cyclopropenylidene is a singlet."""
    (first, _), (second, _) = partners
    return any(other == second for other, _ in bonds[first])
