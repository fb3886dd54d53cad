"""Tables from plain column values, checked before anything is written.

A row is a mapping from column names to plain values or numpy arrays, in the units of the schema. A table is sorted by
(molecule_id, conformer_id), so that its bytes do not depend on which label was finished first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Row = Mapping[str, Any]


def row_table(rows: Iterable[Row], schema: pa.Schema) -> pa.Table:
    """Rows as a sorted table of ``schema`` (see ``row_schema``).

    Raises ``ValueError`` on a missing or unknown column, a doubled (molecule_id, conformer_id), a number that is not
    finite, or lists whose lengths do not fit one another.
    """
    table = _table(rows, schema)
    _check_unique(table)
    for field in schema:
        _check_finite(table[field.name], field.name)
    atoms = _lengths(table["z"])
    for name, per_atom in (("pos", 3), ("charges", 1), ("forces", 3)):
        if name in schema.names and not np.array_equal(_lengths(table[name]), per_atom * atoms):
            raise ValueError(f"column {name} must hold {per_atom} value(s) per atom in every row")
    if not np.all(_lengths(table["dipole"]) == 3):
        raise ValueError("column dipole must hold 3 values in every row")
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


def _check_finite(column: pa.ChunkedArray, name: str) -> None:
    values = pc.list_flatten(column) if pa.types.is_list(column.type) else column
    if pa.types.is_floating(values.type) and not np.all(np.isfinite(values.to_numpy())):
        raise ValueError(f"column {name} holds a number that is not finite")


def _lengths(column: pa.ChunkedArray) -> np.ndarray:
    return pc.list_value_length(column).to_numpy()
