"""One work unit from its molecules to its files. Runs in a worker; knows nothing of other units."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qmgen.corpus.plan import FAILURES
from qmgen.corpus.rows import failure_table, row_table
from qmgen.corpus.schema import failure_schema, row_schema
from qmgen.corpus.shard import FileRecord, write_unit
from qmgen.corpus.splits import Splitter
from qmgen.corpus.store import Place
from qmgen.labeling.types import Settings
from qmgen.molecules.embedding import PLAIN, Procedure
from qmgen.pipeline.checkpoint import UnitCheckpoint
from qmgen.pipeline.crash_policy import Exclusion, Key
from qmgen.pipeline.labelling import Listener, label_entries
from qmgen.pipeline.learned import Learned
from qmgen.pipeline.rows import failure_row
from qmgen.pipeline.source import UnitInput
from qmgen.pipeline.stages import Stages


@dataclass(frozen=True)
class Job:
    """What every unit of a run shares. ``metadata`` goes into every file; times in seconds; ``partials`` is the folder
    where unfinished units keep their work (None: nowhere); ``learned`` is the network that guesses, if one does."""

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
    learned: Learned | None = None


@dataclass(frozen=True)
class UnitResult:
    """What became of a unit: ``entries`` = ``molecules`` with a row + those with none + ``merged``; ``pruned`` counts
    conformers that were made and left out, ``resumed`` those rows that an earlier attempt had made. ``cycles`` of all
    rows; ``guess_seconds`` that a network took, and ``fallbacks``: how many it had no density for."""

    index: int
    entries: int
    molecules: int
    merged: int
    rows: int
    failures: dict[str, int]
    seconds: float
    records: list[FileRecord]
    pruned: int = 0
    resumed: int = 0
    cycles: int = 0
    guess_seconds: float = 0.0
    fallbacks: int = 0


def do_unit(
    job: Job,
    work: UnitInput,
    listener: Listener | None = None,
    suspects: Iterable[Key] = (),
    condemned: Mapping[Key, Exclusion] | None = None,
) -> UnitResult:
    """Embed, label and write one unit, beginning with what an earlier attempt has kept.

    ``listener`` hears how far it is; ``suspects`` are labelled first and alone, ``condemned`` not at all. A ``Leave``
    that the listener raises ends the unit; what it has so far is kept where ``job.partials`` says. Raises
    ``QmgenError`` where files cannot be written.
    """
    begin = time.monotonic()
    listener = listener or Listener()
    keeper = UnitCheckpoint(job.partials, work.unit, job.metadata) if job.partials is not None else None
    labelled = label_entries(job, work.entries, listener, suspects, condemned, keeper, work.already)
    tables = {split: row_table(rows, row_schema(job.metadata)) for split, rows in labelled.rows.items()}
    entries = len(work.entries) - (work.already.known if work.already else 0) + work.merged
    counts: dict[str, Any] = {"entries": entries, "merged": work.merged}
    if work.already is not None:
        counts |= work.already.counts(labelled.rows)
    if work.duplicates:  # the manifest lists them, in a file of its own
        counts["duplicates"] = [list(one) for one in work.duplicates]
    if job.procedure.prunes:  # a corpus that never prunes keeps the bytes that it had before there was such a thing
        counts["pruned"] = labelled.pruned
    schema = failure_schema({**job.metadata, "unit": counts})
    tables[FAILURES] = failure_table(map(failure_row, labelled.failures), schema)
    records = write_unit(job.place, work.unit, tables, listener.stage)
    listener.keeper(None)
    if keeper:
        keeper.remove()
    return UnitResult(
        index=work.unit.index,
        entries=entries,
        molecules=len({r["molecule_id"] for rows in labelled.rows.values() for r in rows}),
        merged=work.merged,
        rows=labelled.done,
        failures=dict(Counter(str(failure.reason) for failure in labelled.failures)),
        seconds=time.monotonic() - begin,
        records=records,
        pruned=labelled.pruned,
        resumed=labelled.resumed,
        cycles=sum(r["cycles"] for rows in labelled.rows.values() for r in rows),
        guess_seconds=labelled.tally.seconds["guess"],
        fallbacks=labelled.tally.fallbacks,
    )
