"""Whether the files of one finished unit are what was written, and whether that was right.

Every file is read once: its bytes are compared with the checksums, then decoded, and the rows are looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from qmgen.corpus.books import SUMS, UNREADABLE, DamagedUnit, UnitRecord, unit_record_of
from qmgen.corpus.columns import KNOWN_VERSIONS, SCHEMA_VERSION, faults
from qmgen.corpus.findings import DAMAGE, GENERATE, MERGE, STALE, VerificationIssue, anew
from qmgen.corpus.identity import config_hash
from qmgen.corpus.listing import Key, siblings
from qmgen.corpus.plan import FAILURES, Unit
from qmgen.corpus.schema import canonical_json, decode, row_schema
from qmgen.corpus.shard import FILES
from qmgen.corpus.store import Store
from qmgen.errors import first_line

#: metadata of failures files alone
_OWN: Final = frozenset({FILES, "unit"})
#: says of a failure that it is the second entry of a key, which belongs to the first
TWICE: Final = "stands twice"


@dataclass(frozen=True)
class Checksums:
    """SHA-256 by name: what SHA256SUMS lists, and what the records of runs say of failures files, each run its own."""

    listed: Mapping[str, str]
    recorded: Mapping[str, frozenset[str]]


@dataclass
class UnitKeys:
    """Of the rows and failures of a unit: ``molecules``, ``conformers``, and whether it ``failed``, (n,) each."""

    molecules: np.ndarray
    conformers: np.ndarray
    failed: np.ndarray


@dataclass
class UnitCheck:
    """What was found in a unit; ``low`` and ``high`` are its first and last molecule (None where it has none), and
    ``common`` the metadata that all its files share, as text."""

    key: Key
    failures: str
    findings: list[VerificationIssue] = field(default_factory=list)
    book: UnitRecord | None = None
    low: int | None = None
    high: int | None = None
    keys: int = 0
    common: str | None = None
    bytes: int = 0


def check_unit(store: Store, key: Key, failures: str, sums: Checksums, expected: Unit | None) -> UnitCheck:
    """Check the files of the unit that ``failures`` commits; ``expected`` where the plan is known.

    Raises ``OSError`` where the store refuses to be read for another reason than a missing file.
    """
    found = UnitCheck(key, failures)
    try:
        book = unit_record_of(store, failures)
    except (DamagedUnit, FileNotFoundError) as damaged:
        what = str(damaged).removeprefix(f"{failures} ") if isinstance(damaged, DamagedUnit) else "is missing"
        found.findings.append(VerificationIssue(DAMAGE, failures, what, GENERATE))
        return found
    found.book = book
    found.bytes = book.failures.bytes
    found.findings.extend(_failures_file(book, sums, expected))
    found.common = _common(book.metadata)
    parts = [_failure_keys(store, failures)]
    for record in book.data.values():
        try:
            with store.open(record.name) as stream:
                size = int(stream.size())
            content = store.read(record.name) if size == record.bytes else None
        except FileNotFoundError:
            found.findings.append(VerificationIssue(DAMAGE, record.name, "is missing", GENERATE))
            continue
        found.bytes += size
        if content is None:
            what = f"has {size} bytes instead of {record.bytes}"
            found.findings.append(VerificationIssue(DAMAGE, record.name, what, GENERATE))
        elif sha256(content).hexdigest() != record.sha256:
            what = "is not what was written (its checksum differs)"
            found.findings.append(VerificationIssue(DAMAGE, record.name, what, GENERATE))
        else:
            if sums.listed.get(record.name, record.sha256) != record.sha256:
                found.findings.append(VerificationIssue(STALE, SUMS, f"has another checksum for {record.name}", MERGE))
            parts.append(_data_file(content, record.name, record.rows, found, failures))
    _keys_of_unit(parts, found)
    return found


def read_keys(store: Store, failures: str) -> UnitKeys:
    """The keys of a unit; a file that cannot be read counts for nothing. A failure that only says that its key is taken
    by another entry is left out."""
    parts = [_failure_keys(store, failures)]
    for kind, name in siblings(failures).items():
        if kind != FAILURES:
            try:
                parts.append(_row_keys(pq.read_table(pa.BufferReader(store.read(name)), columns=_KEY)))
            except UNREADABLE:
                continue
    return _joined(parts)


_KEY: Final = ["molecule_id", "conformer_id"]


def _failures_file(book: UnitRecord, sums: Checksums, expected: Unit | None) -> Iterator[VerificationIssue]:
    name, content = book.failures.name, book.failures.sha256
    listed, recorded = sums.listed.get(name), sums.recorded.get(name, frozenset())
    if listed is not None and listed != content:
        if content in recorded:
            yield VerificationIssue(STALE, SUMS, f"has another checksum for {name} than the run that wrote it", MERGE)
        else:
            yield VerificationIssue(DAMAGE, name, f"is not what {SUMS} says", GENERATE)
    elif listed is None and recorded and content not in recorded:
        yield VerificationIssue(DAMAGE, name, "is not what the record of its run in runs/ says", GENERATE)
    # how much a part of an enumeration holds it alone says; and what was added counts no entry that was there
    planned = 0 if expected is None or expected.part or expected.revision else expected.end - expected.start
    if expected is not None and planned > 0 and book.entries != planned:
        what = f"accounts for {book.entries} entries instead of {expected.end - expected.start}"
        yield VerificationIssue(DAMAGE, name, what, anew(name))
    version = book.metadata.get("schema_version", SCHEMA_VERSION)
    if version not in KNOWN_VERSIONS:
        what = f"is of version {version} of the format; this qmgen knows {' and '.join(map(str, KNOWN_VERSIONS))}"
        yield VerificationIssue(DAMAGE, name, what, "use the version of qmgen that wrote it")
    recipe = book.metadata.get("recipe")
    if isinstance(recipe, dict) and config_hash(recipe) != book.metadata.get("config_hash"):
        yield VerificationIssue(
            DAMAGE, name, "holds a recipe that is not the one of its configuration hash", anew(name)
        )


def _data_file(content: bytes, name: str, rows: int, found: UnitCheck, failures: str) -> UnitKeys:
    def wrong(what: str, todo: str = "") -> None:
        found.findings.append(VerificationIssue(DAMAGE, name, what, todo or anew(failures)))

    try:
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        table, metadata = file.read(), decode(file.schema_arrow.metadata)
    except UNREADABLE as error:
        wrong(f"cannot be read ({first_line(error)})")
        return _NONE
    # which columns there are follows from the recipe, which the failures file has too
    known = metadata if metadata.get("schema_version") in KNOWN_VERSIONS else {}
    schemas = (row_schema(known, forces=forces).remove_metadata() for forces in (False, True))
    if not any(table.schema.remove_metadata().equals(schema) for schema in schemas):
        wrong("has other columns, types or nullability than rows have")
        return _NONE
    if table.num_rows != rows:
        wrong(f"holds {table.num_rows} rows instead of the {rows} that {failures} says")
    if _common(metadata) != found.common:
        wrong(f"was made with other settings than {failures}")
    for what in faults(table):
        wrong(what)
    return _row_keys(table)


def _keys_of_unit(parts: list[UnitKeys], found: UnitCheck) -> None:
    """Doubled keys within the unit, and its range of molecules."""
    keys = _joined(parts)
    found.keys = len(keys.molecules)
    if not found.keys:
        return
    found.low, found.high = int(keys.molecules.min()), int(keys.molecules.max())
    counts = Counter(zip(keys.molecules[~keys.failed].tolist(), keys.conformers[~keys.failed].tolist()))
    doubled = sorted(key for key, count in counts.items() if count > 1)
    if doubled:
        found.findings.append(
            VerificationIssue(DAMAGE, found.failures, _doubled(doubled, "twice"), anew(found.failures))
        )
    failed = zip(keys.molecules[keys.failed].tolist(), keys.conformers[keys.failed].tolist())
    both = sorted(counts.keys() & set(failed))
    if both:
        what = _doubled(both, "both as row and as failure")
        found.findings.append(VerificationIssue(DAMAGE, found.failures, what, anew(found.failures)))


def _doubled(keys: list[tuple[int, int]], how: str) -> str:
    molecule, conformer = keys[0]
    more = f" (and {len(keys) - 1} more)" if len(keys) > 1 else ""
    return f"molecule {molecule}, conformer {conformer}{more} stands {how}"


def _failure_keys(store: Store, failures: str) -> UnitKeys:
    try:
        table = pq.read_table(pa.BufferReader(store.read(failures)), columns=[*_KEY, "detail"])
    except UNREADABLE:
        return _NONE
    table = table.filter(pc.invert(pc.match_substring(table["detail"], TWICE)))
    return _row_keys(table, failed=True)


def _row_keys(table: pa.Table, failed: bool = False) -> UnitKeys:
    molecules, conformers = table["molecule_id"].to_numpy(), table["conformer_id"].to_numpy()
    return UnitKeys(molecules, conformers, np.full(len(molecules), failed))


def _joined(parts: list[UnitKeys]) -> UnitKeys:
    return UnitKeys(
        np.concatenate([part.molecules for part in parts]),
        np.concatenate([part.conformers for part in parts]),
        np.concatenate([part.failed for part in parts]),
    )


_NONE: Final = UnitKeys(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, bool))


def _common(metadata: Mapping[str, Any]) -> str:
    return canonical_json({key: value for key, value in metadata.items() if key not in _OWN})
