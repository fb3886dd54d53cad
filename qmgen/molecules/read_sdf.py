"""Reader of ``.sdf``: mol blocks in Angstrom, ended by ``$$$$``. The geometry is used exactly as given."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final, TextIO

import numpy as np

from qmgen.molecules.entries import failure, from_geometry, graph_problem, quiet_chem, why_unreadable
from qmgen.molecules.geometry import bohr_from_angstrom
from qmgen.molecules.kept import Kept
from qmgen.molecules.mapped import mapped_smiles
from qmgen.molecules.types import Failure, Molecule, Reason

#: the head of a data item: ``>  <pIC50>  (7)``
_ITEM: Final = re.compile(r">[^<]*<([^>]*)>")


def read_sdf(path: Path, kept: Kept | None = None) -> Iterator[Molecule | Failure]:
    """The records of an ``.sdf`` file, in order, named by their title lines; SMILES are derived and canonical. Atoms
    stay in the order of the record, and ``mapped_smiles`` holds its bonds."""
    kept = kept or Kept()
    with path.open(encoding="utf-8-sig", errors="replace") as lines:
        for molecule_id, record in enumerate(_records(lines)):
            yield kept.add(_entry(molecule_id, record), _properties(record) if kept else {})


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


def _entry(molecule_id: int, record: str) -> Molecule | Failure:
    head = record.split("\n", 2)
    name = head[0].strip()
    with quiet_chem() as chem:
        try:
            mol = chem.MolFromMolBlock(record, removeHs=False)
            if mol is None:
                raw = chem.MolFromMolBlock(record, sanitize=False, removeHs=False)
                why = _bad_numbers(record) or (Reason.UNREADABLE, why_unreadable(chem, raw, "a mol block"))
                return failure(molecule_id, name, "", *why, conformer_id=0)
            smiles = chem.CanonSmiles(chem.MolToSmiles(chem.RemoveHs(mol)))
        except (ValueError, RuntimeError) as error:
            return failure(molecule_id, name, "", Reason.UNREADABLE, f"mol block: {error}", conformer_id=0)
        numbers = np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()], dtype=np.int64)
        missing = sum(atom.GetTotalNumHs() for atom in mol.GetAtoms())
        problem = graph_problem(mol)
        positions = np.array(mol.GetConformer().GetPositions())
    if problem is None and len(head) > 1 and head[1][20:22] == "2D":
        problem = Reason.BAD_COORDINATES, "a flat drawing (2D), no geometry; give the molecule as SMILES instead"
    if problem is None and missing:
        problem = Reason.BAD_COORDINATES, f"{missing} hydrogens have no position; add them, or give SMILES instead"
    if problem:
        return failure(molecule_id, name, smiles, *problem, conformer_id=0)
    entry = from_geometry(molecule_id, name, smiles, numbers, bohr_from_angstrom(positions))
    return replace(entry, mapped_smiles=mapped_smiles(mol)) if isinstance(entry, Molecule) else entry


def _properties(record: str) -> dict[str, str]:
    """The data items behind the mol block: each value is what stands between its head and the next blank line."""
    found: dict[str, list[str]] = {}
    values: list[str] | None = None
    for line in record.partition("M  END")[2].split("\n"):
        head = None if values else _ITEM.match(line)  # a value may look like a head
        if head is not None:
            values = found[head[1]] = []
        elif values is not None and line.strip():
            values.append(line.rstrip())
        else:
            values = None
    return {name: "\n".join(lines) for name, lines in found.items()}


def _bad_numbers(record: str) -> tuple[Reason, str] | None:
    """The first atom line of a V2000 block whose three coordinates (columns of ten) are not finite numbers."""
    lines = record.split("\n")
    try:
        atoms = lines[4 : 4 + int(lines[3][:3])]
    except (IndexError, ValueError):
        return None
    for line in atoms:
        fields = [line[start : start + 10].strip() for start in (0, 10, 20)]
        try:
            finite = all(math.isfinite(float(field)) for field in fields)
        except ValueError:
            finite = False
        if not finite:
            return Reason.BAD_COORDINATES, f"unreadable coordinates {' '.join(fields)}"
    return None
