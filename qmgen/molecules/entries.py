"""Molecules from given geometries, with their SMILES and bonds; which molecules are supported; and duplicates.

An entry never raises: whatever is wrong with it becomes a ``Failure`` that keeps its place and name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from typing import Any, Final

import numpy as np

from qmgen.molecules.connectivity import smiles_problem
from qmgen.molecules.geometry import (
    electrons_problem,
    given_geometry_problem,
    stored_precision,
    symbol_of,
    unknown_unit_problem,
)
from qmgen.molecules.smiles import LONGEST_SMILES, elements_of, from_smiles, of_geometry, quiet_chem, remove_labels
from qmgen.molecules.types import Failure, Molecule, Reason, failure, refused


def from_geometry(
    head: Molecule,
    numbers: np.ndarray,
    positions: np.ndarray,
    charge: int = 0,
    multiplicity: int | None = None,
    *,
    as_given: bool = False,
    if_short: str = "",
    if_apart: str = "",
) -> Molecule | Failure:
    """``head``, which has the ids, the name and the SMILES, with a geometry: numbers (atoms,), positions (atoms, 3) in
    Bohr at the corpus's precision.

    The SMILES is canonical and derived from the bonds of the same record, or empty; where it is as the source gives it
    beside the geometry (``as_given``), it is made canonical and compared with the geometry. ``charge`` and
    ``multiplicity``, 2S + 1, are those that the source states. ``if_short`` and ``if_apart`` are those of
    ``unknown_unit_problem``, where the source states no unit.
    """
    if len(numbers) == 0:
        return refused(head, Reason.UNREADABLE, "no atoms")
    smiles = head.smiles
    problem, near = given_geometry_problem(numbers, positions)
    if problem is None and as_given and (problem := _text_problem(smiles)) is None:
        smiles, problem = of_geometry(smiles)
        problem = problem or _not_of_geometry(smiles, numbers, positions)
    entry = replace(head, smiles=smiles, numbers=numbers.astype(np.uint8), positions=positions, charge=charge)
    if problem := problem or electrons_problem(numbers, charge, multiplicity):
        return refused(entry, *problem)
    if near and (why := unknown_unit_problem(near, if_short, if_apart)):
        return refused(head, Reason.BAD_COORDINATES, why)
    return entry


def _text_problem(smiles: str) -> tuple[Reason, str] | None:
    """Why a text beside a geometry is no SMILES that RDKit would read whole."""
    if len(smiles) > LONGEST_SMILES:
        return Reason.UNREADABLE, f"the SMILES of the geometry has more than {LONGEST_SMILES} characters"
    if smiles.isascii() and smiles.isprintable() and " " not in smiles:
        return None
    return Reason.UNREADABLE, f"{smiles!r} is no SMILES; leave it empty where the geometry has none"


def _not_of_geometry(smiles: str, numbers: np.ndarray, positions: np.ndarray) -> tuple[Reason, str] | None:
    """Why a SMILES is not that of numbers (atoms,) at positions (atoms, 3) in Bohr: it decides the row's split."""
    if not smiles:
        return None
    with quiet_chem() as chem:
        mol = chem.MolFromSmiles(smiles)
        if mol is None:
            return Reason.UNREADABLE, f"{smiles!r} is no SMILES; leave it empty where the geometry has none"
        return smiles_problem(chem.AddHs(mol), numbers, positions)


def from_molecule(
    molecule_id: int, given: Molecule, parse: Callable[[int, str, str], Molecule | Failure] = from_smiles
) -> Molecule | Failure:
    """A ``Molecule`` that a program made, as if it stood at ``molecule_id`` in a file: the checks of the readers, and
    positions at the corpus's precision. ``parse`` reads the SMILES of one without a geometry."""
    if given.positions is None:
        entry = parse(molecule_id, given.smiles, given.name)
        problem = electrons_problem(np.zeros(0), given.charge)
        if problem and isinstance(entry, Molecule):
            return failure(molecule_id, given.name, given.smiles, *problem)
        return entry
    head = Molecule(molecule_id, given.name, given.smiles, conformer_id=given.conformer_id)
    try:
        numbers = np.asarray(given.numbers if given.numbers is not None else [])
        positions = np.asarray(given.positions, dtype=np.float64)
    except (TypeError, ValueError):
        return refused(head, Reason.BAD_COORDINATES, "positions are not numbers")
    whole = numbers.ndim == 1 and numbers.dtype.kind in "iu"
    if numbers.size and not (whole and numbers.min() >= 1 and numbers.max() <= 118):
        detail = "atomic numbers must be whole numbers from 1 to 118, one an atom"
        return refused(head, Reason.UNSUPPORTED_ELEMENT, detail)
    if positions.shape != (*numbers.shape[:1], 3):
        detail = f"positions of shape {positions.shape} for {numbers.size} atomic numbers, not three an atom"
        return refused(head, Reason.BAD_COORDINATES, detail)
    return from_geometry(head, numbers, stored_precision(positions), given.charge, as_given=True)


def atomic_numbers(molecule: Molecule) -> np.ndarray:
    """Atomic numbers (atoms,) uint8: of the given geometry, or of the SMILES with its hydrogens made explicit."""
    if molecule.numbers is not None:
        return molecule.numbers
    with quiet_chem() as chem:
        return elements_of(chem.AddHs(chem.MolFromSmiles(molecule.smiles)))


def check_supported(entry: Molecule | Failure, elements: Collection[int]) -> Molecule | Failure:
    """The entry itself, or a ``Failure`` naming the elements (atomic numbers) that are not among ``elements``."""
    if isinstance(entry, Failure):
        return entry
    missing = sorted(set(atomic_numbers(entry).tolist()) - set(elements))
    if not missing:
        return entry
    names = ", ".join(symbol_of(number) for number in missing)
    known = " ".join(symbol_of(number) for number in sorted(elements)) if len(elements) < 20 else ""
    return failure(
        entry.molecule_id,
        entry.name,
        entry.smiles,
        Reason.UNSUPPORTED_ELEMENT,
        f"{names} not in this basis" + (f" ({known})" if known else ""),
        conformer_id=-1 if entry.positions is None else entry.conformer_id,
    )


#: a longer text is refused: beyond any molecule that this program can label
_LONGEST_MAPPED: Final = 65536


def mapped_smiles(mol: Any) -> str:
    """The bonds of an RDKit molecule that has all its hydrogens as atoms, as one text: a SMILES with all hydrogens in
    which atom map number k is the k-th atom, from 1 (0 means in SMILES that an atom has no number). Isotopes are left
    out, as in ``smile``. To have the molecule back, with its atoms in order:

        parameters = Chem.SmilesParserParams()
        parameters.removeHs = False
        mol = Chem.MolFromSmiles(mapped_smiles, parameters)
        order = sorted(range(mol.GetNumAtoms()), key=lambda i: mol.GetAtomWithIdx(i).GetAtomMapNum())
        mol = Chem.RenumberAtoms(mol, order)
    """
    with quiet_chem() as chem:
        bare = remove_labels(chem.Mol(mol, True))  # without conformers
        for atom in bare.GetAtoms():
            atom.SetAtomMapNum(atom.GetIdx() + 1)
        return str(chem.MolToSmiles(bare))


def with_bonds(entry: Molecule | Failure, text: str) -> Molecule | Failure:
    """``entry`` with the bonds that its source states as ``text``; a failure where they are of other atoms, or of
    another molecule than its SMILES (stereochemistry is not compared)."""
    if isinstance(entry, Failure) or not text:
        return entry
    assert entry.numbers is not None
    problem = _mapped_problem(text, entry.numbers, entry.smiles)
    if problem is None:
        return replace(entry, mapped_smiles=text)
    detail = f"mapped_smiles {problem}; leave it empty where there are no bonds"
    return refused(entry, Reason.UNREADABLE, detail)


def _mapped_problem(text: str, numbers: np.ndarray, smiles: str) -> str | None:
    if len(text) > _LONGEST_MAPPED or not (text.isascii() and text.isprintable()) or " " in text:
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
        if described is not None and _without_stereo(chem, mol) != _without_stereo(chem, described):
            return "is another molecule than the SMILES beside it"
    return None


def _without_stereo(chem: Any, mol: Any) -> str:
    """The canonical SMILES without stereo marks, numbers and isotopes."""
    bare = remove_labels(chem.Mol(mol, True))
    return str(chem.CanonSmiles(chem.MolToSmiles(chem.RemoveHs(bare), isomericSmiles=False)))


def merge_key(entry: Molecule | Failure) -> str:
    """What duplicates have in common: the canonical SMILES; empty for what is never merged."""
    return "" if isinstance(entry, Failure) or entry.positions is not None else entry.smiles


class NamedDuplicates:
    """The molecules of which a source has duplicates with names: ``see`` each entry, then read ``keys``."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._named: set[str] = set()

    def see(self, entry: Molecule | Failure) -> None:
        """The next entry of the source."""
        key = merge_key(entry)
        if key and key in self._seen and entry.name:
            self._named.add(key)
        elif key:
            self._seen.add(key)

    @property
    def keys(self) -> frozenset[str]:
        """Their ``merge_key``."""
        return frozenset(self._named)


class merge_duplicates(Iterator[Molecule | Failure]):
    """The entries without those whose canonical SMILES came before; ``merged`` counts the ones left out so far.

    Only molecules whose geometry is still to be made are merged: given geometries are all kept, since two of one
    molecule are two conformers. Failures pass through. Holds one SMILES a molecule in memory.
    """

    def __init__(self, entries: Iterable[Molecule | Failure]) -> None:
        self._entries = iter(entries)
        self._seen: set[str] = set()
        self.merged = 0

    def __next__(self) -> Molecule | Failure:
        for entry in self._entries:
            key = merge_key(entry)
            if not key or key not in self._seen:
                self._seen.add(key)
                return entry
            self.merged += 1
        raise StopIteration
