"""Tables from plain column values, checked before anything is written.

A row is a mapping from column names to plain values or numpy arrays, in the units of the schema. A table is sorted by
(molecule_id, conformer_id), so that its bytes do not depend on which label was finished first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from qmgen.corpus.columns import faults

Row = Mapping[str, Any]


def row_table(rows: Iterable[Row], schema: pa.Schema) -> pa.Table:
    """Rows as a sorted table of ``schema`` (see ``row_schema``).

    Raises ``ValueError`` on a missing or unknown column, a doubled (molecule_id, conformer_id), a number that is not
    finite, or lists whose lengths do not fit one another.
    """
    table = _table(rows, schema)
    _check_unique(table)
    for fault in faults(table):
        raise ValueError(fault)
    return table


def failure_table(rows: Iterable[Row], schema: pa.Schema) -> pa.Table:
    """Failures as a sorted table of ``failure_schema``. Raises ``ValueError`` on a missing or unknown column."""
    return _table(rows, schema, ("molecule_id", "conformer_id", "reason", "detail"))


def _table(
    rows: Iterable[Row], schema: pa.Schema, order: tuple[str, ...] = ("molecule_id", "conformer_id")
) -> pa.Table:
    listed: Sequence[Row] = sorted(rows, key=lambda row: tuple(row[name] for name in order))
    wanted = set(schema.names)
    for row in listed:
        if row.keys() != wanted:
            raise ValueError(f"columns missing: {sorted(wanted - row.keys())}; unknown: {sorted(row.keys() - wanted)}")
    arrays = [pa.array([row[field.name] for row in listed], type=field.type) for field in schema]
    for field, array in zip(schema, arrays, strict=True):
        if array.null_count:
            raise ValueError(f"column {field.name} holds an empty value")
    return pa.Table.from_arrays(arrays, schema=schema)


def _check_unique(table: pa.Table) -> None:
    molecules, conformers = table["molecule_id"].to_numpy(), table["conformer_id"].to_numpy()
    doubled = (np.diff(molecules) == 0) & (np.diff(conformers) == 0)
    if np.any(doubled):
        at = int(np.argmax(doubled))
        raise ValueError(f"molecule {molecules[at]}, conformer {conformers[at]} stands twice")
