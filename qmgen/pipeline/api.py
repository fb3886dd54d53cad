"""For Python users: the same path as the shell, without files.

import qmgen

labels = qmgen.label(["CCO", "c1ccccc1"], xc="pbe", conformers=2, relax="mmff", workers=4)
labels[0]["energy"]     # eV; one result for each conformer of each molecule, in their order
labels.to_pandas()      # a data frame; failures stand in their places, with their reason
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qmgen.config import CallConfig, check
from qmgen.corpus.plan import FAILURES, Plan
from qmgen.corpus.reader import load
from qmgen.corpus.rows import failure_table, row_table
from qmgen.corpus.schema import failure_schema, kept_columns, row_schema
from qmgen.corpus.splits import SPLITS, Splitter
from qmgen.errors import UsageError
from qmgen.labeling.types import Settings
from qmgen.molecules.embedding import Procedure
from qmgen.molecules.readers.objects import ACCEPTED, entries_of, is_one
from qmgen.molecules.readers.text import Kept
from qmgen.molecules.types import Failure, Molecule
from qmgen.pipeline.job import procedure_of, settings_of, with_guess
from qmgen.pipeline.labelling import Listener
from qmgen.pipeline.labels import Labels, Row, aligned
from qmgen.pipeline.layout import layout
from qmgen.pipeline.pool import Pool
from qmgen.pipeline.progress import Bar, Progress, Quiet
from qmgen.pipeline.rows import CONSTANTS, failure_row
from qmgen.pipeline.source import Entry, Work, open_source, unique_keys
from qmgen.pipeline.stages import Stages
from qmgen.pipeline.unit import Job, UnitResult, label_entries

__all__ = ["Labels", "label", "load"]

#: work units of a worker, so that one that is through early finds more
_UNITS_EACH: Final = 4
Advance = Callable[[int, int], None]


def label(
    molecules: Any,
    *,
    conformers: int | None = None,
    seed: int | None = None,
    embed_time_limit: float = 60.0,
    smiles_column: str | None = None,
    keep: Sequence[str] = (),
    workers: int | None = None,
    progress: bool | Progress | None = None,
    stages: Stages | None = None,
    **settings: Any,
) -> Labels:
    """Label molecules: one result for each conformer of each of them, in their order, a failure in its place.

    ``molecules``: SMILES strings, ``qmgen.Molecule``, RDKit ``Mol`` or ASE ``Atoms`` objects, in any mixture, or one of
    them; or a path, as a ``pathlib.Path`` or as the name of a file that exists. An RDKit ``Mol`` with three-dimensional
    conformers has one result for each of these, used as they are, any other the ``conformers`` of its SMILES; ASE's
    ``Atoms`` are a geometry. ``conformers`` are 1 and ``seed`` is 0 where not given (1000
    and 43 with ``embed="qm1b"``). ``settings`` are the fields of ``labeling.types.Settings`` (``xc``, ``basis``,
    ``grid_level``, ``conv_energy`` ...), energies in Hartree, and of ``molecules.procedure.Procedure`` (``embed``,
    ``relax``, ``prune_rms``, ``energy_window``, ``stereo`` ...), in kcal/mol and Angstrom; ``guess`` may be the path
    of a run of `qmgen train energy`. ``keep`` names columns of a file, properties of ``Mol`` or keys of ``Atoms.info``
    that the results have too, as text.

    ``workers`` processes share the molecules; with one, or None, they are labelled in this process, in which float64 is
    then switched on. ``progress`` shows a bar on standard error: True, False, or None (where that is a terminal).

    Raises ``qmgen.UsageError`` on an unknown setting, functional or basis, on a value outside the bounds of
    ``qmgen generate``, and on an object that is no molecule; ``qmgen.QmgenError`` when workers die again and again.
    """
    stages = stages or Stages()
    known = {**Settings.__dataclass_fields__, **Procedure.__dataclass_fields__}
    unknown = sorted(settings.keys() - known.keys())
    if unknown:
        raise UsageError(f"no setting is called {', '.join(unknown)}: choose from {', '.join(known)}")
    config = check(
        CallConfig,
        _plain(
            settings,
            **{name: value for name, value in (("conformers", conformers), ("seed", seed)) if value is not None},
            embed_time_limit=embed_time_limit,
            smiles_column=smiles_column,
            keep=[keep] if isinstance(keep, str) else list(keep),
            workers=workers,
        ),
    )
    theory, learned = with_guess(config, stages)
    entries = unique_keys(_entries(molecules, smiles_column, config.keep, stages))
    unique: list[Entry] = list(stages.load("merge")(iter(entries)))
    job = Job(
        place=Path(),
        settings=settings_of(config, learned),
        conformers=config.conformers,
        seed=config.seed,
        embed_time_limit=config.embed_time_limit,
        splitter=Splitter(config.seed, 0.0, 0.0),
        metadata={
            "level_of_theory": theory,
            "constants": CONSTANTS,
            **({"recipe": {"keep": config.keep}} if config.keep else {}),
        },
        stages=stages,
        procedure=procedure_of(config),
        learned=learned,
    )
    # failures of the input have their places already
    readable = [entry for entry in unique if isinstance(entry, Molecule)]
    shown = _shown(progress)
    shown.start(sum(1 if entry.positions is not None else config.conformers for entry in readable))
    try:
        how = _by_workers if (config.workers or 1) > 1 and len(readable) > 1 else _here
        rows, failed, pruned = how(job, readable, config.workers or 1, shown.advance)
    finally:
        shown.close()
    refused = [failure_row(entry) for entry in unique if isinstance(entry, Failure)]
    schema = row_schema(job.metadata)
    return Labels(
        aligned(entries, rows, failed, config.conformers, schema, kept_columns(config.keep).values()),
        row_table(rows, schema),
        failure_table([*failed, *refused], failure_schema(job.metadata)),
        len(entries) - len(unique),
        pruned,
    )


def _here(job: Job, molecules: Sequence[Molecule], workers: int, advance: Advance) -> tuple[list[Row], list[Row], int]:
    """Rows, failures and the number of pruned conformers of ``molecules``, labelled in this process."""
    job.stages.load("prepare")()
    found = label_entries(job, list(molecules), _Teller(advance))
    rows = [row for of_split in found.rows.values() for row in of_split]
    return list(rows), [failure_row(failure) for failure in found.failures], found.pruned


def _by_workers(
    job: Job, molecules: Sequence[Molecule], workers: int, advance: Advance
) -> tuple[list[Row], list[Row], int]:
    """As ``_here``, by ``workers`` processes, which leave their work units in a temporary directory."""
    results: list[UnitResult] = []
    units = list(Plan(len(molecules), min(len(molecules), _UNITS_EACH * workers)))
    works = (Work(unit, list(molecules[unit.start : unit.end]), 0) for unit in units)
    with tempfile.TemporaryDirectory(prefix="qmgen-") as folder:
        place = Path(folder) / "corpus"
        job = replace(job, place=place, partials=Path(folder) / "partials")
        with Pool(job, layout(workers, None, len(units)), advance, results.append) as pool, closing(works):
            pool.run(works, lambda: False)
        rows = [row for unit in units for split in SPLITS for row in _read(place / unit.files()[split])]
        failed = [row for unit in units for row in _read(place / unit.files()[FAILURES])]
    return rows, failed, sum(result.pruned for result in results)


def _read(path: Path) -> list[Row]:
    rows: list[Row] = pq.read_table(path).to_pylist()
    return rows


class _Teller(Listener):
    """Tells of each advance."""

    def __init__(self, advance: Advance) -> None:
        self._advance, self._rows, self._failures = advance, 0, 0

    def progress(self, rows: int, failures: int) -> None:
        self._advance(rows - self._rows, failures - self._failures)
        self._rows, self._failures = rows, failures


def _shown(progress: bool | Progress | None) -> Progress:
    if progress is None or isinstance(progress, bool):
        return Bar() if (sys.stderr.isatty() if progress is None else progress) else Quiet()
    return progress


def _entries(molecules: Any, smiles_column: str | None, keep: Sequence[str], stages: Stages) -> list[Entry]:
    if isinstance(molecules, Path) or (isinstance(molecules, str) and Path(molecules).is_file()):
        with open_source([str(molecules)], smiles_column, stages, keep=keep) as source:
            return list(source)
    # what is iterated over in a mapping or a data frame are its keys and the names of its columns
    table = isinstance(molecules, Mapping) or hasattr(molecules, "columns")
    if not is_one(molecules) and (table or not isinstance(molecules, Iterable)):
        raise UsageError(f"molecules are a {type(molecules).__name__}: give a list or column of {ACCEPTED}, or a path")
    parse, kept = stages.load("parse"), Kept(keep)
    entries: list[Entry] = []
    for place, given in enumerate([molecules] if is_one(molecules) else molecules):
        found = entries_of(place, given.as_py() if isinstance(given, pa.Scalar) else given, parse, kept)
        if found is None:
            raise UsageError(f"molecule {place} is a {type(given).__name__}: give {ACCEPTED}")
        entries += found
    kept.finish("molecules")
    return entries


def _plain(settings: dict[str, Any], **more: Any) -> dict[str, Any]:
    """All of them, with NumPy's scalars as Python's own: the bounds are strict about types."""
    return {name: v.item() if isinstance(v, np.generic) else v for name, v in (settings | more).items()}
