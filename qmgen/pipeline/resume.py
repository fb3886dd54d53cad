"""What a run finds in a corpus that is there: units that are finished, damaged, or to be tried again.

A finished unit of which a failure may be the machine's is taken back, so that the same command tries it again. Its rows
and other failures become a checkpoint, as if the run had been stopped in it: only what failed is computed again.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow.parquet as pq

from qmgen import files
from qmgen.corpus.identity import MANIFEST, stored_recipe
from qmgen.corpus.plan import FAILURES, SPLITS, Listing, Unit
from qmgen.corpus.plan_recovery import recorded_sums, recorded_units
from qmgen.corpus.runs import FOLDER as RUNS
from qmgen.corpus.runs import rank_of_lock, records, running
from qmgen.corpus.seal import sealed, sound_table
from qmgen.corpus.store import Store, read_small
from qmgen.corpus.store.local import FOLDERS, TEMPORARY
from qmgen.corpus.unit_records import SUMS, DamagedUnit, damage_of, sums_of, unit_record_of
from qmgen.errors import Interrupted, QmgenError, UsageError
from qmgen.molecules.types import Reason
from qmgen.pipeline.checkpoint import RETRIED_REASONS, UnitCheckpoint, UnitContents, remove_checkpoint, rows_of
from qmgen.pipeline.job import LabelJob
from qmgen.pipeline.ranks import Rank
from qmgen.pipeline.rows import failure_of_row

if TYPE_CHECKING:
    from qmgen.config.generate import GenerateConfig


#: files are checked by so many threads: hashing leaves Python alone
_THREADS: Final = 8
#: what a corpus consists of beside its folders, for starting anew
_FILES: Final = ("manifest.json", "SHA256SUMS", "README.md", "config.toml", "duplicates.csv")


def start_anew(store: Store, rank: Rank, molecules: Sequence[str] = ()) -> None:
    """Remove the corpus in ``store`` (``--overwrite``). Raises ``UsageError`` where that could hurt another run."""
    if rank.world_size > 1:
        raise UsageError(
            f"--overwrite with {rank.world_size} ranks would let one remove what another has just made: "
            f"remove {store.place} first, then start the ranks without it"
        )
    if os.environ.get("SLURM_RESTART_COUNT", "0") != "0":
        print("qmgen: this job was started again by Slurm: --overwrite is passed over", file=sys.stderr)
        return  # it goes on with what it began
    if stored_recipe(store) is None and Listing.of(store).sizes:
        raise UsageError(f"{store.place} holds data that qmgen did not write: choose another --out")
    inside = store.local.resolve() if store.local is not None else None
    for name in molecules:
        if inside is not None and name != "-" and Path(name).resolve().is_relative_to(inside):
            raise UsageError(f"--overwrite would remove {name}, which the molecules come from: move it elsewhere first")
    for other in _other_ranks(store, rank.rank):
        if (by := running(store, other)) is not None:
            raise UsageError(f"rank {other} of {store.place} is running (process {by.get('pid')}): stop it first")
    for folder in FOLDERS:
        if folder == TEMPORARY:  # other processes may be at work in it
            continue
        for name in store.names(folder):
            if not name.endswith(f"rank-{rank.rank:05d}.lock"):
                store.remove(name)
    for name in _FILES:
        store.remove(name)


def write_config(store: Store, config: GenerateConfig) -> None:
    """The resolved configuration stands in the corpus from the start. Raises ``UsageError`` where it cannot."""
    if store.local is None:
        config = config.model_copy(update={"out": store.place})  # the options of the URL are no part of the corpus
    try:
        store.write("config.toml", config.resolved_toml(store.local).encode())
        store.clear()
    except files.Linked:
        raise
    except OSError as error:
        raise UsageError(f"cannot write to {store.place}: {error.strerror or error}; choose another --out") from error


def unfinished_units(
    store: Store, units: list[Unit], stopping: Callable[[], bool] = lambda: False
) -> tuple[list[Unit], list[str]]:
    """Those of ``units`` that are to be done, and the damages of the others.

    Every finished unit is read and compared with what was written; one that differs is taken back, and so is among
    those to be done. What is wrong is said on standard error. Raises ``Interrupted`` when ``stopping()``,
    ``QmgenError`` where files cannot be read.
    """
    try:
        return _unfinished_units(store, units, stopping)
    except OSError as error:
        raise QmgenError(f"cannot read {store.place}: {error.strerror or error}; mend that, and run again") from error


def _unfinished_units(store: Store, units: list[Unit], stopping: Callable[[], bool]) -> tuple[list[Unit], list[str]]:
    listing = Listing.of(store)
    # before there is a SHA256SUMS, nothing but the records of runs holds the checksums of failures files
    sums: dict[str, Collection[str]] = {**recorded_sums(records(store))}
    sums.update((name, (one,)) for name, one in sums_of(store).items())
    wanted = {(unit.revision, unit.count, unit.index) for unit in units}
    committed = [name for key, name in listing.units() if key in wanted]
    all_damages: list[str] = []
    with ThreadPoolExecutor(_THREADS) as threads:

        def judge(name: str) -> tuple[str, list[str]]:
            if stopping():
                return name, []
            return name, list(damage_of(store, listing, name, sums))

        for name, damages in threads.map(judge, committed):
            if stopping():
                raise Interrupted("stopped while finished work units were checked; the same command continues")
            if damages:
                store.remove(name)
            for damage in damages:
                print(f"qmgen: {store.place}/{damage}: this work unit is made again", file=sys.stderr)
                all_damages.append(damage)
    if all_damages:
        listing = Listing.of(store)
    return [unit for unit in units if not listing.done(unit)], all_damages


def forget_partials(folder: Path | None, units: list[Unit], listing: Listing) -> None:
    """Remove partial work of finished units: a process may be killed after the one and before the other."""
    if folder is None or not folder.is_dir() or not any(folder.iterdir()):
        return
    for unit in units:
        if listing.done(unit):
            remove_checkpoint(folder, unit)


def _other_ranks(store: Store, rank: int) -> list[int]:
    """The ranks above ``rank`` that have left a lock here."""
    seen = (rank_of_lock(name) for name in store.names(RUNS))
    return sorted(other for other in seen if other is not None and other > rank)


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
    taken_back = []
    for unit in units:
        name = unit.files()[FAILURES]
        if name not in listing.sizes or not listing.done(unit) or not told.get(name, True):
            continue
        with contextlib.suppress(DamagedUnit):
            count = unit_record_of(store, name).reasons.get(_REASON, 0)
            if count:
                _keep(store, unit, job)
                _mark_incomplete(store)
                store.remove(name)
                taken_back.append(unit)
                what = f"{count} failure(s) of work unit {unit.index} may be the machine's: tried again"
                print(f"qmgen: {store.place}: {what}", file=sys.stderr, flush=True)
    return taken_back


def _keep(store: Store, unit: Unit, job: LabelJob) -> None:
    """Keep the rows and the other failures of ``unit`` where its partial work is looked for."""
    folder = job.partials
    if folder is None or job.procedure.prunes:  # how many conformers of which molecule were pruned stands nowhere
        return
    files = unit.files()
    contents = UnitContents()
    for split in SPLITS:
        table = pq.ParquetFile(store.open(files[split])).read().combine_chunks()
        contents.rows[split].extend(rows_of(table))
    failed = pq.ParquetFile(store.open(files[FAILURES])).read().to_pylist()
    contents.failures.extend(map(failure_of_row, failed))
    retried = {one.molecule_id for one in contents.failures if one.reason in RETRIED_REASONS}
    keys = contents.keys()
    complete = {molecule for molecule, _ in keys} - retried
    UnitCheckpoint(folder, unit, job.metadata).save(contents, complete)


def _mark_incomplete(store: Store) -> None:
    """The manifest is not to call complete what no longer is, nor SHA256SUMS to know a file that is written anew."""
    with contextlib.suppress(FileNotFoundError, ValueError, AttributeError):
        manifest = sound_table(read_small(store, MANIFEST))
        if manifest.get("complete"):
            store.write(MANIFEST, sealed({**manifest, "complete": False}))
    store.remove(SUMS)
