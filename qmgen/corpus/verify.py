"""Whether a corpus is what was written, whole and consistent; nothing but its own files is needed.

Checked are checksums, pages, columns, row counts, numbers, keys, settings, the notes of runs, and what describes the
whole. Nothing is
written: it works on a read-only mount, and beside runs that go on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final

from qmgen.corpus.books import UnitRecord, sums_of
from qmgen.corpus.findings import DAMAGE, NOTE, VerificationIssue, anew
from qmgen.corpus.key_check import doubled_keys
from qmgen.corpus.listing import Key, Listing
from qmgen.corpus.manifest import counts_of
from qmgen.corpus.plan_recovery import (
    RecoveredPlan,
    manifest_of,
    recorded_sums,
    recovered_plans,
    sound_manifest_of,
    stated_plans,
)
from qmgen.corpus.runs import FOLDER, records
from qmgen.corpus.store import Place, Store, store_of
from qmgen.corpus.unit_check import Checksums, UnitCheck, check_unit
from qmgen.corpus.whole_check import damaged_notes, description, lost_files, stray_files
from qmgen.errors import QmgenError, UsageError

#: hashing and decoding leave Python alone
THREADS: Final = 8
#: missing units that are named one by one
MOST_NAMED: Final = 10_000


@dataclass(frozen=True)
class VerificationReport:
    """A corpus as it was found: everything that ``verify`` reports on and ``merge`` writes from.

    ``manifest`` is that of manifest.json where it is what was written; else that is ``doubtful``, and nothing follows
    from it. Of ``units``, ``done`` are there; ``missing`` names others, at most ``MOST_NAMED``."""

    store: Store
    listing: Listing
    records: list[dict[str, Any]]
    manifest: dict[str, Any]
    doubtful: dict[str, Any]
    generations: list[RecoveredPlan]
    done: int
    missing: list[str]
    books: list[UnitRecord]
    findings: list[VerificationIssue]
    bytes: int

    @property
    def complete(self) -> bool:
        """Whether all units that should be there are; True only where there is at least one."""
        return bool(self.generations) and not self.lacking

    @property
    def damaged(self) -> list[VerificationIssue]:
        """The findings that concern rows."""
        return [finding for finding in self.findings if finding.severity == DAMAGE]

    @property
    def sound(self) -> bool:
        """No finding but notes."""
        return all(finding.severity == NOTE for finding in self.findings)

    @property
    def units(self) -> int:
        """Units that should be there."""
        return sum(generation.size for generation in self.generations)

    @property
    def lacking(self) -> int:
        """Units that are not there."""
        return self.units - self.done

    def as_json(self) -> dict[str, Any]:
        """The report: counts of the units that could be read, ``missing`` units as in the names of their files, at
        most ``MOST_NAMED``."""
        counts = counts_of(self.books)
        return {
            "directory": self.store.place,
            "sound": self.sound,
            "complete": self.complete,
            "units": self.units,
            "units_done": self.done,
            "generations": [
                {"name": g.label, "units": g.count, "entries": g.plan.wanted if g.plan else None}
                for g in self.generations
            ],
            "files": len(self.listing.sizes),
            "bytes": self.bytes,
            "counts": counts,
            "missing": self.missing,
            "findings": [{"severity": f.severity, "file": f.file, "what": f.what, "do": f.todo} for f in self.findings],
        }


def inspect(
    place: Place | Store,
    *,
    threads: int = THREADS,
    begin: Callable[[int], None] = lambda total: None,
    advance: Callable[[int], None] = lambda read: None,
) -> VerificationReport:
    """Read every byte of the corpus at ``place`` and say what was found.

    ``begin`` hears how many bytes there are to read, ``advance`` how many more have been. Raises ``UsageError`` where
    there is no corpus, ``QmgenError`` where it cannot be read at all.
    """
    store = store_of(place)
    try:
        return _inspect(store, threads, begin, advance)
    except OSError as error:
        raise QmgenError(f"cannot read {store.place}: {error.strerror or str(error).splitlines()[0]}") from error


def refuse_other(store: Store, listing: Listing) -> None:
    """Raise ``UsageError`` where there is no corpus, not even one that has just been begun."""
    if store.local is not None and not store.local.is_dir():
        raise UsageError(f"{store.place} is not a directory: give the one that `qmgen generate --out` wrote")
    begun = "config.toml" in store.names("") or bool(store.names(FOLDER))
    if not begun and len(listing.foreign()) == len(listing.sizes):
        raise UsageError(
            f"{store.place} is not a qmgen corpus: it holds no file like data/train-00000-of-00008.parquet"
        )


def _inspect(
    store: Store, threads: int, begin: Callable[[int], None], advance: Callable[[int], None]
) -> VerificationReport:
    listing = Listing.of(store)
    refuse_other(store, listing)
    told = list(records(store))
    manifest = manifest_of(store)
    trusted = sound_manifest_of(store)
    found = recovered_plans(listing, told, trusted, stated_plans(store)[0])
    sums = Checksums(sums_of(store), recorded_sums(told))
    planned = {g.revision: g for g in found if g.plan is not None}
    shared: dict[str, tuple[str, Mapping[str, Any]]] = {}
    begin(sum(listing.sizes.values()))

    def check(unit: tuple[Key, str]) -> UnitCheck:
        key, name = unit
        wanted = planned[key[0]].unit(key) if key[0] in planned else None
        exact = wanted is not None and wanted.files()["failures"] == name
        result = check_unit(store, key, name, sums, wanted if exact else None)
        if result.book is not None and result.common is not None:  # one copy of what they share, for however many units
            shared.setdefault(result.common, (result.common, result.book.metadata))
            result.common, metadata = shared[result.common]
            result.book = replace(result.book, metadata=metadata)
        advance(result.bytes)
        return result

    with ThreadPoolExecutor(threads) as pool:
        checks = list(pool.map(check, listing.units()))
    findings = [finding for result in checks for finding in result.findings]
    findings += _settings(checks)
    findings += doubled_keys(store, checks)
    findings += stray_files(listing, found)
    findings += lost_files(listing, sums.listed, trusted)
    there = [g.done(listing) for g in found]
    done = sum(map(len, there))
    lacking = (unit for g, of_it in zip(found, there, strict=True) for unit in g if unit not in of_it)
    missing = [unit.tail.removesuffix(".parquet") for unit in islice(lacking, MOST_NAMED)]
    books = [result.book for result in checks if result.book is not None]
    unread = len(books) < len(checks)
    findings += damaged_notes(store)
    if not unread:
        findings += description(store, listing, manifest, books, bool(found) and not missing)
    findings = list(dict.fromkeys(findings))
    total = sum(result.bytes for result in checks)
    doubtful = {} if trusted else manifest or {}
    return VerificationReport(store, listing, told, trusted, doubtful, found, done, missing, books, findings, total)


def _settings(checks: list[UnitCheck]) -> Iterator[VerificationIssue]:
    """Units of one generation that were made with other settings than most of it."""
    for more in sorted({check.key[0] for check in checks}):
        mine = [check for check in checks if check.key[0] == more and check.common is not None]
        if not mine:
            continue
        usual = Counter(check.common for check in mine).most_common(1)[0][0]
        for check in mine:
            if check.common != usual:
                what = "was made with other settings than the rest (its configuration hash or level of theory differs)"
                yield VerificationIssue(DAMAGE, check.failures, what, anew(check.failures))
