"""README.md of a corpus: what it is, its columns, how to load it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from qmgen.corpus.columns import SCHEMA_VERSION
from qmgen.corpus.schema import failure_fields, is_of_parts, row_schema

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
