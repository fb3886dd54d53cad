"""Reader of ``.parquet``: ``z`` (or ``atoms``) and ``pos`` flat in Bohr, one geometry a row, used exactly as given.

These are the names of QM1B and of our own corpora; ``smile``, ``name``, ``molecule_id`` and ``conformer_id`` are
taken where they are there, and what columns such as ``charge`` and ``spin`` state. Without ``molecule_id`` it is the
place of the row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from qmgen.errors import UsageError
from qmgen.molecules.charge_keys import names_charge
from qmgen.molecules.elements import number_of
from qmgen.molecules.entries import failure, from_geometry, of_geometry
from qmgen.molecules.geometry import size_problem, stored_precision
from qmgen.molecules.stated_charge import stated_charge
from qmgen.molecules.types import EntryRefused, Failure, Molecule, Reason

_OPTIONAL: Final = ("smile", "name", "molecule_id", "conformer_id")
#: columns that are read for something else
_NO_STATEMENT: Final = frozenset({"z", "atoms", "pos", *_OPTIONAL})
_SYMBOL: Final = re.compile(r"[A-Z][a-z]?|[0-9]+")
_ROWS: Final = 1024


def read_parquet(path: Path) -> Iterator[Molecule | Failure]:
    """The rows of a ``.parquet`` file, in order, a batch of rows at a time.

    Raises ``UsageError`` (at the first entry) when the file is no Parquet or lacks the columns.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        source = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise UsageError(f"{path} is not a Parquet file: {' '.join(str(error).split())}") from None
    with source:
        there = source.schema_arrow.names
        elements = next((column for column in ("z", "atoms") if column in there), None)
        if elements is None or "pos" not in there:
            wanted = "'z' or 'atoms'" if elements is None else "'pos'"
            raise UsageError(f"{path}: no column {wanted}; the columns are {', '.join(there)}")
        columns = [elements, "pos", *(column for column in _OPTIONAL if column in there)]
        columns += [field.name for field in source.schema_arrow if _may_state(field) and field.name not in columns]
        place = 0
        for batch in source.iter_batches(batch_size=_ROWS, columns=columns):
            for row in batch.to_pylist():
                yield _entry(place, row, elements)
                place += 1


def _entry(place: int, row: dict[str, Any], elements: str) -> Molecule | Failure:
    name, smiles = str(row.get("name") or ""), str(row.get("smile") or "").strip()
    molecule_id, conformer_id = row.get("molecule_id", place), row.get("conformer_id", 0)
    if not isinstance(molecule_id, int) or not isinstance(conformer_id, int) or min(molecule_id, conformer_id) < 0:
        detail = f"row {place}: molecule_id {molecule_id} and conformer_id {conformer_id} are not both 0 or more"
        return failure(place, name, smiles, Reason.UNREADABLE, detail, conformer_id=0)

    def fail(reason: Reason, detail: str) -> Failure:
        return failure(molecule_id, name, smiles, reason, f"row {place}: {detail}", conformer_id=conformer_id)

    given = row[elements]
    if isinstance(given, list) and (too_large := size_problem(len(given))):
        return fail(*too_large)
    try:
        numbers = _numbers(given)
    except (ValueError, TypeError) as error:
        return fail(Reason.UNREADABLE, f"column {elements}: {error}")
    try:
        flat = np.array(row["pos"] if row["pos"] is not None else [], dtype=np.float64)
    except (ValueError, TypeError):
        return fail(Reason.BAD_COORDINATES, "column pos is not a flat list of numbers")
    if flat.shape != (3 * len(numbers),):
        return fail(Reason.BAD_COORDINATES, f"{len(numbers)} atoms and {flat.size} coordinates, not three an atom")
    smiles, problem = of_geometry(smiles)
    if problem:
        return fail(*problem)
    try:
        state = stated_charge(numbers, {key: value for key, value in row.items() if key not in _NO_STATEMENT})
    except EntryRefused as error:
        return fail(error.reason, str(error))
    positions = stored_precision(flat.reshape(-1, 3))
    return from_geometry(
        molecule_id, name, smiles, numbers, positions, state.charge, conformer_id, multiplicity=state.multiplicity
    )


def _may_state(field: Any) -> bool:
    """Whether a column, or a member of a column of structures, may state a charge or multiplicity by its name."""
    if names_charge(field.name):
        return True
    return any(_may_state(field.type.field(place)) for place in range(_members(field.type)))


def _members(kind: Any) -> int:
    import pyarrow as pa

    return int(kind.num_fields) if pa.types.is_struct(kind) else 0


def _numbers(value: Any) -> np.ndarray:
    """Atomic numbers (atoms,) int64 from a list of numbers or symbols, or symbols in one string ("CCOH", "C C")."""
    parts = _SYMBOL.findall(value) if isinstance(value, str) else list(value if value is not None else [])
    if not parts:
        raise ValueError("no atoms")
    numbers = [number_of(str(part)) for part in parts]
    for part, number in zip(parts, numbers):
        if number is None:
            raise ValueError(f"no element {part!r}")
    if isinstance(value, str) and (rest := re.sub(r"[\s,;\[\]'\"]", "", _SYMBOL.sub("", value))):
        raise ValueError(f"no elements {rest!r}")
    return np.array(numbers, dtype=np.int64)
