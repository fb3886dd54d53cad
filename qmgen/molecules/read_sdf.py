"""Reader of ``.sdf``: mol blocks in Angstrom, ended by ``$$$$``. The geometry is used exactly as given."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TextIO

import numpy as np

from qmgen.molecules.charge_keys import names_charge
from qmgen.molecules.entries import failure, from_geometry, graph_problem, quiet_chem, why_unreadable
from qmgen.molecules.geometry import bohr_from_angstrom, size_problem
from qmgen.molecules.stated_charge import ElectronicState, stated_charge
from qmgen.molecules.types import EntryRefused, Failure, Molecule, Reason

#: a header of a property ("> 25 <charge>"), and the line after it
_PROPERTY: Final = re.compile(r"^>[^\n<]*<([^>\n]*)>[^\n]*\n([^\n]*)", re.MULTILINE)
#: the atoms of a V3000 block; those of a V2000 block are 999 at most
_COUNTS: Final = re.compile(r"^M\s+V30\s+COUNTS\s+(\d+)", re.MULTILINE | re.ASCII)


def read_sdf(path: Path) -> Iterator[Molecule | Failure]:
    """The records of an ``.sdf`` file, in order, named by their title lines; SMILES are derived and canonical."""
    with path.open(encoding="utf-8-sig", errors="replace") as lines:
        for molecule_id, record in enumerate(_records(lines)):
            yield _entry(molecule_id, record)


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
    if too_large := size_problem(_atoms(record)):  # before RDKit, which takes minutes for it
        return failure(molecule_id, name, "", *too_large, conformer_id=0)
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
    state = ElectronicState(0, None)
    try:
        if not problem:
            stated = _stated(record)
            state = stated_charge(numbers, *stated)
            state = stated_charge(numbers, {"charge of the mol block": 0}, *stated)  # which goes before vague words
    except EntryRefused as error:
        problem = error.reason, str(error)
    if problem:
        return failure(molecule_id, name, smiles, *problem, conformer_id=0)
    at = bohr_from_angstrom(positions)
    return from_geometry(molecule_id, name, smiles, numbers, at, state.charge, multiplicity=state.multiplicity)


def _stated(record: str) -> list[dict[str, str]]:
    """The properties of a record ("> <charge>", and the line after it) that may state a charge or multiplicity."""
    found: list[dict[str, str]] = []
    for header, text in _PROPERTY.findall(record[max(record.find("M  END"), 0) :]):
        if names_charge(header, of_atoms=False) and text.strip():
            found.append({header: text.strip()})
    return found


def _atoms(record: str) -> int:
    """The atoms that a V3000 block states (of more than nine digits the first nine); 0 for any other record."""
    found = _COUNTS.search(record)
    return int(found[1][:9]) if found else 0


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
