"""Reading a corpus: tables, batches, failures, and what its metadata say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from qmgen.corpus.plan import FAILURES, listed
from qmgen.corpus.schema import decode
from qmgen.corpus.splits import SPLITS
from qmgen.errors import UsageError


@dataclass(frozen=True)
class Corpus:
    """A corpus on disk. ``metadata`` are the decoded file metadata, equal in all its files: ``level_of_theory``,
    ``recipe``, ``config_hash``, ``constants``, ``schema_version`` ...; ``schema`` is that of its rows."""

    directory: Path
    schema: pa.Schema
    metadata: dict[str, Any]

    @property
    def level_of_theory(self) -> dict[str, Any]:
        """Functional, basis, grid, thresholds: what it takes to compute the same labels again."""
        return dict(self.metadata.get("level_of_theory", {}))

    def files(self, split: str | None = None) -> list[Path]:
        """Data files of one split (all where None), in order of their units."""
        if split is not None and split not in SPLITS:
            raise UsageError(f"no split is called {split!r}: choose from {', '.join(SPLITS)}")
        return [
            self.directory / name for kind in SPLITS if split in (None, kind) for name in listed(self.directory, kind)
        ]

    def __len__(self) -> int:
        """Rows of all splits."""
        return sum(_open(path).metadata.num_rows for path in self.files())

    def batches(
        self, split: str | None = None, columns: Sequence[str] | None = None, rows: int = 65536
    ) -> Iterator[pa.RecordBatch]:
        """The rows in order, at most ``rows`` at a time: memory stays flat however large the corpus."""
        self._check(columns)
        for path in self.files(split):
            yield from _open(path).iter_batches(batch_size=rows, columns=columns)

    def table(self, split: str | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows of a split (of all splits where None) in one table."""
        self._check(columns)
        schema = self.schema if columns is None else pa.schema([self.schema.field(c) for c in columns])
        tables = [_open(path).read(columns=columns) for path in self.files(split)]
        if columns is not None:
            tables = [table.select(list(columns)).replace_schema_metadata(None) for table in tables]
        return pa.concat_tables(tables) if tables else schema.empty_table()

    def failures(self) -> pa.Table:
        """Every molecule and conformer without a label, and why."""
        names = listed(self.directory, FAILURES)
        tables = [_open(self.directory / name).read().replace_schema_metadata(None) for name in names]
        return pa.concat_tables(tables) if tables else pa.table({})

    def _check(self, columns: Sequence[str] | None) -> None:
        unknown = sorted(set(columns or ()) - set(self.schema.names))
        if unknown:
            raise UsageError(f"no column is called {', '.join(unknown)}: choose from {', '.join(self.schema.names)}")


def open_corpus(directory: Path | str) -> Corpus:
    """The corpus in ``directory``. Raises ``UsageError`` when there is none, it has no finished unit, or is damaged."""
    path = Path(directory)
    if not path.is_dir():
        raise UsageError(f"{path} is not a directory: give the one that `qmgen generate --out` wrote")
    files = [path / name for kind in SPLITS for name in listed(path, kind)]
    if not files:
        state = "holds no finished work unit yet" if (path / "config.toml").exists() else "is not a qmgen corpus"
        raise UsageError(f"{path} {state}: there is no file like data/train-00000-of-00008.parquet in it")
    schema = _open(files[0]).schema_arrow
    return Corpus(path, schema.remove_metadata(), decode(schema.metadata))


def load(directory: Path | str, split: str | None = None, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of a corpus as a ``pyarrow.Table``: of one split or all, all columns or some.

    Raises ``UsageError`` as ``open_corpus`` does, and on a split or column that does not exist.
    """
    return open_corpus(directory).table(split, columns)


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(
            f"{path} cannot be read ({reason}): remove it and run the same `qmgen generate` again"
        ) from error
