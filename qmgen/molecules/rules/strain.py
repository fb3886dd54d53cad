"""Ring systems that squeeze a carbon nearly flat (G2): looked up, or measured on a force field's geometry.

The volume of a carbon is that of the tetrahedron of the unit vectors along its four bonds, 0.513 for an ideal one. In
the complete list of eight atoms every graph whose smallest volume is at most 0.347 is absent, every other one is at
least at 0.357 and present. GDB-11's own criterion was a volume too, on MM2 geometries; the programs that rebuild GDB-13
and GDB-17 cut at 0.345. A ring system is measured by itself, as a hydrocarbon, so that no substituent changes the
verdict. ``data/strained_graphs.smi`` holds those of up to 11 atoms that fail (``scripts/make_strained_graphs``).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

#: smallest volume of a carbon that is not strained, between the 0.347 and 0.357 above
CUT: Final = 0.35
#: up to this size all strained ring systems are in the table
TABLE_SIZE: Final = 11
#: fewer independent cycles than this never strain a carbon so much
FEWEST_CYCLES: Final = 3
_STARTS: Final = 8


def is_strained(mol: Any) -> bool:
    """Whether a ring system of ``mol`` has a carbon of less volume than ``CUT``."""
    from rdkit import Chem

    for bonds in ring_systems(mol):
        skeleton = carbon_skeleton(mol, bonds)
        smiles = Chem.MolToSmiles(skeleton)
        if skeleton.GetNumAtoms() <= TABLE_SIZE:
            if smiles in strained_graphs():
                return True
        elif _measured_volume(smiles) < CUT:
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
    from rdkit import Chem

    skeleton = Chem.RWMol()
    place: dict[int, int] = {}
    for bond in sorted(bonds):
        ends = _ends(mol, bond)
        for index in ends:
            if index not in place:
                place[index] = skeleton.AddAtom(Chem.Atom(6))
        skeleton.AddBond(place[ends[0]], place[ends[1]], Chem.BondType.SINGLE)
    Chem.SanitizeMol(skeleton)
    return skeleton.GetMol()


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
    centre = np.eye(len(steps)) - 1 / len(steps)
    values, vectors = np.linalg.eigh(-centre @ distances**2 @ centre / 2)
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
def _measured_volume(smiles: str) -> float:
    return smallest_volume(smiles)


@cache
def strained_graphs() -> frozenset[str]:
    """The table, in the canonical SMILES of the RDKit at hand."""
    from rdkit import Chem

    lines = (Path(__file__).parent / "data" / "strained_graphs.smi").read_text("ascii").split()
    return frozenset(Chem.MolToSmiles(Chem.MolFromSmiles(line)) for line in lines)


def _ends(mol: Any, bond: int) -> tuple[int, int]:
    made = mol.GetBondWithIdx(bond)
    return made.GetBeginAtomIdx(), made.GetEndAtomIdx()
