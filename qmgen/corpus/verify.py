"""Verification of a corpus: whether it is what was written, whole and consistent.

Checked are checksums, pages, columns, row counts, numbers, keys, settings, the records of runs, and what describes the
corpus as a whole (manifest.json, SHA256SUMS, README.md). Nothing but the corpus is needed, and nothing is written: it
works on a read-only mount, and beside runs that go on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import islice
from typing import Any, Final

from qmgen.corpus.identity import MANIFEST, config_hash
from qmgen.corpus.manifest import CARD, CONFIG, DESCRIBED, card, counts_of, named_in, sums_text
from qmgen.corpus.plan import FAILURES, Listing, UnitKey, parse
from qmgen.corpus.plan_recovery import (
    RecoveredPlan,
    manifest_of,
    plan_of,
    recorded_sums,
    recovered_plans,
    sound_manifest_of,
    stated_plans,
)
from qmgen.corpus.revisions import REVISIONS_FOLDER as ADDED
from qmgen.corpus.revisions import begun_revisions
from qmgen.corpus.runs import FOLDER as RUNS
from qmgen.corpus.runs import INDENT, records
from qmgen.corpus.seal import CHANGED, fault, list_of
from qmgen.corpus.store import Place, Store, read_small, store_of
from qmgen.corpus.unit_records import DUPLICATES_FILE, SUMS, UnitRecord, duplicates_text, sums_of
from qmgen.corpus.verify_units import (
    DAMAGE,
    GENERATE,
    MERGE,
    NOTE,
    STALE,
    UnitCheck,
    VerificationIssue,
    anew,
    check_unit,
    doubled_keys,
)
from qmgen.documents import LARGEST_SETTINGS, toml_of
from qmgen.errors import QmgenError, UsageError, first_line

#: metadata of files that the manifest has not, or of its own
_OF_FILES: Final = frozenset({"unit", "files", "more", "schema_version"})
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
    revisions: list[RecoveredPlan]
    done: int
    missing: list[str]
    unit_records: list[UnitRecord]
    issues: list[VerificationIssue]
    bytes: int

    @property
    def complete(self) -> bool:
        """Whether all units that should be there are; True only where there is at least one."""
        return bool(self.revisions) and not self.lacking

    @property
    def damaged(self) -> list[VerificationIssue]:
        """The issues that concern rows."""
        return [issue for issue in self.issues if issue.severity == DAMAGE]

    @property
    def sound(self) -> bool:
        """No issue but notes."""
        return all(issue.severity == NOTE for issue in self.issues)

    @property
    def units(self) -> int:
        """Units that should be there."""
        return sum(revision.size for revision in self.revisions)

    @property
    def lacking(self) -> int:
        """Units that are not there."""
        return self.units - self.done

    def as_json(self) -> dict[str, Any]:
        """The report: counts of the units that could be read, ``missing`` units as in the names of their files, at
        most ``MOST_NAMED``."""
        counts = counts_of(self.unit_records)
        return {
            "directory": self.store.place,
            "sound": self.sound,
            "complete": self.complete,
            "units": self.units,
            "units_done": self.done,
            "generations": [
                {
                    "name": revision.label,
                    "units": revision.count,
                    "entries": revision.plan.wanted if revision.plan else None,
                }
                for revision in self.revisions
            ],
            "files": len(self.listing.sizes),
            "bytes": self.bytes,
            "counts": counts,
            "missing": self.missing,
            "findings": [
                {"severity": issue.severity, "file": issue.file, "what": issue.what, "do": issue.todo}
                for issue in self.issues
            ],
        }


def inspect(
    place: Place | Store,
    *,
    threads: int = THREADS,
    begin: Callable[[int], None] = lambda total: None,
    advance: Callable[[int], None] = lambda read: None,
) -> VerificationReport:
    """Read every byte of the corpus at ``place`` and report its state.

    ``begin`` is called with the number of bytes to read, ``advance`` with the number of bytes read since. Raises
    ``UsageError`` where there is no corpus, ``QmgenError`` where it cannot be read at all.
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
    begun = "config.toml" in store.names("") or bool(store.names(RUNS))
    if not begun and len(listing.foreign()) == len(listing.sizes):
        raise UsageError(
            f"{store.place} is not a qmgen corpus: it holds no file like data/train-00000-of-00008.parquet"
        )


def _inspect(
    store: Store, threads: int, begin: Callable[[int], None], advance: Callable[[int], None]
) -> VerificationReport:
    listing = Listing.of(store)
    refuse_other(store, listing)
    run_records = list(records(store))
    manifest = manifest_of(store)
    trusted = sound_manifest_of(store)
    plans = recovered_plans(listing, run_records, trusted, stated_plans(store)[0])
    listed, recorded = sums_of(store), recorded_sums(run_records)
    planned = {g.revision: g for g in plans if g.plan is not None}
    shared: dict[str, tuple[str, Mapping[str, Any]]] = {}
    begin(sum(listing.sizes.values()))

    def check(unit: tuple[UnitKey, str]) -> UnitCheck:
        key, name = unit
        wanted = planned[key[0]].unit(key) if key[0] in planned else None
        exact = wanted is not None and wanted.files()["failures"] == name
        result = check_unit(store, key, name, listed, recorded, wanted if exact else None)
        if result.unit_record is not None and result.common is not None:
            # one copy of what they share, for however many units
            shared.setdefault(result.common, (result.common, result.unit_record.metadata))
            result.common, metadata = shared[result.common]
            result.unit_record = replace(result.unit_record, metadata=metadata)
        advance(result.bytes)
        return result

    with ThreadPoolExecutor(threads) as pool:
        checks = list(pool.map(check, listing.units()))
    issues = [issue for result in checks for issue in result.issues]
    issues += _settings(checks)
    issues += doubled_keys(store, checks)
    issues += stray_files(listing, plans)
    issues += lost_files(listing, listed, trusted)
    there = [g.done(listing) for g in plans]
    done = sum(map(len, there))
    lacking = (unit for g, of_it in zip(plans, there, strict=True) for unit in g if unit not in of_it)
    missing = [unit.tail.removesuffix(".parquet") for unit in islice(lacking, MOST_NAMED)]
    unit_records = [result.unit_record for result in checks if result.unit_record is not None]
    unread = len(unit_records) < len(checks)
    issues += damaged_notes(store)
    if not unread:
        issues += description(store, listing, manifest, unit_records, bool(plans) and not missing)
    issues = list(dict.fromkeys(issues))
    total = sum(result.bytes for result in checks)
    doubtful = {} if trusted else manifest or {}
    return VerificationReport(
        store, listing, run_records, trusted, doubtful, plans, done, missing, unit_records, issues, total
    )


def _settings(checks: list[UnitCheck]) -> Iterator[VerificationIssue]:
    """Units of one revision that were made with other settings than most of it."""
    for more in sorted({check.key[0] for check in checks}):
        mine = [check for check in checks if check.key[0] == more and check.common is not None]
        if not mine:
            continue
        usual = Counter(check.common for check in mine).most_common(1)[0][0]
        for check in mine:
            if check.common != usual:
                what = "was made with other settings than the rest (its configuration hash or level of theory differs)"
                yield VerificationIssue(DAMAGE, check.failures, what, anew(check.failures))


def stray_files(listing: Listing, found: Sequence[RecoveredPlan]) -> Iterator[VerificationIssue]:
    """Files of no unit, of units that the plan does not know, and of units that are not finished."""
    for name in listing.foreign():
        yield VerificationIssue(NOTE, name, "is not a file of this corpus and is passed over", "move it elsewhere")
    committed = {key for key, _ in listing.units()}
    for name in sorted(listing.sizes):
        named = parse(name)
        if named is None:
            continue
        if all(revision.unit(named.key) is None for revision in found):
            units = " or ".join(f"{g.count} ({g.label})" for g in found)
            what = f"belongs to a division into other work units than the {units} of this corpus"
            yield VerificationIssue(DAMAGE, name, what, "remove it, or move it elsewhere")
        elif named.key not in committed:
            what = "belongs to a work unit in hand, or left unfinished by a process that was killed"
            yield VerificationIssue(NOTE, name, what, "the same `qmgen generate` makes it again")


def lost_files(listing: Listing, sums: Mapping[str, str], manifest: Mapping[str, Any]) -> Iterator[VerificationIssue]:
    """Units that SHA256SUMS or the manifest lists and that are gone, unless a longer cut has taken their place."""
    listed = manifest.get("files")
    names = {str(f["name"]) for f in list_of(listed) if isinstance(f, dict) and "name" in f}
    committed = {key for key, _ in listing.units()}
    for name in sorted({*sums, *names}):
        named = parse(name)
        if named is None or name in listing.sizes:
            continue
        if named.kind == FAILURES and named.key not in committed:
            yield VerificationIssue(DAMAGE, name, f"is lost: {SUMS if name in sums else MANIFEST} lists it", GENERATE)


def damaged_notes(store: Store) -> Iterator[VerificationIssue]:
    """The records of runs and the statements of what was added that are not what was written."""
    for folder, indent, todo in (
        (RUNS, INDENT, "remove it, or put it back: it says how a run went, and no row depends on it"),
        (ADDED, 2, "remove it, or put it back: the files of what was added say the same"),
    ):
        for name in sorted(store.names(folder)):
            if name.endswith(".json"):
                try:
                    what = fault(read_small(store, name), indent)
                except FileNotFoundError:  # it was replaced just now
                    continue
                except OSError as error:
                    what = _unreadable(error)
                if what is not None:
                    yield VerificationIssue(STALE, name, what, todo)


def description(
    store: Store,
    listing: Listing,
    manifest: Mapping[str, Any] | None,
    unit_records: Sequence[UnitRecord],
    complete: bool,
) -> Iterator[VerificationIssue]:
    """What is lost, out of date or changed. Of an unfinished corpus, only what is there and is not what was written."""
    top = store.names("")
    changed = _changed(store) if manifest else None
    of_manifest: list[VerificationIssue] = []
    if manifest is None:
        of_manifest.append(VerificationIssue(STALE, MANIFEST, "cannot be read", MERGE))
    elif manifest and unit_records and _hash(manifest) != unit_records[0].metadata.get("config_hash"):
        what = "describes another corpus, or a recipe that is not the one of its hash"
        of_manifest.append(VerificationIssue(STALE, MANIFEST, what, MERGE))
    elif complete:
        of_manifest.extend(_manifest_issues(store, manifest, listing, unit_records))
    if not of_manifest and changed is not None:
        of_manifest.append(VerificationIssue(STALE, MANIFEST, changed, MERGE))
    yield from of_manifest
    trusted = manifest if manifest and changed is None else {}
    described = trusted.get(DESCRIBED) if complete else None
    sums = described if isinstance(described, dict) else {}
    yield from _config_issues(store, top, sums.get(CONFIG), trusted)
    if not complete:
        return
    yield from _card_issues(store, top, sums.get(CARD), trusted)
    if named := named_in(unit_records):
        what = "does not list the duplicates that the files of failures name"
        yield from _text_issues(store, top, DUPLICATES_FILE, lambda: duplicates_text(store, named), what)
    what = "does not list the files that are there, with their checksums, in order"
    yield from _text_issues(store, top, SUMS, lambda: sums_text(listing, unit_records), what)


def _changed(store: Store) -> str | None:
    """What is wrong with the bytes of the manifest."""
    try:
        return fault(read_small(store, MANIFEST))
    except OSError as error:
        return _unreadable(error)


def _unreadable(error: OSError) -> str:
    return f"cannot be read ({error.strerror or first_line(error)})"


def _text_issues(
    store: Store, top: Mapping[str, int], name: str, wanted: Callable[[], bytes], what: str
) -> Iterator[VerificationIssue]:
    """A file that should be ``wanted``; ``what`` is said of one that is something else."""
    if name not in top:
        yield VerificationIssue(STALE, name, "is lost", MERGE)
        return
    try:
        content = read_small(store, name)
    except OSError as error:
        yield VerificationIssue(STALE, name, _unreadable(error), MERGE)
        return
    if content != wanted():
        yield VerificationIssue(STALE, name, what, MERGE)


def _card_issues(
    store: Store, top: Mapping[str, int], known: Any, manifest: Mapping[str, Any]
) -> Iterator[VerificationIssue]:
    """README.md: ``known`` is its SHA-256 where the manifest has it; else it is compared with that of ``manifest``."""
    if not top.get(CARD):
        yield VerificationIssue(STALE, CARD, "is lost", MERGE)
        return
    try:
        content = read_small(store, CARD)
    except OSError as error:
        yield VerificationIssue(STALE, CARD, _unreadable(error), MERGE)
        return
    if known is not None:
        if sha256(content).hexdigest() != known:
            yield VerificationIssue(STALE, CARD, CHANGED, MERGE)
    elif manifest and not _is_card(content, manifest):
        what = "is not what this qmgen would write: another version did, or it was changed since"
        yield VerificationIssue(NOTE, CARD, what, MERGE)


def _config_issues(
    store: Store, top: Mapping[str, int], known: Any, manifest: Mapping[str, Any]
) -> Iterator[VerificationIssue]:
    """config.toml: ``known`` is its SHA-256 where the manifest has it. Else its settings must be those of the rows."""
    anew = "the same `qmgen generate` writes it anew"
    if CONFIG not in top:
        yield VerificationIssue(NOTE, CONFIG, "is lost", anew)
        return
    severity = NOTE if known is None else STALE
    try:
        content = store.read(CONFIG, LARGEST_SETTINGS)
        settings = toml_of(content)
    except OSError as error:
        yield VerificationIssue(severity, CONFIG, _unreadable(error), anew)
        return
    except ValueError as error:
        yield VerificationIssue(severity, CONFIG, f"is damaged ({first_line(error)})", anew)
        return
    recipes = [one.get("recipe") for one in (manifest, *list_of(manifest.get("more"))) if isinstance(one, dict)]
    odd = [_other_setting(settings, recipe) for recipe in recipes if isinstance(recipe, dict)]
    if odd and all(odd):
        yield VerificationIssue(STALE, CONFIG, odd[-1], anew)
    elif known is not None and sha256(content).hexdigest() != known:
        yield VerificationIssue(STALE, CONFIG, CHANGED, f"{anew}; if you changed it, `qmgen merge` takes it as it is")


def _other_setting(settings: Mapping[str, Any], recipe: Mapping[str, Any]) -> str:
    """The first setting that is not that of the rows, in words; nothing where all are. What a network's guess is
    called, and where the molecules lie, changes no row."""
    for name, value in recipe.items():
        if name not in ("guess", "source") and name in settings and settings[name] != value:
            return f"says {name} = {settings[name]!r}, and the rows were made with {value!r}"
    return ""


def _is_card(content: bytes, manifest: Mapping[str, Any]) -> bool:
    try:
        return content == card(manifest).encode()
    except (KeyError, TypeError, ValueError, AttributeError):  # of a manifest that lacks something
        return False


def _manifest_issues(
    store: Store, manifest: Mapping[str, Any], listing: Listing, unit_records: Sequence[UnitRecord]
) -> Iterator[VerificationIssue]:
    """The manifest of a complete corpus against what its files say."""
    if not manifest:
        yield VerificationIssue(STALE, MANIFEST, "is lost", MERGE)
        return
    records: dict[str, dict[str, Any]] = {
        record.name: {"name": record.name, "rows": record.rows, "bytes": record.bytes, "sha256": record.sha256}
        for unit_record in unit_records
        for record in unit_record.records
    }
    held = {str(f.get("name")): f for f in list_of(manifest.get("files")) if isinstance(f, dict)}
    differing = sorted(name for name in records.keys() | held.keys() if records.get(name) != held.get(name))
    shared = (
        {key: value for key, value in unit_records[0].metadata.items() if key not in _OF_FILES} if unit_records else {}
    )
    other = sorted(key for key, value in shared.items() if manifest.get(key) != value)
    added = [one.as_json() for one in begun_revisions(store, listing)]
    if differing:
        yield VerificationIssue(
            STALE, MANIFEST, f"says otherwise than the files of {differing[0]}{_and_more(differing)}", MERGE
        )
    elif other:
        yield VerificationIssue(STALE, MANIFEST, f"has another {other[0]} than the metadata of the files", MERGE)
    elif manifest.get("complete") is not True:
        yield VerificationIssue(STALE, MANIFEST, "says that the corpus is not complete", MERGE)
    elif manifest.get("counts") != counts_of(list(unit_records)):
        yield VerificationIssue(STALE, MANIFEST, "has other counts than the files", MERGE)
    elif manifest.get("more", []) != added or plan_of(manifest.get("plan")) is None:
        yield VerificationIssue(STALE, MANIFEST, "has another plan than the files", MERGE)


def _hash(manifest: Mapping[str, Any]) -> str | None:
    """The manifest's configuration hash, where its recipe is the one of it."""
    recipe = manifest.get("recipe")
    stated = manifest.get("config_hash")
    return stated if isinstance(recipe, dict) and config_hash(recipe) == stated else None


def _and_more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
