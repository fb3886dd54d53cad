"""What SMARTS cannot say: rules about rings and graphs, each a test on an RDKit molecule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import combinations
from typing import Any, Final

#: a bicycle with as many ring atoms besides its bridgeheads takes a double bond at a bridgehead (Fawcett 1950)
BREDT_S: Final = 9


def touching_small_rings(mol: Any) -> bool:
    """Whether an atom belongs to two different cycles of length three or four (G1).

    The smallest set of smallest rings is enough: a cycle of four outside it is a sum of cycles of three and four in it,
    and those touch.
    """
    seen: set[int] = set()
    for ring in mol.GetRingInfo().AtomRings():
        if len(ring) <= 4:
            if not seen.isdisjoint(ring):
                return True
            seen.update(ring)
    return False


def strained_carbon(mol: Any) -> bool:
    """Whether the molecule's graph is too strained (G2): see ``strain``."""
    rings = mol.GetRingInfo().NumRings()
    if rings < 3:
        return False
    from qmgen.molecules.rules.strain import is_strained

    return is_strained(mol)


def aromatic_four_ring(mol: Any) -> bool:
    """Whether a bond that a four-membered ring shares with aromatic rings is double in every Kekulé form.

    Cyclobuta[c]furan is kept, cyclobuta[b]furan is not.
    """
    rings = mol.GetRingInfo()
    for atoms, bonds in zip(rings.AtomRings(), rings.BondRings()):
        if len(atoms) == 4 and any(mol.GetAtomWithIdx(index).GetIsAromatic() for index in atoms):
            shared = {index for index in bonds if mol.GetBondWithIdx(index).GetIsAromatic()}
            if not _single_in_some_form(mol, shared):
                return True
    return False


def _single_in_some_form(mol: Any, bonds: set[int]) -> bool:
    """Whether the aromatic atoms that need a double bond can all get one without using ``bonds``."""
    partners: dict[int, list[int]] = {
        atom.GetIdx(): [] for atom in mol.GetAtoms() if atom.GetIsAromatic() and _needs_ring_double_bond(atom)
    }
    for bond in mol.GetBonds():
        a, b = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        if bond.GetIsAromatic() and bond.GetIdx() not in bonds and a in partners and b in partners:
            partners[a].append(b)
            partners[b].append(a)
    return _can_pair(frozenset(partners), partners)


def _needs_ring_double_bond(atom: Any) -> bool:
    """Aromatic carbon without a double bond outwards, aromatic nitrogen with two neighbours and no hydrogen."""
    if atom.GetAtomicNum() == 6:
        return all(str(bond.GetBondType()) != "DOUBLE" for bond in atom.GetBonds())
    return atom.GetAtomicNum() == 7 and atom.GetTotalDegree() == 2


def _can_pair(left: frozenset[int], partners: dict[int, list[int]]) -> bool:
    if not left:
        return True
    first = min(left)
    return any(_can_pair(left - {first, other}, partners) for other in partners[first] if other in left)


def bridgeheads(mol: Any) -> Iterator[tuple[int, frozenset[int]]]:
    """Each bridgehead of a bridged bicycle with fewer than ``BREDT_S`` other ring atoms, and the atoms of that bicycle.

    Two rings that share more than one bond are such a bicycle; its bridgeheads are the ends of what they share. Fused
    rings, which share one bond, have none.
    """
    rings = [frozenset(ring) for ring in mol.GetRingInfo().AtomRings()]
    for one, other in combinations(rings, 2):
        shared, both = one & other, one | other
        if len(shared) < 3 or len(both) - 2 >= BREDT_S:
            continue
        for index in shared:
            inside = sum(neighbour.GetIdx() in shared for neighbour in mol.GetAtomWithIdx(index).GetNeighbors())
            if inside == 1:
                yield index, both


def bridgehead_double_bond(mol: Any) -> bool:
    """Whether a bridgehead of a bridged bicycle has a double bond (Bredt's rule)."""
    if mol.GetRingInfo().NumRings() < 2:
        return False
    return any(_is_unsaturated(mol.GetAtomWithIdx(index)) for index, _ in bridgeheads(mol))


def bridgehead_nitrogen(mol: Any) -> bool:
    """Whether a nitrogen at a bridgehead of a bridged bicycle has an sp2 atom, N or O beside it in the bicycle."""
    if mol.GetRingInfo().NumRings() < 2:
        return False
    for index, bicycle in bridgeheads(mol):
        atom = mol.GetAtomWithIdx(index)
        if atom.GetAtomicNum() == 7 and any(
            other.GetAtomicNum() != 6 or _is_unsaturated(other) for other in _within(atom.GetNeighbors(), bicycle)
        ):
            return True
    return False


def _within(atoms: Iterable[Any], indices: frozenset[int]) -> Iterator[Any]:
    return (atom for atom in atoms if atom.GetIdx() in indices)


def _is_unsaturated(atom: Any) -> bool:
    return any(bond.GetBondTypeAsDouble() > 1 for bond in atom.GetBonds())


#: what a table may name as ``test``
TESTS: Final[dict[str, Callable[[Any], bool]]] = {
    "touching_small_rings": touching_small_rings,
    "strained_carbon": strained_carbon,
    "aromatic_four_ring": aromatic_four_ring,
    "bridgehead_double_bond": bridgehead_double_bond,
    "bridgehead_nitrogen": bridgehead_nitrogen,
}
