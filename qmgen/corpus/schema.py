"""The schema of data and failures files, their metadata, and tables of rows.

Every field carries ``unit`` and ``description``; what holds for all rows (level of theory, grid, thresholds, seeds,
constants, configuration hash) stands once in the file's metadata, under keys that begin with ``qmgen.``.

A row is a mapping from column names to plain values or numpy arrays, in the units of the schema. A table is sorted by
(molecule_id, conformer_id), so that its bytes do not depend on which label was finished first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from qmgen.corpus.columns import COLUMNS, SCHEMA_VERSION, Column, faults
from qmgen.documents import json_of

PREFIX: Final = "qmgen."
_PLACE_IN_PART: Final = "2^32 times the 0-based number of the work unit, plus the 0-based place of the molecule in it"


def row_fields(
    forces: bool = False, parts: bool = False, version: int = SCHEMA_VERSION, keep: Sequence[str] = ()
) -> list[pa.Field]:
    """The fields of a row in file order; ``forces`` adds the opt-in column, ``parts``: of a whole enumeration; ``keep``
    names the columns of the source that are carried through."""
    fields = [column.field for column in COLUMNS if column.since <= version and (forces or not column.opt_in)]
    if parts:
        fields = [_of_parts(field) for field in fields]
    if version > 1:
        fields += [
            Column(column, pa.string(), "1", _kept(name)).field for name, column in kept_columns(keep, version).items()
        ]
    return fields


def kept_columns(keep: Sequence[str], version: int = SCHEMA_VERSION) -> dict[str, str]:
    """The columns of a corpus that hold the columns ``keep`` of its source: the same names, but ``input_energy`` where
    a corpus of this ``version`` has an ``energy`` of its own. ``name`` needs no column beside the one that there is."""
    own = {column.name for column in COLUMNS if column.since <= version}
    return {name: f"input_{name}" if name in own else name for name in keep if name != "name"}


def _kept(name: str) -> str:
    return f"{json.dumps(name, ensure_ascii=False)} of the source, as text; empty where it has none"


def _of_parts(field: pa.Field) -> pa.Field:
    """The field as it is where work units are parts of an enumeration."""
    if field.name != "molecule_id":
        return field
    return field.with_metadata({**field.metadata, b"description": _PLACE_IN_PART})


def failure_fields(parts: bool = False) -> list[pa.Field]:
    """The fields of the failures files: every molecule or conformer that got no label, and why."""
    of_rows = {column.name: column.field for column in COLUMNS}
    fields = [
        of_rows["molecule_id"],
        Column(
            "conformer_id", pa.int32(), "1", "number of the geometry; -1 when the whole molecule is concerned"
        ).field,
        of_rows["name"],
        Column("smile", pa.string(), "1", "SMILES as far as known; empty for a bare geometry").field,
        Column("reason", pa.string(), "1", "one of a closed list of reasons").field,
        Column("detail", pa.string(), "1", "what exactly happened").field,
    ]
    return [_of_parts(field) for field in fields] if parts else fields


def row_schema(metadata: Mapping[str, Any] | None = None, forces: bool = False) -> pa.Schema:
    """Schema of the data files; ``metadata`` holds plain JSON values, without the prefix, and says which columns there
    are: by its ``schema_version`` (the newest where it has none), and by ``keep`` in its ``recipe``."""
    about = metadata or {}
    fields = row_fields(forces, is_of_parts(about), about.get("schema_version", SCHEMA_VERSION), keep_of(about))
    return pa.schema(fields, metadata=encode(about))


def failure_schema(metadata: Mapping[str, Any] | None = None) -> pa.Schema:
    """Schema of the failures files."""
    return pa.schema(failure_fields(is_of_parts(metadata)), metadata=encode(metadata or {}))


def is_of_parts(metadata: Mapping[str, Any] | None) -> bool:
    """Whether the units of a corpus are parts of an enumeration: its recipe then describes the source, and lists no
    digests of files."""
    return isinstance((metadata or {}).get("recipe", {}).get("source"), Mapping)


def keep_of(metadata: Mapping[str, Any]) -> list[str]:
    """The columns of the source that are carried through, as far as the recipe lists any."""
    recipe = metadata.get("recipe")
    keep = recipe.get("keep") if isinstance(recipe, Mapping) else None
    return [name for name in keep if isinstance(name, str)] if isinstance(keep, list | tuple) else []


def encode(metadata: Mapping[str, Any]) -> dict[str, str]:
    """File metadata as Parquet wants it: prefixed keys; strings as they are, all else as canonical JSON."""
    plain = {"schema_version": SCHEMA_VERSION, **metadata}
    return {PREFIX + key: value if isinstance(value, str) else canonical_json(value) for key, value in plain.items()}


def decode(metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    """The inverse of :func:`encode`: our keys alone, JSON read back; ``{}`` where there are none."""
    plain: dict[str, Any] = {}
    for key, value in (metadata or {}).items():
        name = key.decode()
        if not name.startswith(PREFIX):
            continue
        text = value.decode()
        try:
            plain[name.removeprefix(PREFIX)] = json_of(text)
        except ValueError:
            plain[name.removeprefix(PREFIX)] = text
    return plain


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: one text for one value. NaN raises ``ValueError``."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


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
