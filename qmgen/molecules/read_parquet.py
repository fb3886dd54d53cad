"""Reader of ``.parquet``: ``z`` (or ``atoms``) and ``pos`` flat in Bohr, one geometry a row, used exactly as given.

These are the names of QM1B and of our own corpora; ``smile``, ``name``, ``molecule_id``, ``conformer_id`` and
``mapped_smiles`` are taken where they are there. Without ``molecule_id`` it is the place of the row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from qmgen.errors import UsageError
from qmgen.molecules.elements import number_of
from qmgen.molecules.entries import failure, from_geometry, of_geometry
from qmgen.molecules.geometry import stored_precision
from qmgen.molecules.kept import Kept
from qmgen.molecules.mapped import with_bonds
from qmgen.molecules.types import Failure, Molecule, Reason

_OPTIONAL: Final = ("smile", "name", "molecule_id", "conformer_id", "mapped_smiles")
_SYMBOL: Final = re.compile(r"[A-Z][a-z]?|[0-9]+")
_ROWS: Final = 1024


def read_parquet(path: Path, kept: Kept | None = None) -> Iterator[Molecule | Failure]:
    """The rows of a ``.parquet`` file, in order, a batch of rows at a time.

    Raises ``UsageError`` (at the first entry) when the file is no Parquet or lacks the columns.
    """
    kept = kept or Kept()
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
        kept.require(path, there, named=False)
        columns = [elements, "pos", *(column for column in _OPTIONAL if column in there)]
        columns += [column for column in kept.columns if column not in columns]
        place = 0
        for batch in source.iter_batches(batch_size=_ROWS, columns=columns):
            for row in batch.to_pylist():
                yield kept.add(with_bonds(_entry(place, row, elements), str(row.get("mapped_smiles") or "")), row)
                place += 1


def _entry(place: int, row: dict[str, Any], elements: str) -> Molecule | Failure:
    name, smiles = str(row.get("name") or ""), str(row.get("smile") or "").strip()
    molecule_id, conformer_id = row.get("molecule_id", place), row.get("conformer_id", 0)
    if not isinstance(molecule_id, int) or not isinstance(conformer_id, int) or min(molecule_id, conformer_id) < 0:
        detail = f"row {place}: molecule_id {molecule_id} and conformer_id {conformer_id} are not both 0 or more"
        return failure(place, name, smiles, Reason.UNREADABLE, detail, conformer_id=0)

    def fail(reason: Reason, detail: str) -> Failure:
        return failure(molecule_id, name, smiles, reason, f"row {place}: {detail}", conformer_id=conformer_id)

    try:
        numbers = _numbers(row[elements])
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
    positions = stored_precision(flat.reshape(-1, 3))
    return from_geometry(molecule_id, name, smiles, numbers, positions, conformer_id=conformer_id)


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
