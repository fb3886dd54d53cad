"""A whole run of one rank: source, plan, workers, shards; and the manifest, when the corpus is whole."""

from __future__ import annotations

import os
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from qmgen.corpus.books import book_of
from qmgen.corpus.identity import check_same
from qmgen.corpus.listing import Listing
from qmgen.corpus.manifest import counts_of, write_manifest
from qmgen.corpus.plan import Plan, Unit
from qmgen.corpus.runs import FAILED, FINISHED, STOPPED, RunFile
from qmgen.corpus.store import Store, store_of
from qmgen.errors import Interrupted, QmgenError
from qmgen.machine import versions
from qmgen.pipeline.claim import as_rank, mine, missing, refuse_if_running, start_anew, write_config
from qmgen.pipeline.enumeration.as_source import is_listed, source_of
from qmgen.pipeline.job import canonical, job_of
from qmgen.pipeline.pool import Pool, default_layout
from qmgen.pipeline.progress import Progress, Quiet, default_progress
from qmgen.pipeline.ranks import Rank, rank_of
from qmgen.pipeline.record import Clock, Record
from qmgen.pipeline.signals import StopWatch
from qmgen.pipeline.source import Origin
from qmgen.pipeline.stages import Stages
from qmgen.pipeline.summary import Summary
from qmgen.pipeline.unit import Job, UnitResult

if TYPE_CHECKING:
    from qmgen.config.models import GenerateConfig

#: an unfinished corpus of more units gets no manifest when a run is stopped: whoever stops it will not wait
_FEW_UNITS: Final = 1000


def generate(
    config: GenerateConfig, progress: Progress | None = None, stages: Stages | None = None, quiet: bool = False
) -> Summary:
    """Label the molecules of ``config`` and write the corpus ``config.out``; ``quiet`` shows no progress.

    Raises ``UsageError`` before any work when the source, the level of theory or the directory will not do;
    ``AlreadyRunning`` when another process has this rank; ``Interrupted`` after a signal or the time limit, with all
    finished units kept; ``QmgenError`` when workers die again and again or the disk refuses; ``SystemExit(130)`` on
    Ctrl-C after another signal.
    """
    stages = stages or Stages()
    clock = Clock()
    rank = rank_of(config.rank, config.world_size, os.environ)
    config, theory = canonical(config, stages)  # refuses unknown names before anything else
    store = store_of(config.out)
    refuse_if_running(store, rank)
    with ExitStack() as stack:
        watch = stack.enter_context(StopWatch(config.time_limit))
        listed = is_listed(config)
        if not listed:  # else a list is enumerated into the directory, which must be ours first
            source = stack.enter_context(source_of(config, stages, keep=True, quiet=quiet, watch=watch))
            check_same(store, job_of(config, theory, source, stages).metadata["recipe"], config.overwrite)
        stack.enter_context(as_rank(store, rank))
        if config.overwrite:
            start_anew(store, rank)
        if listed:
            source = stack.enter_context(source_of(config, stages, keep=True, quiet=quiet, watch=watch))
        job = job_of(config, theory, source, stages)
        check_same(store, job.metadata["recipe"])
        write_config(store, config)
        the_plan = source.plan(config.conformers, config.units, config.limit)
        shown = progress or (Quiet() if quiet else default_progress())
        return _Run(config, store, job, the_plan, rank, source, shown, clock).do(watch)


@dataclass
class _Run:
    """The state of a run in the parent."""

    config: GenerateConfig
    store: Store
    job: Job
    plan: Plan
    rank: Rank
    source: Origin
    progress: Progress
    clock: Clock
    workers: int = 0
    results: list[UnitResult] = field(default_factory=list)
    in_hand: dict[int, Unit] = field(default_factory=dict)

    def do(self, watch: StopWatch) -> Summary:
        """Do the units that are not done; write the run's record whatever happens."""
        mine_ = mine(self.plan, self.rank)
        units, repaired = missing(self.store, mine_)
        record = self._record(len(units), repaired)
        if units:
            self._label(units, record, watch)
        return self._finish(mine_, len(units), record, watch)

    def _label(self, units: list[Unit], record: Record, watch: StopWatch) -> None:
        self.workers, cores = default_layout(self.config.workers, len(units))
        self.in_hand = {unit.index: unit for unit in units}

        def advance(rows: int, failures: int) -> None:
            record.advance(rows, failures)
            self.progress.advance(rows, failures)

        self.progress.start(sum(map(self.source.expected, units)) * self.config.conformers)
        record.write_now_and_then()
        state = FAILED
        pool = Pool(self.job, self.workers, cores, advance, self._done)
        record.results = self.results
        try:
            with pool, closing(self.source.works(self.plan, self.in_hand)) as works:
                pool.run(works, watch.stopping)
            state = STOPPED if len(self.results) < len(units) else FINISHED
        finally:
            self.progress.close()
            record.workers = [worker.about for worker in [*pool.gone, *pool.workers]]
            record.write(state)
            self.store.clear()

    def _finish(self, units: list[Unit], to_do: int, record: Record, watch: StopWatch) -> Summary:
        """Manifest and summary; raises ``Interrupted`` where units are left."""
        listing = Listing.of(self.store)
        finished = sum(listing.done(unit) for unit in self.plan)
        total = sum(1 for _ in self.plan)
        left = to_do - len(self.results)
        whole = finished == total
        manifest: dict[str, Any] | None = None
        if whole or (self.rank.world_size == 1 and total <= _FEW_UNITS):
            manifest = self._manifest()
        if left:
            raise Interrupted(
                f"stopped by {watch.reason} with {left} of {to_do} work units left; what is finished is safe in "
                f"{self.store.place}; the same command continues"
            )
        counts = manifest["counts"] if manifest is not None else self._counts(listing, units)
        entries = counts["entries"] if self.plan.parts else self.plan.wanted
        if whole and counts["entries"] < entries:  # what the files hold must be what the source gave
            held = f"{counts['entries']} of {entries} entries"
            raise QmgenError(f"{self.store.place} accounts for {held}: remove it and run again")
        seconds = self.clock.seconds()
        run_rows = sum(result.rows for result in self.results)
        run_failures = sum(sum(result.failures.values()) for result in self.results)
        return Summary(
            directory=self.store.place,
            rank=self.rank.rank,
            world_size=self.rank.world_size,
            complete=whole,
            entries=entries,
            rows=counts["rows"],
            molecules=counts["molecules"],
            failures=counts["failures_by_reason"],
            merged=counts["merged"],
            splits={name: split["rows"] for name, split in counts["splits"].items()},
            files=len(listing.sizes),
            bytes=sum(listing.sizes.values()),
            run_rows=run_rows,
            run_failures=run_failures,
            run_units=len(self.results),
            units=total,
            units_done=finished,
            workers=self.workers,
            seconds=seconds,
            conformers_per_second=(run_rows + run_failures) / seconds,
            seconds_to_first_row=record.first_row,
            compile_seconds=_compiled(record.workers),
            max_failures=self.config.max_failures,
            pruned=counts["pruned"],
            repaired=len(record.repaired),
        )

    def _manifest(self) -> dict[str, Any]:
        try:
            return write_manifest(
                self.store, self.plan, self.job.metadata, licence=self.config.licence, versions=versions()
            )
        except OSError as error:
            raise QmgenError(
                f"cannot write the manifest of {self.store.place}: {error.strerror or error}; the rows are safe, make "
                "room and run again"
            ) from error

    def _counts(self, listing: Listing, units: list[Unit]) -> dict[str, Any]:
        """What this rank's units hold."""
        keys = {(unit.more, unit.count, unit.index) for unit in units}
        return counts_of([book_of(self.store, name) for key, name in listing.units() if key in keys])

    def _done(self, result: UnitResult) -> None:
        self.results.append(result)
        thought = self.source.expected(self.in_hand[result.index]) * self.config.conformers
        self.progress.expect(result.rows + sum(result.failures.values()) - thought)

    def _record(self, to_do: int, repaired: list[str]) -> Record:
        return Record(
            file=RunFile.new(self.store),
            clock=self.clock,
            plan=self.plan,
            rank=self.rank.rank,
            world_size=self.rank.world_size,
            config_hash=self.job.metadata["config_hash"],
            licence=self.config.licence,
            to_do=to_do,
            repaired=repaired,
        )


def _compiled(workers: list[dict[str, Any]]) -> float | None:
    known = [about["compile_seconds"] for about in workers if "compile_seconds" in about]
    return sum(known) if known else None
