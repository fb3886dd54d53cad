"""For Python users: the same path as the shell, in this process and without files.

import qmgen

labels = qmgen.label(["CCO", "c1ccccc1"], xc="pbe", conformers=2)
labels.table            # pyarrow.Table with the columns of a corpus
labels[0]["energy"]     # eV
labels.failures         # pyarrow.Table: what got no label, and why
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from qmgen.corpus.reader import load
from qmgen.corpus.rows import failure_table, row_table
from qmgen.corpus.schema import failure_schema, row_schema
from qmgen.corpus.splits import Splitter
from qmgen.errors import UsageError
from qmgen.labeling.types import Settings
from qmgen.molecules.types import Molecule
from qmgen.pipeline.rows import CONSTANTS, failure_row
from qmgen.pipeline.source import Entry, open_source
from qmgen.pipeline.stages import Stages
from qmgen.pipeline.unit import Job, label_entries

__all__ = ["Labels", "label", "load"]


@dataclass(frozen=True)
class Labels:
    """A list of rows: ``labels[i]`` is a dict, ``labels.table`` all of them as a ``pyarrow.Table`` with units in its
    metadata; ``labels.failures`` the table of what got no label; ``labels.merged`` the number of duplicates."""

    table: pa.Table
    failures: pa.Table
    merged: int

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        place = range(len(self))[index]
        row: dict[str, Any] = self.table.slice(place, 1).to_pylist()[0]
        return row

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        return f"<{len(self)} labels, {self.failures.num_rows} failures>"


def label(
    molecules: str | Path | Iterable[str | Molecule],
    *,
    conformers: int = 1,
    seed: int = 0,
    embed_time_limit: float = 60.0,
    smiles_column: str | None = None,
    stages: Stages | None = None,
    **settings: Any,
) -> Labels:
    """Label molecules, in order of their place in the input.

    ``molecules``: SMILES strings or ``Molecule`` objects, in any mixture; one SMILES string; or a path, as a
    ``pathlib.Path`` or as the name of a file that exists. ``settings`` are the fields of ``labeling.types.Settings``
    (``xc``, ``basis``, ``grid_level``, ``conv_energy`` ...), energies in Hartree. What gets no label is a row in
    ``failures``. Switches on float64 in this process. Raises ``UsageError`` on an unknown setting, functional or basis.
    """
    stages = stages or Stages()
    known = Settings.__dataclass_fields__
    unknown = sorted(settings.keys() - known.keys())
    if unknown:
        raise UsageError(f"no setting is called {', '.join(unknown)}: choose from {', '.join(known)}")
    chosen = Settings(**settings)
    theory = stages.load("theory")(chosen)
    entries = _entries(molecules, smiles_column, stages)
    unique: list[Entry] = list(stages.load("merge")(iter(entries)))
    stages.load("prepare")()
    metadata = {"level_of_theory": theory, "constants": CONSTANTS}
    job = Job(Path(), chosen, conformers, seed, embed_time_limit, Splitter(seed, 0.0, 0.0), metadata, stages)
    found = label_entries(job, unique, lambda rows, failures: None)
    return Labels(
        row_table(found.rows["train"], row_schema(metadata)),
        failure_table(map(failure_row, found.failures), failure_schema(metadata)),
        len(entries) - len(unique),
    )


def _entries(
    molecules: str | Path | Iterable[str | Molecule], smiles_column: str | None, stages: Stages
) -> list[Entry]:
    if isinstance(molecules, Path) or (isinstance(molecules, str) and Path(molecules).is_file()):
        with open_source([str(molecules)], smiles_column, stages) as source:
            return list(source)
    listed: list[str | Molecule] = [molecules] if isinstance(molecules, str) else list(molecules)
    parse = stages.load("parse")
    return [parse(n, m, "") if isinstance(m, str) else replace(m, molecule_id=n) for n, m in enumerate(listed)]
