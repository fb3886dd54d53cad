"""Rows and failures of a unit so far, and their checkpoint: a file with which a later attempt goes on.

A Parquet file of the rows, with a column ``split``; in its metadata all else, and a checksum of both. It is no part of
the corpus: one that is damaged, or of another configuration, is removed with a line on standard error; one that cannot
be written changes nothing else. Conformers that were excluded because they end their process are not in it: the parent
decides that in each run anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from qmgen import files
from qmgen.corpus.plan import FAILURES, SPLITS, Unit
from qmgen.corpus.schema import row_schema, row_table
from qmgen.corpus.unit_records import write_table
from qmgen.documents import table_of
from qmgen.errors import QmgenError
from qmgen.labeling.types import LabelCosts
from qmgen.molecules.types import Failure, Reason
from qmgen.pipeline.crash_policy import ConformerKey
from qmgen.pipeline.rows import failure_of_row, failure_row

#: seconds between two savings while something new comes
CHECKPOINT_EVERY: Final = 60.0
#: so many times as long as the last saving took, at least: saving costs 2 % of the time at most
_SPARING: Final = 50
_KEY: Final = b"qmgen.partial"
_SUM: Final = b"qmgen.partial_sha256"
_SPLIT: Final = pa.field("split", pa.string(), nullable=False)


#: failures that a checkpoint leaves out: the next attempt tries these conformers again
RETRIED_REASONS: Final = (Reason.WORKER_CRASHED, Reason.MACHINE_TROUBLE)


@dataclass
class UnitContents:
    """Rows by split, and failures, as they come; how many conformers were pruned, by molecule; the molecules that
    need no embedding any more; the number of rows that an earlier attempt had made; and what a network that guesses
    took in this one."""

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {split: [] for split in SPLITS})
    failures: list[Failure] = field(default_factory=list)
    pruned_of: dict[int, int] = field(default_factory=dict)
    complete: set[int] = field(default_factory=set)
    resumed: int = 0
    tally: LabelCosts = field(default_factory=LabelCosts)

    @property
    def pruned(self) -> int:
        """Conformers that were pruned."""
        return sum(self.pruned_of.values())

    @property
    def done(self) -> int:
        """The number of rows."""
        return sum(map(len, self.rows.values()))

    def keys(self) -> set[ConformerKey]:
        """The (molecule_id, conformer_id) of all rows and failures; -1 stands for a molecule as a whole."""
        keys = {(r["molecule_id"], r["conformer_id"]) for rows in self.rows.values() for r in rows}
        return keys | {(failure.molecule_id, failure.conformer_id) for failure in self.failures}


def path_of(folder: Path, unit: Unit) -> Path:
    """Where the partial work of ``unit`` stands: ``part-00003-of-00064.partial.parquet``."""
    return folder / f"{Path(unit.files()[FAILURES]).stem}.partial.parquet"


def remove_checkpoint(folder: Path, unit: Unit) -> None:
    """Remove the partial work of ``unit``, and what killed processes left of their attempts to write it."""
    name = path_of(folder, unit).name
    top, within = _in_corpus(folder)
    with contextlib.suppress(OSError), files.opened(top, within) as handle:
        for left in (name, *(one for one in os.listdir(handle) if one.startswith(f".{name}."))):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(left, dir_fd=handle)


def _in_corpus(folder: Path) -> tuple[Path, Path]:
    """The directory of the corpus, and the folder of partial work (``.tmp/partial``) in it."""
    top = folder.parent.parent
    return top, folder.relative_to(top)


class UnitCheckpoint:
    """Saves the work of one unit now and then, and brings back what was saved before."""

    def __init__(self, folder: Path, unit: Unit, metadata: Mapping[str, Any]) -> None:
        self._folder, self._unit = folder, unit
        self._schema = row_schema(metadata)
        self._belongs = {"config_hash": metadata.get("config_hash"), "start": unit.start, "end": unit.end}
        self._saved: tuple[int, int, int] = (0, 0, 0)
        self._took = 0.0
        self._last = time.monotonic()
        self._complained = False

    def load(self) -> UnitContents | None:
        """What was saved, if it is whole and of this unit and configuration; else it is removed."""
        path = path_of(self._folder, self._unit)
        try:
            contents = self._read(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except Exception as error:  # pyarrow and json raise many kinds, all of which say that the file will not do
            why = str(error) if isinstance(error, QmgenError) else "it is damaged"
            self._say(f"partial work was removed, {why}; the unit begins anew")
            self.remove()
            return None
        self._saved = _amount(contents, contents.complete)
        return contents

    def due(self, hurried: bool = False) -> bool:
        """Whether it is time to save again; ``hurried`` asks only that saving does not cost too much."""
        wait = _SPARING * self._took
        return time.monotonic() - self._last >= (wait if hurried else max(wait, CHECKPOINT_EVERY))

    def save(self, contents: UnitContents, complete: set[int]) -> None:
        """Save ``contents``, in which the molecules ``complete`` are finished, unless nothing is new. Never raises."""
        begin = time.monotonic()
        amount = _amount(contents, complete)
        if amount == self._saved:
            self._last = begin
            return
        top, within = _in_corpus(self._folder)
        try:
            name = path_of(within, self._unit)
            files.write(top, str(name), self._content(contents, complete))
            self._saved = amount
        except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
            if not self._complained:
                self._complained = True
                self._say(f"partial work was not saved: {getattr(error, 'strerror', None) or error}")
        self._last = time.monotonic()
        self._took = self._last - begin

    def remove(self) -> None:
        """The unit is finished, or what was saved will not do."""
        remove_checkpoint(self._folder, self._unit)

    def _content(self, contents: UnitContents, complete: set[int]) -> bytes:
        parts = []
        for split, rows in contents.rows.items():
            names = pa.array([split] * len(rows), pa.string())
            parts.append(row_table(rows, self._schema).append_column(_SPLIT, names))
        table = pa.concat_tables(parts).combine_chunks()
        failures = [failure_row(one) for one in contents.failures if one.reason not in RETRIED_REASONS]
        known = {
            **self._belongs,
            "failures": failures,
            "complete": sorted(complete),
            "pruned": sorted(contents.pruned_of.items()),
        }
        text = json.dumps(known).encode()
        metadata = {**table.schema.metadata, _KEY: text, _SUM: _checksum(table, text)}
        sink = pa.BufferOutputStream()
        write_table(table.replace_schema_metadata(metadata), sink)
        return bytes(sink.getvalue().to_pybytes())

    def _read(self, path: Path) -> UnitContents:
        table = pq.read_table(pa.BufferReader(files.read(path))).combine_chunks()
        metadata = table.schema.metadata or {}
        text = metadata[_KEY]
        if metadata[_SUM] != _checksum(table, text):
            raise ValueError("checksum")
        known = table_of(text)
        if {name: known[name] for name in self._belongs} != self._belongs:
            raise QmgenError("it belongs to another configuration or range of molecules")
        if not table.schema.equals(self._schema.append(_SPLIT)):
            raise QmgenError("it has other columns")
        contents = UnitContents(complete=set(known["complete"]), pruned_of=dict(known["pruned"]))
        for split, row in zip(table["split"].to_pylist(), rows_of(table.drop_columns(["split"])), strict=True):
            contents.rows[split].append(row)
        contents.failures.extend(map(failure_of_row, known["failures"]))
        return contents

    def _say(self, what: str) -> None:
        print(f"qmgen: work unit {self._unit.index}: {what}", file=sys.stderr, flush=True)


def _amount(contents: UnitContents, complete: set[int]) -> tuple[int, int, int]:
    """Numbers of rows, failures and finished molecules: one of them grows when there is something new."""
    return contents.done, len(contents.failures), len(complete)


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """The rows as labeling makes them: lists as arrays of NumPy, all else as Python's own."""
    columns = []
    for column in table.columns:
        if pa.types.is_list(column.type):
            ends = np.cumsum(pc.list_value_length(column).to_numpy())
            columns.append(np.split(pc.list_flatten(column).to_numpy(), ends[:-1]) if len(ends) else [])
        else:
            columns.append(column.to_pylist())
    return [dict(zip(table.column_names, values, strict=True)) for values in zip(*columns, strict=True)]


def _checksum(table: pa.Table, text: bytes) -> bytes:
    """SHA-256 over the values and ``text``, whatever way they are stored: Parquet's own pages carry no checksum."""
    total = sha256(text)
    for name, column in zip(table.column_names, table.columns, strict=True):
        total.update(name.encode())
        if pa.types.is_list(column.type):
            total.update(pc.list_value_length(column).to_numpy().tobytes())
            column = pc.list_flatten(column)
        if pa.types.is_string(column.type):
            total.update(json.dumps(column.to_pylist()).encode())
        else:
            total.update(column.to_numpy().tobytes())
    return total.hexdigest().encode()
