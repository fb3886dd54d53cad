"""Bonds of a geometry by distance: whether a SMILES or a mol block has the same, and which geometries are triplets.

Bonds are looked for by distance alone, in sums of covalent radii: two atoms of up to ``BONDED`` are bonded. Among the
elements of ``_PLAIN`` no atoms without a bond come so near (1.22 between the carbons of bicyclo[1.1.1]pentane, 1.24
where two oxygens share a proton) but pairs of Si, P, S and Se: 1.08 in cyclodisiloxane, 1.11 in S2N2, 1.12 in
trithiapentalene. ``_contacts`` leaves these out. Metals, boron and noble gases have contacts that one SMILES writes as
bonds and another does not. Orders of bonds, charges and stereochemistry are not compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

import numpy as np

from qmgen.constants import BOHR_TO_ANGSTROM
from qmgen.molecules.geometry import COVALENT_RADII, distances_in_blocks, hill_formula, radii_of, symbol_of
from qmgen.molecules.smiles import bonds_of, elements_of, quiet_chem
from qmgen.molecules.types import Reason

#: atoms of up to these shares of the sum of their covalent radii are bonded; a bond of up to ``MAYBE`` may be stretched
BONDED: Final = 1.15
BONDED_TO_HYDROGEN: Final = 1.2
MAYBE: Final = 1.6
#: weak bonds (N-N of N2O4, O-F of FOOF) reach this share; where no other pair is within ``GAP`` of them, they are bonds
LONG: Final = 1.3
GAP: Final = 0.15
#: a ring without a bond of up to this share is open: another molecule. A chain without one comes apart, as in scans
OPEN: Final = 1.45
#: a molecule whose bonds are all beyond this share is drawn, or in another unit (Bohr taken for Angstrom: 1.46 to 2.1)
ALL_STRETCHED: Final = 1.4
_PLAIN: Final = frozenset((1, 6, 7, 8, 9, 14, 15, 16, 17, 34, 35, 53))
#: elements whose bonds are long against contacts across a ring; of two chalcogens contacts of any kind are as short
_HEAVY: Final = frozenset((14, 15, 16, 34))
_CHALCOGENS: Final = frozenset((16, 34))
BONDED_ACROSS: Final = 1.0
BONDED_CHALCOGENS: Final = 1.05
#: scans that take a molecule apart at all its bonds together are made of diatomics and water
_MANY: Final = 3

Pair = tuple[int, int]


def near_pairs(numbers: np.ndarray, positions: np.ndarray) -> list[tuple[float, Pair]]:
    """All pairs of atoms up to ``MAYBE``, nearest first: the share of their covalent radii, and the two places.

    ``numbers`` (atoms,) and ``positions`` (atoms, 3) in Bohr.
    """
    radii, pairs = radii_of(numbers), []
    for rows, distance in distances_in_blocks(positions):
        share = distance / (radii[rows][:, None] + radii)
        for i, j in zip(*np.nonzero(share <= MAYBE), strict=True):
            if rows[i] < j:
                pairs.append((float(share[i, j]), (int(rows[i]), int(j))))
    return sorted(pairs)


def bonds_problem(numbers: np.ndarray, positions: np.ndarray, bonds: Iterable[Pair]) -> tuple[Reason, str] | None:
    """Why ``bonds`` (pairs of places) are not those of the geometry: one is missing, or all are too long.

    A few bonds that are longer than bonds are: scans and trajectories have such.
    """
    drawn = {(min(pair), max(pair)) for pair in bonds}
    pairs = near_pairs(numbers, positions)
    contacts = _contacts(numbers, pairs, drawn)
    for share, (i, j) in pairs:
        if (i, j) in drawn or (i, j) in contacts:
            continue
        if _sure(share, numbers[[i, j]]) and _are_plain(numbers[[i, j]]):
            distance = float(np.linalg.norm(positions[i] - positions[j])) * BOHR_TO_ANGSTROM
            two = f"atoms {i + 1} ({symbol_of(int(numbers[i]))}) and {j + 1} ({symbol_of(int(numbers[j]))})"
            detail = (
                f"the bonds are not of this geometry: {two} are {distance:.2f} Angstrom apart, with no bond between"
            )
            return Reason.SMILES_MISMATCH, f"{detail}; correct the bonds, or give the geometry as .xyz"
    return _all_stretched([share for share, pair in pairs if pair in drawn], len(drawn))


def smiles_problem(mol: Any, numbers: np.ndarray, positions: np.ndarray) -> tuple[Reason, str] | None:
    """Why the molecule of a SMILES, an RDKit molecule with all its hydrogens, is not that of the geometry.

    The formula must be the same, and the geometry must have no bonds beyond doubt that the SMILES has not (a CH3 where
    that has CH2 at most), no open ring, and, where all its bonds are plain to see, the same graph of them. Some bonds
    may be stretched or broken.
    """
    elements = elements_of(mol)
    if Counter(elements.tolist()) != Counter(numbers.tolist()):
        return _mismatch(f"it is {_formula_of(elements)}, the geometry {_formula_of(numbers)}")
    bonds = bonds_of(mol)
    pairs = near_pairs(numbers, positions)
    if problem := _all_stretched([share for share, _ in pairs], len(bonds)):
        return problem
    if not _are_plain(numbers):
        return None
    sure = [pair for share, pair in pairs if _sure(share, numbers[list(pair)])]
    contacts = _contacts(numbers, pairs, sure)
    sure = [pair for pair in sure if pair not in contacts]
    nearest = [pair for _, pair in pairs[: len(bonds)]]
    if more := _more(_partners(numbers, sure), _partners(elements, bonds)):
        return _mismatch(f"the geometry has {more}")
    within = [pair for share, pair in pairs if share <= OPEN]
    if len(within) < len(bonds) and _pieces(len(numbers), within) == _pieces(len(numbers), bonds):
        return _mismatch(f"it has {len(bonds)} bonds, the geometry {len(within)}, in as many pieces")
    if (len(sure) == len(bonds) or _apart(pairs, len(bonds))) and _graph(numbers, nearest) != _graph(elements, bonds):
        return _mismatch("the geometry has other bonds")
    return None


def _apart(pairs: list[tuple[float, Pair]], bonds: int) -> bool:
    """Whether the nearest ``bonds`` pairs are bonds and stand apart from all others, some of them somewhat long."""
    if not 0 < bonds <= len(pairs):
        return False
    longest, following = pairs[bonds - 1][0], pairs[bonds][0] if bonds < len(pairs) else MAYBE
    return longest <= LONG and following - longest > GAP


def _mismatch(why: str) -> tuple[Reason, str]:
    return Reason.SMILES_MISMATCH, f"the SMILES is not of this geometry: {why}; correct it, or leave it empty"


def _all_stretched(shares: list[float], bonds: int) -> tuple[Reason, str] | None:
    """That all bonds are too long, of ``_MANY`` or more; ``shares`` are those up to ``MAYBE``."""
    if bonds < _MANY or min(shares, default=np.inf) < ALL_STRETCHED:
        return None
    detail = f"all bonds are longer than {ALL_STRETCHED} times the covalent radii: check the unit of the coordinates"
    return Reason.BAD_COORDINATES, f"{detail}; give geometries that are like this as .xyz, or without a SMILES"


def _pieces(atoms: int, bonds: Iterable[Pair]) -> int:
    """How many pieces of ``atoms`` atoms are connected by ``bonds``."""
    piece = list(range(atoms))
    count = atoms
    for pair in bonds:
        first, second = (_root(piece, at) for at in pair)
        count -= first != second
        piece[first] = second
    return count


def _root(piece: list[int], at: int) -> int:
    while piece[at] != at:
        piece[at] = piece[piece[at]]
        at = piece[at]
    return at


def _sure(share: float, two: np.ndarray) -> bool:
    return share <= (BONDED_TO_HYDROGEN if 1 in two else BONDED)


def _contacts(numbers: np.ndarray, pairs: list[tuple[float, Pair]], bonds: Iterable[Pair]) -> set[Pair]:
    """The pairs of ``_HEAVY`` atoms that may have no bond: longer than ``BONDED_ACROSS`` where both are bonded to the
    same lighter atom, than ``BONDED_CHALCOGENS`` where both are chalcogens. ``bonds`` are the pairs that are bonded."""
    heavy = [(share, pair) for share, pair in pairs if _HEAVY.issuperset(numbers[list(pair)].tolist())]
    if not heavy:
        return set()
    lighter: dict[int, set[int]] = {}
    for pair in bonds:
        for at, other in (pair, pair[::-1]):
            if int(numbers[other]) not in _HEAVY:
                lighter.setdefault(at, set()).add(other)
    contacts: set[Pair] = set()
    for share, (i, j) in heavy:
        across = not lighter.get(i, set()).isdisjoint(lighter.get(j, ()))
        chalcogens = _CHALCOGENS.issuperset(numbers[[i, j]].tolist())
        if (across and share > BONDED_ACROSS) or (chalcogens and share > BONDED_CHALCOGENS):
            contacts.add((i, j))
    return contacts


def _are_plain(numbers: np.ndarray) -> bool:
    return _PLAIN.issuperset(numbers.tolist())


def _partners(numbers: np.ndarray, bonds: Iterable[Pair]) -> dict[Pair, list[int]]:
    """By two elements: to how many atoms of the second each atom of the first is bonded, most first."""
    counts: Counter[tuple[int, int]] = Counter()
    for pair in bonds:
        for at, other in (pair, pair[::-1]):
            counts[at, int(numbers[other])] += 1
    partners: dict[Pair, list[int]] = {}
    for (at, element), count in counts.items():
        partners.setdefault((int(numbers[at]), element), []).append(count)
    return {kind: sorted(each, reverse=True) for kind, each in partners.items()}


def _more(sure: dict[Pair, list[int]], there: dict[Pair, list[int]]) -> str:
    """The bonds of ``sure`` that no choice of bonds out of ``there`` has, by name; else ""."""
    for kind, counts in sorted(sure.items()):
        allowed = there.get(kind, [])
        if len(counts) > len(allowed) or any(count > most for count, most in zip(counts, allowed, strict=False)):
            return f"{symbol_of(kind[0])}-{symbol_of(kind[1])} bonds that the SMILES has not"
    return ""


def _formula_of(numbers: np.ndarray) -> str:
    return hill_formula(Counter(map(symbol_of, numbers.tolist())))


def _graph(numbers: np.ndarray, bonds: Iterable[Pair]) -> str:
    """A text that is the same for two graphs of elements and bonds, without orders, just where they are equal."""
    with quiet_chem() as chem:
        mol: Any = chem.RWMol()
        for number in numbers:
            atom = chem.Atom(int(number))
            atom.SetNoImplicit(True)
            mol.AddAtom(atom)
        for i, j in bonds:
            mol.AddBond(i, j, chem.BondType.SINGLE)
        mol.UpdatePropertyCache(strict=False)
        return str(chem.MolToSmiles(mol))


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

        spin_hint(np.array([8, 8]), positions)      # "O2: the ground state is a triplet, ..."

    A restricted calculation of such a molecule converges as well as any other, to an excited state. What is known here
    are single atoms, diatomics, carbenes and nitrenes; a part of the geometry that no bond connects to the rest counts
    as well. An empty text is no proof of a singlet: diradicals of other kinds (trimethylenemethane, broken bonds) are
    not known. A carbene or nitrene is recognized by bonds that are too long for a multiple one, to hydrogen or to an
    atom with three partners at least; where an atom without any partner is near, as when a bond is stretched, none is
    recognized.

    Ground states of atoms and diatomics: K. P. Huber, G. Herzberg, Constants of Diatomic Molecules (1979), and the NIST
    Atomic Spectra Database. Carbenes and nitrenes: W. T. Borden, N. P. Gritsan, C. M. Hadad et al., Acc. Chem. Res. 33,
    765 (2000); D. Bourissou, O. Guerret, F. P. Gabbaie, G. Bertrand, Chem. Rev. 100, 39 (2000): triplets between
    hydrogen and carbon, singlets beside an atom with a lone pair.
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
