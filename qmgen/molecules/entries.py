"""From what a source says about one entry to a ``Molecule`` or a ``Failure``; shared by all readers.

An entry never raises: whatever is wrong with it becomes a ``Failure`` that keeps its place and name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from qmgen.molecules.elements import symbol_of
from qmgen.molecules.geometry import electrons_problem, geometry_problem, stored_precision
from qmgen.molecules.types import Failure, Molecule, Reason

#: longer SMILES are refused: far beyond any molecule this program can label
LONGEST_SMILES = 4096


@contextmanager
def quiet_chem() -> Iterator[Any]:
    """RDKit's ``Chem`` module, with RDKit's log to standard error held back while the block runs."""
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        yield Chem


def one_line(text: object, limit: int = 200) -> str:
    """Text for a message: one line, at most ``limit`` characters."""
    flat = " ".join(str(text).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def failure(molecule_id: int, name: str, smiles: str, reason: Reason, detail: str, conformer_id: int = -1) -> Failure:
    return Failure(molecule_id, conformer_id, name, smiles, reason, one_line(detail))


def why_unreadable(chem: Any, mol: Any, what: str) -> str:
    """Why RDKit refuses ``mol`` (parsed without sanitizing; None when even that failed)."""
    if mol is None:
        return f"not {what} that RDKit can read"
    try:
        chem.SanitizeMol(mol)
    except ValueError as error:
        return str(error)
    return f"not {what} that RDKit accepts"


def graph_problem(mol: Any) -> tuple[Reason, str] | None:
    """Why an RDKit molecule is outside what can be labelled: placeholder atoms, net charge, unpaired electrons."""
    numbers = [atom.GetAtomicNum() for atom in mol.GetAtoms()]
    if not numbers:
        return Reason.UNREADABLE, "no atoms"
    if 0 in numbers:
        return Reason.UNSUPPORTED_ELEMENT, "a placeholder atom (*) stands for no element"
    charge = sum(atom.GetFormalCharge() for atom in mol.GetAtoms())
    hydrogens = sum(atom.GetTotalNumHs() for atom in mol.GetAtoms())
    problem = electrons_problem(np.array([sum(numbers) + hydrogens]), charge)
    if problem is None and (radicals := sum(atom.GetNumRadicalElectrons() for atom in mol.GetAtoms())):
        return Reason.ODD_ELECTRONS, f"{radicals} unpaired electrons; only closed shells are labelled"
    return problem


def of_geometry(smiles: str) -> tuple[str, tuple[Reason, str] | None]:
    """The canonical form of the SMILES that goes with a given geometry, and what is wrong with the molecule.

    It is only a description there: one that RDKit cannot read stays as it is.
    """
    if not smiles:
        return smiles, None
    with quiet_chem() as chem:
        mol = chem.MolFromSmiles(smiles)
        if mol is None:
            return smiles, None
        problem = graph_problem(mol)
        return smiles if problem else chem.MolToSmiles(mol), problem


def from_smiles(molecule_id: int, text: str, name: str) -> Molecule | Failure:
    """The molecule that a SMILES describes, with its canonical SMILES, or why there is none.

    In a failure ``smiles`` is the text as given.
    """
    if len(text) > LONGEST_SMILES:
        return failure(
            molecule_id, name, one_line(text), Reason.UNREADABLE, f"SMILES of more than {LONGEST_SMILES} characters"
        )
    if not text:
        return failure(molecule_id, name, "", Reason.UNREADABLE, "no SMILES")
    if not (text.isascii() and text.isprintable()):  # RDKit reads up to such a character, and says nothing
        return failure(molecule_id, name, text, Reason.UNREADABLE, "not a SMILES: it holds characters beyond ASCII")
    if " " in text:  # RDKit takes what follows for a name
        return failure(molecule_id, name, text, Reason.UNREADABLE, "not a SMILES: it holds a space")
    with quiet_chem() as chem:
        mol = chem.MolFromSmiles(text)
        if mol is None:
            why = why_unreadable(chem, chem.MolFromSmiles(text, sanitize=False), "a SMILES")
            return failure(molecule_id, name, text, Reason.UNREADABLE, why)
        if problem := graph_problem(mol):
            return failure(molecule_id, name, text, *problem)
        return Molecule(molecule_id, name, chem.MolToSmiles(mol))


def from_geometry(
    molecule_id: int,
    name: str,
    smiles: str,
    numbers: np.ndarray,
    positions: np.ndarray,
    charge: int = 0,
    conformer_id: int = 0,
    multiplicity: int | None = None,
) -> Molecule | Failure:
    """The molecule with a given geometry: numbers (atoms,), positions (atoms, 3) in Bohr at the corpus's precision.

    ``multiplicity`` is 2S + 1 where the source states it."""
    problem = (
        ((Reason.UNREADABLE, "no atoms") if len(numbers) == 0 else None)
        or geometry_problem(numbers, positions)
        or electrons_problem(numbers, charge, multiplicity)
    )
    if problem:
        return failure(molecule_id, name, smiles, *problem, conformer_id=conformer_id)
    return Molecule(molecule_id, name, smiles, numbers.astype(np.uint8), positions, charge, conformer_id)


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
    try:
        numbers = np.asarray(given.numbers if given.numbers is not None else [])
        positions = np.asarray(given.positions, dtype=np.float64)
    except (TypeError, ValueError):
        return failure(molecule_id, given.name, given.smiles, Reason.BAD_COORDINATES, "positions are not numbers")
    if numbers.size and (
        numbers.ndim != 1 or numbers.dtype.kind not in "iu" or numbers.min() < 1 or numbers.max() > 118
    ):
        detail = "atomic numbers must be whole numbers from 1 to 118, one an atom"
        return failure(molecule_id, given.name, given.smiles, Reason.UNSUPPORTED_ELEMENT, detail)
    if positions.shape != (*numbers.shape[:1], 3):
        detail = f"positions of shape {positions.shape} for {numbers.size} atomic numbers, not three an atom"
        return failure(molecule_id, given.name, given.smiles, Reason.BAD_COORDINATES, detail, given.conformer_id)
    smiles, problem = of_geometry(given.smiles)
    if problem:
        return failure(molecule_id, given.name, smiles, *problem, conformer_id=given.conformer_id)
    at = stored_precision(positions)
    return from_geometry(molecule_id, given.name, smiles, numbers, at, given.charge, given.conformer_id)


def atomic_numbers(molecule: Molecule) -> np.ndarray:
    """Atomic numbers (atoms,) uint8: of the given geometry, or of the SMILES with its hydrogens made explicit."""
    if molecule.numbers is not None:
        return molecule.numbers
    with quiet_chem() as chem:
        mol = chem.AddHs(chem.MolFromSmiles(molecule.smiles))
        return np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()], dtype=np.uint8)


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
