"""How a table of molecules is written: its delimiter, whether a line of names comes first, where the SMILES are.

A line of names is recognised by a usual name of a column of SMILES. Without one, a first line that holds a molecule is
data. What can be taken in two ways is refused, and the message says what to write.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple, TextIO

from qmgen.errors import UsageError
from qmgen.molecules.entries import from_smiles, one_line
from qmgen.molecules.text_file import open_text
from qmgen.molecules.types import Molecule, Reason

#: names that are taken before all others, exactly as written
SMILES_COLUMNS: Final = ("smiles", "SMILES", "smile")
NAME_COLUMNS: Final = ("name", "Name", "NAME", "title", "id", "ID")
#: usual names in small letters, without spaces, hyphens and underscores; of several the first, which says most
_USUAL: Final = ("smiles", "smile", "isomericsmiles", "isosmiles", "absolutesmiles", "canonicalsmiles", "smi")

#: characters at the beginning of a file in which its layout must show
_HEAD: Final = 1 << 20
#: rows that are looked at where no name is recognised
_LOOKED_AT: Final = 20
#: columns that are looked at there
_MOST_COLUMNS: Final = 200
#: lines of a record kept to be read again: more than fit into the longest field that Python's csv reads
_MOST_LINES: Final = 200_000


class Layout(NamedTuple):
    """``delimiter``; ``header``, the names of the columns, or None; the places of the columns of SMILES and of names
    (None: no such column); the ``width`` of the first line in columns."""

    delimiter: str
    header: list[str] | None
    smiles: int
    name: int | None
    width: int


class Records:
    """The records of a table, blank ones as an empty list; one that cannot be read as a text that says why.

    A quote that is never closed would swallow all lines after it: it costs the line that it stands in, and those after
    it are read again. ``line`` is the number of the line where the last record began.
    """

    def __init__(self, stream: TextIO, delimiter: str) -> None:
        self._stream, self._delimiter = stream, delimiter
        self._again: deque[str] = deque()
        self._taken: list[str] = []
        self.line = 1

    def _lines(self) -> Iterator[str]:
        while line := self._again.popleft() if self._again else self._stream.readline():
            if len(self._taken) < _MOST_LINES:
                self._taken.append(line)
            yield line

    def __iter__(self) -> Iterator[list[str] | str]:
        reader = csv.reader(self._lines(), delimiter=self._delimiter)
        while True:
            self.line += len(self._taken)
            self._taken.clear()
            try:
                record = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                problem = str(error)
            else:
                if len(self._taken) in (1, _MOST_LINES) or not self._is_open():
                    yield record
                    continue
                problem = "a quote is not closed"
            self._again.extendleft(reversed(self._taken[1:]))
            del self._taken[1:]
            reader = csv.reader(self._lines(), delimiter=self._delimiter)
            yield problem

    def _is_open(self) -> bool:
        """Whether the lines of the last record end inside of a quote, so that a further line would belong to it."""
        try:
            return list(csv.reader([*self._taken, "end\n"], delimiter=self._delimiter))[-1] != ["end"]
        except csv.Error:  # the line made a field too long, and so was taken into it
            return True


def find_layout(path: Path, asked: str | None) -> Layout | None:
    """The layout of a file, of the column of SMILES that is ``asked`` for or has a usual name; None: nothing in it.

    Raises ``UsageError`` where there is no such column, or several, or no line of names where one was asked for.
    """
    with open_text(path, newline="") as stream:
        head = stream.read(_HEAD)
    is_tsv = path.name.lower().removesuffix(".gz").endswith(".tsv")
    tables: dict[str, list[list[str]]] = {}
    problem = ""
    for delimiter in "\t,;|" if is_tsv else ",;\t|":
        records = (record for record in Records(StringIO(head, newline=""), delimiter) if record)
        first = next(records, None)
        if first is None:
            return None
        if isinstance(first, str):
            problem = first
            continue
        rest = ([] if isinstance(record, str) else record for record in islice(records, _LOOKED_AT))
        tables[delimiter] = [[field.strip() for field in record] for record in (first, *rest)]
    if not tables:
        raise UsageError(f"{path}: the first line cannot be read: {problem}; write the names of the columns there")
    return _named(path, tables, asked) or _unnamed(path, tables, asked)


def _named(path: Path, tables: dict[str, list[list[str]]], asked: str | None) -> Layout | None:
    """The layout where the first line names the columns; of several delimiters the one that makes most of them."""
    found: list[Layout] = []
    for delimiter, (header, *_) in tables.items():
        places = _places(header, asked)
        if len(places) > 1:
            names = ", ".join(header[place] for place in places)
            more = "give each its own name" if asked is not None else "choose one with --smiles-column"
            raise UsageError(f"{path}: several columns of SMILES: {one_line(names, 400)}; {more}")
        if places:
            name = next((header.index(column) for column in NAME_COLUMNS if column in header), None)
            found.append(Layout(delimiter, header, places[0], name, len(header)))
    best = max(found, key=lambda layout: layout.width, default=None)
    if best is not None and asked is not None and any(map(is_smiles, re.split(r"[,;\t|]", asked))):
        raise UsageError(
            f"{path}: --smiles-column {one_line(asked, 100)} is a molecule, so that the first line seems to be data: "
            "leave --smiles-column out, or give the column a name"
        )
    return best


def _places(header: list[str], asked: str | None) -> list[int]:
    """The columns of a header that may be meant; none of them, one, or several that nothing tells apart."""
    if asked is not None:
        same = [place for place, column in enumerate(header) if column == asked]
        return same or [place for place, column in enumerate(header) if column.lower() == asked.lower()]
    for usual in SMILES_COLUMNS:
        if usual in header:
            return [place for place, column in enumerate(header) if column == usual]
    plain = [re.sub(r"[ _-]", "", column.lower()) for column in header]
    for usual in _USUAL:
        if usual in plain:
            return [place for place, column in enumerate(plain) if column == usual]
    return [place for place, column in enumerate(plain) if re.fullmatch(r"[a-z0-9]*smiles", column)]


def _unnamed(path: Path, tables: dict[str, list[list[str]]], asked: str | None) -> Layout:
    """The layout where the first line is data: one column of molecules from the first line on."""
    widest = max((table[0] for table in tables.values()), key=len)
    known = f"the columns are {one_line(', '.join(widest), 400)}"
    below: list[str] = []
    for delimiter, (first, *rows) in tables.items():
        columns = [
            place for place in range(min(len(first), _MOST_COLUMNS)) if _holds_smiles([r for r in rows if r], place)
        ]
        data = [place for place in columns if is_smiles(first[place])]
        if data and asked is not None:
            detail = f"no column {one_line(repr(asked))}, since the first line holds a molecule and no names"
            raise UsageError(f"{path}: {detail}; leave --smiles-column out, or write a line of names")
        if len(data) > 1:
            places = ", ".join(str(place + 1) for place in data)
            detail = f"no line of names, and columns {places} all hold SMILES"
            raise UsageError(f"{path}: {detail}; write the names of the columns above them, one of them smiles")
        if data:
            return Layout(delimiter, None, data[0], 1 - data[0] if len(first) == 2 else None, len(first))
        below = below or [first[place] for place in columns if rows]
    if asked is not None:
        raise UsageError(f"{path}: no column {one_line(repr(asked))}; {known}: name one with --smiles-column")
    guess = f" ({one_line(below[0], 100)!r} holds SMILES)" if len(below) == 1 else ""
    advice = f"name one with --smiles-column{guess}, or write a line of names if this is none"
    raise UsageError(f"{path}: no column of SMILES; {known}: {advice}")


def _holds_smiles(rows: list[list[str]], place: int) -> bool:
    """Whether most rows have a SMILES in this column; true of no rows."""
    return 2 * sum(place < len(row) and is_smiles(row[place]) for row in rows) >= len(rows)


def is_smiles(text: str) -> bool:
    """Whether RDKit reads a molecule in a text, be it one that can be labelled or not."""
    entry = from_smiles(0, text, "")
    return isinstance(entry, Molecule) or entry.reason is not Reason.UNREADABLE
