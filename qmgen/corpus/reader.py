"""Reading a corpus: tables, batches, failures, and what its metadata say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from qmgen.corpus.plan import FAILURES, SPLITS, Listing, siblings
from qmgen.corpus.revisions import standing_failures
from qmgen.corpus.schema import decode
from qmgen.corpus.store import Place, Store, store_of
from qmgen.corpus.unit_records import UNREADABLE
from qmgen.errors import UsageError, first_line


@dataclass(frozen=True)
class Corpus:
    """A corpus in a store, with all that was added to it. ``metadata`` are the decoded file metadata of its first
    revision: ``level_of_theory``, ``constants``, ``schema_version`` ..., which are equal in all its files; ``recipe``
    and ``config_hash``, which are those of a file's own revision. ``schema`` is that of its rows."""

    store: Store
    schema: pa.Schema
    metadata: dict[str, Any]

    @property
    def level_of_theory(self) -> dict[str, Any]:
        """Functional, basis, grid, thresholds: what it takes to compute the same labels again."""
        stated = self.metadata.get("level_of_theory", {})
        if not isinstance(stated, dict):
            raise UsageError(f"{self.place} does not state its level of theory: qmgen did not write its metadata")
        return dict(stated)

    @property
    def place(self) -> str:
        """Where it lies, for messages."""
        return self.store.place

    def files(self, split: str | None = None) -> list[str]:
        """Names of the data files of one split (of all where None), in order of their units."""
        if split is not None and split not in SPLITS:
            raise UsageError(f"no split is called {split!r}: choose from {', '.join(SPLITS)}")
        listing = Listing.of(self.store)
        units = [siblings(failures) for _, failures in listing.units()]  # what is not committed may still change
        names = [unit[kind] for kind in SPLITS if split in (None, kind) for unit in units]
        return [name for name in names if name in listing.sizes]

    def __len__(self) -> int:
        """Rows of all splits."""
        return sum(self.open(name).metadata.num_rows for name in self.files())

    def batches(
        self, split: str | None = None, columns: Sequence[str] | None = None, rows: int = 65536
    ) -> Iterator[pa.RecordBatch]:
        """The rows in order, at most ``rows`` at a time: memory stays flat however large the corpus."""
        self._check(columns)
        for name in self.files(split):
            yield from self.open(name).iter_batches(batch_size=rows, columns=columns)

    def table(self, split: str | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows of a split (of all splits where None) in one table."""
        self._check(columns)
        schema = self.schema if columns is None else pa.schema([self.schema.field(c) for c in columns])
        tables = [self._read(name, columns) for name in self.files(split)]
        try:
            return pa.concat_tables(tables) if tables else schema.empty_table()
        except pa.ArrowException as error:
            raise UsageError(f"the files of {self.place} do not all have the same columns: see qmgen verify") from error

    def failures(self) -> pa.Table:
        """Every molecule and conformer without a label, and why; not those that a later retry has decided."""
        listing = Listing.of(self.store)
        for name in listing.files(FAILURES):
            self.open(name)  # refuses a damaged one with a line that says what to do
        tables = list(standing_failures(self.store, listing))
        return pa.concat_tables(tables) if tables else pa.table({})

    def _read(self, name: str, columns: Sequence[str] | None) -> pa.Table:
        try:
            table = self.open(name).read(columns=columns)
            return table if columns is None else table.select(list(columns)).replace_schema_metadata(None)
        except UNREADABLE as error:
            raise _unreadable(self.store, name, error) from error

    def open(self, name: str) -> pq.ParquetFile:
        """One of its files. Raises ``UsageError`` where it cannot be read."""
        return _open(self.store, name)

    def _check(self, columns: Sequence[str] | None) -> None:
        unknown = sorted(set(columns or ()) - set(self.schema.names))
        if unknown:
            raise UsageError(f"no column is called {', '.join(unknown)}: choose from {', '.join(self.schema.names)}")


def open_corpus(place: Place) -> Corpus:
    """The corpus at ``place``, a directory or a URL such as ``s3://bucket/corpus``.

    Raises ``UsageError`` when there is none, it has no finished unit, or is damaged.
    """
    store = store_of(place)
    if store.local is not None and not store.local.is_dir():
        raise UsageError(f"{store.place} is not a directory: give the one that `qmgen generate --out` wrote")
    try:
        listing = Listing.of(store)
        begun = "config.toml" in store.names("")
    except OSError as error:
        raise UsageError(f"cannot read {store.place}: {str(error).splitlines()[0]}") from error
    files = [name for kind in SPLITS for name in listing.files(kind)]
    if not files:
        state = "holds no finished work unit yet" if begun else "is not a qmgen corpus"
        raise UsageError(f"{store.place} {state}: there is no file like data/train-00000-of-00008.parquet in it")
    schema = _open(store, files[0]).schema_arrow
    try:
        return Corpus(store, schema.remove_metadata(), decode(schema.metadata))
    except ValueError as error:
        raise _unreadable(store, files[0], error) from error


def load(directory: Place, split: str | None = None, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of a corpus as a ``pyarrow.Table``: of one split or all, all columns or some.

    Raises ``UsageError`` as ``open_corpus`` does, and on a split or column that does not exist.
    """
    return open_corpus(directory).table(split, columns)


def _open(store: Store, name: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(store.open(name), page_checksum_verification=True)
    except UNREADABLE as error:
        raise _unreadable(store, name, error) from error


def _unreadable(store: Store, name: str, error: BaseException) -> UsageError:
    return UsageError(
        f"{store.place}/{name} cannot be read ({first_line(error)}): run the same `qmgen generate` again, "
        "which mends it"
    )
