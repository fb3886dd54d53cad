"""Verification of work units: whether their files are what was written, and whether rows and keys are right.

Every file is read once: its bytes are compared with the checksums, then decoded, and the rows are checked. Of each unit
the range of its molecules is kept. Where no ranges overlap, as in any corpus made from a list of molecules, no key can
be in two units and nothing more is read; else the keys of units that overlap are compared in windows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from qmgen.corpus.columns import KNOWN_VERSIONS, SCHEMA_VERSION, faults
from qmgen.corpus.identity import config_hash
from qmgen.corpus.plan import FAILURES, Unit, UnitKey, siblings
from qmgen.corpus.schema import canonical_json, decode, row_schema
from qmgen.corpus.store import Store
from qmgen.corpus.unit_records import FILES, SUMS, UNREADABLE, DamagedUnit, UnitRecord, damage_of_file, unit_record_of
from qmgen.errors import first_line, one_line

#: rows are wrong, lost or doubled · what describes the corpus is lost or out of date · no harm
DAMAGE, STALE, NOTE = "damage", "stale", "note"

#: what mends a file that is not what was written
GENERATE: Final = "run the same `qmgen generate` again, which makes this work unit anew"
MERGE: Final = "run `qmgen merge` on the corpus, which writes it anew"


@dataclass(frozen=True)
class VerificationIssue:
    """``severity`` is one of those above; ``file`` a name within the corpus; ``todo`` is empty where nothing is."""

    severity: str
    file: str
    what: str
    todo: str = ""

    def text(self) -> str:
        """One line."""
        return one_line(f"{self.severity}: {self.file}: {self.what}" + (f"; {self.todo}" if self.todo else ""))


def anew(failures: str) -> str:
    """What to do with a unit whose files are as they were written, and wrong: nothing else would make it again."""
    return f"remove {failures} and run the same `qmgen generate` again"


#: metadata of failures files alone
_OWN: Final = frozenset({FILES, "unit"})
#: says of a failure that it is the second entry of a key, which belongs to the first
TWICE: Final = "stands twice"


@dataclass
class RowKeys:
    """Of the rows and failures of a unit: ``molecules``, ``conformers``, and whether it ``failed``, (n,) each."""

    molecules: np.ndarray
    conformers: np.ndarray
    failed: np.ndarray


@dataclass
class UnitCheck:
    """What was found in a unit; ``low`` and ``high`` are its first and last molecule (None where it has none), and
    ``common`` the metadata that all its files share, as text."""

    key: UnitKey
    failures: str
    issues: list[VerificationIssue] = field(default_factory=list)
    unit_record: UnitRecord | None = None
    low: int | None = None
    high: int | None = None
    keys: int = 0
    common: str | None = None
    bytes: int = 0


def check_unit(
    store: Store,
    key: UnitKey,
    failures: str,
    listed: Mapping[str, str],
    recorded: Mapping[str, frozenset[str]],
    expected: Unit | None,
) -> UnitCheck:
    """Check the files of the unit that ``failures`` commits; ``expected`` where the plan is known.

    SHA-256 by name: ``listed`` those of SHA256SUMS, ``recorded`` those of failures files in the records of runs.
    Raises ``OSError`` where the store refuses to be read for another reason than a missing file.
    """
    found = UnitCheck(key, failures)
    try:
        unit_record = unit_record_of(store, failures)
    except (DamagedUnit, FileNotFoundError) as damaged:
        what = str(damaged).removeprefix(f"{failures} ") if isinstance(damaged, DamagedUnit) else "is missing"
        found.issues.append(VerificationIssue(DAMAGE, failures, what, GENERATE))
        return found
    found.unit_record = unit_record
    found.bytes = unit_record.failures.bytes
    found.issues.extend(_failures_file(unit_record, listed, recorded, expected))
    found.common = _common(unit_record.metadata)
    parts = [_failure_keys(store, failures)]
    for record in unit_record.data.values():
        try:
            with store.open(record.name) as stream:
                size: int | None = int(stream.size())
            content = store.read(record.name) if size == record.bytes else b""
        except FileNotFoundError:
            size, content = None, b""
        found.bytes += size or 0
        if what := damage_of_file(record, size, sha256(content).hexdigest()):
            found.issues.append(VerificationIssue(DAMAGE, record.name, what, GENERATE))
        else:
            if listed.get(record.name, record.sha256) != record.sha256:
                found.issues.append(VerificationIssue(STALE, SUMS, f"has another checksum for {record.name}", MERGE))
            parts.append(_data_file(content, record.name, record.rows, found, failures))
    _keys_of_unit(parts, found)
    return found


def read_keys(store: Store, failures: str) -> RowKeys:
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


def _failures_file(
    unit_record: UnitRecord, listed: Mapping[str, str], recorded: Mapping[str, frozenset[str]], expected: Unit | None
) -> Iterator[VerificationIssue]:
    name, content = unit_record.failures.name, unit_record.failures.sha256
    in_sums, in_records = listed.get(name), recorded.get(name, frozenset())
    if in_sums is not None and in_sums != content:
        if content in in_records:
            yield VerificationIssue(STALE, SUMS, f"has another checksum for {name} than the run that wrote it", MERGE)
        else:
            yield VerificationIssue(DAMAGE, name, f"is not what {SUMS} says", GENERATE)
    elif in_sums is None and in_records and content not in in_records:
        yield VerificationIssue(DAMAGE, name, "is not what the record of its run in runs/ says", GENERATE)
    # how much a part of an enumeration holds it alone says; and what was added counts no entry that was there
    planned = 0 if expected is None or expected.part or expected.revision else expected.end - expected.start
    if expected is not None and planned > 0 and unit_record.entries != planned:
        what = f"accounts for {unit_record.entries} entries instead of {expected.end - expected.start}"
        yield VerificationIssue(DAMAGE, name, what, anew(name))
    version = unit_record.metadata.get("schema_version", SCHEMA_VERSION)
    if version not in KNOWN_VERSIONS:
        what = f"is of version {version} of the format; this qmgen knows {', '.join(map(str, KNOWN_VERSIONS))}"
        yield VerificationIssue(DAMAGE, name, what, "use the version of qmgen that wrote it")
    recipe = unit_record.metadata.get("recipe")
    if isinstance(recipe, dict) and config_hash(recipe) != unit_record.metadata.get("config_hash"):
        yield VerificationIssue(
            DAMAGE, name, "holds a recipe that is not the one of its configuration hash", anew(name)
        )


def _data_file(content: bytes, name: str, rows: int, found: UnitCheck, failures: str) -> RowKeys:
    def wrong(what: str, todo: str = "") -> None:
        found.issues.append(VerificationIssue(DAMAGE, name, what, todo or anew(failures)))

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


def _keys_of_unit(parts: list[RowKeys], found: UnitCheck) -> None:
    """Doubled keys within the unit, and its range of molecules."""
    keys = _joined(parts)
    found.keys = len(keys.molecules)
    if not found.keys:
        return
    found.low, found.high = int(keys.molecules.min()), int(keys.molecules.max())
    counts = Counter(zip(keys.molecules[~keys.failed].tolist(), keys.conformers[~keys.failed].tolist()))
    doubled = sorted(key for key, count in counts.items() if count > 1)
    if doubled:
        found.issues.append(VerificationIssue(DAMAGE, found.failures, _doubled(doubled, "twice"), anew(found.failures)))
    failed = zip(keys.molecules[keys.failed].tolist(), keys.conformers[keys.failed].tolist())
    both = sorted(counts.keys() & set(failed))
    if both:
        what = _doubled(both, "both as row and as failure")
        found.issues.append(VerificationIssue(DAMAGE, found.failures, what, anew(found.failures)))


def _doubled(keys: list[tuple[int, int]], how: str) -> str:
    molecule, conformer = keys[0]
    more = f" (and {len(keys) - 1} more)" if len(keys) > 1 else ""
    return f"molecule {molecule}, conformer {conformer}{more} stands {how}"


def _failure_keys(store: Store, failures: str) -> RowKeys:
    try:
        table = pq.read_table(pa.BufferReader(store.read(failures)), columns=[*_KEY, "detail"])
    except UNREADABLE:
        return _NONE
    table = table.filter(pc.invert(pc.match_substring(table["detail"], TWICE)))
    return _row_keys(table, failed=True)


def _row_keys(table: pa.Table, failed: bool = False) -> RowKeys:
    molecules, conformers = table["molecule_id"].to_numpy(), table["conformer_id"].to_numpy()
    return RowKeys(molecules, conformers, np.full(len(molecules), failed))


def _joined(parts: list[RowKeys]) -> RowKeys:
    return RowKeys(
        np.concatenate([part.molecules for part in parts]),
        np.concatenate([part.conformers for part in parts]),
        np.concatenate([part.failed for part in parts]),
    )


_NONE: Final = RowKeys(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, bool))


def _common(metadata: Mapping[str, Any]) -> str:
    return canonical_json({key: value for key, value in metadata.items() if key not in _OWN})


#: keys that are compared at once: some 100 bytes each
WINDOW: Final = 2_000_000


def doubled_keys(store: Store, units: Sequence[UnitCheck], window: int = WINDOW) -> Iterator[VerificationIssue]:
    """One issue for each pair of units that share keys of rows, or a row of one and a failure of the other.

    A row of a later revision may stand beside the failure of an earlier one, which it makes good.
    """
    for cluster in clusters(units):
        total = sum(unit.keys for unit in cluster)
        low, high = min(_low(unit) for unit in cluster), max(_high(unit) for unit in cluster)
        pieces = min(-(-total // window), high - low + 1)
        bounds = [low + (high - low + 1) * piece // pieces for piece in range(pieces + 1)]
        pairs: dict[tuple[str, str, str], list[tuple[int, int]]] = {}
        for begin, end in pairwise(bounds):
            inside = [unit for unit in cluster if _low(unit) < end and _high(unit) >= begin]
            for how, one, other, key in _shared(store, inside, begin, end):
                pairs.setdefault((how, one.failures, other.failures), []).append(key)
        for (how, first, second), keys in sorted(pairs.items()):
            molecule, conformer = min(keys)
            more = f" (and {len(keys) - 1} more)" if len(keys) > 1 else ""
            what = f"molecule {molecule}, conformer {conformer}{more} {how} {second}"
            todo = f"remove {first} and {second} and run the same `qmgen generate` again"
            yield VerificationIssue(DAMAGE, first, what, todo)


def clusters(units: Sequence[UnitCheck]) -> Iterator[list[UnitCheck]]:
    """Groups of two and more units whose ranges of molecules overlap, directly or by way of others."""
    group: list[UnitCheck] = []
    end = -1
    for unit in sorted((unit for unit in units if unit.low is not None), key=lambda unit: (_low(unit), unit.key)):
        if group and _low(unit) > end:
            if len(group) > 1:
                yield group
            group = []
        group.append(unit)
        end = max(end, _high(unit)) if len(group) > 1 else _high(unit)
    if len(group) > 1:
        yield group


def _shared(
    store: Store, units: list[UnitCheck], begin: int, end: int
) -> Iterator[tuple[str, UnitCheck, UnitCheck, tuple[int, int]]]:
    parts = []
    for number, unit in enumerate(units):
        keys = read_keys(store, unit.failures)
        here = (keys.molecules >= begin) & (keys.molecules < end)
        owner = np.full(int(here.sum()), number, np.int32)
        parts.append((keys.molecules[here], keys.conformers[here], keys.failed[here], owner))
    if not parts:
        return
    molecules, conformers, failed, owner = (np.concatenate(columns) for columns in zip(*parts))
    revision = np.array([unit.key[0] for unit in units])[owner]
    # rows of any revision: the key alone; a row and a failure: within one revision
    for how, chosen, leading in (
        ("stands also in", np.flatnonzero(~failed), np.zeros(len(owner), int)),
        ("is a row here and a failure in", np.arange(len(owner)), revision),
    ):
        columns = (owner, failed, conformers, molecules, leading)
        order = chosen[np.lexsort([column[chosen] for column in columns])]
        a, b = order[:-1], order[1:]
        equal = [column[a] == column[b] for column in (conformers, molecules, leading)]
        kinds = [~failed[a], failed[b] == (leading is revision)]  # rows come before failures
        same = np.logical_and.reduce([*equal, *kinds, owner[a] != owner[b]])
        for i, j in zip(a[same], b[same]):
            yield how, units[owner[i]], units[owner[j]], (int(molecules[i]), int(conformers[i]))


def _low(unit: UnitCheck) -> int:
    return -1 if unit.low is None else unit.low


def _high(unit: UnitCheck) -> int:
    return -1 if unit.high is None else unit.high
