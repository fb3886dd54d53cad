"""For Python users: the same path as the shell, in this process and without files.

import qmgen

labels = qmgen.label(["CCO", "c1ccccc1"], xc="pbe", conformers=2, relax="mmff")
labels.table            # pyarrow.Table with the columns of a corpus
labels[0]["energy"]     # eV
labels.failures         # pyarrow.Table: what got no label, and why
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from qmgen.config import LabelConfig, check
from qmgen.corpus.reader import load
from qmgen.corpus.rows import failure_table, row_table
from qmgen.corpus.schema import failure_schema, row_schema
from qmgen.corpus.splits import Splitter
from qmgen.errors import UsageError
from qmgen.labeling.types import Settings
from qmgen.molecules.entries import from_molecule
from qmgen.molecules.procedure import Procedure
from qmgen.molecules.types import Molecule
from qmgen.pipeline.job import procedure_of, settings_of, with_guess
from qmgen.pipeline.rows import CONSTANTS, failure_row
from qmgen.pipeline.source import Entry, open_source
from qmgen.pipeline.stages import Stages
from qmgen.pipeline.unit import Job, label_entries

__all__ = ["Labels", "label", "load"]


@dataclass(frozen=True)
class Labels:
    """A list of rows: ``labels[i]`` is a dict, ``labels.table`` all of them as a ``pyarrow.Table`` with units in its
    metadata; ``labels.failures`` the table of what got no label; ``labels.merged`` the number of duplicates,
    ``labels.pruned`` of conformers that were left out as the settings ask."""

    table: pa.Table
    failures: pa.Table
    merged: int
    pruned: int = 0

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
    conformers: int | None = None,
    seed: int | None = None,
    embed_time_limit: float = 60.0,
    smiles_column: str | None = None,
    stages: Stages | None = None,
    **settings: Any,
) -> Labels:
    """Label molecules, in order of their place in the input.

    ``molecules``: SMILES strings or ``Molecule`` objects, in any mixture; one SMILES string; or a path, as a
    ``pathlib.Path`` or as the name of a file that exists. ``conformers`` are 1 and ``seed`` is 0 where not given (1000
    and 43 with ``embed="qm1b"``). ``settings`` are the fields of ``labeling.types.Settings`` (``xc``, ``basis``,
    ``grid_level``, ``conv_energy`` ...), energies in Hartree, and of ``molecules.procedure.Procedure`` (``embed``,
    ``relax``, ``prune_rms``, ``energy_window``, ``stereo`` ...), in kcal/mol and Angstrom; ``guess`` may be the path
    of a run of `qmgen train energy`. What gets no label is a row
    in ``failures``. Switches on float64 in this process. Raises ``UsageError`` on an unknown setting, functional or
    basis, and on a value outside the bounds of ``qmgen generate``.
    """
    stages = stages or Stages()
    known = {**Settings.__dataclass_fields__, **Procedure.__dataclass_fields__}
    unknown = sorted(settings.keys() - known.keys())
    if unknown:
        raise UsageError(f"no setting is called {', '.join(unknown)}: choose from {', '.join(known)}")
    config = check(
        LabelConfig,
        _plain(
            settings,
            **{name: value for name, value in (("conformers", conformers), ("seed", seed)) if value is not None},
            embed_time_limit=embed_time_limit,
            smiles_column=smiles_column,
        ),
    )
    theory, learned = with_guess(config, stages)
    chosen = settings_of(config, learned)
    entries = _entries(molecules, smiles_column, stages)
    unique: list[Entry] = list(stages.load("merge")(iter(entries)))
    stages.load("prepare")()
    metadata = {"level_of_theory": theory, "constants": CONSTANTS}
    splitter = Splitter(config.seed, 0.0, 0.0)
    job = Job(
        place=Path(),
        settings=chosen,
        conformers=config.conformers,
        seed=config.seed,
        embed_time_limit=config.embed_time_limit,
        splitter=splitter,
        metadata=metadata,
        stages=stages,
        procedure=procedure_of(config),
        learned=learned,
    )
    found = label_entries(job, unique)
    return Labels(
        row_table(found.rows["train"], row_schema(metadata)),
        failure_table(map(failure_row, found.failures), failure_schema(metadata)),
        len(entries) - len(unique),
        found.pruned,
    )


def _entries(
    molecules: str | Path | Iterable[str | Molecule], smiles_column: str | None, stages: Stages
) -> list[Entry]:
    if isinstance(molecules, Path) or (isinstance(molecules, str) and Path(molecules).is_file()):
        with open_source([str(molecules)], smiles_column, stages) as source:
            return list(source)
    listed: list[str | Molecule] = [molecules] if isinstance(molecules, str) else list(molecules)
    parse = stages.load("parse")
    entries: list[Entry] = []
    for place, given in enumerate(listed):
        if not isinstance(given, str | Molecule):
            raise UsageError(f"molecule {place} is a {type(given).__name__}: give SMILES or Molecule objects")
        entries.append(parse(place, given, "") if isinstance(given, str) else from_molecule(place, given, parse))
    return entries


def _plain(settings: dict[str, Any], **more: Any) -> dict[str, Any]:
    """All of them, with NumPy's scalars as Python's own: the bounds are strict about types."""
    return {name: v.item() if isinstance(v, np.generic) else v for name, v in (settings | more).items()}
