"""What describes a corpus as a whole: manifest.json, SHA256SUMS and README.md.

All are made anew from what the finished units say of themselves, so that they cannot say anything else.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

from qmgen.corpus import duplicates
from qmgen.corpus.books import SUMS, DamagedUnit, UnitRecord, unit_record_of
from qmgen.corpus.card import card
from qmgen.corpus.columns import SCHEMA_VERSION
from qmgen.corpus.identity import MANIFEST, config_hash
from qmgen.corpus.listing import Listing
from qmgen.corpus.plan import FAILURES, Plan
from qmgen.corpus.revisions import begun_revisions
from qmgen.corpus.seal import sealed
from qmgen.corpus.splits import SPLITS
from qmgen.corpus.store import Place, Store, store_of
from qmgen.documents import LARGEST_SETTINGS, table_of
from qmgen.errors import QmgenError

CARD: Final = "README.md"
CONFIG: Final = "config.toml"
#: in the manifest: SHA-256 of what describes the corpus beside it
DESCRIBED: Final = "described"


def write_manifest(
    place: Place | Store,
    plan: Plan,
    metadata: Mapping[str, Any],
    *,
    licence: str,
    versions: Mapping[str, str | None],
) -> dict[str, Any]:
    """Write manifest.json, SHA256SUMS and README.md from the units that are there, and return the manifest.

    ``plan`` and ``metadata`` (what the data files carry, ``recipe`` among it, and ``schema_version`` where they are
    of an older format) are those of generation 0; what was added later is found in the store. Raises ``QmgenError``
    where a unit cannot be read.
    """
    store = store_of(place)
    theory = metadata.get("level_of_theory", {})  # sorted, as the files have it: one page, whoever writes it
    metadata = {**metadata, **({"level_of_theory": dict(sorted(theory.items()))} if theory else {})}
    listing = Listing.of(store)
    for name in listing.superseded():
        store.remove(name)
    books = list(_books(store, listing))
    added = begun_revisions(store, listing)
    _refuse_mixture(store, books, {config_hash(metadata["recipe"]), *(one.hash for one in added)})
    records = {record.name: record for book in books for record in book.records}
    names = [name for kind in (*SPLITS, FAILURES) for name in listing.files(kind) if name in records]
    manifest: dict[str, Any] = {
        "format": "qmgen corpus",
        "schema_version": SCHEMA_VERSION,
        "complete": all(listing.done(unit) for part in (plan, *(one.plan for one in added)) for unit in part),
        "licence": licence,
        "config_hash": config_hash(metadata["recipe"]),
        **{key: value for key, value in metadata.items() if key not in ("config_hash", "more")},
        "plan": {
            "entries": plan.entries,
            "units": plan.count,
            "wanted": plan.wanted,
            **({"enumeration": True} if plan.parts else {}),  # then entries are its parts
        },
        **({"more": [one.as_json() for one in added]} if added else {}),
        "counts": counts_of(books),
        "versions": dict(versions),
        "files": [
            {"name": name, "rows": records[name].rows, "bytes": records[name].bytes, "sha256": records[name].sha256}
            for name in names
        ],
    }
    page = card(manifest).encode()
    manifest[DESCRIBED] = {CARD: sha256(page).hexdigest()}
    with contextlib.suppress(OSError):  # it is lost, or no settings file
        manifest[DESCRIBED][CONFIG] = sha256(store.read(CONFIG, LARGEST_SETTINGS)).hexdigest()
    store.write(SUMS, "".join(f"{records[name].sha256}  {name}\n" for name in names).encode())
    write_duplicates(store, books)
    store.write(CARD, page)
    content = sealed(manifest)
    store.write(MANIFEST, content)
    return table_of(content)


def write_duplicates(store: Store, books: list[UnitRecord]) -> None:
    """Write the list of merged names, where there are any."""
    if any(book.named_duplicates for book in books):
        store.write(duplicates.NAME, duplicates.text_of(store, named_in(books)))
    elif duplicates.NAME in store.names(""):
        store.remove(duplicates.NAME)


def named_in(books: Sequence[UnitRecord]) -> list[str]:
    """The failures files that list merged names."""
    return [book.failures.name for book in books if book.named_duplicates]


def counts_of(books: list[UnitRecord]) -> dict[str, Any]:
    """Rows and molecules per split, failures by reason, entries, merged duplicates and pruned conformers.

    Each molecule and each failure counts once, however many generations had to do with it.
    """
    splits = {
        split: {
            "rows": sum(book.data[split].rows for book in books),
            "molecules": sum(book.data[split].molecules - book.again.get(split, 0) for book in books),
        }
        for split in SPLITS
    }
    named = sum(book.named_duplicates for book in books)
    reasons: Counter[str] = Counter()
    for book in books:
        reasons.update(book.reasons)
        reasons.subtract(book.retried)
    return {
        "rows": sum(split["rows"] for split in splits.values()),
        "molecules": sum(split["molecules"] for split in splits.values()),
        "entries": sum(book.entries for book in books),
        "merged": sum(book.merged for book in books),
        **({"named_duplicates": named} if named else {}),
        "pruned": sum(book.pruned for book in books),
        "splits": splits,
        "failures": sum(reasons.values()),
        "failures_by_reason": {reason: n for reason, n in sorted(reasons.items()) if n},
    }


def _refuse_mixture(store: Store, books: list[UnitRecord], known: set[str]) -> None:
    """Raise ``QmgenError`` where a unit was made with other settings: two runs have met in a new directory."""
    for book in books:
        if book.metadata.get("config_hash", next(iter(known))) not in known:
            raise QmgenError(
                f"{store.place}: {book.failures.name} was made with other settings than the corpus, as when two runs "
                "begin here at once: `qmgen verify` names all such work units; remove their files in failures/, and "
                "run the `qmgen generate` of the others again"
            )


def _books(store: Store, listing: Listing) -> list[UnitRecord]:
    found = []
    for _, name in listing.units():
        try:
            found.append(unit_record_of(store, name))
        except DamagedUnit as damaged:
            raise QmgenError(f"{store.place}: {damaged}; run the same `qmgen generate` again, which mends it") from None
    return found
