"""Reader of ``.sdf``: mol blocks in Angstrom, ended by ``$$$$``. The geometry is used exactly as given."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final, TextIO

import numpy as np

from qmgen.molecules.charge_keys import counts_in_table, names_charge
from qmgen.molecules.connectivity import bonds_problem
from qmgen.molecules.entries import (
    bond_problem,
    failure,
    from_geometry,
    graph_problem,
    quiet_chem,
    unlabelled,
    why_unreadable,
)
from qmgen.molecules.geometry import bohr_from_angstrom
from qmgen.molecules.kept import Kept
from qmgen.molecules.mapped import mapped_smiles
from qmgen.molecules.mol_block import drawing_problem, read_atoms
from qmgen.molecules.stated_charge import OF_COLUMNS, ElectronicState, stated_charge
from qmgen.molecules.text_file import open_text
from qmgen.molecules.types import EntryRefused, Failure, Molecule, Reason

#: the head of a data item: ``>  <pIC50>  (7)``
_ITEM: Final = re.compile(r">[^<]*<([^>]*)>")
#: one within the value of another, and the line after it: some programs leave out the blank line between two items
_WITHIN: Final = re.compile(r"^>[^<\n]*<([^>\n]*)>[^\n]*\n([^\n]*)", re.MULTILINE)


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
        missing = sum(atom.GetTotalNumHs() for atom in mol.GetAtoms())
        problem = graph_problem(mol) or bond_problem(mol)
        positions = np.array(mol.GetConformer().GetPositions())
        bonds = [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in mol.GetBonds()]
    if problem is None and drawn:
        problem = Reason.BAD_COORDINATES, "a flat drawing (2D), no geometry; give the molecule as SMILES instead"
    if problem is None and missing:
        problem = Reason.BAD_COORDINATES, f"{missing} hydrogens have no position; {_MISSING}"
    if problem is None and not _as_stated(stated, given, numbers, positions):
        problem = Reason.BAD_COORDINATES, "RDKit reads other atoms than the block states; write it anew"
    if problem is None and (why := drawing_problem(mol, positions)):
        problem = Reason.BAD_COORDINATES, f"a flat drawing: {why}; {_DRAWING}"
    if problem:
        return failure(molecule_id, name, smiles, *problem, conformer_id=0)
    try:
        state = _stated(numbers, properties)
    except EntryRefused as error:
        return failure(molecule_id, name, smiles, error.reason, str(error), conformer_id=0)
    bohr = bohr_from_angstrom(positions)
    entry = from_geometry(molecule_id, name, smiles, numbers, bohr, state.charge, multiplicity=state.multiplicity)
    if isinstance(entry, Failure):
        return entry
    if problem := bonds_problem(numbers, bohr, bonds):
        return failure(molecule_id, name, smiles, *problem, conformer_id=0)
    return replace(entry, mapped_smiles=mapped_smiles(mol))


def _stated(numbers: np.ndarray, properties: list[tuple[str, str]]) -> ElectronicState:
    """What the data items state, which must agree with the block: that is neutral. Raises ``EntryRefused``."""
    within = [found.groups() for _, value in properties for found in _WITHIN.finditer(value)]
    found = [(key, value.strip()) for key, value in (*properties, *within) if names_charge(key, of_atoms=False)]
    items = [{key: value} for key, value in found if value and counts_in_table(key, value)]
    stated_charge(
        numbers, *items, advice=OF_COLUMNS
    )  # without the block, since its charge would settle words that are not clear
    return stated_charge(numbers, {"charge of the mol block": 0}, *items, advice=OF_COLUMNS)


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
_MISSING: Final = "add them, or give SMILES; where only bonds are missing, give the geometry as .xyz"
_DRAWING: Final = "give the molecule as SMILES, or, if it is like this, the geometry as .xyz"


def _as_stated(stated: list[int | None], given: np.ndarray, numbers: np.ndarray, positions: np.ndarray) -> bool:
    """Whether RDKit's atoms are those that stand in the block: elements where the symbol is of one, and positions."""
    known = len(stated) == len(numbers) and all(n is None or n == z for n, z in zip(stated, numbers, strict=True))
    return known and np.allclose(given, positions, rtol=1e-9, atol=1e-9)
