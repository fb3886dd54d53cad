"""Writing the files of one work unit: whole, the failures file last.

Each file is written to a temporary place on the same file system, synchronised, and read back; only then are they
renamed. The failures file commits the unit, and holds the checksums of its companions: whoever has it can tell whether
the others are what was written. A killed process leaves temporaries, or whole files of a unit that is not committed and
will be made again, with the same bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qmgen.corpus.plan import FAILURES, Unit
from qmgen.corpus.schema import PREFIX
from qmgen.corpus.store import Place, Store, store_of
from qmgen.errors import QmgenError

#: metadata of a failures file: the records of its companions
FILES: Final = "files"


@dataclass(frozen=True)
class FileRecord:
    """One finished file: its name within the corpus, rows, the molecules in them, bytes, and SHA-256 (hexadecimal)."""

    name: str
    rows: int
    molecules: int
    bytes: int
    sha256: str


def write_unit(
    place: Place | Store,
    unit: Unit,
    tables: Mapping[str, pa.Table],
    on_stage: Callable[[str], None] = lambda stage: None,
) -> list[FileRecord]:
    """Write the files of ``unit``: ``tables`` holds one table per split, and ``failures``.

    Returns their records in the order of ``unit.files()``. ``on_stage`` hears "write", then "commit". Raises
    ``QmgenError`` when the store refuses, or what was read back differs from what was written; then the unit is not
    committed, and nothing stands under a final name that is not whole.
    """
    names = unit.files()
    if tables.keys() != names.keys():
        raise ValueError(f"a unit needs the tables {sorted(names)}, not {sorted(tables)}")
    store = store_of(place)
    try:
        with store.workspace() as nest:
            on_stage("write")
            records = [_write(nest, name, tables[kind]) for kind, name in names.items() if kind != FAILURES]
            records.append(_write(nest, names[FAILURES], with_records(tables[FAILURES], records)))
            on_stage("commit")
            for record in records:
                store.put(record.name, nest / Path(record.name).name)
    except OSError as error:
        raise QmgenError(
            f"cannot write to {store.place}: {error.strerror or error}; the unit was not kept, make room or choose "
            "another --out, and run again"
        ) from error
    return records


def with_records(failures: pa.Table, records: list[FileRecord]) -> pa.Table:
    """The table with the records of its companions in its metadata."""
    about = json.dumps({r.name: {k: v for k, v in asdict(r).items() if k != "name"} for r in records})
    return failures.replace_schema_metadata({**(failures.schema.metadata or {}), f"{PREFIX}{FILES}": about})


def write_table(table: pa.Table, target: Path | pa.NativeFile) -> None:
    """Parquet as this project writes it: zstd-3, floats split by byte stream, dictionaries for strings only, and a
    checksum for every page. A table without rows becomes a file without row groups."""
    # A list column is addressed by the path of its elements: plain "pos" would be ignored without a word.
    paths = {f.name: f"{f.name}.list.element" if pa.types.is_list(f.type) else f.name for f in table.schema}
    kinds = {f.name: f.type.value_type if pa.types.is_list(f.type) else f.type for f in table.schema}
    with pq.ParquetWriter(
        target,
        table.schema,
        compression="zstd",
        compression_level=3,
        write_page_checksum=True,
        use_dictionary=[paths[name] for name, kind in kinds.items() if pa.types.is_string(kind)],
        column_encoding={paths[n]: "BYTE_STREAM_SPLIT" for n, kind in kinds.items() if pa.types.is_floating(kind)},
    ) as writer:
        if table.num_rows:  # Hugging Face's `datasets` cannot read a row group of 0 rows
            writer.write_table(table)


def digest(source: Path | pa.NativeFile) -> str:
    """SHA-256 of a file, hexadecimal, read in pieces."""
    total = sha256()
    with source.open("rb") if isinstance(source, Path) else source as stream:
        while piece := stream.read(1 << 20):
            total.update(piece)
    return total.hexdigest()


def _write(nest: Path, name: str, table: pa.Table) -> FileRecord:
    path = nest / Path(name).name
    with path.open("wb") as stream:
        write_table(table, stream)
        stream.flush()
        os.fsync(stream.fileno())
    back = pq.read_table(path, page_checksum_verification=True)
    if not back.schema.equals(table.schema, check_metadata=True) or not back.equals(table):
        raise QmgenError(f"{name}: what was read back differs from what was written; check the disk, then run again")
    molecules = len(np.unique(table["molecule_id"].to_numpy()))
    return FileRecord(name, table.num_rows, molecules, path.stat().st_size, digest(path))
