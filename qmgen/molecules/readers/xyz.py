"""Reader of multi-frame ``.xyz``, plain and extended: a count of atoms, a comment, one line an atom.

The comment gives the name, and may state columns, charge and multiplicity, a length unit, and a cell. Positions are in
Angstrom where no unit is stated, and a geometry whose atoms are all far apart must state one. A unit may also stand
after the count ("3 bohr"). Lines after a complete frame that are neither a frame nor atoms (frequencies, SMILES and
InChI of QM9's files) are passed over.

``Properties`` in the comment names the columns of the atom lines (extended XYZ), and QM9's comment implies them.
Without either a line is an element and three numbers; text may follow. One more number, or three and more (forces,
velocities), are passed over where they must come after the position: the first three numbers place the atoms at bonding
distances, no other three that follow one another do, and the first are no identifiers, masses or other values of each
element. Any other line is ambiguous, and refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple, TextIO

import numpy as np

from qmgen.molecules.charge_words import of_atoms
from qmgen.molecules.comment import XyzComment, check_molecule, length_unit, parse_comment, quoted, word_set
from qmgen.molecules.connectivity import LONG
from qmgen.molecules.entries import from_geometry
from qmgen.molecules.geometry import (
    MOST_ATOMS,
    SHORT_TOGETHER,
    bohr_from,
    given_geometry_problem,
    number_of,
    size_problem,
    unit_of_length,
)
from qmgen.molecules.readers.text import Kept, number, open_text
from qmgen.molecules.stated_charge import stated_charge
from qmgen.molecules.types import EntryRefused, Failure, Molecule, Reason, one_line, refused

#: characters of a line that are read; a longer one is cut there, and its frame refused
LONGEST_LINE: Final = 1 << 20
#: digits of a count that is converted to a number; any with more is too large in any case
_MOST_DIGITS: Final = 15
_COUNT_LINE: Final = re.compile(r"\s*(?P<count>\d+)(?:\s+(?P<unit>[A-Za-z.]+))?\s*", re.ASCII)
#: a count that is none: a sign, a decimal point, a word after it
_FALSE_COUNT: Final = re.compile(r"\s*[+-]?\d+(?:\.0*)?\s*(?:atoms?)?\s*", re.ASCII | re.IGNORECASE)
#: an element or number, and three fields that begin as numbers do
_ATOM: Final = re.compile(r"\s*(?:[A-Za-z]{1,3}\d{0,4}|\d{1,3})(?:[\s,;]+[+-]?\.?\d[^\s,;]*){3}")
_CELL_VECTOR: Final = re.compile(r"\s*(?:VEC\d|Tv)\s", re.IGNORECASE)
#: what no text holds, and a damaged file does
_DAMAGE: Final = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\ufffd]")


class _Frame(NamedTuple):
    """A frame: the number of its first ``line``, its lines, the unit after its count, and why it cannot be read."""

    line: int
    lines: list[str]
    unit: str = ""
    problem: str = ""


def read_xyz(path: Path, kept: Kept | None = None) -> Iterator[Molecule | Failure]:
    """The frames of an ``.xyz`` file, in order. A broken frame is one failure; reading goes on at the next count.

    A frame of more than ``MOST_ATOMS`` atoms is a failure, and is passed over without being held in memory. ``kept``
    takes the values under keys of the comments.
    """
    kept = kept or Kept()
    with open_text(path) as stream:
        for molecule_id, frame in enumerate(_frames(_Lines(stream))):
            comment = parse_comment(frame.lines[1] if len(frame.lines) > 1 else "")
            yield kept.add(_entry(molecule_id, frame, comment), dict(comment.pairs) if kept else {})


def _entry(molecule_id: int, frame: _Frame, comment: XyzComment) -> Molecule | Failure:
    head = Molecule(molecule_id, comment.name, "")
    try:
        if frame.problem:
            raise EntryRefused(Reason.UNREADABLE, f"line {frame.line}: {frame.problem}")
        check_molecule(comment)
        stated = length_unit(comment)
        if stated and frame.unit and stated != frame.unit:
            detail = f"line {frame.line}: {frame.unit} after the count, {stated} in the comment {quoted(comment.text)}"
            raise EntryRefused(Reason.UNREADABLE, detail)
        unit = stated or frame.unit or "angstrom"
        numbers, positions, columns = read_atoms(frame.lines[2:], frame.line + 2, comment, unit)
        state = stated_charge(numbers, comment, columns)
    except EntryRefused as error:
        return refused(head, error.reason, str(error))
    if_apart = "" if stated or frame.unit else _IF_APART
    entry = from_geometry(head, numbers, bohr_from(positions, unit), *state, if_apart=if_apart)
    if isinstance(entry, Failure) and state.charge and entry.reason is Reason.NET_CHARGE:
        return replace(entry, detail=f"{entry.detail}; the comment is {quoted(comment.text)}")
    return entry


_IF_APART: Final = "%s, if in Angstrom: state units=angstrom or units=bohr in the comment"


class _Lines:
    """Numbered lines of a stream, with one line that can be put back. ``cut`` is the number of the last long line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self.number, self._back, self.cut = stream, 0, "", 0

    def next(self) -> str:
        """The next line, of at most ``LONGEST_LINE`` characters, or "" at the end."""
        line, self._back = self._back, ""
        if not line:
            line = rest = self._stream.readline(LONGEST_LINE)
            while len(rest) == LONGEST_LINE and not rest.endswith("\n"):
                self.cut = self.number + 1
                rest = self._stream.readline(LONGEST_LINE)
        self.number += bool(line)
        return line

    def put_back(self, line: str) -> None:
        self._back = line
        self.number -= bool(line)


def _count(line: str) -> tuple[int, str] | None:
    """The count of atoms on a line, with the unit after it ("" if none); None if the line is no such line."""
    if line[:1].isalpha() or len(line) >= LONGEST_LINE:  # most lines are atoms
        return None
    match = _COUNT_LINE.fullmatch(line)
    if match is None:
        return None
    unit = unit_of_length(match["unit"]) if match["unit"] else ""
    if unit is None:
        return None
    digits = match["count"].lstrip("0") or "0"
    return (int(digits) if len(digits) <= _MOST_DIGITS else 10**_MOST_DIGITS), unit


def _frames(lines: _Lines) -> Iterator[_Frame]:
    """The frames of a file, and what stands in the place of one."""
    while line := lines.next():
        if not line.strip():
            continue
        start, counted = lines.number, _count(line)
        if counted is None:
            _skip(lines)
            yield _Frame(start, [line], problem=f"no count of atoms where a frame begins: {line}")
            continue
        count, unit = counted
        frame, read = [line], 1
        while read < count + 2 and (line := lines.next()):
            if read > 1 and _count(line):
                lines.put_back(line)
                break
            read += 1
            if read <= MOST_ATOMS + 2:
                frame.append(line)
        problem = ""
        after = _After(0)
        if lines.cut >= start:
            frame, problem = frame[:1], f"line {lines.cut} has more than {LONGEST_LINE} characters"
        elif too_large := size_problem(frame[0].split()[0]):
            frame, problem = frame[:2], too_large[1]
        if read < count + 2:
            problem = problem or f"count {count}, {max(read - 2, 0)} atom lines"
        else:
            after = _skip(lines)
            if after.cell:
                problem = problem or f"a periodic cell ({one_line(after.cell, 60)}); only molecules are labelled"
            elif after.more_atoms:
                problem = problem or f"count {count}, and more follow: {after.text}"
        yield _Frame(start, frame, unit, problem)
        if after.broken and not after.more_atoms:
            yield _Frame(after.line, [after.text], problem=f"no count of atoms where a frame begins: {after.text}")


class _After(NamedTuple):
    """What stands between a frame and the next count: the number and ``text`` of the first line that is not blank;
    whether that is an atom; a vector of a cell; whether any line is an atom, a mistaken count, or damage."""

    line: int
    text: str = ""
    more_atoms: bool = False
    cell: str = ""
    broken: bool = False


def _skip(lines: _Lines) -> _After:
    """Pass over all lines before the next count."""
    after = _After(0)
    while (line := lines.next()) and not _count(line):
        if not line.strip():
            continue
        atom = _ATOM.match(line) is not None
        if not after.line:
            mistaken = _FALSE_COUNT.fullmatch(line) is not None
            after = _After(lines.number, line, more_atoms=atom, broken=atom or mistaken)
        if _CELL_VECTOR.match(line):
            after = after._replace(cell=after.cell or line)
        elif not after.broken and (atom or _DAMAGE.search(line) or lines.cut == lines.number):
            after = after._replace(broken=True)
    lines.put_back(line)
    return after


#: numbers without an exponent
_PLAIN_NUMBERS: Final = re.compile(r"(?:[+-]?\d{1,9}(?:\.\d{0,20})?(?: |$))*", re.ASCII)
#: what begins as a number does, or its exponent after a gap: no text that may follow the position
_BROKEN_NUMBER: Final = re.compile(r"[+-]?(?:\.?\d|nan|inf)|(?:[ed]|\*\^)[+-]?\d", re.IGNORECASE)
_COUNT: Final = re.compile(r"[1-9]\d{0,3}", re.ASCII)

_SPECIES: Final = word_set("species symbol symbols element elements")
_ATOMIC_NUMBERS: Final = word_set("z number numbers atomic_number atomic_numbers")
_POSITIONS: Final = word_set("pos position positions coord coords coordinates")

#: a column within this share of the atoms' masses holds masses
_MASS_TOLERANCE: Final = 0.01


class _AtomColumns(NamedTuple):
    """Columns by their places: of the element (``second`` if two columns name it), the position, and ``others``,
    charges and moments as (key, first, columns)."""

    width: int
    element: int
    second: int | None
    position: int
    others: tuple[tuple[str, int, int], ...]


def read_atoms(
    lines: Sequence[str], first: int, comment: XyzComment, unit: str
) -> tuple[np.ndarray, np.ndarray, dict[str, list[float]]]:
    """The atoms of a frame from its ``lines``, the first of which is line number ``first`` of the file.

    Atomic numbers (atoms,) int64; positions (atoms, 3) in the unit of the frame; and the charges and magnetic moments
    that other columns hold, a number for each atom.

    ``unit``, one that ``geometry.bohr_from`` takes, is that of the positions. Raises ``EntryRefused``:
    ``bad_coordinates`` for numbers that cannot be read, ``unreadable`` for no element and for columns that are
    ambiguous or not as in ``Properties``.
    """
    table = [line.split() for line in lines]
    layout = _named_columns(comment) or _qm9_columns(comment, table)
    if layout is None:
        return *_without_properties(table, lines, first, unit), {}
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
    return numbers, _positions(table, layout.position, first), columns


def _named_columns(comment: XyzComment) -> _AtomColumns | None:
    """The columns that ``Properties`` names; None without one."""
    stated = [
        value
        for key, value in comment.pairs
        if key == "Properties" or (key.lower() == "properties" and ":" in str(value))
    ]
    if not stated:
        return None
    if any(value != stated[0] for value in stated):
        raise EntryRefused(Reason.UNREADABLE, f"two lists of columns under Properties: {comment.text}")
    return _columns_of(str(stated[0]))


@lru_cache(maxsize=256)  # the frames of a file have the same columns
def _columns_of(text: str) -> _AtomColumns:
    """The columns of a list such as ``species:S:1:pos:R:3``."""
    fields = text.split(":")
    triples = list(zip(fields[::3], fields[1::3], fields[2::3], strict=False))
    if len(fields) % 3 or not all(kind in "SRIL" and kind and _COUNT.fullmatch(count) for _, kind, count in triples):
        detail = f"Properties={quoted(text)} is no list of columns such as species:S:1:pos:R:3"
        raise EntryRefused(Reason.UNREADABLE, detail)
    elements, positions, others, start = [], [], [], 0
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
    return _AtomColumns(start, elements[0], elements[1] if len(elements) > 1 else None, positions[0], tuple(others))


def _qm9_columns(comment: XyzComment, table: list[list[str]]) -> _AtomColumns | None:
    """The columns of a raw file of QM9 (Sci. Data 1, 140022, table 2): element, position, Mulliken charge. Its comment
    is "gdb", an index, and fifteen numbers."""
    words = comment.text.split()
    if len(words) != 17 or words[0] != "gdb" or None in map(number, words[1:]) or {len(f) for f in table} != {5}:
        return None
    return _AtomColumns(5, 0, None, 1, (("charges", 4, 1),))


def _without_properties(
    table: list[list[str]], lines: Sequence[str], first: int, unit: str
) -> tuple[np.ndarray, np.ndarray]:
    for at, fields in enumerate(table):
        if len(fields) < 4:
            detail = f"line {first + at}: not a symbol and three numbers: {lines[at]}"
            raise EntryRefused(Reason.BAD_COORDINATES, detail)
    numbers, positions = _elements(table, 0, first), _positions(table, 1, first)
    if len(numbers) > 1 and [fields[0] for fields in table] == [str(place + 1) for place in range(len(table))]:
        detail = f"line {first}: the atoms are counted ({_example(table)}) and have no element"
        raise EntryRefused(Reason.UNREADABLE, f"{detail}; name the columns in the comment: {_ADVICE}")
    more: list[list[float]] = []
    for at, fields in enumerate(table):
        values = [(field, number(field)) for field in fields[4:]]
        if any(value is None and _BROKEN_NUMBER.match(field) for field, value in values):
            raise EntryRefused(Reason.BAD_COORDINATES, f"line {first + at}: unreadable numbers: {lines[at]}")
        more.append([value for _, value in values if value is not None])
    most = max(map(len, more), default=0)
    if not most:
        return numbers, positions
    same = min(map(len, more)) == most
    extra = np.array(more) if same else None
    several = most > 1 and (extra is None or not _FEWEST_MORE <= most <= _MOST_MORE)
    if several or not _positions_come_first(numbers, positions, extra, unit):
        detail = f"line {first}: which columns are positions is ambiguous ({_example(table)})"
        raise EntryRefused(Reason.UNREADABLE, f"{detail}; name them in the comment: {_ADVICE}")
    return numbers, positions


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
    problem, near = given_geometry_problem(numbers, positions)
    return near is not None and not problem and bool(((near.share > SHORT_TOGETHER) & (near.share < LONG)).all())


def _elements(table: list[list[str]], column: int, first: int) -> np.ndarray:
    numbers = [number_of(fields[column]) for fields in table]
    if None in numbers:
        at = numbers.index(None)
        raise EntryRefused(Reason.UNREADABLE, f"line {first + at}: no element {table[at][column][:60]!r}")
    return np.array(numbers, dtype=np.int64)


def _positions(table: list[list[str]], column: int, first: int) -> np.ndarray:
    fields = [field for row in table for field in row[column : column + 3]]
    if _PLAIN_NUMBERS.fullmatch(" ".join(fields)):  # most are
        return np.array(list(map(float, fields))).reshape(-1, 3)
    values: list[Any] = list(map(number, fields))
    if None in values:
        at = values.index(None) // 3
        given = " ".join(table[at][column : column + 3])
        raise EntryRefused(Reason.BAD_COORDINATES, f"line {first + at}: unreadable coordinates {given}")
    return np.array(values, dtype=np.float64).reshape(-1, 3)
