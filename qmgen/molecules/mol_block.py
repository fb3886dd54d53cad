"""What RDKit does not check in a mol block: that each field stands in its columns, and that the geometry is no drawing.

RDKit reads the number that a field of coordinates begins with and drops the rest (``-0.4.19`` is -0.4, and a line that
is moved by one column has other coordinates), in silence. So every field is read here first.

Format: A. Dalby et al., J. Chem. Inf. Comput. Sci. 32, 244 (1992), and "CTfile Formats" (BIOVIA), for V3000 too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from qmgen.molecules.elements import COVALENT_RADII, number_of
from qmgen.molecules.geometry import size_problem
from qmgen.molecules.types import EntryRefused, Reason

_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)", re.ASCII)
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
        yield _atom(lines[place], place + 1)
    for place in range(4 + count, 4 + count + bonds):
        line, at = lines[place], place + 1
        first, second, kind = (_whole(line[i : i + 3], at, "bond", needed=True) for i in (0, 3, 6))
        _check_bond(first, second, kind, count, at)
    for place in range(4 + count + bonds, len(lines)):
        if lines[place].startswith("M  END"):
            break
        _check_list(lines[place], count, place + 1)


def _atom(line: str, at: int) -> tuple[int | None, list[float]]:
    fields = [line[start : start + 10] for start in (0, 10, 20)]
    if not all(map(_is_number, fields)) or line[30:31].strip():
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
    return _element(symbol), [float(field) for field in fields]


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
            if len(words) < 6 or not all(map(_is_number, words[2:5])):
                detail = f"line {at}: unreadable coordinates {' '.join(words[2:5])}"
                raise EntryRefused(Reason.BAD_COORDINATES, detail)
            for word in words[5:]:
                key, equals, value = word.partition("=")
                if not equals or key in ("CHG", "RAD", "MASS", "VAL"):
                    _whole(value if equals else word, at, key if equals else "atom map", needed=True)
            atoms += 1
            if problem := size_problem(atoms):
                raise EntryRefused(*problem)
            yield _element(words[1]), [float(word) for word in words[2:5]]
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
    if not _WHOLE.fullmatch(text) or len(text) > 9:
        raise EntryRefused(Reason.UNREADABLE, f"line {at}: the {name} is no whole number in its columns: {field!r}")
    return int(text)


def _is_number(field: str) -> bool:
    return _NUMBER.fullmatch(field.strip(" ")) is not None and bool(np.isfinite(float(field)))


def _element(symbol: str) -> int | None:
    """Hydrogen for D and T; None for placeholders and lists, which RDKit names."""
    return 1 if symbol in ("D", "T") else number_of(symbol) if symbol.isalpha() else None


def drawing_problem(mol: Any, positions: np.ndarray) -> str:
    """Why a geometry is a flat drawing though its header does not say so, or "".

    ``mol`` is RDKit's, with all hydrogens, ``positions`` (atoms, 3) in Angstrom. No molecule is flat around an atom
    that is hybridised sp3 and has three neighbours or more; and no molecule has bonds to hydrogen that are as long as
    those of heavier atoms, far from what they are. Flat drawings without hydrogen (C6F6) are not told from geometries.
    """
    centred = positions - positions.mean(axis=0)
    if np.linalg.svd(centred, compute_uv=False)[-1] > _FLAT * np.sqrt(len(positions)):
        return ""
    for atom in mol.GetAtoms():
        if atom.GetHybridization().name == "SP3" and atom.GetDegree() > 2:
            place = f"atom {atom.GetIdx() + 1} ({atom.GetSymbol()})"
            return f"all atoms are in one plane, also the {atom.GetDegree()} neighbours of {place}"
    ends = np.array([(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in mol.GetBonds()], dtype=int).reshape(
        -1, 2
    )
    numbers = np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()])
    lengths = np.linalg.norm(positions[ends[:, 0]] - positions[ends[:, 1]], axis=1)
    to_hydrogen = (numbers[ends] == 1).any(axis=1)
    if not to_hydrogen.any() or to_hydrogen.all():
        return ""
    length, other = float(np.median(lengths[to_hydrogen])), float(np.median(lengths[~to_hydrogen]))
    usual = float(np.median(np.array(COVALENT_RADII)[numbers[ends[to_hydrogen]]].sum(axis=1)))
    if abs(length - other) < 0.05 * other and not 0.8 < length / usual < 1.2:
        return f"all atoms are in one plane, and bonds to hydrogen are as long as others, {length:.2f} Angstrom"
    return ""
