"""The entry of a geometry that comes with its bonds: a record of ``.sdf``, or a conformer of an RDKit ``Mol``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np

from qmgen.molecules.charge_keys import counts_in_table, names_charge
from qmgen.molecules.connectivity import bonds_problem
from qmgen.molecules.entries import bond_problem, failure, from_geometry, graph_problem
from qmgen.molecules.geometry import bohr_from_angstrom
from qmgen.molecules.mapped import mapped_smiles
from qmgen.molecules.mol_block import drawing_problem
from qmgen.molecules.stated_charge import OF_COLUMNS, ElectronicState, stated_charge
from qmgen.molecules.types import EntryRefused, Failure, Molecule, Reason

#: one data item within the value of another, and the line after it: some programs leave out the blank line between them
_WITHIN: Final = re.compile(r"^>[^<\n]*<([^>\n]*)>[^\n]*\n([^\n]*)", re.MULTILINE)


class Advice(NamedTuple):
    """What messages tell the user to do where hydrogens are ``missing``, and where the geometry is a ``drawing``."""

    missing: str
    drawing: str


class Head(NamedTuple):
    """What an entry or a failure begins with; ``smiles`` is canonical and derived from the bonds."""

    molecule_id: int
    name: str
    smiles: str
    conformer_id: int = 0


def from_bonded_mol(
    head: Head,
    mol: Any,
    positions: np.ndarray,
    properties: Iterable[tuple[str, str]],
    advice: Advice,
    is_drawing: bool = False,
) -> Molecule | Failure:
    """The entry of an RDKit molecule that is sanitized, at positions (atoms, 3) in Angstrom, or why there is none.

    ``properties`` are its data items by name; what they state of charge and multiplicity must agree with the formal
    charges. ``is_drawing`` holds where the source states that the positions are those of a flat drawing.
    """

    def fail(reason: Reason, detail: str) -> Failure:
        return failure(head.molecule_id, head.name, head.smiles, reason, detail, conformer_id=head.conformer_id)

    if problem := graph_problem(mol) or bond_problem(mol):
        return fail(*problem)
    if is_drawing:
        return fail(Reason.BAD_COORDINATES, "a flat drawing (2D), no geometry; give the molecule as SMILES instead")
    if missing := sum(atom.GetTotalNumHs() for atom in mol.GetAtoms()):
        return fail(Reason.BAD_COORDINATES, f"{missing} hydrogens have no position; {advice.missing}")
    if why := drawing_problem(mol, positions):
        return fail(Reason.BAD_COORDINATES, f"a flat drawing: {why}; {advice.drawing}")
    numbers = np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()], dtype=np.int64)
    bonds = [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in mol.GetBonds()]
    try:
        state = _stated(numbers, properties)
    except EntryRefused as error:
        return fail(error.reason, str(error))
    bohr = bohr_from_angstrom(positions)
    entry = from_geometry(
        head.molecule_id,
        head.name,
        head.smiles,
        numbers,
        bohr,
        state.charge,
        conformer_id=head.conformer_id,
        multiplicity=state.multiplicity,
    )
    if isinstance(entry, Failure):
        return entry
    if problem := bonds_problem(numbers, bohr, bonds):
        return fail(*problem)
    return replace(entry, mapped_smiles=mapped_smiles(mol))


def _stated(numbers: np.ndarray, properties: Iterable[tuple[str, str]]) -> ElectronicState:
    """What the data items state, which must agree with the bonds: these are neutral. Raises ``EntryRefused``."""
    items = list(properties)
    within = [found.groups() for _, value in items for found in _WITHIN.finditer(value)]
    found = [(key, value.strip()) for key, value in (*items, *within) if names_charge(key, of_atoms=False)]
    stated = [{key: value} for key, value in found if value and counts_in_table(key, value)]
    # first without the bonds, since their charge would settle words that are not clear
    stated_charge(numbers, *stated, advice=OF_COLUMNS)
    return stated_charge(numbers, {"formal charge": 0}, *stated, advice=OF_COLUMNS)
