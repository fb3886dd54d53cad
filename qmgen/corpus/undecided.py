"""The failures that still stand: a retry decides those it tries again, whatever became of them.

The failures file of a retry's unit says in its metadata which rows of earlier failures files it has decided: each as
molecule, conformer and reason. They stay in those files, which are never changed, and no longer count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from qmgen.corpus.books import UNREADABLE, Damaged, unit_in
from qmgen.corpus.listing import Listing
from qmgen.corpus.schema import decode, failure_schema
from qmgen.corpus.store import Store
from qmgen.errors import UsageError, first_line

#: a row of a failures file: molecule_id, conformer_id, reason
Decided = tuple[int, int, str]


def decided(store: Store, listing: Listing, number: int) -> set[Decided]:
    """What the finished units of generation ``number`` have decided."""
    found: set[Decided] = set()
    for key, name in listing.units():
        if key[0] == number:
            with _readable(store, name):
                unit = unit_in(decode(pq.ParquetFile(store.open(name)).schema_arrow.metadata), name)
            found.update((m, c, reason) for m, c, reason in unit.get("decided", []))
    return found


def undecided(store: Store, listing: Listing, numbers: Iterable[int], below: int | None = None) -> Iterator[pa.Table]:
    """The failures of each unit, in order, as of before generation ``below`` (of all where None).

    ``numbers`` are those of the generations that may have decided some.
    """
    known = {n: decided(store, listing, n) for n in numbers if below is None or n < below}
    for key, name in listing.units():
        if below is not None and key[0] >= below:
            continue
        with _readable(store, name):
            table = pq.ParquetFile(store.open(name)).read().replace_schema_metadata(None)
            if not table.schema.equals(failure_schema().remove_metadata()):
                raise Damaged(f"{name} has other columns than a failures file")
        gone = set().union(*(those for number, those in known.items() if number > key[0]))
        yield _without(table, gone) if gone and table.num_rows else table


@contextmanager
def _readable(store: Store, name: str) -> Iterator[None]:
    """Raises ``UsageError`` where the failures file ``name`` is damaged."""
    try:
        yield
    except (Damaged, *UNREADABLE) as error:
        what = str(error) if isinstance(error, Damaged) else f"{name} cannot be read ({first_line(error)})"
        raise UsageError(f"{store.place}: {what}: run the same `qmgen generate` again, which mends it") from error


def later(listing: Listing) -> list[int]:
    """Numbers of the generations that have finished units."""
    return sorted({key[0] for key, _ in listing.units() if key[0]})


def _without(table: pa.Table, gone: set[Decided]) -> pa.Table:
    columns: dict[str, list[Any]] = table.select(["molecule_id", "conformer_id", "reason"]).to_pydict()
    keep = [row not in gone for row in zip(*columns.values(), strict=True)]
    return table.filter(pa.array(keep, pa.bool_()))
