"""Reader of ``.sdf``: mol blocks in Angstrom, ended by ``$$$$``; and the entry of any geometry with its bonds.

The geometry is used exactly as given. RDKit reads the number that a field of coordinates begins with and drops the rest
(``-0.4.19`` is -0.4, and a line that is moved by one column has other coordinates), in silence, and takes flat drawings
for geometries. So every field is read here first.

Format: A. Dalby et al., J. Chem. Inf. Comput. Sci. 32, 244 (1992), and "CTfile Formats" (BIOVIA), for V3000 too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TextIO

import numpy as np

from qmgen.molecules.charge_words import counts_in_table, names_charge
from qmgen.molecules.connectivity import bonds_problem
from qmgen.molecules.entries import from_geometry, mapped_smiles
from qmgen.molecules.geometry import COVALENT_RADII, bohr_from_angstrom, number_of, size_problem
from qmgen.molecules.readers.text import LONGEST, Kept, decimal, open_text, read_lines, whole
from qmgen.molecules.smiles import (
    bond_problem,
    bonds_of,
    elements_of,
    graph_problem,
    quiet_chem,
    unlabeled,
    why_unreadable,
)
from qmgen.molecules.stated_charge import OF_COLUMNS, ElectronicState, stated_charge
from qmgen.molecules.types import EntryRefused, Failure, Molecule, Reason, failure, refused

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
    lines = record.split("\n", 2)
    head = Molecule(molecule_id, lines[0].strip(), "")
    try:
        stated, given = read_block_atoms(record)
    except EntryRefused as error:
        return refused(head, error.reason, f"mol block, {error}")
    with quiet_chem() as chem:
        try:
            mol = chem.MolFromMolBlock(record, removeHs=False)
            if mol is None:
                raw = chem.MolFromMolBlock(record, sanitize=False, removeHs=False)
                why = why_unreadable(chem, raw, "a mol block") + (_NO_BONDS_NEEDED if raw is not None else "")
                return refused(head, Reason.UNREADABLE, why)
            head = replace(head, smiles=unlabeled(chem.CanonSmiles(chem.MolToSmiles(chem.RemoveHs(mol)))))
        except (ValueError, RuntimeError) as error:
            return refused(head, Reason.UNREADABLE, f"mol block: {error}")
        numbers = elements_of(mol)
        positions = np.array(mol.GetConformer().GetPositions())
        # RDKit's atoms are those that stand in the block: elements where the symbol is of one, and positions
        known = len(stated) == len(numbers) and all(n is None or n == z for n, z in zip(stated, numbers, strict=True))
        if not (known and np.allclose(given, positions, rtol=1e-9, atol=1e-9)):
            why = "RDKit reads other atoms than the block states; write it anew"
            return refused(head, Reason.BAD_COORDINATES, why)
        missing = "add them, or give SMILES; where only bonds are missing, give the geometry as .xyz"
        drawing = "give the molecule as SMILES, or, if it is like this, the geometry as .xyz"
        is_drawing = len(lines) > 1 and lines[1][20:22] == "2D"
        return from_bonded_mol(head, mol, positions, properties, missing, drawing, is_drawing)


def _properties(record: str) -> list[tuple[str, str]]:
    """The data items behind the mol block, by name: a value is what stands between its head and the next blank line."""
    items: list[tuple[str, list[str]]] = []
    values: list[str] | None = None
    for line in record.partition("M  END")[2].split("\n"):
        head = None if values else _ITEM.match(line)  # a value may look like a head
        if head is not None:
            values = []
            items.append((head[1], values))
        elif values is not None and line.strip():
            values.append(line.rstrip())
        else:
            values = None
    return [(name, "\n".join(lines)) for name, lines in items]


_NO_BONDS_NEEDED: Final = "; correct the bonds, or give the geometry as .xyz: a label needs no bonds"


#: one data item within the value of another, and the line after it: some programs leave out the blank line between them
_WITHIN: Final = re.compile(r"^>[^<\n]*<([^>\n]*)>[^\n]*\n([^\n]*)", re.MULTILINE)


def from_bonded_mol(
    head: Molecule,
    mol: Any,
    positions: np.ndarray,
    properties: Iterable[tuple[str, str]],
    if_missing: str,
    if_drawing: str,
    is_drawing: bool = False,
) -> Molecule | Failure:
    """``head`` with the geometry of an RDKit molecule that is sanitized, at positions (atoms, 3) in Angstrom, or why
    there is none. ``head`` has the ids, the name, and the SMILES, canonical and derived from the bonds.

    ``properties`` are its data items by name; what they state of charge and multiplicity must agree with the formal
    charges. ``is_drawing`` holds where the source states that the positions are those of a flat drawing.
    ``if_missing`` and ``if_drawing`` are the advice where hydrogens are missing, and where the geometry is a drawing.
    """
    if problem := graph_problem(mol) or bond_problem(mol):
        return refused(head, *problem)
    if is_drawing:
        return refused(
            head, Reason.BAD_COORDINATES, "a flat drawing (2D), no geometry; give the molecule as SMILES instead"
        )
    if missing := sum(atom.GetTotalNumHs() for atom in mol.GetAtoms()):
        return refused(head, Reason.BAD_COORDINATES, f"{missing} hydrogens have no position; {if_missing}")
    if why := drawing_problem(mol, positions):
        return refused(head, Reason.BAD_COORDINATES, f"a flat drawing: {why}; {if_drawing}")
    numbers = elements_of(mol)
    try:
        state = _stated(numbers, properties)
    except EntryRefused as error:
        return refused(head, error.reason, str(error))
    bohr = bohr_from_angstrom(positions)
    entry = from_geometry(head, numbers, bohr, *state)
    if isinstance(entry, Failure):
        return entry
    if problem := bonds_problem(numbers, bohr, bonds_of(mol)):
        return refused(head, *problem)
    return replace(entry, mapped_smiles=mapped_smiles(mol))


def _stated(numbers: np.ndarray, properties: Iterable[tuple[str, str]]) -> ElectronicState:
    """What the data items state, which must agree with the bonds: these are neutral. Raises ``EntryRefused``."""
    items = list(properties)
    within = [match.groups() for _, value in items for match in _WITHIN.finditer(value)]
    named = [(key, value.strip()) for key, value in (*items, *within) if names_charge(key, of_atoms=False)]
    stated = [{key: value} for key, value in named if value and counts_in_table(key, value)]
    # first without the bonds, since their charge would settle words that are not clear
    stated_charge(numbers, *stated, advice=OF_COLUMNS)
    return stated_charge(numbers, {"formal charge": 0}, *stated, advice=OF_COLUMNS)


_WHOLE: Final = re.compile(r"[+-]?\d+", re.ASCII)
#: first column, width and name of the fields of an atom line that follow the symbol
_ATOM_FIELDS: Final = ((34, 2, "mass difference"), (36, 3, "charge")) + tuple(
    (start, 3, f"columns {start + 1} to {start + 3}") for start in range(39, 69, 3)
)
_LISTS: Final = ("CHG", "RAD", "ISO")
_LARGEST_CHARGE_CODE: Final = 7
#: bonds of these types are of a molecule
_BONDS: Final = (1, 2, 3, 4, 9)
_QUERIES: Final = (5, 6, 7, 8)
#: of a flat geometry no atom is farther from the plane (root mean square, Angstrom)
_FLAT: Final = 0.01
#: characters of a line of V3000 with its continuations: a list of all atoms of the largest molecule takes a tenth
_LONGEST_LINE: Final = 1 << 18


def read_block_atoms(record: str) -> tuple[list[int | None], np.ndarray]:
    """Atomic numbers (None where the symbol is of no element) and positions (atoms, 3) in Angstrom of a mol block.

    Raises ``EntryRefused`` where a field of counts, atoms, bonds, charges, radicals or isotopes is not what the
    format has there, and for more atoms than are read.
    """
    lines = record.split("\n")
    if len(lines) < 4:
        raise EntryRefused(Reason.UNREADABLE, "not a mol block: it ends before the counts line")
    atoms = list(_v3000(lines) if lines[3][34:39] == "V3000" else _v2000(lines))
    return [number for number, _ in atoms], np.array([at for _, at in atoms]).reshape(-1, 3)


def _v2000(lines: list[str]) -> Iterator[tuple[int | None, list[float]]]:
    count, bonds = (_whole(lines[3][at : at + 3], 4, "count", needed=True) for at in (0, 3))
    if count < 0 or bonds < 0 or len(lines) < 4 + count + bonds:
        detail = f"line 4 states {count} atoms and {bonds} bonds, and {len(lines) - 4} lines follow"
        raise EntryRefused(Reason.UNREADABLE, detail)
    for place in range(4, 4 + count):
        yield _atom_line(lines[place], place + 1)
    for place in range(4 + count, 4 + count + bonds):
        line, at = lines[place], place + 1
        first, second, kind = (_whole(line[i : i + 3], at, "bond", needed=True) for i in (0, 3, 6))
        _check_bond(first, second, kind, count, at)
    for place in range(4 + count + bonds, len(lines)):
        if lines[place].startswith("M  END"):
            break
        _check_list(lines[place], count, place + 1)


def _atom_line(line: str, at: int) -> tuple[int | None, list[float]]:
    fields = [line[start : start + 10] for start in (0, 10, 20)]
    position: list[Any] = list(map(decimal, fields))
    if None in position or line[30:31].strip():
        shown = " | ".join(field.strip() for field in (*fields, line[30:34]))
        detail = f"line {at}: unreadable coordinates, which take ten columns each: {shown}"
        raise EntryRefused(Reason.BAD_COORDINATES, detail)
    symbol = line[31:34].strip()
    if not symbol or " " in symbol:
        raise EntryRefused(Reason.UNREADABLE, f"line {at}: no element in columns 32 to 34: {line[30:36]!r}")
    for start, width, name in _ATOM_FIELDS:
        value = _whole(line[start : start + width], at, name)
        if name == "charge" and not 0 <= value <= _LARGEST_CHARGE_CODE:
            raise EntryRefused(Reason.UNREADABLE, f"line {at}: no code of a charge is {value} (columns 37 to 39)")
    return _element(symbol), position


def _check_list(line: str, atoms: int, at: int) -> None:
    """A line such as ``M  CHG  2   1   1   4  -1``: a count in three columns, then pairs in four columns each."""
    words = line.split()
    if len(words) < 2 or words[0] != "M" or words[1][:3] not in _LISTS:
        return
    if line[:3] != "M  " or words[1] not in _LISTS:
        raise EntryRefused(Reason.UNREADABLE, f"line {at}: {line.strip()!r} is out of its columns")
    count = _whole(line[6:9], at, f"count of {line[3:6]}", needed=True)
    if line[9 + 8 * count :].strip() or not 0 <= count <= 8:
        raise EntryRefused(
            Reason.UNREADABLE, f"line {at}: {line.strip()!r} does not hold {count} pairs in their columns"
        )
    for start in range(9, 9 + 8 * count, 8):
        atom = _whole(line[start : start + 4], at, "atom", needed=True)
        _whole(line[start + 4 : start + 8], at, "value", needed=True)
        if not 1 <= atom <= atoms:
            raise EntryRefused(Reason.UNREADABLE, f"line {at}: there is no atom {atom}")


def _v3000(lines: list[str]) -> Iterator[tuple[int | None, list[float]]]:
    part, atoms = "", 0
    for at, words in _logical(lines):
        if words[0] in ("BEGIN", "END") and len(words) > 1:
            part = words[1] if words[0] == "BEGIN" else ""
        elif words[0] == "COUNTS":
            if words[1:] and _WHOLE.fullmatch(words[1]) and (problem := size_problem(words[1].lstrip("+-"))):
                raise EntryRefused(*problem)
            for word in words[1:]:
                _whole(word, at, "count", needed=True)
        elif part == "ATOM":
            position: list[Any] = list(map(decimal, words[2:5]))
            if len(words) < 6 or None in position:
                detail = f"line {at}: unreadable coordinates {' '.join(words[2:5])}"
                raise EntryRefused(Reason.BAD_COORDINATES, detail)
            for word in words[5:]:
                key, equals, value = word.partition("=")
                if not equals or key in ("CHG", "RAD", "MASS", "VAL"):
                    _whole(value if equals else word, at, key if equals else "atom map", needed=True)
            atoms += 1
            if problem := size_problem(atoms):
                raise EntryRefused(*problem)
            yield _element(words[1]), position
        elif part == "BOND":
            _, kind, first, second = (_whole(word, at, "bond", needed=True) for word in (words + [""] * 4)[:4])
            _check_bond(first, second, kind, atoms, at)


def _logical(lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    """The words of the lines ``M  V30``, and the number of the line; one that ends in ``-`` goes on in the next.

    Raises ``EntryRefused`` for more than ``_LONGEST_LINE`` characters in such lines together."""
    held: list[str] = []
    length = 0
    for at, line in enumerate(lines, 1):
        if line.startswith("M  END"):
            return
        if not line.startswith("M  V30 "):
            continue
        text = line[7:].rstrip()
        length += len(text)
        if length > _LONGEST_LINE:
            raise EntryRefused(Reason.UNREADABLE, f"line {at}: more than {_LONGEST_LINE} characters in continued lines")
        if text.endswith("-"):
            held.append(text[:-1])
            continue
        words = "".join((*held, text)).split()
        held.clear()
        length = 0
        if words:
            yield at, words


def _check_bond(first: int, second: int, kind: int, atoms: int, at: int) -> None:
    if not (1 <= first <= atoms and 1 <= second <= atoms and first != second):
        raise EntryRefused(Reason.UNREADABLE, f"line {at}: a bond of atoms {first} and {second}, of {atoms} atoms")
    if kind not in _BONDS:
        what = "a query (~), which is" if kind in _QUERIES else "which is"
        detail = f"line {at}: a bond of type {kind}, {what} of no molecule; write the bond that is meant, or give the"
        raise EntryRefused(Reason.UNREADABLE, f"{detail} geometry as .xyz")


def _whole(field: str, at: int, name: str, needed: bool = False) -> int:
    """The whole number of a field; a blank one is 0 where it is not ``needed``."""
    text = field.strip()
    if not text and not needed:
        return 0
    if (value := whole(text)) is None:
        raise EntryRefused(Reason.UNREADABLE, f"line {at}: the {name} is no whole number in its columns: {field!r}")
    return value


def _element(symbol: str) -> int | None:
    """Hydrogen for D and T; None for placeholders and lists, which RDKit names."""
    return 1 if symbol in ("D", "T") else number_of(symbol) if symbol.isalpha() else None


def drawing_problem(mol: Any, positions: np.ndarray) -> str:
    """Why a geometry is a flat drawing though its header does not state it, or "".

    ``mol`` is RDKit's, with all hydrogens, ``positions`` (atoms, 3) in Angstrom. No molecule is flat around an atom
    that is hybridized sp3 and has three neighbors or more; and no molecule has bonds to hydrogen that are as long as
    those of heavier atoms, far from what they are. Flat drawings without hydrogen (C6F6) are not recognized.
    """
    centered = positions - positions.mean(axis=0)
    if np.linalg.svd(centered, compute_uv=False)[-1] > _FLAT * np.sqrt(len(positions)):
        return ""
    for atom in mol.GetAtoms():
        if atom.GetHybridization().name == "SP3" and atom.GetDegree() > 2:
            place = f"atom {atom.GetIdx() + 1} ({atom.GetSymbol()})"
            return f"all atoms are in one plane, also the {atom.GetDegree()} neighbours of {place}"
    ends = np.array(bonds_of(mol), dtype=int).reshape(-1, 2)
    numbers = elements_of(mol)
    lengths = np.linalg.norm(positions[ends[:, 0]] - positions[ends[:, 1]], axis=1)
    to_hydrogen = (numbers[ends] == 1).any(axis=1)
    if not to_hydrogen.any() or to_hydrogen.all():
        return ""
    length, other = float(np.median(lengths[to_hydrogen])), float(np.median(lengths[~to_hydrogen]))
    usual = float(np.median(np.array(COVALENT_RADII)[numbers[ends[to_hydrogen]]].sum(axis=1)))
    if abs(length - other) < 0.05 * other and not 0.8 < length / usual < 1.2:
        return f"all atoms are in one plane, and bonds to hydrogen are as long as others, {length:.2f} Angstrom"
    return ""
