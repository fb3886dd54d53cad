"""Reader of multi-frame ``.xyz``, plain and extended: a count of atoms, a comment, one line an atom.

The comment gives the name, and may state columns, charge and multiplicity, a length unit, and a cell. Positions are in
Angstrom where no unit is stated, and a geometry whose atoms are all far apart must state one. A unit may also stand
after the count ("3 bohr"). Lines after a complete frame that are neither a frame nor atoms (frequencies, SMILES and
InChI of QM9's files) are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple, TextIO

from qmgen.molecules.entries import failure, from_geometry, one_line
from qmgen.molecules.geometry import MOST_ATOMS, apart_problem, bohr_from, size_problem, unit_of_length
from qmgen.molecules.kept import Kept
from qmgen.molecules.stated_charge import stated_charge
from qmgen.molecules.text_file import open_text
from qmgen.molecules.types import EntryRefused, Failure, Molecule, Reason
from qmgen.molecules.xyz_columns import read_atoms
from qmgen.molecules.xyz_comment import XyzComment, check_molecule, length_unit, parse_comment, quoted

#: characters of a line that are read; a longer one is cut there, and its frame refused
LONGEST_LINE: Final = 1 << 20
#: digits of a count that is converted to a number; any with more is too large in any case
_MOST_DIGITS: Final = 15
_COUNT: Final = re.compile(r"\s*(?P<count>\d+)(?:\s+(?P<unit>[A-Za-z.]+))?\s*", re.ASCII)
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
    name = comment.name
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
        return failure(molecule_id, name, "", error.reason, str(error), conformer_id=0)
    at = bohr_from(positions, unit)
    entry = from_geometry(molecule_id, name, "", numbers, at, state.charge, multiplicity=state.multiplicity)
    if isinstance(entry, Failure) and state.charge and entry.reason is Reason.NET_CHARGE:
        return replace(entry, detail=f"{entry.detail}; the comment is {quoted(comment.text)}")
    if isinstance(entry, Molecule) and not (stated or frame.unit) and (why := apart_problem(numbers, at)):
        detail = f"{why}, if in Angstrom: state units=angstrom or units=bohr in the comment"
        return failure(molecule_id, name, "", Reason.BAD_COORDINATES, detail, conformer_id=0)
    return entry


class _Lines:
    """Numbered lines of a stream, with one line that can be put back. ``cut`` is the number of the last long line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self.number, self._back, self.cut = stream, 0, "", 0

    def next(self) -> str:
        """The next line, of at most ``LONGEST_LINE`` characters, or "" at the end."""
        line, self._back = self._back, ""
        if not line:
            line = self._stream.readline(LONGEST_LINE)
            rest = line
            while rest and not rest.endswith("\n") and len(rest) == LONGEST_LINE:
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
    found = _COUNT.fullmatch(line)
    unit = (unit_of_length(found["unit"]) if found and found["unit"] else "") if found else None
    if found is None or unit is None:
        return None
    digits = found["count"].lstrip("0") or "0"
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
    found = _After(0)
    while (line := lines.next()) and not _count(line):
        if not line.strip():
            continue
        atom = _ATOM.match(line) is not None
        if not found.line:
            mistaken = _FALSE_COUNT.fullmatch(line) is not None
            found = _After(lines.number, line, more_atoms=atom, broken=atom or mistaken)
        if _CELL_VECTOR.match(line):
            found = found._replace(cell=found.cell or line)
        elif not found.broken and (atom or _DAMAGE.search(line) or lines.cut == lines.number):
            found = found._replace(broken=True)
    lines.put_back(line)
    return found
