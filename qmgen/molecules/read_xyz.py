"""Reader of multi-frame ``.xyz`` in Angstrom: a count of atoms, a comment, one line an atom (symbol, x, y, z).

The comment may hold ``charge=`` and ``name=`` (as in extended XYZ); a comment without any ``=`` is the name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TextIO

import numpy as np

from qmgen.molecules.elements import number_of
from qmgen.molecules.entries import failure, from_geometry
from qmgen.molecules.geometry import bohr_from_angstrom
from qmgen.molecules.kept import Kept
from qmgen.molecules.text_file import open_text
from qmgen.molecules.types import Failure, Molecule, Reason

#: a count beyond this is no count: the frame is broken
MOST_ATOMS: Final = 1_000_000
_CHARGE: Final = re.compile(r"(?<![\w.])charge\s*=\s*[\"']?([^\s\"',;]*)", re.IGNORECASE)
_NAME: Final = re.compile(r"(?<![\w.])name\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|(\S+))", re.IGNORECASE)
_PAIR: Final = re.compile(r"([^\s=]+)=(?:\"([^\"]*)\"|'([^']*)'|(\S*))")


class _Unreadable(ValueError):
    """This frame cannot be read: the reason and what to tell."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def read_xyz(path: Path, kept: Kept | None = None) -> Iterator[Molecule | Failure]:
    """The frames of an ``.xyz`` file, in order. A broken frame is one failure; reading goes on at the next count."""
    kept = kept or Kept()
    with open_text(path) as stream:
        for molecule_id, (start, lines, detail) in enumerate(_frames(_Lines(stream))):
            name = _name(lines[1]) if len(lines) > 1 else ""
            if detail:
                yield failure(molecule_id, name, "", Reason.UNREADABLE, f"line {start}: {detail}", conformer_id=0)
                continue
            try:
                charge = _charge(lines[1])
                numbers, positions = _atoms(lines[2:], start + 2)
            except _Unreadable as error:
                yield failure(molecule_id, name, "", error.reason, str(error), conformer_id=0)
                continue
            entry = from_geometry(molecule_id, name, "", numbers, bohr_from_angstrom(positions), charge)
            yield kept.add(entry, _pairs(lines[1]) if kept else {})


class _Lines:
    """Numbered lines of a stream, with one line that can be put back."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self.number, self._back = stream, 0, ""

    def next(self) -> str:
        """The next line, or "" at the end."""
        line, self._back = self._back or self._stream.readline(), ""
        self.number += bool(line)
        return line

    def put_back(self, line: str) -> None:
        self._back = line
        self.number -= bool(line)


def _is_count(line: str) -> bool:
    text = line.strip()
    return text.isascii() and text.isdigit() and int(text[:12]) <= MOST_ATOMS


def _frames(lines: _Lines) -> Iterator[tuple[int, list[str], str]]:
    """Each frame as (number of its first line, its lines, what is wrong with its extent or "")."""
    while line := lines.next():
        if not line.strip():
            continue
        start, frame = lines.number, [line]
        if _is_count(line):
            count = int(line)
            while len(frame) < count + 2 and (line := lines.next()):
                if len(frame) > 1 and _is_count(line):
                    lines.put_back(line)
                    break
                frame.append(line)
            short = len(frame) < count + 2
            detail = f"the frame says {count} atoms and has {max(len(frame) - 2, 0)}" if short else ""
            yield start, frame, detail
            continue
        while (line := lines.next()) and not _is_count(line):
            pass
        lines.put_back(line)
        yield start, frame, f"no count of atoms where a frame begins: {frame[0]}"


def _name(comment: str) -> str:
    if found := _NAME.search(comment):
        return next(group for group in found.groups() if group is not None)
    return "" if "=" in comment else comment.strip()


def _pairs(comment: str) -> dict[str, str]:
    """The ``key=value`` pairs of a comment; a value with spaces stands in quotes."""
    return {found[1]: next(g for g in found.groups()[1:] if g is not None) for found in _PAIR.finditer(comment)}


def _charge(comment: str) -> int:
    found = _CHARGE.search(comment)
    if not found:
        return 0
    try:
        value = float(found[1])
        charge = round(value)
        if charge != value:
            raise ValueError
    except (ValueError, OverflowError):
        raise _Unreadable(Reason.UNREADABLE, f"charge={found[1]} is not a whole number") from None
    return charge


def _atoms(lines: list[str], first: int) -> tuple[np.ndarray, np.ndarray]:
    numbers = np.zeros(len(lines), dtype=np.int64)
    positions = np.zeros((len(lines), 3))
    for atom, line in enumerate(lines):
        fields = line.split()
        if len(fields) < 4:
            raise _Unreadable(Reason.BAD_COORDINATES, f"line {first + atom}: not a symbol and three numbers: {line}")
        number = number_of(fields[0])
        if number is None:
            raise _Unreadable(Reason.UNREADABLE, f"line {first + atom}: no element {fields[0]!r}")
        numbers[atom] = number
        try:
            positions[atom] = [float(field) for field in fields[1:4]]
        except ValueError:
            detail = f"line {first + atom}: unreadable coordinates {' '.join(fields[1:4])}"
            raise _Unreadable(Reason.BAD_COORDINATES, detail) from None
    return numbers, positions
