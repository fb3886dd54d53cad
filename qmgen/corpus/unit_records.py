"""The files of one work unit: how they are written, and whether they are still what was written.

Each file is written to a temporary place on the same file system, synchronized, and read back; only then are all
renamed, the failures file last: it commits the unit. It holds rows, bytes and SHA-256 of its companions; its own pages
carry checksums, and SHA256SUMS covers it too, where there is one. So damage is found with nothing but the unit's own
files. A killed process leaves temporaries, or whole files of a unit that is not committed and will be made again, with
the same bytes.

``duplicates.csv`` lists the names of entries of the source that were merged into an equal molecule before them. Each
unit states in its failures file those in its range of the source; the list over all units is made from these.
"""

from __future__ import annotations

import csv
import errno
import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qmgen.corpus.plan import FAILURES, Listing, Unit, siblings
from qmgen.corpus.schema import PREFIX, decode, failure_schema
from qmgen.corpus.seal import is_count
from qmgen.corpus.store import Place, Store, read_small, store_of
from qmgen.errors import QmgenError, first_line

DUPLICATES_FILE: Final = "duplicates.csv"
#: the key within the metadata ``unit`` of a failures file
DUPLICATES_KEY: Final = "duplicates"
#: place of the entry in the source, its name, and the molecule_id of the rows that it was merged into
DUPLICATES_COLUMNS: Final = ("molecule_id", "name", "merged_into")


def stated_duplicates(unit: Mapping[str, Any]) -> list[list[Any]]:
    """The duplicates that the metadata of a unit state. Raises ``ValueError`` where they are none."""
    found = unit.get(DUPLICATES_KEY, [])
    if isinstance(found, list) and all(
        isinstance(one, list) and [type(x) for x in one] == [int, str, int] for one in found
    ):
        return found
    raise ValueError("duplicates are not listed as numbers and names")


def duplicates_text(store: Store, failures: Iterable[str]) -> bytes:
    """The list, from the failures files of these names, in this order."""
    stream = StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(DUPLICATES_COLUMNS)
    for name in failures:
        writer.writerows(
            stated_duplicates(decode(pq.ParquetFile(store.open(name)).schema_arrow.metadata).get("unit", {}))
        )
    return stream.getvalue().encode("utf-8", "replace")


#: metadata of a failures file: the records of its companions
FILES: Final = "files"


@dataclass(frozen=True)
class FileRecord:
    """One finished file: its name within the corpus, rows, the molecules in them, bytes, and SHA-256 (hexadecimal)."""

    name: str
    rows: int
    molecules: int
    bytes: int
    sha256: str


def write_unit(
    place: Place | Store,
    unit: Unit,
    tables: Mapping[str, pa.Table],
    on_stage: Callable[[str], None] = lambda stage: None,
) -> list[FileRecord]:
    """Write the files of ``unit``: ``tables`` holds one table per split, and ``failures``.

    Returns their records in the order of ``unit.files()``. ``on_stage`` is called with "write", then with "commit".
    Raises ``QmgenError`` when the store refuses, or what was read back differs from what was written; then the unit is
    not committed, and nothing stands under a final name that is not whole.
    """
    names = unit.files()
    if tables.keys() != names.keys():
        raise ValueError(f"a unit needs the tables {sorted(names)}, not {sorted(tables)}")
    store = store_of(place)
    try:
        with store.workspace() as nest:
            on_stage("write")
            records = [_write(nest, name, tables[kind]) for kind, name in names.items() if kind != FAILURES]
            records.append(_write(nest, names[FAILURES], with_records(tables[FAILURES], records)))
            on_stage("commit")
            for record in records:
                store.put(record.name, nest / Path(record.name).name)
    except OSError as error:
        raise QmgenError(
            f"cannot write to {store.place}: {error.strerror or error}; the unit was not kept, make room or choose "
            "another --out, and run again"
        ) from error
    return records


def with_records(failures: pa.Table, records: list[FileRecord]) -> pa.Table:
    """The table with the records of its companions in its metadata."""
    about = json.dumps({r.name: {k: v for k, v in asdict(r).items() if k != "name"} for r in records})
    return failures.replace_schema_metadata({**(failures.schema.metadata or {}), f"{PREFIX}{FILES}": about})


def write_table(table: pa.Table, target: Path | pa.NativeFile) -> None:
    """Parquet as this project writes it: zstd-3, floats split by byte stream, dictionaries for strings only, and a
    checksum for every page. A table without rows becomes a file without row groups."""
    # A list column is addressed by the path of its elements: plain "pos" would be ignored without a word.
    paths = {f.name: f"{f.name}.list.element" if pa.types.is_list(f.type) else f.name for f in table.schema}
    kinds = {f.name: f.type.value_type if pa.types.is_list(f.type) else f.type for f in table.schema}
    with pq.ParquetWriter(
        target,
        table.schema,
        compression="zstd",
        compression_level=3,
        write_page_checksum=True,
        use_dictionary=[paths[name] for name, kind in kinds.items() if pa.types.is_string(kind)],
        column_encoding={paths[n]: "BYTE_STREAM_SPLIT" for n, kind in kinds.items() if pa.types.is_floating(kind)},
    ) as writer:
        if table.num_rows:  # Hugging Face's `datasets` cannot read a row group of 0 rows
            writer.write_table(table)


def digest(source: Path | pa.NativeFile) -> str:
    """SHA-256 of a file, hexadecimal, read in pieces."""
    total = sha256()
    with source.open("rb") if isinstance(source, Path) else source as stream:
        while piece := stream.read(1 << 20):
            total.update(piece)
    return total.hexdigest()


def _write(nest: Path, name: str, table: pa.Table) -> FileRecord:
    path = nest / Path(name).name
    with path.open("wb") as stream:
        write_table(table, stream)
        stream.flush()
        os.fsync(stream.fileno())
    back = pq.read_table(path, page_checksum_verification=True)
    if not back.schema.equals(table.schema, check_metadata=True) or not back.equals(table):
        raise QmgenError(f"{name}: what was read back differs from what was written; check the disk, then run again")
    molecules = len(np.unique(table["molecule_id"].to_numpy()))
    return FileRecord(name, table.num_rows, molecules, path.stat().st_size, digest(path))


SUMS = "SHA256SUMS"
#: what pyarrow raises on a damaged file: sometimes MemoryError for a size that was never written, or its own kinds
UNREADABLE = (OSError, ValueError, TypeError, KeyError, MemoryError, pa.ArrowException)


class DamagedUnit(Exception):
    """A file is not what was written; the message names it and says in which way."""


@dataclass(frozen=True)
class UnitRecord:
    """Of one unit: ``entries`` of the source, ``merged`` duplicates, ``pruned`` conformers, failures by reason, the
    records of its data files by split, that of the failures file, and the decoded metadata of the latter.

    Of a unit that was added to a finished corpus also: ``retried``, the earlier failures that it has decided, by
    reason; ``again``, how many molecules of each split have rows in earlier revisions. ``named_duplicates`` counts
    the merged entries that the failures file lists by name."""

    entries: int
    merged: int
    pruned: int
    reasons: Mapping[str, int]
    data: Mapping[str, FileRecord]
    failures: FileRecord
    metadata: Mapping[str, Any]
    retried: Mapping[str, int] = field(default_factory=dict)
    again: Mapping[str, int] = field(default_factory=dict)
    named_duplicates: int = 0

    @property
    def records(self) -> list[FileRecord]:
        """All files of the unit, failures last."""
        return [*self.data.values(), self.failures]


def unit_record_of(store: Store, failures: str) -> UnitRecord:
    """The record in a failures file. Raises ``DamagedUnit`` where it is unreadable, ``OSError`` as the store does."""
    try:
        content = read_small(store, failures)
    except OSError as error:
        if error.errno in (errno.EFBIG, errno.EINVAL, errno.EISDIR):
            raise DamagedUnit(f"{failures} cannot be read ({error.strerror})") from error
        raise
    try:
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        table, metadata = file.read(), decode(file.schema_arrow.metadata)
    except UNREADABLE as error:
        raise DamagedUnit(f"{failures} cannot be read ({first_line(error)})") from error
    if not _agree(file):
        raise DamagedUnit(f"{failures} contradicts itself (the metadata of the file and those of its schema differ)")
    if not table.schema.remove_metadata().equals(failure_schema().remove_metadata()):
        raise DamagedUnit(f"{failures} has other columns than a failures file")
    for name in ("recipe", "level_of_theory", "constants"):
        if not isinstance(metadata.get(name, {}), dict):
            raise DamagedUnit(f"{failures} holds no table {name}")
    unit = unit_in(metadata, failures)
    try:
        duplicates = len(stated_duplicates(unit))
    except ValueError as error:
        raise DamagedUnit(f"{failures}: {error}") from error
    unit.pop(DUPLICATES_KEY, None)  # there may be many, and they are not needed here
    molecules = len(np.unique(table["molecule_id"].to_numpy()))
    own = FileRecord(failures, table.num_rows, molecules, len(content), sha256(content).hexdigest())
    names = {kind: name for kind, name in siblings(failures).items() if kind != FAILURES}
    known = metadata.get(FILES)
    try:
        data = {
            kind: _record(name, known[name]) if known is not None else _measured(store, name)
            for kind, name in names.items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise DamagedUnit(f"{failures} does not say what its companions are ({first_line(error)})") from error
    return UnitRecord(
        entries=unit.get("entries", 0),
        merged=unit.get("merged", 0),
        pruned=unit.get("pruned", 0),
        reasons=Counter(table["reason"].to_pylist()),
        data=data,
        failures=own,
        metadata=metadata,
        retried=Counter(reason for _, _, reason in unit.get("decided", [])),
        again=unit.get("again", {}),
        named_duplicates=duplicates,
    )


def unit_in(metadata: Mapping[str, Any], failures: str) -> dict[str, Any]:
    """What the decoded ``metadata`` of a failures file say of its unit. Raises ``DamagedUnit`` for what no unit has."""
    unit = metadata.get("unit", {})
    if isinstance(unit, dict):
        decided, again = unit.get("decided", []), unit.get("again", {})
        counts = all(is_count(unit.get(name, 0)) for name in ("entries", "merged", "pruned"))
        keys = isinstance(decided, list) and all(
            isinstance(key, list) and [*map(type, key)] == [int, int, str] for key in decided
        )
        if counts and keys and isinstance(again, dict) and all(map(is_count, again.values())):
            return unit
    raise DamagedUnit(f"{failures} does not say what its unit holds")


def _record(name: str, known: Mapping[str, Any]) -> FileRecord:
    """The record of a companion. Raises ``TypeError`` for what is none."""
    found = FileRecord(name, **known)
    if not all(map(is_count, (found.rows, found.molecules, found.bytes))) or not isinstance(found.sha256, str):
        raise TypeError("wrong types or sizes")
    return found


def damage_of(store: Store, listing: Listing, failures: str, sums: Mapping[str, Collection[str]]) -> Iterator[str]:
    """What is wrong with the files of a committed unit, a sentence each; nothing where they are what was written.

    ``sums`` are the checksums that failures files may have, by SHA256SUMS (``sums_of``) or the records of runs; one of
    which nothing is known there may have any. Every byte is read.
    """
    try:
        record = unit_record_of(store, failures)
    except DamagedUnit as damaged:
        yield str(damaged)
        return
    except FileNotFoundError:  # another process has found it damaged first
        yield f"{failures} is missing"
        return
    if record.failures.sha256 not in sums.get(failures, (record.failures.sha256,)):
        yield f"{failures} is not what was written (its checksum differs)"
    for file in record.data.values():
        size = listing.sizes.get(file.name)
        checksum = digest(store.open(file.name)) if size == file.bytes else ""
        if what := damage_of_file(file, size, checksum):
            yield f"{file.name} {what}"


def damage_of_file(written: FileRecord, size: int | None, checksum: str) -> str:
    """What is wrong with a file of ``size`` bytes (None: there is none) and this SHA-256, which is looked at only where
    the size is right; "" where it is what was ``written``."""
    if size is None:
        return "is missing"
    if size != written.bytes:
        return f"has {size} bytes instead of {written.bytes}"
    return "" if checksum == written.sha256 else "is not what was written (its checksum differs)"


def sums_of(store: Store) -> dict[str, str]:
    """Checksums by name out of SHA256SUMS; {} without one."""
    try:
        text = read_small(store, SUMS).decode("ascii", "replace")
    except FileNotFoundError:
        return {}
    except OSError as error:
        if error.errno == errno.EFBIG:  # no list of checksums; an inspection says so
            return {}
        raise
    pairs = (line.split("  ", 1) for line in text.splitlines() if "  " in line)
    return {name: digest for digest, name in pairs}


def _agree(file: pq.ParquetFile) -> bool:
    """A footer has no checksum, but it holds the metadata of the unit twice: by itself, and within Arrow's schema."""
    plain = {key: value for key, value in (file.metadata.metadata or {}).items() if key != b"ARROW:schema"}
    return plain == dict(file.schema_arrow.metadata or {})


def _measured(store: Store, name: str) -> FileRecord:
    """The record of a file from before failures files held them."""
    try:
        ids = pq.ParquetFile(store.open(name)).read(columns=["molecule_id"])["molecule_id"].to_numpy()
        content = digest(store.open(name))
        with store.open(name) as stream:
            size = int(stream.size())
    except FileNotFoundError:
        raise DamagedUnit(f"{name} is missing") from None
    except UNREADABLE as error:
        raise DamagedUnit(f"{name} cannot be read ({first_line(error)})") from error
    return FileRecord(name, len(ids), len(np.unique(ids)), size, content)
