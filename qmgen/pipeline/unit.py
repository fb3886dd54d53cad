"""One work unit from its molecules to its files. Runs in a worker; knows nothing of other units."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qmgen.corpus.plan import FAILURES
from qmgen.corpus.rows import failure_table, row_table
from qmgen.corpus.schema import failure_schema, row_schema
from qmgen.corpus.shard import FileRecord, write_unit
from qmgen.corpus.splits import SPLITS, Splitter
from qmgen.corpus.store import Place
from qmgen.labeling.types import Settings
from qmgen.molecules.procedure import PLAIN, Procedure
from qmgen.molecules.types import Conformer, Failure, Molecule, Pruned
from qmgen.pipeline.already import Already
from qmgen.pipeline.rows import failure_row, not_finite, row, symbols
from qmgen.pipeline.source import Entry, Work
from qmgen.pipeline.stages import Stages


@dataclass(frozen=True)
class Job:
    """What every unit of a run shares. ``metadata`` goes into every file; times in seconds."""

    place: Place
    settings: Settings
    conformers: int
    seed: int
    embed_time_limit: float
    splitter: Splitter
    metadata: dict[str, Any]
    stages: Stages = field(default_factory=Stages)
    procedure: Procedure = PLAIN
    partials: Path | None = None


@dataclass(frozen=True)
class UnitResult:
    """What became of a unit: ``entries`` = ``molecules`` with a row + those with none + ``merged``; ``pruned`` counts
    conformers that were made and left out."""

    index: int
    entries: int
    molecules: int
    merged: int
    rows: int
    failures: dict[str, int]
    seconds: float
    records: list[FileRecord]
    pruned: int = 0


@dataclass
class Labelled:
    """Rows by split, and failures, as they come; and the number of conformers that were pruned."""

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {split: [] for split in SPLITS})
    failures: list[Failure] = field(default_factory=list)
    pruned: int = 0


def do_unit(job: Job, work: Work, report: Callable[[int, int], None]) -> UnitResult:
    """Embed, label and write one unit.

    ``report(rows, failures)`` is called after each result with the numbers so far; what it raises ends the unit, and
    nothing of it is kept. Raises ``QmgenError`` where files cannot be written.
    """
    begin = time.monotonic()
    labelled = label_entries(job, work.entries, report, work.already)
    tables = {split: row_table(rows, row_schema(job.metadata)) for split, rows in labelled.rows.items()}
    entries = len(work.entries) - (work.already.known if work.already else 0) + work.merged
    counts: dict[str, Any] = {"entries": entries, "merged": work.merged}
    if work.already is not None:
        counts |= work.already.counts(labelled.rows)
    if job.procedure.prunes:  # a corpus that never prunes keeps the bytes that it had before there was such a thing
        counts["pruned"] = labelled.pruned
    schema = failure_schema({**job.metadata, "unit": counts})
    tables[FAILURES] = failure_table(map(failure_row, labelled.failures), schema)
    records = write_unit(job.place, work.unit, tables)
    return UnitResult(
        index=work.unit.index,
        entries=entries,
        molecules=len({r["molecule_id"] for rows in labelled.rows.values() for r in rows}),
        merged=work.merged,
        rows=sum(map(len, labelled.rows.values())),
        failures=dict(Counter(str(failure.reason) for failure in labelled.failures)),
        seconds=time.monotonic() - begin,
        records=records,
        pruned=labelled.pruned,
    )


def label_entries(
    job: Job, entries: list[Entry], report: Callable[[int, int], None], already: Already | None = None
) -> Labelled:
    """Rows and failures of ``entries``, less what is there ``already``.

    Raises ``RuntimeError`` if any of them became neither.
    """
    already = already or Already()
    check = job.stages.load("check")
    checked = [check(entry, job.settings) for entry in entries]
    found = Labelled(
        failures=[one for entry in checked if isinstance(entry, Failure) for one in already.failures(entry)]
    )
    awaited: set[tuple[int, int]] = set()
    done = 0

    def tell() -> None:
        report(done, len(found.failures))

    def geometries() -> Iterator[Conformer]:
        molecules = (entry for entry in checked if isinstance(entry, Molecule))
        embed = job.stages.load("conformers")
        for item in embed(molecules, job.conformers, job.seed, job.embed_time_limit, procedure=job.procedure):
            if isinstance(item, Pruned):
                found.pruned += already.pruned(item.molecule_id, item.count)
                continue
            if isinstance(item, Failure):
                found.failures.extend(already.failures(item))
                tell()
                continue
            if not already.wants(item.molecule_id, item.conformer_id):
                continue
            awaited.add((item.molecule_id, item.conformer_id))
            tell()
            yield item

    for result in job.stages.load("label")(geometries(), job.settings):
        failure = result if isinstance(result, Failure) else not_finite(*result)
        if failure is not None:
            awaited.discard((failure.molecule_id, failure.conformer_id))
            found.failures.append(failure)
        else:
            conformer, label = result
            awaited.remove((conformer.molecule_id, conformer.conformer_id))
            split = job.splitter.split(conformer.family or conformer.smiles, symbols(conformer.numbers))
            found.rows[split].append(row(conformer, label))
            done += 1
        tell()
    _check_books(entries, found, awaited, already.keys())
    return found


def _check_books(
    entries: list[Entry], found: Labelled, awaited: set[tuple[int, int]], wanted: set[tuple[int, int]]
) -> None:
    """Nothing is lost: every geometry came back, every entry is in a row or a failure, and so is all of ``wanted``."""
    keys = {(r["molecule_id"], r["conformer_id"]) for rows in found.rows.values() for r in rows}
    keys |= {(failure.molecule_id, failure.conformer_id) for failure in found.failures}
    seen = {molecule for molecule, _ in keys}
    given = (entry for entry in entries if isinstance(entry, Molecule) and entry.positions is not None)
    lost = sorted({entry.molecule_id for entry in entries} - seen)
    lost += sorted({m.molecule_id for m in given if not {(m.molecule_id, m.conformer_id), (m.molecule_id, -1)} & keys})
    awaited |= wanted - keys
    if lost or awaited:
        raise RuntimeError(f"neither row nor failure: molecules {lost[:5]}, conformers {sorted(awaited)[:5]}")
