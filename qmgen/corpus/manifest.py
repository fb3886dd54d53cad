"""What describes a corpus as a whole: manifest.json, SHA256SUMS, and README.md (the card).

All are made from the records of the finished units, so that they cannot say anything else.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

import pyarrow as pa

from qmgen.corpus.columns import SCHEMA_VERSION
from qmgen.corpus.identity import MANIFEST, config_hash
from qmgen.corpus.plan import FAILURES, SPLITS, Listing, Plan
from qmgen.corpus.revisions import begun_revisions
from qmgen.corpus.schema import failure_fields, is_of_parts, row_schema
from qmgen.corpus.seal import sealed
from qmgen.corpus.store import Place, Store, store_of
from qmgen.corpus.unit_records import DUPLICATES_FILE, SUMS, DamagedUnit, UnitRecord, duplicates_text, unit_record_of
from qmgen.documents import LARGEST_SETTINGS, table_of
from qmgen.errors import QmgenError

_PAGE = """{front_matter}# A qmgen corpus

{rows} labelled geometries of {molecules} molecules, {level}. Licence: {licence}.
{state}
| split | rows | molecules |
|---|---|---|
{splits}

{failures} entries got no label; each is a row in `failures/`, with its reason{reasons}.
{merged} duplicates (equal canonical SMILES) were merged into their first occurrence{named}.{pruned}{added}

## Load it

```python
import qmgen
train = qmgen.load("path/to/this/directory", split="train")        # pyarrow.Table

import glob, pandas                                                # or without qmgen, in this directory
train = pandas.concat(map(pandas.read_parquet, sorted(glob.glob("data/train-*.parquet"))))

import datasets                                                    # or with Hugging Face's library
train = datasets.load_dataset("path/to/this/directory", split="train")
```

{bonds}Conformers of one molecule are all in the same split. `pos` is flat: `np.reshape(row["pos"], (-1, 3))`.
Energies in eV are Hartree x 27.211386245988 (CODATA 2018); compare with other programs in Hartree.

## Columns of `data/`

{columns}

## Columns of `failures/`

{failure_columns}

## Level of theory

{theory}

`config.toml` holds the settings, `manifest.json` counts, checksums and versions; `sha256sum -c SHA256SUMS` checks the
files; `qmgen validate` recomputes a sample with PySCF.
"""


_BONDS = """`mapped_smiles` holds the bonds: atom map number k, from 1, is the k-th atom of `z` and `pos`. With RDKit:

```python
parameters = Chem.SmilesParserParams()
parameters.removeHs = False
mol = Chem.MolFromSmiles(row["mapped_smiles"], parameters)
mol = Chem.RenumberAtoms(mol, sorted(range(mol.GetNumAtoms()), key=lambda i: mol.GetAtomWithIdx(i).GetAtomMapNum()))
```

"""

#: what of a manifest says which columns there are
_COLUMNS = ("schema_version", "recipe")


def card(manifest: Mapping[str, Any]) -> str:
    """The page for a manifest (see ``manifest.write_manifest``)."""
    counts = manifest["counts"]
    theory = manifest.get("level_of_theory", {})
    reasons = ", ".join(f"{name}: {n}" for name, n in counts["failures_by_reason"].items())
    return _PAGE.format(
        front_matter=_front_matter(counts["splits"]),
        rows=counts["rows"],
        molecules=counts["molecules"],
        level=f"{theory.get('xc', '?')}/{theory.get('basis', '?')}",
        licence=manifest["licence"],
        state="" if manifest["complete"] else "\n**Unfinished**: the same command continues.\n",
        splits="\n".join(f"| {name} | {n['rows']} | {n['molecules']} |" for name, n in counts["splits"].items()),
        failures=counts["failures"],
        reasons=f" ({reasons})" if reasons else "",
        merged=counts["merged"],
        named="; `duplicates.csv` lists those with names" if counts.get("named_duplicates") else "",
        pruned=f"\n{counts['pruned']} conformers were pruned, as the settings ask." if counts.get("pruned") else "",
        added=_added(manifest),
        bonds=_bonds(manifest),
        columns=column_table(row_schema({key: manifest[key] for key in _COLUMNS if key in manifest})),
        failure_columns=column_table(failure_fields(is_of_parts(manifest))),
        theory="\n".join(f"- {key.replace('_', ' ')}: {value}" for key, value in theory.items()),
    )


def _bonds(manifest: Mapping[str, Any]) -> str:
    """How to have the bonds back, where rows have them."""
    return _BONDS if manifest.get("schema_version", SCHEMA_VERSION) > 1 else ""


def _front_matter(splits: Mapping[str, Any]) -> str:
    """What Hugging Face's `datasets` reads of a card: the files of each split. A split without rows is left out, since
    `datasets` refuses a folder with one."""
    paths = [f"  - split: {name}\n    path: data/{name}-*.parquet" for name, n in splits.items() if n["rows"]]
    if not paths:
        return ""
    return "\n".join(["---", "configs:", "- config_name: default", "  data_files:", *paths, "---", "", ""])


def _added(manifest: Mapping[str, Any]) -> str:
    """What was added to the corpus after it was finished first."""
    more = manifest.get("more", [])
    if not more:
        return ""
    lines = ["", "", "Added after it was first finished (`more-1`, ... in the names of the files):", ""]
    before = manifest["recipe"]
    for one in more:
        changes = ", ".join(
            f"{key} {before.get(key)} -> {value}"
            for key, value in one["recipe"].items()
            if value != before.get(key) and key != "source"
        )
        if one["kind"] == "retry":
            what = f"failures tried again ({changes}); those rows of earlier failures files no longer count"
        else:
            files = len(one["recipe"].get("source", [])) - len(before.get("source", []))
            what = ", ".join(filter(None, [changes, f"molecules of {files} more file(s)" if files else ""]))
            before = one["recipe"]
        lines.append(f"- more-{one['number']}: {what}")
    return "\n".join(lines)


def column_table(fields: Iterable[pa.Field]) -> str:
    """Markdown: name, type, unit and description of each field."""
    head = "| column | type | unit | what |\n|---|---|---|---|\n"
    lines = []
    for field in fields:
        kind = str(field.type.value_type) + " list" if hasattr(field.type, "value_type") else str(field.type)
        unit = field.metadata[b"unit"].decode()
        lines.append(
            f"| `{field.name}` | {kind} | {'' if unit == '1' else unit} | {field.metadata[b'description'].decode()} |"
        )
    return head + "\n".join(lines)


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
    of an older format) are those of revision 0; what was added later is found in the store. Raises ``QmgenError``
    where a unit cannot be read.
    """
    store = store_of(place)
    theory = metadata.get("level_of_theory", {})  # sorted, as the files have it: one page, whoever writes it
    metadata = {**metadata, **({"level_of_theory": dict(sorted(theory.items()))} if theory else {})}
    listing = Listing.of(store)
    for name in listing.superseded():
        store.remove(name)
    unit_records = list(_unit_records(store, listing))
    added = begun_revisions(store, listing)
    _refuse_mixture(store, unit_records, {config_hash(metadata["recipe"]), *(one.hash for one in added)})
    records = {record.name: record for unit in unit_records for record in unit.records}
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
        "counts": counts_of(unit_records),
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
    store.write(SUMS, sums_text(listing, unit_records))
    write_duplicates(store, unit_records)
    store.write(CARD, page)
    content = sealed(manifest)
    store.write(MANIFEST, content)
    return table_of(content)


def sums_text(listing: Listing, unit_records: Sequence[UnitRecord]) -> bytes:
    """What SHA256SUMS should be."""
    records = {record.name: record for unit in unit_records for record in unit.records}
    names = [name for kind in (*SPLITS, FAILURES) for name in listing.files(kind) if name in records]
    return "".join(f"{records[name].sha256}  {name}\n" for name in names).encode()


def write_duplicates(store: Store, unit_records: list[UnitRecord]) -> None:
    """Write the list of merged names, where there are any."""
    if any(unit.named_duplicates for unit in unit_records):
        store.write(DUPLICATES_FILE, duplicates_text(store, named_in(unit_records)))
    elif DUPLICATES_FILE in store.names(""):
        store.remove(DUPLICATES_FILE)


def named_in(unit_records: Sequence[UnitRecord]) -> list[str]:
    """The failures files that list merged names."""
    return [unit.failures.name for unit in unit_records if unit.named_duplicates]


def counts_of(unit_records: list[UnitRecord]) -> dict[str, Any]:
    """Rows and molecules per split, failures by reason, entries, merged duplicates and pruned conformers.

    Each molecule and each failure counts once, however many revisions concern it.
    """
    splits = {
        split: {
            "rows": sum(unit.data[split].rows for unit in unit_records),
            "molecules": sum(unit.data[split].molecules - unit.again.get(split, 0) for unit in unit_records),
        }
        for split in SPLITS
    }
    named = sum(unit.named_duplicates for unit in unit_records)
    reasons: Counter[str] = Counter()
    for unit in unit_records:
        reasons.update(unit.reasons)
        reasons.subtract(unit.retried)
    return {
        "rows": sum(split["rows"] for split in splits.values()),
        "molecules": sum(split["molecules"] for split in splits.values()),
        "entries": sum(unit.entries for unit in unit_records),
        "merged": sum(unit.merged for unit in unit_records),
        **({"named_duplicates": named} if named else {}),
        "pruned": sum(unit.pruned for unit in unit_records),
        "splits": splits,
        "failures": sum(reasons.values()),
        "failures_by_reason": {reason: n for reason, n in sorted(reasons.items()) if n},
    }


def _refuse_mixture(store: Store, unit_records: list[UnitRecord], known: set[str]) -> None:
    """Raise ``QmgenError`` where a unit was made with other settings: two runs have met in a new directory."""
    for unit in unit_records:
        if unit.metadata.get("config_hash", next(iter(known))) not in known:
            raise QmgenError(
                f"{store.place}: {unit.failures.name} was made with other settings than the corpus, as when two runs "
                "begin here at once: `qmgen verify` names all such work units; remove their files in failures/, and "
                "run the `qmgen generate` of the others again"
            )


def _unit_records(store: Store, listing: Listing) -> list[UnitRecord]:
    found = []
    for _, name in listing.units():
        try:
            found.append(unit_record_of(store, name))
        except DamagedUnit as damaged:
            raise QmgenError(f"{store.place}: {damaged}; run the same `qmgen generate` again, which mends it") from None
    return found
