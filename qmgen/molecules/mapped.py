"""Bonds beside a geometry, as one text: a SMILES with all hydrogens whose atom map number k is the k-th atom.

The k-th from 1: 0 means in SMILES that an atom has no number. To have the molecule back, with its atoms in order:

    parameters = Chem.SmilesParserParams()
    parameters.removeHs = False
    mol = Chem.MolFromSmiles(mapped_smiles, parameters)
    mol = Chem.RenumberAtoms(mol, sorted(range(mol.GetNumAtoms()), key=lambda i: mol.GetAtomWithIdx(i).GetAtomMapNum()))
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np

from qmgen.molecules.entries import failure, quiet_chem
from qmgen.molecules.types import Failure, Molecule, Reason

#: a longer text is refused: beyond any molecule that this program can label
_LONGEST: Final = 65536


def mapped_smiles(mol: Any) -> str:
    """The text for an RDKit molecule that has all its hydrogens as atoms. Isotopes are left out, as in ``smile``."""
    with quiet_chem() as chem:
        bare = chem.Mol(mol, True)  # without conformers
        for atom in bare.GetAtoms():
            atom.SetAtomMapNum(atom.GetIdx() + 1)
            atom.SetIsotope(0)
        return str(chem.MolToSmiles(bare))


def with_bonds(entry: Molecule | Failure, text: str) -> Molecule | Failure:
    """``entry`` with the bonds that its source states as ``text``; a failure where they are of other atoms, or of
    another molecule than its SMILES (stereochemistry is not compared)."""
    if isinstance(entry, Failure) or not text:
        return entry
    assert entry.numbers is not None
    problem = _problem(text, entry.numbers, entry.smiles)
    if problem is None:
        return replace(entry, mapped_smiles=text)
    detail = f"mapped_smiles {problem}; leave it empty where there are no bonds"
    place = (entry.molecule_id, entry.name, entry.smiles)
    return failure(*place, Reason.UNREADABLE, detail, conformer_id=entry.conformer_id)


def _problem(text: str, numbers: np.ndarray, smiles: str) -> str | None:
    if len(text) > _LONGEST or not (text.isascii() and text.isprintable()) or " " in text:
        return "is no SMILES"
    with quiet_chem() as chem:
        parameters = chem.SmilesParserParams()
        parameters.removeHs = False
        mol = chem.MolFromSmiles(text, parameters)
        if mol is None:
            return "is no SMILES that RDKit accepts"
        elements = {atom.GetAtomMapNum(): atom.GetAtomicNum() for atom in mol.GetAtoms()}
        places = range(1, len(numbers) + 1)
        if mol.GetNumAtoms() != len(numbers) or elements != dict(zip(places, map(int, numbers))):
            return "does not number the atoms of this geometry from 1, each once"
        if any(atom.GetTotalNumHs() for atom in mol.GetAtoms()):
            return "has hydrogens without a number"
        described = chem.MolFromSmiles(smiles) if smiles else None
        if described is not None and _plain(chem, mol) != _plain(chem, described):
            return "is another molecule than the SMILES beside it"
    return None


def _plain(chem: Any, mol: Any) -> str:
    """The canonical SMILES without stereo marks, numbers and isotopes."""
    bare = chem.Mol(mol, True)
    for atom in bare.GetAtoms():
        atom.SetAtomMapNum(0)
        atom.SetIsotope(0)
    return str(chem.CanonSmiles(chem.MolToSmiles(chem.RemoveHs(bare), isomericSmiles=False)))
