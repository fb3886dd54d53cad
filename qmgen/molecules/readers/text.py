"""What the readers share: text files (UTF-8 or UTF-16, plain or compressed by gzip), numbers, and the columns that are
kept.

Kept columns of the source are carried through to the rows (``--keep name,pIC50``), as text.
"""

from __future__ import annotations

import codecs
import gzip
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TextIO, TypeVar, cast

from qmgen.errors import UsageError
from qmgen.molecules.types import Failure, Molecule, one_line

#: characters of a line, or of the lines of one entry, beyond which it is no molecule: a small compressed file may hold
#: entries that fill the memory
LONGEST: Final = 10_000_000
_GZIP: Final = b"\x1f\x8b"
_UTF16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def open_text(path: Path, newline: str | None = None) -> TextIO:
    """The text of a file, ``newline`` as of ``open``; a byte order mark is left out, broken bytes become U+FFFD.

    The first bytes decide on compression and encoding, not the name of the file. Raises ``OSError``;
    reading raises ``EOFError`` or ``zlib.error`` too where a compressed file is cut or damaged.
    """
    with path.open("rb") as stream:
        zipped = stream.read(2) == _GZIP
    with gzip.open(path) if zipped else path.open("rb") as binary:
        encoding = "utf-16" if binary.read(2) in _UTF16 else "utf-8-sig"
    if zipped:
        return cast(TextIO, gzip.open(path, "rt", encoding=encoding, errors="replace", newline=newline))
    return path.open(encoding=encoding, errors="replace", newline=newline)


def read_line(stream: TextIO, most: int = LONGEST) -> str:
    """The next line with its end; "" after the last. Of a longer line the first ``most`` + 1 characters: the rest is
    read and left out, in pieces."""
    line = piece = stream.readline(most + 1)
    while len(piece) > most and not piece.endswith(("\n", "\r")):
        piece = stream.readline(most + 1)
    return line


def read_lines(stream: TextIO, most: int = LONGEST) -> Iterator[str]:
    """All lines, as ``read_line``."""
    while line := read_line(stream, most):
        yield line


#: a decimal number without an exponent: not Python's 1_000
_DECIMAL: Final = r"[+-]?(?:\d+\.?\d*|\.\d+)"
_DECIMALS: Final = re.compile(_DECIMAL, re.ASCII)
#: Fortran's exponents (1.0D-3) and Mathematica's (1.0*^-3) too
_NUMBER: Final = re.compile(rf"{_DECIMAL}(?:(?:[eEdD]|\*\^)[+-]?\d{{1,4}})?", re.ASCII)
_EXPONENT: Final = re.compile(r"[dD]|\*\^")
_LONGEST_NUMBER: Final = 100
_WHOLE: Final = re.compile(r"[+-]?\d{1,9}", re.ASCII)


def number(text: str) -> float | None:
    """A decimal number as written by Python, Fortran or Mathematica; None for any other text, NaN and infinity too."""
    if len(text) > _LONGEST_NUMBER or not _NUMBER.fullmatch(text):
        return None
    try:
        value = float(text)
    except ValueError:
        value = float(_EXPONENT.sub("e", text))
    return value if math.isfinite(value) else None


def decimal(text: str) -> float | None:
    """A decimal number without an exponent, blanks around it; None for any other text, and for what is infinite."""
    return value if _DECIMALS.fullmatch(text.strip(" ")) and math.isfinite(value := float(text)) else None


def whole(text: str) -> int | None:
    """A whole number; None for any other text, and for more than nine characters."""
    return int(text) if len(text) <= 9 and _WHOLE.fullmatch(text) else None


Entry = TypeVar("Entry", Molecule, Failure, Molecule | Failure)

#: every row has the column of this name; asking for it takes its value from the source's column of that name
NAME: Final = "name"
#: so many names of other columns are listed in a message
_LISTED: Final = 20


class Kept:
    """The columns that were asked for, while one source is read. False where there are none."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        self._asked = tuple(names)
        self._names = tuple(name for name in names if name != NAME)
        self._missing = set(self._names)
        self._there: dict[str, None] = {}

    def __bool__(self) -> bool:
        return bool(self._asked)

    @property
    def columns(self) -> tuple[str, ...]:
        """All names that were asked for."""
        return self._asked

    def require(self, where: Path | str, columns: Iterable[str], named: bool = True) -> None:
        """Raise ``UsageError`` unless all are among ``columns``, which every entry of the source has; ``name`` may also
        be what the reader takes for the name, where it is ``named`` at all."""
        known = list(columns)
        missing = [name for name in self._asked if name not in known and not (name == NAME and named)]
        if missing:
            there = _listed("the columns are", known) or "this kind of source has none"
            raise UsageError(f"{where}: no column {missing[0]!r} to keep; {there}")
        self._missing.clear()

    def add(self, entry: Entry, values: Mapping[str, Any]) -> Entry:
        """``entry`` with those of ``values`` that were asked for; what it lacks is empty."""
        if not self._asked:
            return entry
        self._missing.difference_update(values)
        if len(self._there) < _LISTED:
            self._there.update(dict.fromkeys(values))
        if NAME in self._asked and (name := as_text(values.get(NAME)).strip()):
            entry = replace(entry, name=name)
        if isinstance(entry, Failure):
            return entry
        return replace(entry, kept=tuple(as_text(values.get(name)) for name in self._names))

    def finish(self, where: Path | str) -> None:
        """Raise ``UsageError`` where a column that was asked for was in no entry: its name is a mistake."""
        if self._missing:
            name = next(name for name in self._names if name in self._missing)
            there = _listed("there are", list(self._there)) or "there are none"
            raise UsageError(f"{where}: no entry has {name!r} to keep; {there}")


def as_text(value: Any) -> str:
    """A value as text: "" for None, a number as the shortest text that gives it back, lists and records as JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if hasattr(value, "tolist"):  # NumPy's
        value = value.tolist()
    if isinstance(value, bool | list | tuple | dict):
        return json.dumps(value, default=as_text, ensure_ascii=False)
    return str(value)


def _listed(what: str, names: list[str]) -> str:
    """``names`` for a message; "" where there are none."""
    more = ", ..." if len(names) > _LISTED else ""
    return f"{what} {', '.join(one_line(name, 60) for name in names[:_LISTED])}{more}" if names else ""
