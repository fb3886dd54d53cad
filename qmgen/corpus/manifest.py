"""What describes a corpus as a whole: manifest.json, SHA256SUMS, README.md, and one record per run.

All but the run records are made anew from the finished files, so that they cannot say anything that the files do not.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from qmgen.corpus.card import card
from qmgen.corpus.identity import MANIFEST, config_hash
from qmgen.corpus.plan import FAILURES, Plan, listed, superseded
from qmgen.corpus.schema import SCHEMA_VERSION, decode
from qmgen.corpus.shard import FileRecord, digest
from qmgen.corpus.splits import SPLITS

SUMS = "SHA256SUMS"


def write_manifest(
    directory: Path,
    plan: Plan,
    metadata: Mapping[str, Any],
    *,
    licence: str,
    versions: Mapping[str, str | None],
    records: Iterable[FileRecord] = (),
) -> dict[str, Any]:
    """Write manifest.json, SHA256SUMS and README.md from the files that are there, and return the manifest.

    ``metadata`` is what the data files carry (``recipe`` among it). ``records`` of files that this run wrote save
    reading them again for their checksums.
    """
    for name in superseded(directory):
        (directory / name).unlink(missing_ok=True)
    known = {record.name: record for record in records}
    manifest: dict[str, Any] = {
        "format": "qmgen corpus",
        "schema_version": SCHEMA_VERSION,
        "complete": all(unit.done(directory) for unit in plan),
        "licence": licence,
        "config_hash": config_hash(metadata["recipe"]),
        **{key: value for key, value in metadata.items() if key != "config_hash"},
        "plan": {"entries": plan.entries, "units": plan.count, "wanted": plan.wanted},
        "counts": _counts(directory),
        "versions": dict(versions),
        "files": [],
    }
    sums = []
    for name in (name for kind in (*SPLITS, FAILURES) for name in listed(directory, kind)):
        path = directory / name
        size = path.stat().st_size
        found = known.get(name)
        if found is None or found.bytes != size:
            found = FileRecord(name, pq.read_metadata(path).num_rows, size, digest(path))
        manifest["files"].append({"name": name, "rows": found.rows, "bytes": size, "sha256": found.sha256})
        sums.append(f"{found.sha256}  {name}\n")
    write_text(directory / SUMS, "".join(sums))
    write_text(directory / "README.md", card(manifest))
    write_text(directory / MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
    return manifest


def write_run(directory: Path, name: str, record: Mapping[str, Any]) -> Path:
    """Write ``runs/<name>.json``: host, devices, times and versions of a process that wrote here."""
    path = directory / "runs" / f"{name}.json"
    write_text(path, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    return path


def write_text(path: Path, text: str) -> None:
    """Write a small text file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _counts(directory: Path) -> dict[str, Any]:
    """Rows and molecules per split, failures by reason, entries, merged duplicates and pruned conformers, from the
    files alone."""
    counts: dict[str, Any] = {"rows": 0, "molecules": 0, "entries": 0, "merged": 0, "pruned": 0, "splits": {}}
    for split in SPLITS:
        rows = molecules = 0
        for name in listed(directory, split):
            ids = pq.read_table(directory / name, columns=["molecule_id"])["molecule_id"].to_numpy()
            rows += len(ids)
            molecules += len(np.unique(ids))
        counts["splits"][split] = {"rows": rows, "molecules": molecules}
        counts["rows"] += rows
        counts["molecules"] += molecules
    reasons: Counter[str] = Counter()
    for name in listed(directory, FAILURES):
        table = pq.read_table(directory / name, columns=["reason"])
        reasons.update(table["reason"].to_pylist())
        unit = decode(table.schema.metadata).get("unit", {})
        for what in ("entries", "merged", "pruned"):
            counts[what] += unit.get(what, 0)
    counts["failures"] = sum(reasons.values())
    counts["failures_by_reason"] = dict(sorted(reasons.items()))
    return counts
