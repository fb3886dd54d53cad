"""The aromatic form that rules see: five- and six-membered rings, exocyclic =O and =N included.

RDKit's default model agrees with the lower case of the lists of GDB-11 on every member up to seven atoms but two: it
also takes an exocyclic C=C for one electron of the ring, so that a ring with an oxygen and two methylene groups becomes
"aromatic", and rings of two electrons (squaric acid), of ten (a row of NH) or of other sizes (tropone). Here such rings
are none.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

#: aromatic atoms that may be so by mistake: in a ring of another size only, with a C=C outwards, a C=O beside a second
#: one in a ring that may hold two electrons, four lone pairs in a row in a ring that may hold ten
SUSPICIOUS: Final = "[$([a;!r5;!r6]),$(c=[#6]),$(c(=[!#6])c=[!#6]),$([o,nX3]:[o,nX3]:[o,nX3]:[o,nX3])]"


def aromatic_form(mol: Any) -> Any:
    """``mol`` (sanitized) itself where RDKit's aromaticity is ours, else a copy without the rings that are not.

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
