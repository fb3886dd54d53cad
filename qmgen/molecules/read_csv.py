"""Reader of ``.csv``: a header line, one column of SMILES, and a column of names where one is recognised."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from qmgen.errors import UsageError
from qmgen.molecules.entries import failure, from_smiles
from qmgen.molecules.stated_charge import agreeing
from qmgen.molecules.types import Failure, Molecule, Reason

SMILES_COLUMNS: Final = ("smiles", "SMILES", "smile")
NAME_COLUMNS: Final = ("name", "Name", "NAME", "title", "id", "ID")


def read_csv(path: Path, smiles_column: str | None = None) -> Iterator[Molecule | Failure]:
    """The rows of a ``.csv`` file, in order; a row without a SMILES is a failure, and so is one
    whose column of charge or multiplicity is not that of its SMILES.

    Raises ``UsageError`` (at the first entry) when the column is not in the header.
    """
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        rows = csv.reader(stream)
        header = [column.strip() for column in next(rows, [])]
        if not header:
            return
        smiles_at = _place_of_smiles(path, header, smiles_column)
        name_at = next((header.index(c) for c in NAME_COLUMNS if c in header), None)
        molecule_id = 0
        while True:
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                yield failure(molecule_id, "", "", Reason.UNREADABLE, f"line {rows.line_num}: {error}")
                molecule_id += 1
                continue
            if not row:
                continue
            smiles = row[smiles_at].strip() if smiles_at < len(row) else ""
            name = row[name_at].strip() if name_at is not None and name_at < len(row) else ""
            if "\n" in smiles or "\r" in smiles:
                detail = f"line {rows.line_num}: the SMILES runs over several lines; a quote is not closed"
                yield failure(molecule_id, name, "", Reason.UNREADABLE, detail)
            else:
                yield agreeing(from_smiles(molecule_id, smiles, name), dict(zip(header, row, strict=False)))
            molecule_id += 1


def _place_of_smiles(path: Path, header: list[str], asked: str | None) -> int:
    for column in (asked,) if asked is not None else SMILES_COLUMNS:
        if column in header:
            return header.index(column)
    wanted = f"no column {asked!r}" if asked is not None else "no column of SMILES"
    raise UsageError(f"{path}: {wanted}; the columns are {', '.join(header)}: name one with --smiles-column")
