"""Reader of ``.csv`` and ``.tsv``: a column of SMILES, and a column of names where one is recognised.

How a table is written (its delimiter, whether its first line names the columns, which column holds the SMILES) is
told by ``csv_layout``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from qmgen.molecules.csv_layout import Records, TableLayout, find_layout
from qmgen.molecules.entries import failure, from_smiles
from qmgen.molecules.kept import Kept
from qmgen.molecules.stated_charge import agreeing
from qmgen.molecules.text_file import open_text, read_line
from qmgen.molecules.types import Failure, Molecule, Reason


def read_csv(path: Path, smiles_column: str | None = None, kept: Kept | None = None) -> Iterator[Molecule | Failure]:
    """The rows of a table, in order; a row without a SMILES is a failure, and so is one whose column of charge or
    multiplicity is not that of its SMILES.

    Raises ``UsageError`` (at the first entry) when no column of SMILES is found, as ``csv_layout.find_layout``, or
    where one to keep is not there.
    """
    kept = kept or Kept()
    layout = find_layout(path, smiles_column)
    if layout is None:
        return
    with open_text(path, newline="") as stream:
        for _ in range(layout.skipped):
            read_line(stream)
        records = Records(stream, layout.delimiter, layout.skipped + 1)
        header = layout.header or []
        kept.require(path, header, named=layout.name is not None)
        if layout.header is not None:
            next(record for record in records if record)
        molecule_id = 0
        for record in records:
            if record:
                values = list(zip(header, record, strict=False)) if isinstance(record, list) else []
                entry = agreeing(_entry(molecule_id, record, layout, records.line), values)
                yield kept.add(entry, dict(values) if kept else {})
                molecule_id += 1


def _entry(molecule_id: int, row: list[str] | str, layout: TableLayout, line: int) -> Molecule | Failure:
    """The molecule of a row; of a text, which says why there is none, a failure."""
    if isinstance(row, str):
        return failure(molecule_id, "", "", Reason.UNREADABLE, f"line {line}: {row}")
    smiles = row[layout.smiles].strip() if layout.smiles < len(row) else ""
    name = row[layout.name].strip() if layout.name is not None and layout.name < len(row) else ""
    if "\n" in smiles or "\r" in smiles:
        detail = f"line {line}: the SMILES runs over several lines; a quote is not closed"
        return failure(molecule_id, name, "", Reason.UNREADABLE, detail)
    if layout.smiles and any(field.strip() for field in row[layout.width :]):
        detail = f"line {line}: {len(row)} fields in {layout.width} columns; quote those that hold {layout.delimiter!r}"
        return failure(molecule_id, name, smiles, Reason.UNREADABLE, detail)
    return from_smiles(molecule_id, smiles, name)
