"""Whether what describes a corpus as a whole fits its files: manifest.json, SHA256SUMS, README.md, and stray files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

from qmgen.corpus import duplicates
from qmgen.corpus.books import SUMS, UnitRecord
from qmgen.corpus.card import card
from qmgen.corpus.findings import DAMAGE, GENERATE, MERGE, NOTE, STALE, VerificationIssue
from qmgen.corpus.identity import MANIFEST, config_hash
from qmgen.corpus.listing import Listing, parse
from qmgen.corpus.manifest import CARD, CONFIG, DESCRIBED, counts_of, named_in
from qmgen.corpus.plan import FAILURES
from qmgen.corpus.plan_recovery import RecoveredPlan, plan_of
from qmgen.corpus.record_values import list_of
from qmgen.corpus.revisions import REVISIONS_FOLDER as ADDED
from qmgen.corpus.revisions import begun_revisions
from qmgen.corpus.runs import FOLDER as RUNS
from qmgen.corpus.runs import INDENT
from qmgen.corpus.seal import CHANGED, fault
from qmgen.corpus.splits import SPLITS
from qmgen.corpus.store import Store, read_small
from qmgen.documents import LARGEST_SETTINGS, toml_of
from qmgen.errors import first_line

#: metadata of files that the manifest has not, or of its own
_OF_FILES: Final = frozenset({"unit", "files", "more", "schema_version"})


def stray_files(listing: Listing, found: Sequence[RecoveredPlan]) -> Iterator[VerificationIssue]:
    """Files of no unit, of units that the plan does not know, and of units that are not finished."""
    for name in listing.foreign():
        yield VerificationIssue(NOTE, name, "is not a file of this corpus and is passed over", "move it elsewhere")
    committed = {key for key, _ in listing.units()}
    for name in sorted(listing.sizes):
        named = parse(name)
        if named is None:
            continue
        if all(generation.unit(named.key) is None for generation in found):
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
    store: Store, listing: Listing, manifest: Mapping[str, Any] | None, books: Sequence[UnitRecord], complete: bool
) -> Iterator[VerificationIssue]:
    """What is lost, out of date or changed. Of an unfinished corpus, only what is there and is not what was written."""
    top = store.names("")
    changed = _changed(store) if manifest else None
    of_manifest: list[VerificationIssue] = []
    if manifest is None:
        of_manifest.append(VerificationIssue(STALE, MANIFEST, "cannot be read", MERGE))
    elif manifest and books and _hash(manifest) != books[0].metadata.get("config_hash"):
        what = "describes another corpus, or a recipe that is not the one of its hash"
        of_manifest.append(VerificationIssue(STALE, MANIFEST, what, MERGE))
    elif complete:
        of_manifest.extend(_manifest_issues(store, manifest, listing, books))
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
    if named := named_in(books):
        what = "does not list the duplicates that the files of failures name"
        yield from _text_issues(store, top, duplicates.NAME, lambda: duplicates.text_of(store, named), what)
    what = "does not list the files that are there, with their checksums, in order"
    yield from _text_issues(store, top, SUMS, lambda: sums_text(listing, books), what)


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


def sums_text(listing: Listing, books: Sequence[UnitRecord]) -> bytes:
    """What SHA256SUMS should be."""
    records = {record.name: record for book in books for record in book.records}
    names = [name for kind in (*SPLITS, FAILURES) for name in listing.files(kind) if name in records]
    return "".join(f"{records[name].sha256}  {name}\n" for name in names).encode()


def _manifest_issues(
    store: Store, manifest: Mapping[str, Any], listing: Listing, books: Sequence[UnitRecord]
) -> Iterator[VerificationIssue]:
    """The manifest of a complete corpus against what its files say."""
    if not manifest:
        yield VerificationIssue(STALE, MANIFEST, "is lost", MERGE)
        return
    records: dict[str, dict[str, Any]] = {
        record.name: {"name": record.name, "rows": record.rows, "bytes": record.bytes, "sha256": record.sha256}
        for book in books
        for record in book.records
    }
    held = {str(f.get("name")): f for f in list_of(manifest.get("files")) if isinstance(f, dict)}
    differing = sorted(name for name in records.keys() | held.keys() if records.get(name) != held.get(name))
    shared = {key: value for key, value in books[0].metadata.items() if key not in _OF_FILES} if books else {}
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
    elif manifest.get("counts") != counts_of(list(books)):
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
