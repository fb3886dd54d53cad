"""``duplicates.csv``: the names of entries of the source that were merged into an equal molecule before them.

Rows cannot hold them: a row depends on its own molecule alone, and a later extension may bring more. Each unit states
in its failures file those that stand in its range of the source; the list over all units is made anew from these.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from io import StringIO
from typing import Any, Final

import pyarrow.parquet as pq

from qmgen.corpus.schema import decode
from qmgen.corpus.store import Store

NAME: Final = "duplicates.csv"
#: the key within the metadata ``unit`` of a failures file
KEY: Final = "duplicates"
#: place of the entry in the source, its name, and the molecule_id of the rows that it was merged into
COLUMNS: Final = ("molecule_id", "name", "merged_into")


def stated_in(unit: Mapping[str, Any]) -> list[list[Any]]:
    """The duplicates that the metadata of a unit state. Raises ``ValueError`` where they are none."""
    found = unit.get(KEY, [])
    if isinstance(found, list) and all(
        isinstance(one, list) and [type(x) for x in one] == [int, str, int] for one in found
    ):
        return found
    raise ValueError("duplicates are not listed as numbers and names")


def text_of(store: Store, failures: Iterable[str]) -> bytes:
    """The list, from the failures files of these names, in this order."""
    stream = StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for name in failures:
        writer.writerows(stated_in(decode(pq.ParquetFile(store.open(name)).schema_arrow.metadata).get("unit", {})))
    return stream.getvalue().encode("utf-8", "replace")
