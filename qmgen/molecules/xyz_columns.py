"""The atom lines of an XYZ frame: which columns are element and position, and the numbers in them.

``Properties`` in the comment names the columns (extended XYZ), and QM9's comment implies them. Without either a line is
an element and three numbers; text may follow. One more number, or three and more (forces, velocities), are passed over
where they must come after the position: the first three numbers place the atoms at bonding distances, no other three
that follow one another do, and the first are no identifiers, masses or other values of each element. Any other line is
ambiguous, and refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from qmgen.molecules.charge_keys import of_atoms
from qmgen.molecules.connectivity import LONG
from qmgen.molecules.elements import number_of
from qmgen.molecules.geometry import SHORT_TOGETHER, bohr_from, geometry_problem, neighbours
from qmgen.molecules.types import EntryRefused, Reason
from qmgen.molecules.xyz_comment import XyzComment, quoted, word_set

#: Fortran's exponents (1.0D-3) and Mathematica's (1.0*^-3) too; not Python's 1_000, nor digits beyond ASCII
_NUMBER: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:(?:[eEdD]|\*\^)[+-]?\d{1,4})?", re.ASCII)
#: three numbers without an exponent
_PLAIN_ROW: Final = re.compile(r"(?:[+-]?\d{1,9}(?:\.\d{0,20})?(?: |$)){3}", re.ASCII)
_EXPONENT: Final = re.compile(r"[dD]|\*\^")
#: what begins as a number does, or its exponent after a gap: no text that may follow the position
_BROKEN_NUMBER: Final = re.compile(r"[+-]?(?:\.?\d|nan|inf)|(?:[ed]|\*\^)[+-]?\d", re.IGNORECASE)
_LONGEST_NUMBER: Final = 100
_COUNT: Final = re.compile(r"[1-9]\d{0,3}", re.ASCII)

_SPECIES: Final = word_set("species symbol symbols element elements")
_ATOMIC_NUMBERS: Final = word_set("z number numbers atomic_number atomic_numbers")
_POSITIONS: Final = word_set("pos position positions coord coords coordinates")

#: a column within this share of the atoms' masses holds masses
_MASS_TOLERANCE: Final = 0.01


class Atoms(NamedTuple):
    """``numbers`` (atoms,) int64; ``positions`` (atoms, 3) in the unit of the frame; ``columns``: charges and magnetic
    moments that other columns hold, a number for each atom."""

    numbers: np.ndarray
    positions: np.ndarray
    columns: dict[str, list[float]]


class _Layout(NamedTuple):
    """Columns by their places: of the element (``second`` if two columns name it), the position, and ``others``,
    charges and moments as (key, first, columns)."""

    width: int
    element: int
    second: int | None
    position: int
    others: tuple[tuple[str, int, int], ...]


def read_atoms(lines: Sequence[str], first: int, comment: XyzComment, unit: str) -> Atoms:
    """The atoms of a frame from its ``lines``, the first of which is line number ``first`` of the file.

    ``unit``, one that ``geometry.bohr_from`` knows, is that of the positions. Raises ``EntryRefused``:
    ``bad_coordinates`` for numbers that cannot be read, ``unreadable`` for no element and for columns that are
    ambiguous or not as ``Properties`` says.
    """
    table = [line.split() for line in lines]
    layout = _layout(comment) or _layout_of_qm9(comment, table)
    if layout is None:
        return _without_properties(table, lines, first, unit)
    for at, fields in enumerate(table):
        if len(fields) != layout.width:
            detail = f"line {first + at}: {len(fields)} columns, of which Properties names {layout.width}: {lines[at]}"
            raise EntryRefused(Reason.BAD_COORDINATES, detail)
    numbers = _elements(table, layout.element, first)
    if layout.second is not None and (other := np.flatnonzero(_elements(table, layout.second, first) != numbers)).size:
        at = int(other[0])
        detail = f"line {first + at}: {table[at][layout.element]} and {table[at][layout.second]} are not one element"
        raise EntryRefused(Reason.UNREADABLE, detail)
    columns: dict[str, list[float]] = {}
    for key, start, count in layout.others:
        values = [[number(field) for field in fields[start : start + count]] for fields in table]
        columns[key] = [max((np.nan if x is None else x for x in row), key=abs) for row in values]
    return Atoms(numbers, _positions(table, layout.position, first), columns)


def number(text: str) -> float | None:
    """A decimal number as written by Python, Fortran or Mathematica; None for any other text, NaN and infinity too."""
    if len(text) > _LONGEST_NUMBER or not _NUMBER.fullmatch(text):
        return None
    try:
        value = float(text)
    except ValueError:
        value = float(_EXPONENT.sub("e", text))
    return value if math.isfinite(value) else None


def _layout(comment: XyzComment) -> _Layout | None:
    """The columns that ``Properties`` names; None without one."""
    stated = [(key, value) for key, value in comment.pairs if key.lower() == "properties"]
    stated = [(key, value) for key, value in stated if key == "Properties" or ":" in str(value)]
    if not stated:
        return None
    text = str(stated[0][1])
    if any(value != stated[0][1] for _, value in stated):
        raise EntryRefused(Reason.UNREADABLE, f"two lists of columns under Properties: {comment.text}")
    fields = text.split(":")
    triples = list(zip(fields[::3], fields[1::3], fields[2::3], strict=False))
    if len(fields) % 3 or not all(kind in "SRIL" and kind and _COUNT.fullmatch(count) for _, kind, count in triples):
        detail = f"Properties={quoted(text)} is no list of columns such as species:S:1:pos:R:3"
        raise EntryRefused(Reason.UNREADABLE, detail)
    elements: list[int] = []
    positions: list[int] = []
    others: list[tuple[str, int, int]] = []
    start = 0
    for name, kind, count in ((name.lower(), kind, int(count)) for name, kind, count in triples):
        if count == 1 and (name in _SPECIES or (name in _ATOMIC_NUMBERS and kind == "I")):
            elements.append(start)
        elif count == 3 and kind in "RI" and name in _POSITIONS:
            positions.append(start)
        elif kind in "RI" and (key := of_atoms(name)):
            others.append((key, start, count))
        start += count
    if not elements or len(elements) > 2 or len(positions) != 1:
        detail = f"Properties={quoted(text)} must name one species:S:1 (or Z:I:1) and one pos:R:3"
        raise EntryRefused(Reason.UNREADABLE, detail)
    return _Layout(start, elements[0], elements[1] if len(elements) > 1 else None, positions[0], tuple(others))


def _layout_of_qm9(comment: XyzComment, table: list[list[str]]) -> _Layout | None:
    """The columns of a raw file of QM9 (Sci. Data 1, 140022, table 2): element, position, Mulliken charge. Its comment
    is "gdb", an index, and fifteen numbers."""
    words = comment.text.split()
    if len(words) != 17 or words[0] != "gdb" or None in map(number, words[1:]) or {len(f) for f in table} != {5}:
        return None
    return _Layout(5, 0, None, 1, (("charges", 4, 1),))


def _without_properties(table: list[list[str]], lines: Sequence[str], first: int, unit: str) -> Atoms:
    for at, fields in enumerate(table):
        if len(fields) < 4:
            detail = f"line {first + at}: not a symbol and three numbers: {lines[at]}"
            raise EntryRefused(Reason.BAD_COORDINATES, detail)
    numbers, positions = _elements(table, 0, first), _positions(table, 1, first)
    if len(numbers) > 1 and [fields[0] for fields in table] == [str(place + 1) for place in range(len(table))]:
        detail = f"line {first}: the atoms are counted ({_example(table)}) and have no element"
        raise EntryRefused(Reason.UNREADABLE, f"{detail}; name the columns in the comment: {_ADVICE}")
    for at, fields in enumerate(table):
        if any(number(field) is None and _BROKEN_NUMBER.match(field) for field in fields[4:]):
            raise EntryRefused(Reason.BAD_COORDINATES, f"line {first + at}: unreadable numbers: {lines[at]}")
    more = [[x for field in fields[4:] if (x := number(field)) is not None] for fields in table]
    most = max(map(len, more), default=0)
    if not most:
        return Atoms(numbers, positions, {})
    same = min(map(len, more)) == most
    extra = np.array(more) if same else None
    several = most > 1 and (extra is None or not _FEWEST_MORE <= most <= _MOST_MORE)
    if several or not _positions_come_first(numbers, positions, extra, unit):
        detail = f"line {first}: which columns are positions is ambiguous ({_example(table)})"
        raise EntryRefused(Reason.UNREADABLE, f"{detail}; name them in the comment: {_ADVICE}")
    return Atoms(numbers, positions, {})


#: numbers that may follow the position: one value, or a vector (forces, velocities) and more
_FEWEST_MORE: Final = 3
_MOST_MORE: Final = 12
_ADVICE: Final = "Properties=species:S:1:pos:R:3:..."


def _example(table: list[list[str]]) -> str:
    return " ".join(table[0][:8])[:60]


def _positions_come_first(numbers: np.ndarray, positions: np.ndarray, extra: np.ndarray | None, unit: str) -> bool:
    """Whether the first three columns must be the positions: they place the atoms at bonding distances, and no other
    three that follow one another do. ``extra`` (atoms, columns) are the further ones; None where lines lack some."""
    before = positions[:, 0]
    counts = (before == np.round(before)).all() and before.any()  # identifiers, groups of atoms
    if counts or _of_elements(numbers, before):
        return False
    if not _is_molecule(numbers, bohr_from(positions, unit)):
        return False
    if extra is None:
        return True
    columns = np.column_stack([positions, extra])
    others = (columns[:, start : start + 3] for start in range(1, columns.shape[1] - 2))
    return not any(_is_molecule(numbers, bohr_from(other, unit)) for other in others)


def _of_elements(numbers: np.ndarray, column: np.ndarray) -> bool:
    """Whether a column holds atomic numbers, masses, or another value of each element (a radius)."""
    from rdkit import Chem

    table = Chem.GetPeriodicTable()
    masses = np.array([table.GetAtomicWeight(int(z)) for z in numbers])
    if np.array_equal(column, numbers) or (np.abs(column - masses) < _MASS_TOLERANCE * masses).all():
        return True
    by_element = [column[numbers == z] for z in np.unique(numbers)]
    constant = all((values == values[0]).all() for values in by_element)
    return constant and len(by_element) > 1 and len(by_element) < len(numbers) and np.ptp(column) > 0


def _is_molecule(numbers: np.ndarray, positions: np.ndarray) -> bool:
    """Whether each atom has another at a bonding distance, and none is too near; positions (atoms, 3) in Bohr."""
    if len(numbers) < 2 or geometry_problem(numbers, positions):
        return False
    share = neighbours(numbers, positions).share
    return bool(((share > SHORT_TOGETHER) & (share < LONG)).all())


def _elements(table: list[list[str]], column: int, first: int) -> np.ndarray:
    numbers = np.zeros(len(table), dtype=np.int64)
    for at, fields in enumerate(table):
        found = number_of(fields[column])
        if found is None:
            raise EntryRefused(Reason.UNREADABLE, f"line {first + at}: no element {fields[column][:60]!r}")
        numbers[at] = found
    return numbers


def _positions(table: list[list[str]], column: int, first: int) -> np.ndarray:
    positions = np.zeros((len(table), 3))
    for at, fields in enumerate(table):
        given = fields[column : column + 3]
        if _PLAIN_ROW.fullmatch(" ".join(given)):  # most rows are
            positions[at] = [float(field) for field in given]
            continue
        values: list[Any] = [number(field) for field in given]
        if None in values:
            raise EntryRefused(Reason.BAD_COORDINATES, f"line {first + at}: unreadable coordinates {' '.join(given)}")
        positions[at] = values
    return positions
