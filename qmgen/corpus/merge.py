"""manifest.json, SHA256SUMS and README.md over all ranks, after every shard has been verified."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qmgen import files
from qmgen.corpus.manifest import write_manifest
from qmgen.corpus.plan import Listing, Plan, plan_of_parts
from qmgen.corpus.store import Place, Store, store_of
from qmgen.corpus.store.local import FOLDERS
from qmgen.corpus.verify import THREADS, VerificationReport, inspect
from qmgen.documents import LARGEST_SETTINGS, toml_of
from qmgen.errors import QmgenError
from qmgen.machine import versions

#: metadata that one file alone has
_NOT_SHARED = frozenset({"unit", "files"})


@dataclass(frozen=True)
class Merged:
    """``manifest`` is None where damage was found and nothing was written. ``doubtful`` names what stands in it though
    nothing but a manifest that was changed since tells it."""

    inspected: VerificationReport
    manifest: dict[str, Any] | None
    doubtful: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """``complete``, or how much is missing."""
        missing = self.inspected.lacking
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
        if found.damaged or not found.unit_records:
            return Merged(found, None)
        manifest, doubtful = _write(found)
        if Listing.of(found.store).sizes.keys() == found.listing.sizes.keys():
            break  # else a rank has finished units meanwhile, and may have written a manifest before ours
    return Merged(found, manifest, doubtful)


def _write(found: VerificationReport) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Write it; return it, and what of it is doubtful."""
    base = next((revision for revision in found.revisions if revision.revision == 0), None)
    plan = base.plan if base is not None else None
    if plan is None:
        plan = _from_books(found)
    metadata = {key: value for key, value in found.unit_records[0].metadata.items() if key not in _NOT_SHARED}
    guess, guess_doubted = _guess(found)
    licence, licence_doubted = _licence(found)
    made_with, versions_doubted = _versions(found)
    doubts = {"guess": guess_doubted, "licence": licence_doubted, "versions": versions_doubted}
    try:
        manifest = write_manifest(found.store, plan, metadata | guess, licence=licence, versions=made_with)
        return manifest, tuple(name for name, doubted in doubts.items() if doubted)
    except OSError as error:
        raise QmgenError(
            f"cannot write the manifest of {found.store.place}: {error.strerror or error}; the rows are safe, make "
            "room and run again"
        ) from error


def _from_books(found: VerificationReport) -> Plan:
    """The plan of a corpus whose runs and manifest are lost: known where all of it is there, uncut."""
    base = found.revisions[0]
    if found.lacking or base.cuts:
        what = "has a manifest.json that was changed and no records in runs/" if found.doubtful else (
            "has lost runs/ and manifest.json"
        )  # fmt: skip
        raise QmgenError(
            f"{found.store.place} {what}, and its files do not say how much was wanted: "
            "run the same `qmgen generate` again, which writes both"
        )
    if isinstance(found.unit_records[0].metadata.get("recipe", {}).get("source"), dict):
        return plan_of_parts(base.count)
    names = {unit.files()["failures"] for unit in base}
    entries = sum(unit_record.entries for unit_record in found.unit_records if unit_record.failures.name in names)
    return Plan(entries, base.count)


def _licence(found: VerificationReport) -> tuple[str, bool]:
    """What the last run was told; else the old manifest, else config.toml; and whether it is doubtful."""
    for source in (*reversed(found.records), found.manifest, _config(found.store), found.doubtful):
        licence = source.get("licence")
        if isinstance(licence, str) and licence:
            return licence, bool(source) and source is found.doubtful
    raise QmgenError(
        f"nothing in {found.store.place} says under which licence it is: run the same `qmgen generate` again"
    )


def _guess(found: VerificationReport) -> tuple[dict[str, Any], bool]:
    """What the run was called whose network guessed, where it is that of the recipe; and whether it is doubtful."""
    wanted = found.unit_records[0].metadata.get("recipe", {}).get("guess")
    for source in (*reversed(found.records), found.manifest, found.doubtful):
        known = source.get("guess")
        if isinstance(known, dict) and wanted == f"network:{known.get('sha256')}":
            return {"guess": known}, source is found.doubtful
    return {}, False


def _versions(found: VerificationReport) -> tuple[dict[str, str | None], bool]:
    """Of the programs that made the rows, of this installation where nothing says; and whether they are doubtful."""
    for source in (*reversed(found.records), found.manifest, found.doubtful):
        known = source.get("versions")
        if isinstance(known, dict) and known:
            return known, source is found.doubtful
    return versions(), False


def _config(store: Store) -> dict[str, Any]:
    try:
        return toml_of(store.read("config.toml", LARGEST_SETTINGS))
    except (OSError, ValueError):
        return {}
