"""Reader of ``.parquet``: ``z`` (or ``atoms``) and ``pos``, one geometry a row, used exactly as given.

These are the names in QM1B and in corpora of qmgen; ``smile``, ``name``, ``molecule_id``, ``conformer_id`` and
``mapped_smiles`` are taken where they are there. What columns such as ``charge`` and ``spin`` state is taken too, also
as members of that name in structures, lists of structures and maps, and in texts under ``info``, ``comment``,
``metadata`` and ``properties``. Without ``molecule_id`` it is the place of the row. ``pos`` is flat (x y z of the first
atom, of the second, ...) or nested (three numbers an atom), in the unit that its metadata state under ``unit``, else in
Bohr.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from qmgen.errors import UsageError
from qmgen.molecules.charge_words import names_charge
from qmgen.molecules.comment import XyzComment, members, parse_comment
from qmgen.molecules.entries import from_geometry, with_bonds
from qmgen.molecules.geometry import (
    MOST_ATOMS,
    bohr_from,
    size_problem,
    unit_of_length,
)
from qmgen.molecules.readers.arrow import (
    are_other_atoms,
    holds_elements,
    inner_type,
    is_text,
    length_of,
    numbers_of,
    positions_of,
    python_value,
    text_of,
)
from qmgen.molecules.readers.parquet_footer import RowGroup, row_groups
from qmgen.molecules.readers.text import Kept
from qmgen.molecules.stated_charge import stated_charge
from qmgen.molecules.types import EntryRefused, Failure, Molecule, Reason, failure, one_line, refused

_TEXTS: Final = ("smile", "name", "mapped_smiles")
_IDS: Final = ("molecule_id", "conformer_id")
#: columns whose texts are read as the comment of an XYZ frame is
_FREE_TEXTS: Final = ("info", "comment", "comments", "metadata", "properties")
#: what writers put where they state no unit
_NO_UNIT: Final = ("", "1", "none", "null")
_ROWS: Final = 1024
#: names in a path: members that lie deeper are not looked at
_DEEPEST: Final = 16
#: bytes of a name or a SMILES, beyond which it is none
_LONGEST_TEXT: Final = 2**16
#: the largest numbers that the columns of a corpus hold
_LARGEST: Final = {"molecule_id": 2**63 - 1, "conformer_id": 2**31 - 1}
#: characters of ``atoms`` an atom: a symbol, quotes, a comma, blanks
_CHARACTERS: Final = 16
#: up to so many values of a row group are decoded whatever they are; beyond, they must be plausible
_DECODED: Final = 2**24
#: values of ``pos`` in a byte before compression: coordinates take a bit at the very least, as do the ends of lists
_VALUES_IN_A_BYTE: Final = 64
#: bytes of a number or symbol in a list, levels included, and of a dictionary or a header beside them
_BYTES_OF_A_VALUE: Final = 64
_SLACK: Final = 2**20
#: bytes of a column of a row group, and how often more these are than in the file, beyond which it is no real data
_BYTES: Final = 2**27
_COMPRESSION: Final = 1000


@dataclass(frozen=True)
class _GeometryColumns:
    """The columns that are read (``elements`` is "z" or "atoms", ``compared`` "atoms" beside "z"), ``states``, paths
    of what may state a charge or multiplicity (a column, or a member of structures in one), and the ``unit`` of pos as
    far as it is stated."""

    elements: str
    compared: tuple[str, ...]
    others: tuple[str, ...]
    states: tuple[tuple[str, ...], ...]
    unit: str | None


def read_parquet(path: Path, kept: Kept | None = None) -> Iterator[Molecule | Failure]:
    """The rows of a ``.parquet`` file, in order, a batch of rows at a time.

    Raises ``UsageError`` when the file is no Parquet, is damaged, lacks the columns or has others under their names,
    states a unit that is not known, or states so many values that they cannot be molecules.
    """
    import pyarrow.parquet as pq

    kept = kept or Kept()
    with _reading(path, "is not a Parquet file"):
        schema = pq.read_schema(path)
    with _reading(path, "is damaged"):
        layout, stated = _layout(path, schema), row_groups(path)
        kept.require(path, schema.names, named=False)
        wanted: list[tuple[str, ...]] = [
            (column,)
            for column in dict.fromkeys((layout.elements, *layout.compared, "pos", *layout.others, *kept.columns))
        ]
        wanted += [state for state in layout.states if state[:1] not in wanted]
        columns = list(dict.fromkeys(first for first, *_ in wanted))
        for column in columns:
            _check_once(path, schema.names, column)
        # texts stay in their dictionaries: one of many rows, written once, is not multiplied in memory
        texts = [".".join(each) for each in wanted if is_text(_kind(schema, each))]
        source = pq.ParquetFile(path, page_checksum_verification=True, read_dictionary=texts)
    with source:
        place = 0
        for group, about in enumerate(stated):
            too_large, rows = _too_large(about, wanted, layout), about.rows
            if too_large and rows == 1:
                yield failure(place, "", "", Reason.UNREADABLE, f"row {place}: {too_large}")
                place += 1
                continue
            if too_large:
                raise UsageError(f"{path}: rows {place} to {place + rows - 1}: {too_large}; take the wrong rows out")
            with _reading(path, f"is damaged from row {place} on"):
                read = [".".join(each) for each in wanted]
                batches = source.iter_batches(batch_size=_ROWS, row_groups=[group], columns=read)
            while True:
                with _reading(path, f"is damaged from row {place} on"):
                    batch = next(batches, None)
                if batch is None:
                    break
                for at in range(len(batch)):
                    row = {name: batch.column(name)[at] for name in columns}
                    entry = _entry(place, row, layout)
                    if "mapped_smiles" in row:
                        entry = with_bonds(entry, text_of(row["mapped_smiles"]).strip())
                    yield kept.add(entry, {name: row[name].as_py() for name in kept.columns if name in row})
                    place += 1


@contextmanager
def _reading(path: Path, what: str) -> Iterator[None]:
    """What pyarrow raises on files that are no Parquet or damaged, as one line with ``what`` the file is."""
    import pyarrow as pa

    try:
        yield
    except UsageError:
        raise
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: a name of its columns is not UTF-8 ({one_line(error)}); rename it") from None
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise UsageError(f"{path} cannot be read: {error.strerror or error}") from None
        why = one_line(error) or type(error).__name__
        raise UsageError(f"{path} {what}: {why}; get it anew, or write it again") from None


def _layout(path: Path, schema: Any) -> _GeometryColumns:
    there = schema.names
    elements = next((column for column in ("z", "atoms") if column in there), None)
    if elements is None or "pos" not in there:
        wanted = "'z' or 'atoms'" if elements is None else "'pos'"
        raise UsageError(f"{path}: no column {wanted}; the columns are {one_line(', '.join(there), 1000)}")
    others = tuple(column for column in (*_TEXTS, *_IDS) if column in there)
    for column in (elements, "pos", *others):
        _check_once(path, there, column)
    _check_kinds(path, schema, elements)
    unit = _unit(schema)
    if unit is not None and unit_of_length(unit) is None:
        known = "Bohr, Angstrom, nm, pm"
        raise UsageError(f"{path}: column pos is in {one_line(unit)!r}, which is no known unit of length ({known})")
    compared = ("atoms",) if elements == "z" and "atoms" in there and holds_elements(schema.field("atoms").type) else ()
    taken = (elements, *compared, "pos", *others)
    for column in compared:
        _check_once(path, there, column)
    states = [state for state in _states(path, list(schema)) if state[0] not in taken]
    return _GeometryColumns(elements, compared, others, tuple(states), unit)


def _check_once(path: Path, there: list[str], column: str) -> None:
    if there.count(column) > 1:
        raise UsageError(f"{path}: there are {there.count(column)} columns {one_line(repr(column))}; leave one")


def _states(path: Path, fields: list[Any], before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The paths of columns, and of members in columns of structures, that may state a charge or multiplicity."""
    import pyarrow.types as kinds

    paths: list[tuple[str, ...]] = []
    for field in fields:
        here = (*before, field.name)
        inside: list[tuple[str, ...]] = []
        if names_charge(field.name) or _may_state(path, field, here):
            inside = [here]
        elif kinds.is_struct(field.type) and len(here) < _DEEPEST:
            inside = _states(path, list(field.type), here)
        if inside:
            _check_once(path, [".".join((*before, other.name)) for other in fields], ".".join(here))
        paths += inside
    return paths


def _may_state(path: Path, field: Any, here: tuple[str, ...]) -> bool:
    """Whether the values of a column may state a charge: texts of free form, maps, lists of structures."""
    import pyarrow.types as kinds

    if is_text(field.type):
        return field.name.lower() in _FREE_TEXTS
    kind = inner_type(field.type) or field.type
    if kinds.is_map(kind):
        return is_text(kind.key_type)
    listed = kind is not field.type and kinds.is_struct(kind) and len(here) < _DEEPEST
    return listed and bool(_states(path, list(kind), here))


def _kind(schema: Any, where: tuple[str, ...]) -> Any:
    """The type of the column, or of the member, at a path."""
    kind = schema.field(where[0]).type
    for name in where[1:]:
        kind = kind.field(name).type
    return kind


def _check_kinds(path: Path, schema: Any, elements: str) -> None:
    import pyarrow.types as kinds

    pos = schema.field("pos").type
    leaf = inner_type(inner_type(pos) or pos) or inner_type(pos)
    if leaf is None or not (kinds.is_floating(leaf) or kinds.is_integer(leaf) or kinds.is_decimal(leaf)):
        raise UsageError(f"{path}: column pos holds {one_line(pos)}, not lists of numbers, flat or three an atom")
    kind = schema.field(elements).type
    if not holds_elements(kind):
        raise UsageError(f"{path}: column {elements} holds {one_line(kind)}, not the elements of the atoms")


def _unit(schema: Any) -> str | None:
    """What the metadata of ``pos`` state as its unit, or those of its elements, or of the file as ``pos_unit``."""
    field = schema.field("pos")
    inner = field.type.value_field if inner_type(field.type) is not None else field
    for about, keys in ((field, ("unit", "units")), (inner, ("unit", "units")), (schema, ("pos_unit", "pos_units"))):
        metadata: Mapping[bytes, bytes] = about.metadata or {}
        for key, value in metadata.items():
            unit = value.decode(errors="replace").strip()
            if key.decode(errors="replace").casefold() in keys and unit.casefold() not in _NO_UNIT:
                return unit
    return None


def _too_large(group: RowGroup, wanted: list[tuple[str, ...]], layout: _GeometryColumns) -> str:
    """Why the ``wanted`` columns of a row group must not be decoded, from the counts that the file states; else ""."""
    values: dict[str, int] = {}
    for column in group.columns:
        name, count, whole = column.path[0] if column.path else "", column.values, column.bytes_whole
        if not _is_in(column.path, wanted):
            continue
        values[name] = count
        if whole > _BYTES and whole > _COMPRESSION * max(column.bytes_stored, 1):
            return f"column {name} has {whole} bytes, out of {column.bytes_stored} in the file"
        if len(column.path) > 1 and whole > _BYTES_OF_A_VALUE * count + _SLACK:
            return f"column {name} has {whole} bytes for {count} values"
        if count <= _DECODED or (name not in ("z", "atoms", "pos") and not _is_in(column.path, layout.states)):
            continue
        if count > (3 if name == "pos" else 1) * MOST_ATOMS * group.rows:
            return f"column {name} has {count} values in {group.rows} rows; up to {MOST_ATOMS} atoms are read"
        if name == "pos" and count > _VALUES_IN_A_BYTE * max(whole, 1):
            return f"column pos has {count} values in {whole} bytes: these are no coordinates"
    if values.get("pos", 0) > _DECODED and "z" in values and values["pos"] > 3 * values["z"]:
        return f"column pos has {values['pos']} values, column z {values['z']}: not three an atom"
    return ""


def _is_in(path: tuple[str, ...], these: Iterable[tuple[str, ...]]) -> bool:
    return any(path[: len(one)] == one for one in these)


def _entry(place: int, row: dict[str, Any], layout: _GeometryColumns) -> Molecule | Failure:
    for column in _TEXTS:
        if column in row and length_of(row[column]) > _LONGEST_TEXT:
            detail = f"row {place}: column {column} has more than {_LONGEST_TEXT} bytes"
            return failure(place, "", "", Reason.UNREADABLE, detail)
    name, smiles = (text_of(row[column]) if column in row else "" for column in ("name", "smile"))
    smiles = smiles.strip()
    ids = {"molecule_id": place, "conformer_id": 0}
    for column, largest in _LARGEST.items():
        value = row[column].as_py() if column in row else ids[column]
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= largest:
            detail = f"row {place}: {column} {value} is no whole number from 0 to {largest}"
            return failure(place, name, smiles, Reason.UNREADABLE, detail)
        ids[column] = value
    head = Molecule(ids["molecule_id"], name, smiles, conformer_id=ids["conformer_id"])

    def fail(reason: Reason, detail: str) -> Failure:
        return refused(head, reason, f"row {place}: {detail}")

    elements = row[layout.elements]
    listed = inner_type(elements.type) is not None
    if too_large := size_problem(max(length_of(elements) if listed else 0, -(-length_of(row["pos"]) // 3))):
        return fail(*too_large)
    if not listed and length_of(elements) > _CHARACTERS * MOST_ATOMS:
        detail = f"column {layout.elements} has {length_of(elements)} bytes, more than {MOST_ATOMS} atoms take"
        return fail(Reason.UNREADABLE, detail)
    try:
        numbers = numbers_of(elements)
    except (ValueError, TypeError) as error:
        return fail(Reason.UNREADABLE, f"column {layout.elements}: {error}")
    for column in layout.compared:
        if length_of(row[column]) <= _CHARACTERS * MOST_ATOMS and are_other_atoms(row[column], numbers):
            detail = f"columns {layout.elements} and {column} state different atoms; correct one, or leave it out"
            return fail(Reason.UNREADABLE, detail)
    try:
        given = positions_of(row["pos"], len(numbers))
    except (ValueError, TypeError) as error:
        return fail(Reason.BAD_COORDINATES, f"column pos: {error}")
    try:
        state = stated_charge(numbers, *(_statement(row, where) for where in layout.states))
    except EntryRefused as error:
        return fail(error.reason, str(error))
    short, apart = ("", "") if layout.unit else (f"row {place}: {_IF_SHORT}", f"row {place}: {_IF_APART}")
    positions = bohr_from(given, layout.unit or "Bohr")
    entry = from_geometry(head, numbers, positions, *state, as_given=True, if_short=short, if_apart=apart)
    if isinstance(entry, Failure):
        why, about_unit, _ = entry.detail.partition("check the unit")
        if entry.reason is not Reason.BAD_COORDINATES or not about_unit:
            return entry
        used = f"{layout.unit}, the unit that its metadata state" if layout.unit is not None else f"Bohr: {_STATE_UNIT}"
        return fail(Reason.BAD_COORDINATES, f"{why.rstrip(' ;:')}; pos is read in {used}")
    return entry


_STATE_UNIT: Final = "state its unit in the metadata of the field, as {'unit': 'Angstrom'}"
_IF_SHORT: Final = f"%s; pos is read in Bohr: {_STATE_UNIT}"
_IF_APART: Final = "%s; if pos is in Bohr, state it in the metadata of the field, as {'unit': 'Bohr'}"


def _stated(row: Mapping[str, Any], where: tuple[str, ...]) -> Any:
    """The value of a row at a path, in Python's types. Raises ``EntryRefused`` for a text that is too long."""
    value = row[where[0]]
    for name in where[1:]:
        if not value.is_valid:
            return None
        value = value[name]
    if length_of(value) > _LONGEST_TEXT and inner_type(value.type) is None:
        if not names_charge(where[-1]) and not re.search("charge|spin|mult", text_of(value), re.IGNORECASE):
            return None
        detail = f"column {'.'.join(where)} has more than {_LONGEST_TEXT} bytes"
        raise EntryRefused(Reason.UNREADABLE, detail)
    return python_value(value)


def _statement(row: Mapping[str, Any], where: tuple[str, ...]) -> XyzComment | dict[str, Any]:
    """What a row states at a path, for ``stated_charge``. A text under ``comment`` is read whole; of maps and lists of
    structures all values of a name are one list, as of the atoms."""
    value, name = _stated(row, where), where[-1]
    if names_charge(name):
        return {name: value}
    if isinstance(value, str):
        return parse_comment(value) if name.lower().startswith("comment") else {name: value}
    structures = value if isinstance(value, list) else [value]
    values: dict[str, list[Any]] = {}
    for key, item in (pair for one in structures if isinstance(one, dict) for pair in members(one)):
        if item is not None and (names_charge(key) or (name.lower() in _FREE_TEXTS and isinstance(item, str))):
            values.setdefault(key, []).append(item)
    return {key: items[0] if len(items) == 1 else items for key, items in values.items()}
