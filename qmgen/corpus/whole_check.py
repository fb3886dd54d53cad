"""Whether what describes a corpus as a whole fits its files: manifest.json, SHA256SUMS, README.md, and stray files."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from qmgen.corpus import duplicates
from qmgen.corpus.books import SUMS, Book
from qmgen.corpus.expected import Generation
from qmgen.corpus.findings import DAMAGE, GENERATE, MERGE, NOTE, STALE, Finding
from qmgen.corpus.identity import MANIFEST, config_hash
from qmgen.corpus.listing import Listing, parse
from qmgen.corpus.manifest import counts_of, named_in
from qmgen.corpus.plan import FAILURES
from qmgen.corpus.splits import SPLITS
from qmgen.corpus.store import Store


def stray_files(listing: Listing, found: Sequence[Generation]) -> Iterator[Finding]:
    """Files of no unit, of units that the plan does not know, and of units that are not finished."""
    for name in listing.foreign():
        yield Finding(NOTE, name, "is not a file of this corpus and is passed over", "move it elsewhere")
    committed = {key for key, _ in listing.units()}
    known = {(unit.more, unit.count, unit.index) for generation in found for unit in generation.units}
    for name in sorted(listing.sizes):
        named = parse(name)
        if named is None:
            continue
        if named.key not in known:
            units = " or ".join(f"{g.count} ({g.label})" for g in found)
            what = f"belongs to a division into other work units than the {units} of this corpus"
            yield Finding(DAMAGE, name, what, "remove it, or move it elsewhere")
        elif named.key not in committed:
            what = "belongs to a work unit in hand, or left unfinished by a process that was killed"
            yield Finding(NOTE, name, what, "the same `qmgen generate` makes it again")


def lost_files(listing: Listing, sums: Mapping[str, str], manifest: Mapping[str, Any]) -> Iterator[Finding]:
    """Units that SHA256SUMS or the manifest lists and that are gone, unless a longer cut has taken their place."""
    listed = manifest.get("files")
    names = {f["name"] for f in listed if isinstance(f, dict) and "name" in f} if isinstance(listed, list) else set()
    committed = {key for key, _ in listing.units()}
    for name in sorted({*sums, *map(str, names)}):
        named = parse(name)
        if named is None or name in listing.sizes:
            continue
        if named.kind == FAILURES and named.key not in committed:
            yield Finding(DAMAGE, name, f"is lost: {SUMS if name in sums else MANIFEST} lists it", GENERATE)


def description(
    store: Store, listing: Listing, manifest: Mapping[str, Any] | None, books: Sequence[Book], complete: bool
) -> Iterator[Finding]:
    """What is lost or out of date. Of an unfinished corpus, only what is there and cannot be read."""
    top = store.names("")
    if manifest is None:
        yield Finding(STALE, MANIFEST, "cannot be read", MERGE)
    elif manifest and books and _hash(manifest) != books[0].metadata.get("config_hash"):
        yield Finding(STALE, MANIFEST, "describes another corpus, or a recipe that is not the one of its hash", MERGE)
    elif complete:
        yield from _manifest(manifest, listing, books)
    if "config.toml" in top:
        try:
            tomllib.loads(store.read("config.toml").decode())
        except ValueError:
            yield Finding(NOTE, "config.toml", "is damaged", "the same `qmgen generate` writes it anew")
    else:
        yield Finding(NOTE, "config.toml", "is lost", "the same `qmgen generate` writes it anew")
    if not complete:
        return
    if not top.get("README.md"):
        yield Finding(STALE, "README.md", "is lost", MERGE)
    if named := named_in(books):
        if duplicates.NAME not in top:
            yield Finding(STALE, duplicates.NAME, "is lost", MERGE)
        elif store.read(duplicates.NAME) != duplicates.text_of(store, named):
            yield Finding(STALE, duplicates.NAME, "does not list the duplicates that the files of failures name", MERGE)
    if SUMS not in top:
        yield Finding(STALE, SUMS, "is lost", MERGE)
    elif store.read(SUMS) != sums_text(listing, books):
        yield Finding(STALE, SUMS, "does not list the files that are there, with their checksums, in order", MERGE)


def sums_text(listing: Listing, books: Sequence[Book]) -> bytes:
    """What SHA256SUMS should be."""
    records = {record.name: record for book in books for record in book.records}
    names = [name for kind in (*SPLITS, FAILURES) for name in listing.files(kind) if name in records]
    return "".join(f"{records[name].sha256}  {name}\n" for name in names).encode()


def _manifest(manifest: Mapping[str, Any], listing: Listing, books: Sequence[Book]) -> Iterator[Finding]:
    if not manifest:
        yield Finding(STALE, MANIFEST, "is lost", MERGE)
        return
    records: dict[Any, dict[str, Any]] = {
        record.name: {"name": record.name, "rows": record.rows, "bytes": record.bytes, "sha256": record.sha256}
        for book in books
        for record in book.records
    }
    listed = manifest.get("files")
    held: dict[Any, Any] = {f.get("name"): f for f in listed if isinstance(f, dict)} if isinstance(listed, list) else {}
    differing = sorted(name for name in records.keys() | held.keys() if records.get(name) != held.get(name))
    if differing:
        yield Finding(STALE, MANIFEST, f"says otherwise than the files of {differing[0]}{_more(differing)}", MERGE)
    elif manifest.get("complete") is not True:
        yield Finding(STALE, MANIFEST, "says that the corpus is not complete", MERGE)
    elif manifest.get("counts") != counts_of(list(books)):
        yield Finding(STALE, MANIFEST, "has other counts than the files", MERGE)


def _hash(manifest: Mapping[str, Any]) -> str | None:
    """The manifest's configuration hash, where its recipe is the one of it."""
    recipe = manifest.get("recipe")
    stated = manifest.get("config_hash")
    return stated if isinstance(recipe, dict) and config_hash(recipe) == stated else None


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
