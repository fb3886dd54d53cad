"""Rules beyond SMARTS: about rings and graphs, each a test on an RDKit molecule; and the aromatic form.

Aromatic form: five- and six-membered rings, exocyclic =O and =N included. RDKit's default model agrees with the lower
case of the lists of GDB-11 on every member up to seven atoms but two: it also takes an exocyclic C=C for one electron
of the ring, so that a ring with an oxygen and two methylene groups becomes "aromatic", and rings of two electrons
(squaric acid), of ten (a row of NH) or of other sizes (tropone). Here such rings are none.

Strain (G2): ring systems that squeeze a carbon nearly flat, looked up, or measured on a force field's geometry. The
volume of a carbon is that of the tetrahedron of the unit vectors along its four bonds, 0.513 for an ideal one. In the
complete list of eight atoms every graph whose smallest volume is at most 0.347 is absent, every other one is at least
at 0.357 and present. GDB-11's own criterion was a volume too, on MM2 geometries; the programs that rebuild GDB-13 and
GDB-17 cut at 0.345. A ring system is measured by itself, as a hydrocarbon, so that no substituent changes the verdict.
``data/strained_graphs.smi`` holds those of up to 11 atoms that fail (``scripts/make_strained_graphs``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import numpy as np

#: aromatic atoms that may be so by mistake: in a ring of another size only, with a C=C outwards, a C=O beside a second
#: one in a ring that may hold two electrons, four lone pairs in a row in a ring that may hold ten
SUSPICIOUS: Final = "[$([a;!r5;!r6]),$(c=[#6]),$(c(=[!#6])c=[!#6]),$([o,nX3]:[o,nX3]:[o,nX3]:[o,nX3])]"


def aromatic_form(mol: Any) -> Any:
    """``mol`` (sanitized) itself where RDKit's aromatic rings are so here too, else a copy without the others.

    Rings are kept or not as a whole, and from the aromatic form alone, so that all Kekulé forms come out the same.
    """
    from rdkit import Chem

    if not mol.HasSubstructMatch(_query("a")) or not mol.HasSubstructMatch(_query(SUSPICIOUS)):
        return mol
    info = mol.GetRingInfo()
    kept, dropped = [], False
    for atoms, bonds in zip(info.AtomRings(), info.BondRings()):
        if all(mol.GetBondWithIdx(b).GetIsAromatic() for b in bonds):
            if _is_aromatic_ring(mol, atoms):
                kept.append((atoms, bonds))
            else:
                dropped = True
    if not dropped:
        return mol
    mol = Chem.Mol(mol)
    Chem.Kekulize(mol, clearAromaticFlags=True)
    for atoms, bonds in kept:
        for index in atoms:
            mol.GetAtomWithIdx(index).SetIsAromatic(True)
        for index in bonds:
            bond = mol.GetBondWithIdx(index)
            bond.SetIsAromatic(True)
            bond.SetBondType(Chem.BondType.AROMATIC)
    return mol


def _is_aromatic_ring(mol: Any, atoms: tuple[int, ...]) -> bool:
    """Five or six members and six electrons: C=O and C=N give none, NH, NR and O give two.

    Up to eight are let pass, since nitrogen at a fusion counts two in both of its rings.
    """
    from rdkit import Chem

    if len(atoms) not in (5, 6):
        return False
    electrons = 0
    for index in atoms:
        atom = mol.GetAtomWithIdx(index)
        outwards = [b.GetOtherAtom(atom) for b in atom.GetBonds() if b.GetBondType() == Chem.BondType.DOUBLE]
        if outwards:
            if any(other.GetAtomicNum() == 6 for other in outwards):
                return False
        elif atom.GetAtomicNum() == 6 or (atom.GetAtomicNum() == 7 and atom.GetTotalDegree() == 2):
            electrons += 1
        else:
            electrons += 2
    return 6 <= electrons <= 8


@cache
def _query(smarts: str) -> Any:
    from rdkit import Chem

    return Chem.MolFromSmarts(smarts)


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
    """Aromatic carbon without a double bond outwards, aromatic nitrogen with two neighbors and no hydrogen."""
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
            inside = sum(neighbor.GetIdx() in shared for neighbor in mol.GetAtomWithIdx(index).GetNeighbors())
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


#: smallest volume of a carbon that is not strained, between 0.347 and 0.357
CUT: Final = 0.35
#: up to this size all strained ring systems are in the table
TABLE_SIZE: Final = 11
#: fewer independent cycles than this never strain a carbon so much
FEWEST_CYCLES: Final = 3
_STARTS: Final = 8


def strained_carbon(mol: Any) -> bool:
    """Whether a ring system of ``mol`` has a carbon of less volume than ``CUT`` (G2)."""
    from rdkit import Chem

    if mol.GetRingInfo().NumRings() < FEWEST_CYCLES:
        return False
    for bonds in ring_systems(mol):
        skeleton = carbon_skeleton(mol, bonds)
        smiles = Chem.MolToSmiles(skeleton)
        if smiles in strained_graphs() if skeleton.GetNumAtoms() <= TABLE_SIZE else smallest_volume(smiles) < CUT:
            return True
    return False


def ring_systems(mol: Any) -> Iterator[frozenset[int]]:
    """The bonds of each set of rings that hang together by shared bonds, where it has ``FEWEST_CYCLES`` cycles."""
    systems: list[set[int]] = []
    for ring in mol.GetRingInfo().BondRings():
        joined = set(ring)
        apart = []
        for system in systems:
            if system.isdisjoint(joined):
                apart.append(system)
            else:
                joined |= system
        systems = [*apart, joined]
    for system in systems:
        atoms = {index for bond in system for index in _ends(mol, bond)}
        if len(system) - len(atoms) + 1 >= FEWEST_CYCLES:
            yield frozenset(system)


def carbon_skeleton(mol: Any, bonds: frozenset[int]) -> Any:
    """The saturated hydrocarbon with these bonds of ``mol``."""
    place: dict[int, int] = {}
    edges = [[place.setdefault(index, len(place)) for index in _ends(mol, bond)] for bond in sorted(bonds)]
    return skeleton_of(edges, len(place))


def skeleton_of(edges: Iterable[Sequence[int]], size: int) -> Any:
    """The saturated hydrocarbon of ``size`` carbons with these bonds."""
    from rdkit import Chem

    skeleton = Chem.RWMol()
    for _ in range(size):
        skeleton.AddAtom(Chem.Atom(6))
    for a, b in edges:
        skeleton.AddBond(int(a), int(b), Chem.BondType.SINGLE)
    Chem.SanitizeMol(skeleton)
    return skeleton.GetMol()


@cache
def smallest_volume(smiles: str) -> float:
    """The smallest volume of a carbon of this hydrocarbon, in the best of a few MMFF94 minima.

    The best of several, because a graph is kept if one of its stereoisomers can exist. Each start lays the carbons out
    by their distances along bonds, with noise: RDKit's own embedding refuses many cages.
    """
    from rdkit import Chem
    from rdkit.Chem import rdForceFieldHelpers
    from rdkit.Geometry import Point3D

    mol = Chem.MolFromSmiles(smiles)
    random = np.random.default_rng(11)
    steps = Chem.GetDistanceMatrix(mol)
    best = 0.0
    for _ in range(_STARTS):
        conformer = Chem.Conformer(mol.GetNumAtoms())
        for index, position in enumerate(_laid_out(steps + 0.3 * random.standard_normal(steps.shape))):
            conformer.SetAtomPosition(index, Point3D(*map(float, position)))
        mol.RemoveAllConformers()
        mol.AddConformer(conformer)
        full = Chem.AddHs(mol, addCoords=True)
        rdForceFieldHelpers.MMFFOptimizeMolecule(full, maxIters=5000)
        best = max(best, _volume_in(full, full.GetConformer().GetPositions()))
    return best


def _laid_out(steps: np.ndarray) -> np.ndarray:
    """Positions (atoms, 3) in Å whose distances are near those of atoms so many bonds apart: classical scaling."""
    distances = 1.5 * np.abs((steps + steps.T) / 2) ** 0.75
    np.fill_diagonal(distances, 0)
    center = np.eye(len(steps)) - 1 / len(steps)
    values, vectors = np.linalg.eigh(-center @ distances**2 @ center / 2)
    return vectors[:, -3:] * np.sqrt(np.maximum(values[-3:], 0.1))


def _volume_in(mol: Any, positions: np.ndarray) -> float:
    volumes = []
    for atom in mol.GetAtoms():
        if atom.GetAtomicNum() == 6:
            bonds = positions[[other.GetIdx() for other in atom.GetNeighbors()]] - positions[atom.GetIdx()]
            bonds /= np.linalg.norm(bonds, axis=1, keepdims=True)
            volumes.append(abs(np.linalg.det(bonds[1:] - bonds[0])) / 6)
    return float(min(volumes))


@cache
def strained_graphs() -> frozenset[str]:
    """The table, in the canonical SMILES of the RDKit at hand."""
    from rdkit import Chem

    lines = (Path(__file__).parent / "data" / "strained_graphs.smi").read_text("ascii").split()
    return frozenset(Chem.MolToSmiles(Chem.MolFromSmiles(line)) for line in lines)


def _ends(mol: Any, bond: int) -> tuple[int, int]:
    made = mol.GetBondWithIdx(bond)
    return made.GetBeginAtomIdx(), made.GetEndAtomIdx()


#: what a table may name as ``test``
TESTS: Final[dict[str, Callable[[Any], bool]]] = {
    "touching_small_rings": touching_small_rings,
    "strained_carbon": strained_carbon,
    "aromatic_four_ring": aromatic_four_ring,
    "bridgehead_double_bond": bridgehead_double_bond,
    "bridgehead_nitrogen": bridgehead_nitrogen,
}
