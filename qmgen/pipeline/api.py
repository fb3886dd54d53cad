"""For Python users: the same path as the shell, without files.

import qmgen

labels = qmgen.label(["CCO", "c1ccccc1"], xc="pbe", conformers=2, relax="mmff", workers=4)
labels[0]["energy"]     # eV; one result for each conformer of each molecule, in their order
labels.to_pandas()      # a data frame; failures stand in their places, with their reason
"""

from __future__ import annotations

import inspect
import reprlib
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, SupportsIndex, overload

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qmgen.config import CallConfig, check
from qmgen.corpus.plan import FAILURES, SPLITS, Plan, Splitter
from qmgen.corpus.reader import load
from qmgen.corpus.schema import failure_schema, failure_table, kept_columns, row_schema, row_table
from qmgen.errors import UsageError
from qmgen.molecules.readers.objects import ACCEPTED, entries_of, is_one
from qmgen.molecules.readers.text import Kept
from qmgen.molecules.types import Failure, Molecule
from qmgen.pipeline.job import LabelJob, procedure_of, settings_of, with_guess
from qmgen.pipeline.layout import layout
from qmgen.pipeline.messages import UnitListener
from qmgen.pipeline.pool import Pool
from qmgen.pipeline.rows import CONSTANTS, failure_row
from qmgen.pipeline.source import Entry, UnitInput, open_source, unique_keys
from qmgen.pipeline.stages import Stages
from qmgen.pipeline.unit import UnitAttempt, UnitResult
from qmgen.progress import RunProgress

if TYPE_CHECKING:
    import pandas


Row = Mapping[str, Any]
#: columns that a result has beside those of a row: None where there is a label
WHY: Final = ("reason", "detail")


@dataclass(frozen=True)
class Labels:
    """A sequence of results, aligned with the input: ``labels[i]`` is a dict with the columns of a corpus and
    ``reason`` and ``detail``, ``labels[a:b]`` a list of such. Of a labeled conformer these two are None; of a failure
    all columns but ``molecule_id conformer_id name smile`` are. Duplicates have a result each, which was computed once.

    ``results`` is all of them as a ``pyarrow.Table`` with units in its metadata, ``to_pandas()`` as a data frame.
    ``table`` and ``failures`` are what a corpus of the same molecules would hold: rows, and what got no label, sorted
    by their numbers, each once. ``merged`` is the number of duplicates, ``pruned`` of conformers that were left out as
    the settings ask: these have no result.
    """

    results: pa.Table
    table: pa.Table
    failures: pa.Table
    merged: int
    pruned: int = 0

    def __len__(self) -> int:
        return int(self.results.num_rows)

    @overload
    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...

    def __getitem__(self, index: SupportsIndex | slice) -> dict[str, Any] | list[dict[str, Any]]:
        """One result, or a list of them for a slice. Raises ``IndexError``; ``TypeError`` for the name of a column."""
        if isinstance(index, slice):
            return self.results.take(pa.array(range(len(self))[index], pa.int64())).to_pylist()
        try:
            place = range(len(self))[index]
        except TypeError:
            how = "labels[i], labels[a:b], or labels.results[name] for a column"
            raise TypeError(f"a result has a whole number, not {reprlib.repr(index)}: {how}") from None
        except IndexError:
            raise IndexError(f"there is no result {reprlib.repr(index)}: there are {len(self)}, from 0") from None
        row: dict[str, Any] = self.results.slice(place, 1).to_pylist()[0]
        return row

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self.results.to_batches(max_chunksize=1024):
            yield from batch.to_pylist()

    def __repr__(self) -> str:
        failed = len(self) - self.results["reason"].null_count
        return f"<{len(self)} results: {len(self) - failed} labels, {failed} failures>"

    def to_pandas(self) -> pandas.DataFrame:
        """The results as a data frame, a row each; whole numbers and truth values in pandas' types that know missing
        ones. Raises ``UsageError`` where pandas is not installed."""
        try:
            import pandas
        except ImportError:
            raise UsageError("to_pandas() needs pandas: pip install pandas, or use .results, a pyarrow.Table") from None
        missing = {
            pa.uint16(): pandas.UInt16Dtype(),
            pa.int16(): pandas.Int16Dtype(),
            pa.bool_(): pandas.BooleanDtype(),
        }
        return self.results.to_pandas(types_mapper=missing.get)


def aligned_results(
    entries: Sequence[Entry],
    rows: Iterable[Row],
    failures: Iterable[Row],
    conformers: int,
    schema: pa.Schema,
    kept: Iterable[str] = (),
) -> pa.Table:
    """The results of ``entries`` in their order, from the ``rows`` and ``failures`` of their unique molecules.

    ``schema`` is that of the rows, ``kept`` its columns that each entry has a value for. A failure of a whole molecule
    stands for each of its ``conformers``.
    """
    found: dict[int, dict[int, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for one in (*rows, *failures):
        found[one["molecule_id"]][one["conformer_id"]].append(one)
    first: dict[str, int] = {}
    results: list[Row] = []
    for entry in entries:
        if isinstance(entry, Failure):
            results += _each(failure_row(entry), conformers)
        elif entry.positions is not None:
            of_one = found[entry.molecule_id]
            own = {"conformer_id": entry.conformer_id, **dict(zip(kept, entry.kept))}
            results += [{**one, **own} for one in of_one.get(entry.conformer_id) or of_one[-1]]
        else:
            of_all = found[first.setdefault(entry.smiles, entry.molecule_id)]
            own = {"molecule_id": entry.molecule_id, "name": entry.name, **dict(zip(kept, entry.kept))}
            for conformer_id in sorted(of_all):
                for one in of_all[conformer_id]:
                    results += [{**each, **own} for each in _each(one, conformers)]
    fields = [field.with_nullable(True) for field in schema]
    fields += [pa.field(name, pa.string()) for name in WHY]
    return pa.Table.from_pylist(results, pa.schema(fields, metadata=schema.metadata))


def _each(one: Row, conformers: int) -> list[Row]:
    """The row or failure itself, or, where it stands for a whole molecule, one for each conformer."""
    if one["conformer_id"] >= 0:
        return [one]
    return [{**one, "conformer_id": conformer_id} for conformer_id in range(conformers)]


__all__ = ["Labels", "label", "load"]

#: work units of a worker, so that one that is through early finds more
_UNITS_EACH: Final = 4
Advance = Callable[[int, int], None]


def label(
    molecules: Any,
    *,
    progress: bool | RunProgress | None = None,
    stages: Stages | None = None,
    **settings: Any,
) -> Labels:
    """Label molecules: one result for each conformer of each of them, in their order, a failure in its place.

    ``molecules``: SMILES strings, ``qmgen.Molecule``, RDKit ``Mol`` or ASE ``Atoms`` objects, in any mixture, or one of
    them; or a path, as a ``pathlib.Path`` or as the name of a file that exists. An RDKit ``Mol`` with three-dimensional
    conformers has one result for each of these, used as they are, any other the ``conformers`` of its SMILES; ASE's
    ``Atoms`` are a geometry.

    ``settings`` are those of ``qmgen.config.CallConfig`` (``xc``, ``basis``, ``conformers``, ``workers``, ...), as
    docs/settings.md lists them; one that is None has its default. ``guess`` may be the path of a run of `qmgen train
    energy`. ``keep`` names columns of a file, properties of ``Mol`` or keys of ``Atoms.info`` that the results have
    too, as text. ``workers`` processes share the molecules; with one, or None, they are labeled in this process, in
    which float64 is then switched on. ``progress`` shows a bar on standard error: True, False, or None (where that is a
    terminal).

    Raises ``qmgen.UsageError`` on an unknown setting, functional or basis, on a value outside the bounds of
    ``qmgen generate``, and on an object that is no molecule; ``qmgen.QmgenError`` when workers die again and again.
    """
    stages = stages or Stages()
    if unknown := sorted(settings.keys() - CallConfig.model_fields.keys()):
        raise UsageError(f"no setting is called {', '.join(unknown)}: choose from {', '.join(CallConfig.model_fields)}")
    config = check(CallConfig, {name: _plain(value) for name, value in settings.items() if value is not None})
    theory, network = with_guess(config, stages)
    entries = list(unique_keys(_entries(molecules, config.smiles_column, config.keep, stages)))
    unique: list[Entry] = list(stages.merge(iter(entries)))
    job = LabelJob(
        place=Path(),
        settings=settings_of(config, network),
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
        network=network,
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
        aligned_results(entries, rows, failed, config.conformers, schema, kept_columns(config.keep).values()),
        row_table(rows, schema),
        failure_table([*failed, *refused], failure_schema(job.metadata)),
        len(entries) - len(unique),
        pruned,
    )


def _here(
    job: LabelJob, molecules: Sequence[Molecule], workers: int, advance: Advance
) -> tuple[list[Row], list[Row], int]:
    """Rows, failures and the number of pruned conformers of ``molecules``, labeled in this process."""
    job.stages.prepare()
    found = UnitAttempt(job, _Teller(advance)).run(list(molecules))
    rows = [row for of_split in found.rows.values() for row in of_split]
    return list(rows), [failure_row(failure) for failure in found.failures], found.pruned


def _by_workers(
    job: LabelJob, molecules: Sequence[Molecule], workers: int, advance: Advance
) -> tuple[list[Row], list[Row], int]:
    """As ``_here``, by ``workers`` processes, which leave their work units in a temporary directory."""
    results: list[UnitResult] = []
    units = list(Plan(len(molecules), min(len(molecules), _UNITS_EACH * workers)))
    works = (UnitInput(unit, list(molecules[unit.start : unit.end]), 0) for unit in units)
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


class _Teller(UnitListener):
    """Calls ``advance`` with the rows and failures that are new."""

    def __init__(self, advance: Advance) -> None:
        self._advance, self._rows, self._failures = advance, 0, 0

    def progress(self, rows: int, failures: int) -> None:
        self._advance(rows - self._rows, failures - self._failures)
        self._rows, self._failures = rows, failures


def _shown(progress: bool | RunProgress | None) -> RunProgress:
    if progress is None or isinstance(progress, bool):
        return RunProgress(log=False, quiet=progress is False, always=progress is True)
    return progress


def _entries(molecules: Any, smiles_column: str | None, keep: Sequence[str], stages: Stages) -> list[Entry]:
    if isinstance(molecules, Path) or (isinstance(molecules, str) and Path(molecules).is_file()):
        with open_source([str(molecules)], smiles_column, stages, keep=keep) as source:
            return list(source)
    # what is iterated over in a mapping or a data frame are its keys and the names of its columns
    table = isinstance(molecules, Mapping) or hasattr(molecules, "columns")
    if not is_one(molecules) and (table or not isinstance(molecules, Iterable)):
        raise UsageError(f"molecules are a {type(molecules).__name__}: give a list or column of {ACCEPTED}, or a path")
    parse, kept = stages.parse, Kept(keep)
    entries: list[Entry] = []
    for place, given in enumerate([molecules] if is_one(molecules) else molecules):
        found = entries_of(place, given.as_py() if isinstance(given, pa.Scalar) else given, parse, kept)
        if found is None:
            raise UsageError(f"molecule {place} is a {type(given).__name__}: give {ACCEPTED}")
        entries += found
    kept.finish("molecules")
    return entries


def _plain(value: Any) -> Any:
    """NumPy's scalars and sequences as Python's own: the bounds are strict about types."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _signature() -> inspect.Signature:
    """``label`` with a keyword for each setting, for ``help`` and editors."""
    before, *after, _ = inspect.signature(label).parameters.values()
    keywords = (
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=field.get_default(call_default_factory=True))
        for name, field in CallConfig.model_fields.items()
    )
    return inspect.Signature([before, *keywords, *after])


label.__signature__ = _signature()  # type: ignore[attr-defined]
