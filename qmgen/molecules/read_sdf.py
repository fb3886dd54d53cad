"""Reader of ``.sdf``: mol blocks in Angstrom, ended by ``$$$$``. The geometry is used exactly as given."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TextIO

import numpy as np

from qmgen.molecules.bonded_geometry import Advice, Head, from_bonded_mol
from qmgen.molecules.entries import failure, quiet_chem, unlabelled, why_unreadable
from qmgen.molecules.kept import Kept
from qmgen.molecules.mol_block import read_atoms
from qmgen.molecules.text_file import open_text
from qmgen.molecules.types import EntryRefused, Failure, Molecule, Reason

#: the head of a data item: ``>  <pIC50>  (7)``
_ITEM: Final = re.compile(r">[^<]*<([^>]*)>")


def read_sdf(path: Path, kept: Kept | None = None) -> Iterator[Molecule | Failure]:
    """The records of an ``.sdf`` file, in order, named by their title lines; SMILES are derived and canonical. Atoms
    stay in the order of the record, and ``mapped_smiles`` holds its bonds."""
    kept = kept or Kept()
    with open_text(path) as lines:
        for molecule_id, record in enumerate(_records(lines)):
            properties = _properties(record)
            yield kept.add(_entry(molecule_id, record, properties), dict(properties) if kept else {})


def _records(lines: TextIO) -> Iterator[str]:
    record: list[str] = []
    for line in lines:
        if line.startswith("$$$$"):
            yield "".join(record)
            record = []
        else:
            record.append(line)
    if "".join(record).strip():
        yield "".join(record)


def _entry(molecule_id: int, record: str, properties: list[tuple[str, str]]) -> Molecule | Failure:
    head = record.split("\n", 2)
    name = head[0].strip()
    drawn = len(head) > 1 and head[1][20:22] == "2D"
    try:
        stated, given = read_atoms(record)
    except EntryRefused as error:
        return failure(molecule_id, name, "", error.reason, f"mol block, {error}", conformer_id=0)
    with quiet_chem() as chem:
        try:
            mol = chem.MolFromMolBlock(record, removeHs=False)
            if mol is None:
                raw = chem.MolFromMolBlock(record, sanitize=False, removeHs=False)
                why = why_unreadable(chem, raw, "a mol block") + (_NO_BONDS_NEEDED if raw is not None else "")
                return failure(molecule_id, name, "", Reason.UNREADABLE, why, conformer_id=0)
            smiles = unlabelled(chem.CanonSmiles(chem.MolToSmiles(chem.RemoveHs(mol))))
        except (ValueError, RuntimeError) as error:
            return failure(molecule_id, name, "", Reason.UNREADABLE, f"mol block: {error}", conformer_id=0)
        numbers = np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()], dtype=np.int64)
        positions = np.array(mol.GetConformer().GetPositions())
        if not _as_stated(stated, given, numbers, positions):
            why = "RDKit reads other atoms than the block states; write it anew"
            return failure(molecule_id, name, smiles, Reason.BAD_COORDINATES, why, conformer_id=0)
        return from_bonded_mol(Head(molecule_id, name, smiles), mol, positions, properties, _ADVICE, is_drawing=drawn)


def _properties(record: str) -> list[tuple[str, str]]:
    """The data items behind the mol block, by name: a value is what stands between its head and the next blank line."""
    found: list[tuple[str, list[str]]] = []
    values: list[str] | None = None
    for line in record.partition("M  END")[2].split("\n"):
        head = None if values else _ITEM.match(line)  # a value may look like a head
        if head is not None:
            values = []
            found.append((head[1], values))
        elif values is not None and line.strip():
            values.append(line.rstrip())
        else:
            values = None
    return [(name, "\n".join(lines)) for name, lines in found]


_NO_BONDS_NEEDED: Final = "; correct the bonds, or give the geometry as .xyz: a label needs no bonds"
_ADVICE: Final = Advice(
    missing="add them, or give SMILES; where only bonds are missing, give the geometry as .xyz",
    drawing="give the molecule as SMILES, or, if it is like this, the geometry as .xyz",
)


def _as_stated(stated: list[int | None], given: np.ndarray, numbers: np.ndarray, positions: np.ndarray) -> bool:
    """Whether RDKit's atoms are those that stand in the block: elements where the symbol is of one, and positions."""
    known = len(stated) == len(numbers) and all(n is None or n == z for n, z in zip(stated, numbers, strict=True))
    return known and np.allclose(given, positions, rtol=1e-9, atol=1e-9)
