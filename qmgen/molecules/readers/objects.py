"""Molecules that a program gives as objects: SMILES, ``Molecule``, RDKit's ``Mol``, ASE's ``Atoms``.

Neither RDKit nor ASE is imported to find out what an object is: whoever has one has imported it. ASE is not required at
all; whatever has the methods of its ``Atoms`` is one.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeGuard

import numpy as np

from qmgen.molecules.entries import from_geometry, from_molecule, with_bonds
from qmgen.molecules.geometry import bohr_from_angstrom
from qmgen.molecules.readers.sdf import from_bonded_mol
from qmgen.molecules.readers.text import Kept
from qmgen.molecules.smiles import from_smiles, quiet_chem, remove_labels
from qmgen.molecules.stated_charge import agreeing, stated_charge
from qmgen.molecules.types import EntryRefused, Failure, Molecule, Reason, failure, refused

Entry = Molecule | Failure
Parse = Callable[[int, str, str], Entry]

#: what is accepted, for messages
ACCEPTED: Final = "SMILES, qmgen.Molecule, RDKit Mol or ASE Atoms objects"
#: values of each atom that are read as columns of extended XYZ are
_INITIAL: Final = {"initial_charges": "get_initial_charges", "magmoms": "get_initial_magnetic_moments"}
_ATOMS: Final = ("get_atomic_numbers", "get_positions", "get_pbc")


def is_one(given: object) -> bool:
    """Whether ``given`` is a molecule by itself, and no list of them: ASE's ``Atoms`` can be iterated too."""
    return given is None or isinstance(given, str | Molecule) or _is_rdkit(given) or _is_ase(given)


def entries_of(
    molecule_id: int, given: object, parse: Parse = from_smiles, kept: Kept | None = None
) -> list[Entry] | None:
    """The entries of ``given``, as if it stood at ``molecule_id`` in a file; None where it is none of ``ACCEPTED``.

    An RDKit ``Mol`` with three-dimensional conformers is one entry for each of them, used exactly as given, in
    Angstrom, with the checks of a record of ``.sdf``; any other is its SMILES. Its properties must state no other
    charge or multiplicity. Of ASE's ``Atoms`` positions are in Angstrom; ``info`` may hold ``name``, and
    what it states of charge and multiplicity is read as that of a file (``stated_charge``). None and NaN, which other
    programs put where there is nothing, are a failure.
    ``kept`` takes properties of a ``Mol`` and ``info`` of ``Atoms``.
    """
    kept = kept or Kept()
    if isinstance(given, str):
        return [parse(molecule_id, given, "")]
    if isinstance(given, Molecule):
        entry = from_molecule(molecule_id, given, parse)
        return [entry if given.positions is None else with_bonds(entry, given.mapped_smiles)]
    if given is None or (isinstance(given, float) and math.isnan(given)):
        detail = f"{given} stands where a molecule should (RDKit gives None for what it cannot read)"
        return [failure(molecule_id, "", "", Reason.UNREADABLE, detail)]
    if _is_rdkit(given):
        properties = given.GetPropsAsDict() if kept else {}
        return [kept.add(entry, properties) for entry in _of_rdkit(molecule_id, given, parse)]
    if not _is_ase(given):
        return None
    info = getattr(given, "info", None)
    info = info if isinstance(info, Mapping) else {}
    return [kept.add(_of_ase(molecule_id, given, info), info)]


def _is_rdkit(given: Any) -> TypeGuard[Any]:
    rdchem = sys.modules.get("rdkit.Chem.rdchem")
    return rdchem is not None and isinstance(given, rdchem.Mol)


def _is_ase(given: object) -> bool:
    return all(callable(getattr(given, name, None)) for name in _ATOMS) and not isinstance(given, type)


def _of_rdkit(molecule_id: int, given: Any, parse: Parse) -> list[Entry]:
    name = given.GetProp("_Name").strip() if given.HasProp("_Name") else ""
    with quiet_chem() as chem:
        conformers = [conformer for conformer in given.GetConformers() if conformer.Is3D()]
        try:
            properties = [(key, given.GetProp(key)) for key in given.GetPropNames()]
            if not conformers:
                return [agreeing(parse(molecule_id, chem.MolToSmiles(given), name), properties)]
            heads = [Molecule(molecule_id, name, "", conformer_id=n) for n in range(len(conformers))]
            return [_at(chem, head, given, one, properties) for head, one in zip(heads, conformers)]
        except (ValueError, RuntimeError) as error:
            return [failure(molecule_id, name, "", Reason.UNREADABLE, f"RDKit molecule: {error}")]


def _at(chem: Any, head: Molecule, given: Any, conformer: Any, properties: list[tuple[str, str]]) -> Entry:
    """The entry of one conformer. Its stereo marks are those of its geometry, as of a mol block."""
    mol = remove_labels(chem.Mol(given, False, conformer.GetId()))
    chem.SanitizeMol(mol)
    chem.AssignStereochemistryFrom3D(mol)
    head = replace(head, smiles=chem.CanonSmiles(chem.MolToSmiles(chem.RemoveHs(mol))))
    missing, drawing = "add them, or remove the conformers", "remove the conformers, and the SMILES is used"
    return from_bonded_mol(head, mol, np.array(conformer.GetPositions()), properties, missing, drawing)


def _of_ase(molecule_id: int, given: Any, info: Mapping[str, Any]) -> Entry:
    head = Molecule(molecule_id, str(info.get("name") or ""), "")
    try:
        numbers = np.asarray(given.get_atomic_numbers())
        positions = np.asarray(given.get_positions(), dtype=np.float64).reshape(-1, 3)
        periodic = bool(np.any(given.get_pbc()))
        initial = {key: _initial(given, method) for key, method in _INITIAL.items()}
    except (ValueError, TypeError) as error:
        return refused(head, Reason.UNREADABLE, f"ASE atoms: {error}")
    if periodic:
        detail = "a periodic cell; only molecules are labelled: set pbc to False if it is one"
        return refused(head, Reason.UNREADABLE, detail)
    if numbers.size and (numbers.min() < 1 or numbers.max() > 118):
        return refused(head, Reason.UNSUPPORTED_ELEMENT, "atomic numbers must be from 1 to 118")
    try:
        state = stated_charge(numbers, info, {key: values for key, values in initial.items() if np.any(values)})
    except EntryRefused as error:
        return refused(head, error.reason, str(error))
    return from_geometry(head, numbers, bohr_from_angstrom(positions), *state)


def _initial(given: Any, method: str) -> np.ndarray:
    return np.asarray(getattr(given, method, list)(), dtype=np.float64)
