"""Readers of SMILES: ``.csv`` and ``.tsv``, a column of SMILES and one of names where one is recognized; and ``.smi``.

The layout of a table is its delimiter, whether a line of names comes first, and where the SMILES are. A line of names
is recognized by a usual name of a column of SMILES. Without one, a first line that holds a molecule is data, unless its
other columns are unlike the rows below. What can be taken in two ways is refused, and the message says what to write.
Lines before the table (``sep=;`` of spreadsheets, comments that begin with ``#``) are left out.

``.smi`` is one SMILES a line, white space, an optional name; ``#`` comments and blank lines are skipped. A CXSMILES
block ``|...|`` may stand between SMILES and name.
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
from qmgen.molecules.comment import word_set
from qmgen.molecules.readers.text import LONGEST, Kept, open_text, read_line, read_lines
from qmgen.molecules.smiles import from_smiles
from qmgen.molecules.stated_charge import agreeing
from qmgen.molecules.types import Failure, Molecule, Reason, failure, one_line

#: names that are taken before all others, exactly as written
SMILES_COLUMNS: Final = ("smiles", "SMILES", "smile")
NAME_COLUMNS: Final = ("name", "Name", "NAME", "title", "id", "ID")
#: usual names in small letters, without spaces, hyphens and underscores; of several the first, the most specific
_USUAL: Final = ("smiles", "smile", "isomericsmiles", "isosmiles", "absolutesmiles", "canonicalsmiles", "smi")

#: characters at the beginning of a file in which its layout must show
_HEAD: Final = 1 << 20
#: rows that are looked at where no name is recognized
_LOOKED_AT: Final = 20
#: columns that are looked at there
_MOST_COLUMNS: Final = 200
#: lines of a record kept to be read again: more than fit into the longest field that Python's csv reads
_MOST_LINES: Final = 200_000


#: usual names of other columns, in small letters without other characters: no molecule is called so
_OTHER_NAMES: Final = word_set(
    "id name title cas casno casnumber casrn inchi inchikey formula mw molweight molecularweight value label class "
    "type activity target compound compoundid compoundname molecule moleculeid mol structure index source split set"
)
#: values that stand for no value
_NO_VALUE: Final = frozenset(("", "-", "?", "na", "n/a", "nan", "null", "none"))
#: letters that identifiers have in common, and a number
_IDENTIFIER: Final = re.compile(r"([A-Za-z]+[ _:-]?)\d+")
_SEPARATOR: Final = re.compile(r'"?sep=([^"\w\r\n])"?\s*', re.IGNORECASE)


class TableLayout(NamedTuple):
    """``delimiter``; ``header``, the names of the columns, or None; the places of the columns of SMILES and of names
    (None: no such column); the ``width`` of the first line in columns; how many lines are ``skipped`` before it."""

    delimiter: str
    header: list[str] | None
    smiles: int
    name: int | None
    width: int
    skipped: int = 0


class _LongLine(ValueError):
    """A line that is too long to be kept."""


class Records:
    """The records of a table, blank ones as an empty list; one that cannot be read as a text with the reason.

    Only the line of a quote that is never closed is such a text: the lines after it are read again. ``line`` is the
    number of the line where the last record began; ``first`` is that of the first line of ``stream``.
    """

    def __init__(self, stream: TextIO, delimiter: str, first: int = 1) -> None:
        self._stream, self._delimiter = stream, delimiter
        self._again: deque[str] = deque()
        self._taken: list[str] = []
        self.line = first

    def _lines(self) -> Iterator[str]:
        while line := self._again.popleft() if self._again else read_line(self._stream):
            if len(self._taken) < _MOST_LINES:
                self._taken.append(line)
            if len(line) > LONGEST:
                raise _LongLine(f"a line of more than {LONGEST} characters")
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
            except (csv.Error, _LongLine) as error:
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


def find_layout(path: Path, asked: str | None) -> TableLayout | None:
    """The layout of a file, of the column of SMILES that is ``asked`` for or has a usual name; None: nothing in it.

    Raises ``UsageError`` where there is no such column, or several, or no line of names where one was asked for.
    """
    with open_text(path, newline="") as stream:
        head = stream.read(_HEAD)
    before, separator = _lines_before(head)
    is_tsv = path.name.lower().removesuffix(".gz").endswith(".tsv")
    delimiters = separator or ("\t,;|" if is_tsv else ",;\t|")
    below = head[sum(map(len, before)) :]
    tables = _tables(path, below, delimiters)
    if tables is None:
        return None
    named = _named(path, tables, asked)
    if named is None and before and before[-1].startswith("#"):  # names behind a "#"
        marked = before[-1].lstrip("# \t")
        below_mark = _named(path, _tables(path, marked + below, delimiters) or {}, asked)
        if below_mark is not None:
            return below_mark._replace(skipped=len(before) - 1)
    _refuse_spaces(path, tables, asked)
    return (named or _unnamed(path, tables, asked))._replace(skipped=len(before))


def _lines_before(head: str) -> tuple[list[str], str]:
    """The lines before the table: blank ones, comments, and ``sep=;`` as the first, with the delimiter it gives or "".
    The last one is a comment where there is any."""
    before: list[str] = []
    separator, kept = "", 0
    for line in read_lines(StringIO(head, newline="")):
        if not before and (stated := _SEPARATOR.fullmatch(line)):
            separator = stated[1]
        elif line.strip() and not line.startswith("#"):
            break
        before.append(line)
        kept = len(before) if line.strip() else kept
    return before[:kept], separator


def _tables(path: Path, text: str, delimiters: str) -> dict[str, list[list[str]]] | None:
    """The first rows of a text by delimiter, None without any. Raises ``UsageError`` for an unreadable first row."""
    tables: dict[str, list[list[str]]] = {}
    problem = ""
    for delimiter in delimiters:
        records = (record for record in Records(StringIO(text, newline=""), delimiter) if record)
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
    return tables


def _refuse_spaces(path: Path, tables: dict[str, list[list[str]]], asked: str | None) -> None:
    """Raise ``UsageError`` where spaces stand between the columns."""
    if any(len(first) != 1 or first[0] == asked for first, *_ in tables.values()):
        return
    first, *rows = [row[0] for row in next(iter(tables.values())) if row]
    names, many = first.split(), [row for row in rows if len(row.split()) > 1]
    if len(names) < 2 or len(many) < len(rows) or any(map(is_smiles, (first, *rows))):
        return
    if (rows and _places(names, asked)) or any(is_smiles(word) for word in (rows[0] if rows else first).split()):
        detail = "there are spaces between the columns; delimit them by commas, or, where the SMILES come first"
        raise UsageError(f"{path}: {detail}, take a line of names out and rename the file to .smi")


def _named(path: Path, tables: dict[str, list[list[str]]], asked: str | None) -> TableLayout | None:
    """The layout where the first line names the columns; of several delimiters the one that makes most of them."""
    layouts: list[TableLayout] = []
    for delimiter, (header, *_) in tables.items():
        places = _places(header, asked)
        if len(places) > 1:
            names = ", ".join(header[place] for place in places)
            more = "give each its own name" if asked is not None else "choose one with --smiles-column"
            raise UsageError(f"{path}: several columns of SMILES: {one_line(names, 400)}; {more}")
        if places:
            name = next((header.index(column) for column in NAME_COLUMNS if column in header), None)
            layouts.append(TableLayout(delimiter, header, places[0], name, len(header)))
    best = max(layouts, key=lambda layout: layout.width, default=None)
    if best is None or asked is None or not any(map(is_smiles, re.split(r"[,;\t|]", asked))):
        return best
    if _unlike_rows(tables[best.delimiter], best.smiles) is None:
        raise UsageError(
            f"{path}: --smiles-column {one_line(asked, 100)} is a molecule, so that the first line seems to be data: "
            "leave --smiles-column out, or give the column a name"
        )
    return best


def _unlike_rows(table: list[list[str]], smiles: int) -> int | None:
    """The first column beside that of the SMILES whose first field is a name, not a value as in the rows below."""
    first, *rows = table
    for place, field in enumerate(first[:_MOST_COLUMNS]):
        values = [row[place] for row in rows if place < len(row) and row[place].lower() not in _NO_VALUE]
        if place == smiles or field.lower() in _NO_VALUE:
            continue
        if _letters(field) in _OTHER_NAMES and field not in values:
            return place
        if _form(field) == "text" and {_form(value) for value in values} == {"number"}:
            return place
        kinds = {identifier[1] if (identifier := _IDENTIFIER.fullmatch(value)) else None for value in values}
        if len(values) > 1 and len(kinds) == 1 and None not in kinds and not re.search(r"\d", field):
            return place  # "ref" above "CHEMBL545" and "CHEMBL7"
    return None


def _form(value: str) -> str:
    """ "number" for numbers, dates, registry numbers and the like: there are digits, and letters in exponents only."""
    return "number" if re.fullmatch(r"[^A-Za-z]*\d[^A-Za-z]*([eE][+-]?\d+)?", value) else "text"


def _letters(column: str) -> str:
    """A name in small letters and digits alone."""
    return re.sub(r"[^a-z0-9]", "", column.lower())


def _places(header: list[str], asked: str | None) -> list[int]:
    """The columns of a header that may be meant; none of them, one, or several of equal rank."""
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


def _unnamed(path: Path, tables: dict[str, list[list[str]]], asked: str | None) -> TableLayout:
    """The layout where the first line is data: one column of molecules from the first line on."""
    widest = max((table[0] for table in tables.values()), key=len)
    known = f"the columns are {one_line(', '.join(widest), 400)}"
    below: list[str] = []
    for delimiter, (first, *rows) in tables.items():
        columns = [
            place for place in range(min(len(first), _MOST_COLUMNS)) if _holds_smiles([r for r in rows if r], place)
        ]
        data = [place for place in columns if is_smiles(first[place])]
        unlike = _unlike_rows([first, *rows], data[0]) if len(data) == 1 else None
        if unlike is not None and asked is None:
            detail = (
                f"the first line may hold names or data: {one_line(repr(first[unlike]), 100)} is unlike the rows below"
            )
            name = one_line(first[data[0]], 100)
            more = f"name the column with --smiles-column {name}, or write a line of names, one of them smiles, above"
            raise UsageError(f"{path}: {detail}; {more}")
        if data and asked is not None and unlike is None:
            detail = f"no column {one_line(repr(asked))}, since the first line holds a molecule and no names"
            raise UsageError(f"{path}: {detail}; leave --smiles-column out, or write a line of names")
        if len(data) > 1:
            places = ", ".join(str(place + 1) for place in data)
            detail = f"no line of names, and columns {places} all hold SMILES"
            raise UsageError(f"{path}: {detail}; write the names of the columns above them, one of them smiles")
        if data and unlike is None:
            return TableLayout(delimiter, None, data[0], 1 - data[0] if len(first) == 2 else None, len(first))
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
    """Whether RDKit reads a molecule in a text, be it one that can be labeled or not."""
    entry = from_smiles(0, text, "")
    return isinstance(entry, Molecule) or entry.reason is not Reason.UNREADABLE


def read_csv(path: Path, smiles_column: str | None = None, kept: Kept | None = None) -> Iterator[Molecule | Failure]:
    """The rows of a table, in order; a row without a SMILES is a failure, and so is one whose column of charge or
    multiplicity is not that of its SMILES.

    Raises ``UsageError`` (at the first entry) when no column of SMILES is found, as ``find_layout``, or
    where one to keep is not there.
    """
    kept = kept or Kept()
    layout = find_layout(path, smiles_column)
    if layout is None:
        return
    with open_text(path, newline="") as stream:
        for _ in range(layout.skipped):
            read_line(stream)
        records = Records(stream, layout.delimiter, layout.skipped + 1)
        header = layout.header or []
        kept.require(path, header, named=layout.name is not None)
        if layout.header is not None:
            next(record for record in records if record)
        molecule_id = 0
        for record in records:
            if record:
                values = list(zip(header, record, strict=False)) if isinstance(record, list) else []
                entry = agreeing(_entry(molecule_id, record, layout, records.line), values)
                yield kept.add(entry, dict(values) if kept else {})
                molecule_id += 1


def _entry(molecule_id: int, row: list[str] | str, layout: TableLayout, line: int) -> Molecule | Failure:
    """The molecule of a row; a failure where the row is a text, the reason why there is none."""
    if isinstance(row, str):
        return failure(molecule_id, "", "", Reason.UNREADABLE, f"line {line}: {row}")
    smiles = row[layout.smiles].strip() if layout.smiles < len(row) else ""
    name = row[layout.name].strip() if layout.name is not None and layout.name < len(row) else ""
    if "\n" in smiles or "\r" in smiles:
        detail = f"line {line}: the SMILES runs over several lines; a quote is not closed"
        return failure(molecule_id, name, "", Reason.UNREADABLE, detail)
    if layout.smiles and any(field.strip() for field in row[layout.width :]):
        detail = f"line {line}: {len(row)} fields in {layout.width} columns; quote those that hold {layout.delimiter!r}"
        return failure(molecule_id, name, smiles, Reason.UNREADABLE, detail)
    return from_smiles(molecule_id, smiles, name)


def read_smi(path: Path) -> Iterator[Molecule | Failure]:
    """The entries of a ``.smi`` file, in order. A name may hold spaces; bytes that are not UTF-8 become U+FFFD."""
    with open_text(path) as lines:
        molecule_id = 0
        for number, line in enumerate(read_lines(lines), 1):
            if len(line) > LONGEST:
                detail = f"line {number}: a line of more than {LONGEST} characters"
                yield failure(molecule_id, "", "", Reason.UNREADABLE, detail)
                molecule_id += 1
                continue
            text = line.strip()
            if not text or text.startswith("#"):
                continue
            smiles, _, name = text.replace("\t", " ").partition(" ")
            name = name.strip()
            if name.startswith("|"):  # to the second bar; all of it where there is none
                closed = name.find("|", 1) + 1 or len(name)
                smiles, name = f"{smiles} {name[:closed]}", name[closed:].strip()
            yield from_smiles(molecule_id, smiles, name)
            molecule_id += 1
