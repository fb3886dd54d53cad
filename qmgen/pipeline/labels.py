"""What ``qmgen.label`` returns: one result for each conformer of each molecule that was given, in the order given."""

from __future__ import annotations

import reprlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, SupportsIndex, overload

import pyarrow as pa

from qmgen.errors import UsageError
from qmgen.molecules.types import Failure
from qmgen.pipeline.rows import failure_row
from qmgen.pipeline.source import Entry

if TYPE_CHECKING:
    import pandas

Row = Mapping[str, Any]
#: columns that a result has beside those of a row: None where there is a label
WHY: Final = ("reason", "detail")


@dataclass(frozen=True)
class Labels:
    """A sequence of results, aligned with the input: ``labels[i]`` is a dict with the columns of a corpus and
    ``reason`` and ``detail``, ``labels[a:b]`` a list of such. Of a labelled conformer these two are None; of a failure
    all columns but ``molecule_id conformer_id name smile`` are. Duplicates have a result each, which was computed once.

    ``results`` is all of them as a ``pyarrow.Table`` with units in its metadata, ``to_pandas()`` as a data frame.
    ``table`` and ``failures`` are what a corpus of the same molecules would hold: rows, and what got no label, sorted
    by their numbers, each once. ``merged`` is the number of duplicates, ``pruned`` of conformers that were left out as
    the settings ask: these have no result.
    """

    results: pa.Table
    table: pa.Table
    failures: pa.Table
    merged: int
    pruned: int = 0

    def __len__(self) -> int:
        return int(self.results.num_rows)

    @overload
    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...

    def __getitem__(self, index: SupportsIndex | slice) -> dict[str, Any] | list[dict[str, Any]]:
        """One result, or a list of them for a slice. Raises ``IndexError``; ``TypeError`` for the name of a column."""
        if isinstance(index, slice):
            return self.results.take(pa.array(range(len(self))[index], pa.int64())).to_pylist()
        try:
            place = range(len(self))[index]
        except TypeError:
            how = "labels[i], labels[a:b], or labels.results[name] for a column"
            raise TypeError(f"a result has a whole number, not {reprlib.repr(index)}: {how}") from None
        except IndexError:
            raise IndexError(f"there is no result {reprlib.repr(index)}: there are {len(self)}, from 0") from None
        row: dict[str, Any] = self.results.slice(place, 1).to_pylist()[0]
        return row

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self.results.to_batches(max_chunksize=1024):
            yield from batch.to_pylist()

    def __repr__(self) -> str:
        failed = len(self) - self.results["reason"].null_count
        return f"<{len(self)} results: {len(self) - failed} labels, {failed} failures>"

    def to_pandas(self) -> pandas.DataFrame:
        """The results as a data frame, a row each; whole numbers and truth values in pandas' types that know missing
        ones. Raises ``UsageError`` where pandas is not installed."""
        try:
            import pandas
        except ImportError:
            raise UsageError("to_pandas() needs pandas: pip install pandas, or use .results, a pyarrow.Table") from None
        missing = {
            pa.uint16(): pandas.UInt16Dtype(),
            pa.int16(): pandas.Int16Dtype(),
            pa.bool_(): pandas.BooleanDtype(),
        }
        return self.results.to_pandas(types_mapper=missing.get)


def aligned(
    entries: Sequence[Entry],
    rows: Iterable[Row],
    failures: Iterable[Row],
    conformers: int,
    schema: pa.Schema,
    kept: Iterable[str] = (),
) -> pa.Table:
    """The results of ``entries`` in their order, from the ``rows`` and ``failures`` of their unique molecules.

    ``schema`` is that of the rows, ``kept`` its columns that each entry has a value for. A failure of a whole molecule
    stands for each of its ``conformers``.
    """
    found: dict[int, dict[int, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for one in (*rows, *failures):
        found[one["molecule_id"]][one["conformer_id"]].append(one)
    first: dict[str, int] = {}
    results: list[Row] = []
    for entry in entries:
        if isinstance(entry, Failure):
            results += _each(failure_row(entry), conformers)
        elif entry.positions is not None:
            of_one = found[entry.molecule_id]
            own = {"conformer_id": entry.conformer_id, **dict(zip(kept, entry.kept))}
            results += [{**one, **own} for one in of_one.get(entry.conformer_id) or of_one[-1]]
        else:
            of_all = found[first.setdefault(entry.smiles, entry.molecule_id)]
            own = {"molecule_id": entry.molecule_id, "name": entry.name, **dict(zip(kept, entry.kept))}
            for conformer_id in sorted(of_all):
                for one in of_all[conformer_id]:
                    results += [{**each, **own} for each in _each(one, conformers)]
    fields = [field.with_nullable(True) for field in schema]
    fields += [pa.field(name, pa.string()) for name in WHY]
    return pa.Table.from_pylist(results, pa.schema(fields, metadata=schema.metadata))


def _each(one: Row, conformers: int) -> list[Row]:
    """The row or failure itself, or, where it stands for a whole molecule, one for each conformer."""
    if one["conformer_id"] >= 0:
        return [one]
    return [{**one, "conformer_id": conformer_id} for conformer_id in range(conformers)]
