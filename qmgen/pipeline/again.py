"""Finished units of which a failure may be the machine's: taken back, so that the same command tries it again.

What else is in such a unit is kept in part, as if the run had been stopped in it: only what failed is made again.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from qmgen.corpus.books import SUMS, Damaged, book_of
from qmgen.corpus.identity import MANIFEST
from qmgen.corpus.listing import Listing
from qmgen.corpus.plan import FAILURES, Unit
from qmgen.corpus.plan_recovery import recorded_units
from qmgen.corpus.runs import records
from qmgen.corpus.seal import sealed, sound_table
from qmgen.corpus.splits import SPLITS
from qmgen.corpus.store import Store, read_small
from qmgen.molecules.types import Failure, Reason
from qmgen.pipeline.checkpoint import RETRIED_REASONS, UnitCheckpoint, UnitContents, rows_of
from qmgen.pipeline.job import LabelJob

_REASON: Final = str(Reason.MACHINE_TROUBLE)


def take_back(store: Store, units: list[Unit], job: LabelJob) -> list[Unit]:
    """Those of the finished ``units`` that hold such a failure; they are finished no more.

    Raises ``OSError`` where the store refuses.
    """
    listing = Listing.of(store)
    told: dict[str, bool] = {}
    for name, unit_record in recorded_units(records(store)):
        failures = unit_record.get("failures")
        told[name] = told.get(name, False) or not isinstance(failures, dict) or _REASON in failures
    found = []
    for unit in units:
        name = unit.files()[FAILURES]
        if name not in listing.sizes or not listing.done(unit) or not told.get(name, True):
            continue
        with contextlib.suppress(Damaged):
            count = book_of(store, name).reasons.get(_REASON, 0)
            if count:
                _keep(store, unit, job)
                _unfinished(store)
                store.remove(name)
                found.append(unit)
                what = f"{count} failure(s) of work unit {unit.index} may be the machine's: tried again"
                print(f"qmgen: {store.place}: {what}", file=sys.stderr, flush=True)
    return found


def _keep(store: Store, unit: Unit, job: LabelJob) -> None:
    """Keep the rows and the other failures of ``unit`` where its partial work is looked for."""
    folder = job.partials
    if folder is None or job.procedure.prunes:  # how many conformers of which molecule were pruned stands nowhere
        return
    files = unit.files()
    found = UnitContents()
    for split in SPLITS:
        table = pq.ParquetFile(store.open(files[split])).read().combine_chunks()
        found.rows[split].extend(rows_of(table))
    failed: list[Mapping[str, Any]] = pq.ParquetFile(store.open(files[FAILURES])).read().to_pylist()
    for f in failed:
        place = (f["molecule_id"], f["conformer_id"], f["name"], f["smile"])
        found.failures.append(Failure(*place, Reason(f["reason"]), f["detail"]))
    passing = {one.molecule_id for one in found.failures if one.reason in RETRIED_REASONS}
    keys = found.keys()
    complete = {molecule for molecule, _ in keys} - passing
    UnitCheckpoint(Path(folder), unit, job.metadata).save(found, complete)


def _unfinished(store: Store) -> None:
    """The manifest is not to call complete what no longer is, nor SHA256SUMS to know a file that is written anew."""
    with contextlib.suppress(FileNotFoundError, ValueError, AttributeError):
        manifest = sound_table(read_small(store, MANIFEST))
        if manifest.get("complete"):
            store.write(MANIFEST, sealed({**manifest, "complete": False}))
    store.remove(SUMS)
