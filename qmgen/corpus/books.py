"""What a finished unit says of itself, and whether its files are still what was written.

The failures file, which commits a unit, holds rows, bytes and SHA-256 of its companions; its own pages carry checksums,
and SHA256SUMS covers it too, where there is one. So damage is found with nothing but the unit's own files.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qmgen.corpus.duplicates import KEY, stated_in
from qmgen.corpus.listing import Listing, siblings
from qmgen.corpus.plan import FAILURES
from qmgen.corpus.record_values import is_count
from qmgen.corpus.schema import decode, failure_schema
from qmgen.corpus.shard import FILES, FileRecord, digest
from qmgen.corpus.store import Store, read_small
from qmgen.errors import first_line

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
    reason; ``again``, how many molecules of each split have rows in earlier generations. ``named_duplicates`` counts
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
    """The book in a failures file. Raises ``Damaged`` where it cannot be read, ``OSError`` where the store refuses."""
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
        duplicates = len(stated_in(unit))
    except ValueError as error:
        raise DamagedUnit(f"{failures}: {error}") from error
    unit.pop(KEY, None)  # there may be many, and nobody needs them here
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
    """What the decoded ``metadata`` of a failures file say of its unit. Raises ``Damaged`` for what no unit has."""
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
        book = unit_record_of(store, failures)
    except DamagedUnit as damaged:
        yield str(damaged)
        return
    except FileNotFoundError:  # another process has found it damaged first
        yield f"{failures} is missing"
        return
    if book.failures.sha256 not in sums.get(failures, (book.failures.sha256,)):
        yield f"{failures} is not what was written (its checksum differs)"
    for record in book.data.values():
        size = listing.sizes.get(record.name)
        if size is None:
            yield f"{record.name} is missing"
        elif size != record.bytes:
            yield f"{record.name} has {size} bytes instead of {record.bytes}"
        elif digest(store.open(record.name)) != record.sha256:
            yield f"{record.name} is not what was written (its checksum differs)"


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
    """A footer has no checksum, but it holds what we say of the unit twice: by itself, and within Arrow's schema."""
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
