"""A whole run: source, plan, workers, shards, manifest.

Continuing is simple so far: units whose files all exist are not done again. Ranks, locks and partial units come with
the issue on crash-safe runs; their place is between ``plan`` and ``Pool``.
"""

from __future__ import annotations

import os
import platform
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmgen.corpus.identity import check_same, config_hash
from qmgen.corpus.manifest import write_manifest, write_run, write_text
from qmgen.corpus.plan import Plan, plan
from qmgen.corpus.shard import FileRecord, clear_temporaries
from qmgen.corpus.splits import Splitter
from qmgen.errors import Interrupted, QmgenError, UsageError
from qmgen.labeling.types import Settings
from qmgen.machine import versions
from qmgen.molecules.procedure import Procedure
from qmgen.pipeline.enumeration.as_source import source_of
from qmgen.pipeline.pool import Pool, default_layout
from qmgen.pipeline.progress import Progress, Quiet, default_progress
from qmgen.pipeline.rows import CONSTANTS
from qmgen.pipeline.signals import StopWatch
from qmgen.pipeline.source import Source, Work
from qmgen.pipeline.stages import Stages
from qmgen.pipeline.summary import Summary
from qmgen.pipeline.unit import Job, UnitResult

if TYPE_CHECKING:
    from qmgen.config.models import GenerateConfig, LabelConfig


def generate(
    config: GenerateConfig, progress: Progress | None = None, stages: Stages | None = None, quiet: bool = False
) -> Summary:
    """Label the molecules of ``config`` and write the corpus ``config.out``; ``quiet`` shows no progress.

    Raises ``UsageError`` before any work when the source, the level of theory or the directory will not do;
    ``Interrupted`` after a signal or the time limit, with all finished units kept; ``QmgenError`` when a worker died or
    the disk refused; ``SystemExit(130)`` on a second signal.
    """
    stages = stages or Stages()
    clock = _Clock()
    config, theory = canonical(config, stages)  # refuses unknown names before anything else
    with source_of(config, stages, keep=True, quiet=quiet) as source:
        job = job_of(config, theory, source, stages)
        the_plan = plan(source.entries, config.conformers, config.units, config.limit)
        _claim(job, config)
        with StopWatch(config.time_limit) as watch:
            run = _Run(config, job, the_plan, source, progress or (Quiet() if quiet else default_progress()), clock)
            run.do(watch)
        return run.finish(watch)


def settings_of(config: LabelConfig) -> Settings:
    """The part of the configuration that labelling sees."""
    return Settings(
        xc=config.xc,
        basis=config.basis,
        grid_level=config.grid_level,
        precision=config.precision,
        guess=config.guess,
        conv_energy=config.conv_energy,
        conv_gradient=config.conv_gradient,
        max_cycles=config.max_cycles,
        batch_size=config.batch_size,
    )


def procedure_of(config: LabelConfig) -> Procedure:
    """The part of the configuration that the making of conformers sees."""
    return Procedure(
        embed=config.embed,
        relax=config.relax,
        relax_steps=config.relax_steps,
        prune_rms=config.prune_rms,
        energy_window=config.energy_window,
        stereo=config.stereo,
        max_stereo_isomers=config.max_stereo_isomers,
    )


def canonical(config: GenerateConfig, stages: Stages) -> tuple[GenerateConfig, dict[str, Any]]:
    """The configuration with functional and basis under their own names, and the level of theory.

    An alias is the same level, and must not look like another corpus. Raises ``UsageError`` on an unknown name.
    """
    theory = stages.load("theory")(settings_of(config))
    return config.model_copy(update={name: theory[name] for name in ("xc", "basis")}), theory


def job_of(config: GenerateConfig, theory: dict[str, Any], source: Source, stages: Stages) -> Job:
    """What every unit shares; ``config`` and ``theory`` from ``canonical``.

    The recipe, which the configuration hash covers, is the row-changing configuration and the contents of the source;
    where the source lies, and under which name, changes no row.
    """
    recipe = {**config.row_fields(), "source": list(source.digests)}
    return Job(
        directory=Path(config.out),
        settings=settings_of(config),
        conformers=config.conformers,
        seed=config.seed,
        embed_time_limit=config.embed_time_limit,
        splitter=Splitter(config.seed, config.validation_fraction, config.test_fraction),
        metadata={
            "config_hash": config_hash(recipe),
            "recipe": recipe,
            "level_of_theory": theory,
            "constants": CONSTANTS,
        },
        stages=stages,
        procedure=procedure_of(config),
    )


class _Clock:
    """When the run began, by the calendar and by a clock that never jumps."""

    def __init__(self) -> None:
        self.date = datetime.now(UTC)
        self._begin = time.monotonic()

    def seconds(self) -> float:
        return time.monotonic() - self._begin


@dataclass
class _Run:
    """The state of a run in the parent."""

    config: GenerateConfig
    job: Job
    plan: Plan
    source: Source
    progress: Progress
    clock: _Clock
    results: list[UnitResult] = field(default_factory=list)
    workers: list[dict[str, Any]] = field(default_factory=list)
    count: int = 0
    first_row: float | None = None
    total: int = 0

    def do(self, watch: StopWatch) -> None:
        """Do the units that are not done; write the run's record whatever happens."""
        missing = {unit.index for unit in self.plan if not unit.done(self.job.directory)}
        self.total = len(missing)
        if not missing:
            return
        expected = sum(u.end - u.start for u in self.plan if u.index in missing) * self.config.conformers
        self.count, cores = default_layout(self.config.workers, len(missing))
        works: Iterator[Work] = (work for work in self.source.works(self.plan) if work.unit.index in missing)
        self.progress.start(expected)
        state = "failed"
        pool = Pool(self.job, self.count, cores, self._advance, self._done)
        try:
            with pool:
                pool.run(works, watch.stopping)
            state = "stopped" if watch.reason else "finished"
        finally:
            self.progress.close()
            self.workers = [worker.about for worker in [*pool.gone, *pool.workers]]
            clear_temporaries(self.job.directory)
            self._record(state)

    def finish(self, watch: StopWatch) -> Summary:
        """Manifest and summary; raises ``Interrupted`` where units are left."""
        try:
            manifest = write_manifest(
                self.job.directory,
                self.plan,
                self.job.metadata,
                licence=self.config.licence,
                versions=versions(),
                records=self._records(),
            )
        except OSError as error:
            raise QmgenError(
                f"cannot write the manifest of {self.job.directory}: {error.strerror}; the rows are safe, run again"
            ) from error
        counts = manifest["counts"]
        if len(self.results) < self.total:
            raise Interrupted(
                f"stopped by {watch.reason} with {self.total - len(self.results)} of {self.total} work units left; "
                f"{counts['rows']} rows are safe in {self.job.directory}; the same command continues"
            )
        self._check_books(counts)
        seconds = self.clock.seconds()
        run_rows = sum(result.rows for result in self.results)
        run_failures = sum(sum(result.failures.values()) for result in self.results)
        return Summary(
            directory=self.job.directory,
            entries=self.plan.wanted,
            rows=counts["rows"],
            molecules=counts["molecules"],
            failures=counts["failures_by_reason"],
            merged=counts["merged"],
            splits={name: split["rows"] for name, split in counts["splits"].items()},
            files=len(manifest["files"]),
            bytes=sum(file["bytes"] for file in manifest["files"]),
            run_rows=run_rows,
            run_failures=run_failures,
            run_units=len(self.results),
            units=self.plan.count,
            workers=self.count,
            seconds=seconds,
            conformers_per_second=(run_rows + run_failures) / seconds,
            seconds_to_first_row=self.first_row,
            compile_seconds=self._compiled(),
            max_failures=self.config.max_failures,
            pruned=counts["pruned"],
        )

    def _check_books(self, counts: dict[str, Any]) -> None:
        """What the files hold must be what the source gave."""
        if counts["entries"] < self.plan.wanted:
            held = f"{counts['entries']} of {self.plan.wanted} entries"
            raise QmgenError(f"{self.job.directory} accounts for {held}: remove it and run again")

    def _advance(self, rows: int, failures: int) -> None:
        if rows > 0 and self.first_row is None:
            self.first_row = self.clock.seconds()
        self.progress.advance(rows, failures)

    def _done(self, result: UnitResult) -> None:
        self.results.append(result)
        thought = result.entries * self.config.conformers
        self.progress.expect(result.rows + sum(result.failures.values()) - thought)

    def _records(self) -> list[FileRecord]:
        return [record for result in self.results for record in result.records]

    def _compiled(self) -> float | None:
        known = [about["compile_seconds"] for about in self.workers if "compile_seconds" in about]
        return sum(known) if known else None

    def _record(self, state: str) -> None:
        began = self.clock.date
        name = f"{began:%Y%m%dT%H%M%S}-{socket.gethostname()}-{os.getpid()}"
        record = {
            "state": state,
            "host": socket.gethostname(),
            "platform": platform.platform(),
            "pid": os.getpid(),
            "began": began.isoformat(timespec="seconds"),
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(self.clock.seconds(), 3),
            "seconds_to_first_row": self.first_row,
            "workers": self.workers,
            "units": [
                {"index": r.index, "rows": r.rows, "failures": r.failures, "seconds": round(r.seconds, 3)}
                for r in sorted(self.results, key=lambda r: r.index)
            ],
            "versions": versions(),
        }
        try:
            write_run(self.job.directory, name, record)
        except OSError as error:  # the run's own outcome matters more
            print(f"qmgen: no record of this run was written: {error.strerror}", file=sys.stderr)


def _claim(job: Job, config: GenerateConfig) -> None:
    """Make the directory this corpus's own, or refuse; the resolved configuration stands in it from the start."""
    directory = job.directory
    check_same(directory, job.metadata["recipe"])
    try:
        directory.mkdir(parents=True, exist_ok=True)
        write_text(directory / "config.toml", config.resolved_toml(directory))
    except OSError as error:
        raise UsageError(f"cannot write to {directory}: {error.strerror}; choose another --out") from error
    clear_temporaries(directory)
