"""manifest.json, SHA256SUMS and README.md over all ranks, after every shard has been verified."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qmgen import files
from qmgen.corpus.listing import Listing
from qmgen.corpus.manifest import write_manifest
from qmgen.corpus.plan import Plan, plan_of_parts
from qmgen.corpus.store import Place, Store, read_small, store_of
from qmgen.corpus.store.local import FOLDERS
from qmgen.corpus.verify import THREADS, Inspected, inspect
from qmgen.documents import toml_of
from qmgen.errors import QmgenError
from qmgen.machine import versions

#: metadata that one file alone has
_NOT_SHARED = frozenset({"unit", "files"})


@dataclass(frozen=True)
class Merged:
    """``manifest`` is None where damage was found and nothing was written."""

    inspected: Inspected
    manifest: dict[str, Any] | None

    @property
    def state(self) -> str:
        """``complete``, or how much is missing."""
        missing = len(self.inspected.missing)
        return f"unfinished, {missing} work units are missing" if missing else "complete"


def merge(
    place: Place | Store,
    *,
    threads: int = THREADS,
    begin: Callable[[int], None] = lambda total: None,
    advance: Callable[[int], None] = lambda read: None,
) -> Merged:
    """Verify the corpus at ``place`` and write what describes it; nothing is written where rows are damaged.

    An unfinished corpus gets a manifest that says so. Raises as ``inspect``, and ``QmgenError`` where the plan or the
    licence cannot be known any more, or the store refuses.
    """
    store = store_of(place)
    if store.local is not None:
        files.refuse_links(store.local, *FOLDERS)
    for _ in range(3):
        found = inspect(store, threads=threads, begin=begin, advance=advance)
        if found.damaged or not found.books:
            return Merged(found, None)
        manifest = _write(found)
        if Listing.of(found.store).sizes.keys() == found.listing.sizes.keys():
            break  # else a rank has finished units meanwhile, and may have written a manifest before ours
    return Merged(found, manifest)


def _write(found: Inspected) -> dict[str, Any]:
    base = next((generation for generation in found.generations if generation.more == 0), None)
    plan = base.plan if base is not None else None
    if plan is None:
        plan = _from_books(found)
    metadata = {key: value for key, value in found.books[0].metadata.items() if key not in _NOT_SHARED}
    metadata |= _guess(found)
    try:
        return write_manifest(found.store, plan, metadata, licence=_licence(found), versions=_versions(found))
    except OSError as error:
        raise QmgenError(
            f"cannot write the manifest of {found.store.place}: {error.strerror or error}; the rows are safe, make "
            "room and run again"
        ) from error


def _from_books(found: Inspected) -> Plan:
    """The plan of a corpus whose runs and manifest are lost: known where all of it is there, uncut."""
    units = found.generations[0].units
    if found.missing or any(unit.first is not None for unit in units):
        raise QmgenError(
            f"{found.store.place} has lost runs/ and manifest.json, and its files do not say how much was wanted: "
            "run the same `qmgen generate` again, which writes both"
        )
    if isinstance(found.books[0].metadata.get("recipe", {}).get("source"), dict):
        return plan_of_parts(found.generations[0].count)
    entries = sum(book.entries for book in found.books if book.failures.name in {u.files()["failures"] for u in units})
    return Plan(entries, found.generations[0].count)


def _licence(found: Inspected) -> str:
    """What the last run was told; else the old manifest, else config.toml."""
    for source in (*reversed(found.records), found.manifest, _config(found.store)):
        licence = source.get("licence")
        if isinstance(licence, str) and licence:
            return licence
    raise QmgenError(
        f"nothing in {found.store.place} says under which licence it is: run the same `qmgen generate` again"
    )


def _guess(found: Inspected) -> dict[str, Any]:
    """What the run was called whose network guessed, where it is that of the recipe."""
    wanted = found.books[0].metadata.get("recipe", {}).get("guess")
    for source in (*reversed(found.records), found.manifest):
        known = source.get("guess")
        if isinstance(known, dict) and wanted == f"network:{known.get('sha256')}":
            return {"guess": known}
    return {}


def _versions(found: Inspected) -> dict[str, str | None]:
    """Of the programs that made the rows; of this installation where nothing says."""
    for source in (*reversed(found.records), found.manifest):
        known = source.get("versions")
        if isinstance(known, dict) and known:
            return known
    return versions()


def _config(store: Store) -> dict[str, Any]:
    try:
        return toml_of(read_small(store, "config.toml"))
    except (OSError, ValueError):
        return {}
