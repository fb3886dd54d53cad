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
from qmgen.molecules.mol_block import read_block_atoms
from qmgen.molecules.text_file import LONGEST, open_text, read_lines
from qmgen.molecules.types import EntryRefused, Failure, Molecule, Reason

#: the head of a data item: ``>  <pIC50>  (7)``
_ITEM: Final = re.compile(r">[^<]*<([^>]*)>")


def read_sdf(path: Path, kept: Kept | None = None) -> Iterator[Molecule | Failure]:
    """The records of an ``.sdf`` file, in order, named by their title lines; SMILES are derived and canonical. Atoms
    stay in the order of the record, and ``mapped_smiles`` holds its bonds."""
    kept = kept or Kept()
    with open_text(path) as lines:
        for molecule_id, record in enumerate(_records(lines)):
            if record is None:
                detail = f"a record of more than {LONGEST} characters"
                yield failure(molecule_id, "", "", Reason.UNREADABLE, detail, conformer_id=0)
                continue
            properties = _properties(record)
            yield kept.add(_entry(molecule_id, record, properties), dict(properties) if kept else {})


def _records(lines: TextIO) -> Iterator[str | None]:
    """The records without their ends; None for one of more than ``LONGEST`` characters, which is not kept."""
    record: list[str] = []
    length, is_blank = 0, True
    for line in read_lines(lines):
        if line.startswith("$$$$"):
            yield "".join(record) if length <= LONGEST else None
            record, length, is_blank = [], 0, True
            continue
        length += len(line)
        is_blank = is_blank and not line.strip()
        if length <= LONGEST:
            record.append(line)
        else:
            record.clear()
    if not is_blank:
        yield "".join(record) if length <= LONGEST else None


def _entry(molecule_id: int, record: str, properties: list[tuple[str, str]]) -> Molecule | Failure:
    head = record.split("\n", 2)
    name = head[0].strip()
    drawn = len(head) > 1 and head[1][20:22] == "2D"
    try:
        stated, given = read_block_atoms(record)
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
