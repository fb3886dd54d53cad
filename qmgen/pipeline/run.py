"""A whole run of one rank: source, plan, workers, shards; and the manifest, when the corpus is whole."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from qmgen import caches
from qmgen.corpus.identity import check_same, stored_version
from qmgen.corpus.manifest import counts_of
from qmgen.corpus.plan import Listing, Unit
from qmgen.corpus.revisions import EXTEND, begin_revision
from qmgen.corpus.runs import FAILED, FINISHED, STOPPED, new_record_name, records
from qmgen.corpus.seal import list_of, units_of, whole_of
from qmgen.corpus.store import Store, store_of
from qmgen.corpus.unit_records import unit_record_of
from qmgen.errors import Interrupted, QmgenError
from qmgen.pipeline.crash_policy import ConformerKey, MachineHealth
from qmgen.pipeline.job import canonical, is_listed, job_of, refuse_elements, refuse_molecules, settings_of, source_of
from qmgen.pipeline.layout import layout
from qmgen.pipeline.messages import show_stage
from qmgen.pipeline.pool import Pool
from qmgen.pipeline.ranks import Rank, generate_command, hold_rank, rank_of, refuse_if_busy, units_of_rank
from qmgen.pipeline.resume import forget_partials, start_anew, take_back, unfinished_units, write_config
from qmgen.pipeline.revise import RunSpec, refuse_other_enumeration, run_spec
from qmgen.pipeline.run_record import RunClock, RunRecord, RunSummary
from qmgen.pipeline.source import FileSource
from qmgen.pipeline.stages import Stages
from qmgen.pipeline.unit import UnitResult
from qmgen.progress import RunProgress
from qmgen.runtime import chosen_cache
from qmgen.signals import STOP_WITHIN, StopWatch

if TYPE_CHECKING:
    from qmgen.config.generate import GenerateConfig

#: an unfinished corpus of more units gets no manifest when a run is stopped: writing it would take too long
_FEW_UNITS: Final = 1000


def generate(
    config: GenerateConfig, progress: RunProgress | None = None, stages: Stages | None = None, quiet: bool = False
) -> RunSummary:
    """Label the molecules of ``config`` and write the corpus ``config.out``; ``quiet`` shows no progress.

    Raises ``UsageError`` before any work when the source, the level of theory or the directory will not do;
    ``AlreadyRunning`` when another process does the same as this rank; ``Interrupted`` after a signal or the time
    limit, and when the machine fails, with all finished units and the unit in hand kept; ``QmgenError`` when the disk
    refuses; ``SystemExit(130)`` on Ctrl-C after another signal.
    """
    stages = stages or Stages()
    clock = RunClock()
    with ExitStack() as stack:
        watch = stack.enter_context(StopWatch(config.time_limit, within=STOP_WITHIN))
        rank = rank_of(config.rank, config.world_size, os.environ)
        config, theory, network = canonical(config, stages)  # refuses unknown names before anything else
        store = store_of(config.out)
        guess = settings_of(config, network).guess
        command = generate_command(config, guess)
        refuse_if_busy(store, rank, command)  # before the source is read, and nothing written
        if config.extend:
            refuse_other_enumeration(config, store)
        refuse_elements(config, settings_of(config, network), stages)
        shown = progress or RunProgress(quiet=quiet)
        show_stage("read")

        def spec() -> RunSpec:
            nonlocal command
            source = stack.enter_context(source_of(config, stages, keep=True, quiet=quiet, watch=watch))
            job = job_of(config, theory, source, stages, network)
            if isinstance(source, FileSource):
                refuse_molecules(source, config.limit, job)
                if not command.whole:
                    command = generate_command(config, guess, source.digests)
            return run_spec(config, job, source, store, stack)

        # what is enumerated goes into the directory, whose rank must be locked first; else all is refused before that
        early = spec() if not is_listed(config) else None
        stack.enter_context(hold_rank(store, rank, command))
        if config.overwrite:
            start_anew(store, rank, config.molecules)
        return CorpusRun(early or spec(), store, rank, shown, clock).run(watch)


@dataclass
class CorpusRun:
    """The share of ``rank`` in what ``spec`` says, done in ``store`` by the parent process; the lock of the rank is
    held."""

    spec: RunSpec
    store: Store
    rank: Rank
    progress: RunProgress
    clock: RunClock
    workers: int = 0
    results: list[UnitResult] = field(default_factory=list)
    _expected: dict[int, int] = field(default_factory=dict)

    def run(self, watch: StopWatch) -> RunSummary:
        """Do the units that are not done; write the run's record whatever happens. Raises as ``generate`` does."""
        self._begin()
        own_units = units_of_rank(self.spec.plan, self.rank)
        show_stage("check")
        units, repaired = unfinished_units(self.store, own_units, watch.stopping)
        self._check_others(watch)
        if all(one.number <= self.spec.plan.revision for one in self.spec.history.revisions):
            # what came later may have decided those failures, or rests on them
            known = {unit.index for unit in units}
            again = take_back(self.store, [unit for unit in own_units if unit.index not in known], self.spec.job)
            units = sorted([*units, *again], key=lambda unit: unit.index)
        record = self._record(len(units), repaired)
        show_stage("run")
        if units:
            self._label(units, record, watch)
        return self._finish(own_units, len(units), record, watch)

    def _begin(self) -> None:
        layout(self.spec.config.workers, self.spec.config.devices, self.spec.plan.count)  # refuses wrong devices first
        metadata = {**self.spec.job.metadata, "schema_version": stored_version(self.store)}
        self.spec = replace(self.spec, job=replace(self.spec.job, metadata=metadata))
        if self.spec.revision is not None:
            begin_revision(self.store, self.spec.revision)
            self.store.clear()
        else:
            check_same(self.store, metadata["recipe"])
            if self.spec.describes(Listing.of(self.store)):
                write_config(self.store, self.spec.config)

    def _check_others(self, watch: StopWatch) -> None:
        """Take back what is damaged in the other revisions of the corpus; the commands that made them mend it."""
        others = [part for part in self.spec.history.plans() if part.revision != self.spec.plan.revision]
        units = [unit for part in others for unit in units_of_rank(part, self.rank)]
        before = Listing.of(self.store)
        left, damages = unfinished_units(self.store, [unit for unit in units if before.done(unit)], watch.stopping)
        if damages:
            which = "the retry" if all(unit.revision for unit in left) else "the first run"
            raise QmgenError(
                f"{len(left)} work units of other parts of {self.store.place} were damaged and have been taken back: "
                f"run again what made them ({which}: see docs/extending.md), then this"
            )

    def _label(self, units: list[Unit], record: RunRecord, watch: StopWatch) -> None:
        places = layout(self.spec.config.workers, self.spec.config.devices, len(units))
        self.workers = len(places)
        if (trouble := caches.trouble(chosen_cache())) is not None:
            print(f"qmgen: {trouble}", file=sys.stderr)
        in_hand = {unit.index for unit in units}

        def advance(rows: int, failures: int) -> None:
            record.advance(rows, failures)
            self.progress.advance(rows, failures)

        self._expected = {unit.index: self.spec.expected(unit) for unit in units}
        self.progress.start(sum(self._expected.values()))
        record.write_now_and_then()

        def stopping() -> bool:
            record.write_now_and_then()
            return watch.stopping()

        state = FAILED
        pool = Pool(self.spec.job, places, advance, self._done, health=self._machine_health())
        # the very lists: they grow as the run goes on
        record.results, record.deaths, record.excluded = self.results, pool.deaths, pool.excluded
        record.workers_in_hand = pool.in_hand
        try:
            with pool, closing(self.spec.inputs(in_hand)) as inputs:
                pool.run(inputs, stopping)
            state = STOPPED if len(self.results) < len(units) else FINISHED
        except Interrupted:
            state = STOPPED
            raise
        finally:
            self.progress.close()
            record.workers = [worker.about for worker in [*pool.gone, *pool.workers]]
            record.write(state)
            self.store.clear()

    def _finish(self, units: list[Unit], to_do: int, record: RunRecord, watch: StopWatch) -> RunSummary:
        """Manifest and summary; raises ``Interrupted`` where units are left."""
        listing = Listing.of(self.store)
        forget_partials(self.spec.job.partials, units, listing)
        all_units = [unit for part in self.spec.history.plans() for unit in part]
        finished, total = sum(map(listing.done, all_units)), len(all_units)
        left = to_do - len(self.results)
        whole = finished == total
        manifest: dict[str, Any] | None = None
        if self.spec.revision is not None and self.spec.describes(listing):
            write_config(self.store, self.spec.config)  # before the manifest, which holds its checksum
        if whole or (self.rank.world_size == 1 and total <= _FEW_UNITS):
            manifest = self._manifest()
        if left:
            how = "the same command without --overwrite" if self.spec.config.overwrite else "the same command"
            raise Interrupted(
                f"stopped by {watch.reason} with {left} of {to_do} work units left; what is finished is safe in "
                f"{self.store.place}; {how} continues"
            )
        counts = manifest["counts"] if manifest is not None else self._counts(listing, units)
        # what the files hold must be what the source gave; how much a part of an enumeration holds, they alone say
        entries = counts["entries"] if self.spec.plan.parts else self.spec.history.wanted
        if whole and counts["entries"] < entries:
            held = f"{counts['entries']} of {entries} entries"
            raise QmgenError(f"{self.store.place} accounts for {held}: remove it and run again")
        seconds = self.clock.seconds()
        run_rows = sum(result.rows - result.resumed for result in self.results)
        run_failures = sum(sum(result.failures.values()) for result in self.results)
        return RunSummary(
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
            max_failures=self.spec.config.max_failures,
            pruned=counts["pruned"],
            repaired=len(record.repaired),
            **self._added(listing),
            **record.saved(),
        )

    def _added(self, listing: Listing) -> dict[str, Any]:
        """What an extension holds by itself."""
        revision = self.spec.revision
        if revision is None or revision.kind != EXTEND:
            return {}
        names = [name for key, name in listing.units() if key[0] == revision.number]
        counts = counts_of([unit_record_of(self.store, name) for name in names])
        return {"added_rows": counts["rows"], "added_failures": counts["failures_by_reason"]}

    def _machine_health(self) -> MachineHealth:
        """What earlier runs have shown of the machine: rows that they made, conformers that ended their workers."""
        more, mark = self.spec.plan.revision, self.spec.job.metadata["config_hash"]
        before: set[ConformerKey] = set()
        rows = 0
        for record in records(self.store):
            rows += sum(whole_of(unit.get("rows")) for unit in units_of(record))
            plan = record.get("plan")
            if record.get("config_hash") == mark and isinstance(plan, dict) and plan.get("more", 0) == more:
                before |= {(one[0], one[1]) for one in list_of(record.get("condemned")) if _is_key(one)}
        return MachineHealth(rows > 0, before)

    def _manifest(self) -> dict[str, Any]:
        show_stage("merge")
        try:
            return self.spec.manifest(self.store)
        except OSError as error:
            raise QmgenError(
                f"cannot write the manifest of {self.store.place}: {error.strerror or error}; the rows are safe, make "
                "room and run again"
            ) from error

    def _counts(self, listing: Listing, units: list[Unit]) -> dict[str, Any]:
        """What this rank's units hold."""
        keys = {(unit.revision, unit.count, unit.index) for unit in units}
        return counts_of([unit_record_of(self.store, name) for key, name in listing.units() if key in keys])

    def _done(self, result: UnitResult) -> None:
        self.results.append(result)
        self.progress.expect(result.rows + sum(result.failures.values()) - self._expected[result.index])

    def _record(self, to_do: int, repaired: list[str]) -> RunRecord:
        return RunRecord(
            store=self.store,
            name=new_record_name(),
            clock=self.clock,
            plan=self.spec.plan,
            rank=self.rank.rank,
            world_size=self.rank.world_size,
            config_hash=self.spec.job.metadata["config_hash"],
            licence=self.spec.config.licence,
            to_do=to_do,
            repaired=repaired,
            network=self.spec.job.network,
        )


def _is_key(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(number, int) for number in value)


def _compiled(workers: list[dict[str, Any]]) -> float | None:
    known = [about["compile_seconds"] for about in workers if "compile_seconds" in about]
    return sum(known) if known else None
