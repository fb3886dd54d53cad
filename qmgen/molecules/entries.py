"""From what a source says about one entry to a ``Molecule`` or a ``Failure``; shared by all readers.

An entry never raises: whatever is wrong with it becomes a ``Failure`` that keeps its place and name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

from qmgen.molecules.connectivity import smiles_problem
from qmgen.molecules.elements import symbol_of
from qmgen.molecules.geometry import bond_length_problem, electrons_problem, geometry_problem, stored_precision
from qmgen.molecules.smiles import canonical_smiles, extension_problem, split_extension, syntax_problem, without_labels
from qmgen.molecules.types import Failure, Molecule, Reason

#: longer SMILES are refused: far beyond any molecule this program can label
LONGEST_SMILES = 4096
#: what makes a text a query of SMARTS: an operator, a bond of any ring, or a primitive in brackets. RDKit reads other
#: texts as queries too, such as "nan" and "N/A"
_QUERY: Final = re.compile(r"[!&;,]|@(?![^\[]*\])|\[R\]|\[[^\]]*[DXvxrRh]\d")


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


def bond_problem(mol: Any) -> tuple[Reason, str] | None:
    """The first bond without an order of its own: a query, or aromatic between atoms that are not."""
    for bond in mol.GetBonds():
        kind = bond.GetBondType().name
        if kind not in ("AROMATIC", "UNSPECIFIED", "ZERO", "OTHER"):
            continue
        one, other = bond.GetBeginAtom(), bond.GetEndAtom()
        if kind != "AROMATIC":
            what = "is of any order (~)"
        elif not (one.GetIsAromatic() and other.GetIsAromatic()):
            what = "is aromatic (:), and its atoms are not"
        else:
            continue
        pair = f"{one.GetSymbol()}{one.GetIdx() + 1} and {other.GetSymbol()}{other.GetIdx() + 1}"
        return (
            Reason.UNREADABLE,
            f"the bond of {pair} {what}; write the bond that is meant, or give the geometry as .xyz",
        )
    return None


def mixture_problem(chem: Any, mol: Any) -> tuple[Reason, str] | None:
    """Why a SMILES of several molecules is not embedded: nothing says where they lie."""
    pieces = str(chem.MolToSmiles(mol)).split(".")
    if len(pieces) == 1:
        return None
    salt = ", a salt" if any("+" in piece for piece in pieces) else ""
    named = one_line(" and ".join(pieces), 100)
    detail = f"a mixture of {len(pieces)} molecules{salt}: {named}; give the one that is meant, or the geometry of all"
    return Reason.MIXTURE, detail


def of_geometry(smiles: str) -> tuple[str, tuple[Reason, str] | None]:
    """The canonical form of the SMILES that goes with a given geometry, and what is wrong with the molecule.

    Isotopes and atom-map numbers are left out, as in ``from_smiles``. One that RDKit cannot read stays as it is;
    ``from_geometry`` refuses it.
    """
    if not smiles:
        return smiles, None
    with quiet_chem() as chem:
        mol = chem.MolFromSmiles(without_labels(smiles))
        if mol is None:
            return smiles, None
        problem = graph_problem(mol) or (bond_problem(mol) if ":" in smiles or "~" in smiles else None)
        return smiles if problem else canonical_smiles(chem, mol), problem


def unlabelled(smiles: str) -> str:
    """A canonical SMILES without isotopes and atom-map numbers, canonical again; itself where it has none."""
    return smiles if without_labels(smiles) == smiles else of_geometry(smiles)[0]


def from_smiles(molecule_id: int, text: str, name: str) -> Molecule | Failure:
    """The molecule that a SMILES describes, with its canonical SMILES, or why there is none.

    Isotopes and atom-map numbers are left out: they make no molecule of their own. A CXSMILES block ("CC |...|") is
    read as far as it leaves the molecule what the SMILES says. In a failure ``smiles`` is the text as given.
    """
    smiles, block = split_extension(text)
    text = one_line(text, LONGEST_SMILES) if block else text
    if len(smiles) > LONGEST_SMILES:
        return failure(
            molecule_id, name, one_line(text), Reason.UNREADABLE, f"SMILES of more than {LONGEST_SMILES} characters"
        )
    if not smiles:
        return failure(molecule_id, name, "", Reason.UNREADABLE, "no SMILES")
    if not smiles.isascii():  # RDKit reads up to such a character and ignores the rest, as with the next two
        return failure(molecule_id, name, text, Reason.UNREADABLE, "not a SMILES: it holds characters beyond ASCII")
    if not smiles.isprintable():
        mark = next(repr(character) for character in smiles if not character.isprintable())
        return failure(
            molecule_id, name, text, Reason.UNREADABLE, f"not a SMILES: it holds a control character ({mark})"
        )
    if " " in smiles:  # RDKit takes what follows for a name
        return failure(molecule_id, name, text, Reason.UNREADABLE, "not a SMILES: it holds a space")
    problem = (extension_problem(block) if block else None) or syntax_problem(smiles)
    if problem:
        return failure(molecule_id, name, text, *problem)
    plain = without_labels(smiles)
    with quiet_chem() as chem:
        mol = chem.MolFromSmiles(plain)
        if mol is None:
            raw = chem.MolFromSmiles(plain, sanitize=False)
            is_query = raw is None and _QUERY.search(plain) is not None and chem.MolFromSmarts(plain) is not None
            why = "a query of SMARTS, not a SMILES" if is_query else why_unreadable(chem, raw, "a SMILES")
            return failure(molecule_id, name, text, Reason.UNREADABLE, why)
        problem = (
            graph_problem(mol)
            or (bond_problem(mol) if ":" in plain else None)
            or (mixture_problem(chem, mol) if "." in plain else None)
        )
        if problem:
            return failure(molecule_id, name, text, *problem)
        return Molecule(molecule_id, name, canonical_smiles(chem, mol))


def from_geometry(
    molecule_id: int,
    name: str,
    smiles: str,
    numbers: np.ndarray,
    positions: np.ndarray,
    charge: int = 0,
    conformer_id: int = 0,
    as_given: bool = False,
    multiplicity: int | None = None,
) -> Molecule | Failure:
    """The molecule with a given geometry: numbers (atoms,), positions (atoms, 3) in Bohr at the corpus's precision.

    ``smiles`` is canonical and derived from the bonds of the same record, or empty; where it is as the source gives it
    beside the geometry (``as_given``), it is made canonical and compared with the geometry. ``multiplicity`` is 2S + 1
    where the source states it.
    """
    problem = (
        ((Reason.UNREADABLE, "no atoms") if len(numbers) == 0 else None)
        or geometry_problem(numbers, positions)
        or bond_length_problem(numbers, positions)
    )
    if problem is None and as_given and (problem := _text_problem(smiles)) is None:
        smiles, problem = of_geometry(smiles)
        problem = problem or _not_of_geometry(smiles, numbers, positions)
    problem = problem or electrons_problem(numbers, charge, multiplicity)
    if problem:
        return failure(molecule_id, name, smiles, *problem, conformer_id=conformer_id)
    return Molecule(molecule_id, name, smiles, numbers.astype(np.uint8), positions, charge, conformer_id)


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
    try:
        numbers = np.asarray(given.numbers if given.numbers is not None else [])
        positions = np.asarray(given.positions, dtype=np.float64)
    except (TypeError, ValueError):
        detail = "positions are not numbers"
        return failure(molecule_id, given.name, given.smiles, Reason.BAD_COORDINATES, detail, given.conformer_id)
    if numbers.size and (
        numbers.ndim != 1 or numbers.dtype.kind not in "iu" or numbers.min() < 1 or numbers.max() > 118
    ):
        detail = "atomic numbers must be whole numbers from 1 to 118, one an atom"
        return failure(molecule_id, given.name, given.smiles, Reason.UNSUPPORTED_ELEMENT, detail, given.conformer_id)
    if positions.shape != (*numbers.shape[:1], 3):
        detail = f"positions of shape {positions.shape} for {numbers.size} atomic numbers, not three an atom"
        return failure(molecule_id, given.name, given.smiles, Reason.BAD_COORDINATES, detail, given.conformer_id)
    at = stored_precision(positions)
    return from_geometry(
        molecule_id, given.name, given.smiles, numbers, at, given.charge, given.conformer_id, as_given=True
    )


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
