"""Writing the files of one work unit: all of them, whole, or none.

Each file is written to a temporary place on the same file system, synchronised, and read back; only then are they
renamed, the failures file last: it commits the unit. A killed process leaves temporaries, never half a file under a
final name.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from qmgen.corpus.plan import FAILURES, Unit
from qmgen.errors import QmgenError

TEMPORARY: Final = ".tmp"


@dataclass(frozen=True)
class FileRecord:
    """One finished file: its name within the corpus, rows, bytes, and SHA-256 (hexadecimal)."""

    name: str
    rows: int
    bytes: int
    sha256: str


def write_unit(directory: Path, unit: Unit, tables: Mapping[str, pa.Table]) -> list[FileRecord]:
    """Write the files of ``unit``: ``tables`` holds one table per split, and ``failures``.

    Returns their records in the order of ``unit.files()``. Raises ``QmgenError`` when the file system refuses, or what
    was read back differs from what was written; then no file of this unit stands under its final name.
    """
    names = unit.files()
    if tables.keys() != names.keys():
        raise ValueError(f"a unit needs the tables {sorted(names)}, not {sorted(tables)}")
    nest = _nest(directory)
    placed: list[Path] = []
    try:
        nest.mkdir(parents=True, exist_ok=True)
        records = [_write(nest, name, tables[kind]) for kind, name in names.items()]
        for name in (*(n for k, n in names.items() if k != FAILURES), names[FAILURES]):
            final = directory / name
            final.parent.mkdir(parents=True, exist_ok=True)
            placed.append(final)
            os.replace(nest / Path(name).name, final)
            _sync(final.parent)
    except BaseException as error:
        for path in placed:
            path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise QmgenError(
                f"cannot write to {directory}: {error.strerror or error}; the unit was not kept"
            ) from error
        raise
    finally:
        shutil.rmtree(nest, ignore_errors=True)
    return records


def write_table(table: pa.Table, target: Path | pa.NativeFile) -> None:
    """Parquet as this project writes it: zstd-3, floats split by byte stream, dictionaries for strings only."""
    # A list column is addressed by the path of its elements: plain "pos" would be ignored without a word.
    paths = {f.name: f"{f.name}.list.element" if pa.types.is_list(f.type) else f.name for f in table.schema}
    kinds = {f.name: f.type.value_type if pa.types.is_list(f.type) else f.type for f in table.schema}
    pq.write_table(
        table,
        target,
        compression="zstd",
        compression_level=3,
        use_dictionary=[paths[name] for name, kind in kinds.items() if pa.types.is_string(kind)],
        column_encoding={paths[n]: "BYTE_STREAM_SPLIT" for n, kind in kinds.items() if pa.types.is_floating(kind)},
    )


def digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal, read in pieces."""
    total = sha256()
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            total.update(piece)
    return total.hexdigest()


def clear_temporaries(directory: Path) -> None:
    """Remove what processes of this host that live no more have left in the temporary place."""
    for nest in (directory / TEMPORARY).glob(f"{socket.gethostname()}-*"):
        number = nest.name.rsplit("-", 1)[-1]
        if not (number.isdigit() and Path("/proc").is_dir() and Path("/proc", number).exists()):
            shutil.rmtree(nest, ignore_errors=True)


def _nest(directory: Path) -> Path:
    return directory / TEMPORARY / f"{socket.gethostname()}-{os.getpid()}"


def _write(nest: Path, name: str, table: pa.Table) -> FileRecord:
    path = nest / Path(name).name
    with path.open("wb") as stream:
        write_table(table, stream)
        stream.flush()
        os.fsync(stream.fileno())
    back = pq.read_table(path)
    if not back.schema.equals(table.schema, check_metadata=True) or not back.equals(table):
        raise QmgenError(f"{name}: what was read back differs from what was written; check the disk, then run again")
    return FileRecord(name, table.num_rows, path.stat().st_size, digest(path))


def _sync(folder: Path) -> None:
    """Make the renames in ``folder`` last through a power cut, where the file system knows how."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # some network file systems refuse to synchronise a folder
        pass
    finally:
        os.close(handle)
