"""``--dry-run``: the plan, and what it will cost, from labeling a few of its molecules for a short time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from qmgen.corpus.plan import SPLITS, Listing
from qmgen.corpus.schema import Row, row_schema, row_table
from qmgen.corpus.store import store_of
from qmgen.corpus.unit_records import write_table
from qmgen.machine import peak_memory
from qmgen.pipeline.job import LabelJob, canonical, job_of, refuse_elements, refuse_molecules, settings_of, source_of
from qmgen.pipeline.layout import layout
from qmgen.pipeline.messages import Measurement
from qmgen.pipeline.pool import Pool
from qmgen.pipeline.ranks import rank_of, units_of_rank
from qmgen.pipeline.revise import refuse_other_enumeration, run_spec
from qmgen.pipeline.source import Entry, FileSource
from qmgen.pipeline.stages import Stages
from qmgen.pipeline.unit import UnitAttempt
from qmgen.quantities import duration, size

if TYPE_CHECKING:
    from qmgen.config.generate import GenerateConfig

SAMPLE: Final = 8  # molecules, spread evenly over the source
CONFORMERS: Final = 8  # of each of them, at most: with a thousand the measurement would be a run
#: seconds that all of it takes at most (with the start and the end of the program it is half a minute), and those left
#: for the measurement where reading the source has taken long
MOST_SECONDS: Final = 25.0
_LEAST_MEASURED: Final = 5.0
#: seconds that ending the worker takes
_ENDING: Final = 1.0


@dataclass(frozen=True)
class Estimate:
    """``rows`` in all, at most (duplicates, failures and pruned conformers will be fewer; stereoisomers are as many a
    molecule as in the sample), in ``units`` work units by ``workers``. Of a whole enumeration ``molecules`` and
    ``rows`` are ``about``.

    For the ``units_left``: ``hours`` on this machine without compilation, ``gigabytes`` on disk. ``memory_gigabytes``
    of one worker at its peak. Measured on ``sampled`` molecules, of which ``sample_failures`` conformers got no label,
    in ``measured_seconds``: fewer than there could be where that came to its bound. What was not measured is None."""

    directory: str
    molecules: int
    rows: int
    units: int
    units_left: int
    workers: int
    seconds_per_row: float | None
    compile_seconds: float
    hours: float | None
    gigabytes: float | None
    memory_gigabytes: float | None
    sampled: int
    sample_failures: int
    about: bool = False
    measured_seconds: float = 0.0

    def text(self) -> str:
        """A few lines for standard error."""
        lines = [
            f"{'about ' if self.about else ''}{self.rows} rows of {self.molecules} molecules "
            f"in {self.units} work units "
            f"({self.units_left} to do), {self.workers} worker(s), into {self.directory}",
            f"  measured    {self.sampled} molecules in {duration(self.measured_seconds)}, "
            f"{self.sample_failures} without a label",
        ]
        if not self.sampled:
            lines.append(
                "  no estimate: in that time no molecule was through (the first of a shape has to be compiled); what "
                "was compiled is kept, so that the same command gets further"
            )
            return "\n".join(lines)
        if self.hours is None or self.gigabytes is None or self.seconds_per_row is None:
            lines.append("  no estimate: none of them got a label")
        else:
            each = f"{duration(self.seconds_per_row)} a row and worker"
            lines.append(f"  time        {duration(3600 * self.hours)} ({each})")
            lines.append(f"  disk        {size(1e9 * self.gigabytes)}")
        lines.append(f"  start-up    {duration(self.compile_seconds)} for compiling the measured shapes")
        if self.memory_gigabytes is not None:
            lines.append(f"  memory      {size(1e9 * self.memory_gigabytes)} a worker")
        return "\n".join(lines)


def estimate(config: GenerateConfig, stages: Stages | None = None) -> Estimate:
    """What a run of ``config`` would cost. Nothing is written. It takes ``MOST_SECONDS``, and longer only where the
    source takes longer to read.

    Raises ``UsageError`` as the run itself does.
    """
    begin = time.monotonic()
    stages = stages or Stages()
    config, theory, network = canonical(config, stages)
    store = store_of(config.out)
    if config.extend:
        refuse_other_enumeration(config, store)
    refuse_elements(config, settings_of(config, network), stages)
    until = begin + MOST_SECONDS - _ENDING
    with ExitStack() as stack:
        source = stack.enter_context(source_of(config, stages, keep=False))
        job = job_of(config, theory, source, stages, network)
        if isinstance(source, FileSource):
            refuse_molecules(source, config.limit, job)
        spec = run_spec(config, job, source, store, stack)
        sample = source.sample(spec.plan, SAMPLE, until)
    listing = Listing({}) if config.overwrite else Listing.of(store)
    left = [
        unit
        for unit in units_of_rank(spec.plan, rank_of(config.rank, config.world_size, os.environ))
        if not listing.done(unit)
    ]
    places = layout(config.workers, config.devices, max(len(left), 1))
    count = len(places)
    few = min(spec.job.conformers, CONFORMERS)
    started = time.monotonic()
    found: list[Measurement] = []
    if sample:
        with Pool(replace(spec.job, conformers=few), places[:1]) as pool:
            found += pool.measure(sample, max(until, started + _LEAST_MEASURED))
    took = time.monotonic() - started
    attempts, made = sum(one.attempts for one in found), sum(one.rows for one in found)
    warm = sum(one.warm_seconds for one in found)
    isomers = 1.0
    if config.stereo == "enumerate" and not spec.job.procedure.prunes:  # else what was pruned hides the isomers
        isomers = max(attempts / (len(found) * few), 1.0) if found else 1.0
    rows = round(sum(map(spec.expected, left)) * isomers)
    per_attempt = warm / attempts if attempts else 0.0
    known = made > 0
    return Estimate(
        directory=store.place,
        molecules=sum(map(source.expected, spec.plan)),
        rows=round(sum(map(spec.expected, spec.plan)) * isomers),
        units=sum(1 for _ in spec.plan),
        units_left=len(left),
        workers=count,
        seconds_per_row=per_attempt if known else None,
        compile_seconds=max(sum(one.cold_seconds for one in found) - warm, 0.0),
        hours=rows * per_attempt / count / 3600 if known else None,
        gigabytes=_bytes(found[-1], rows, made, len(left)) / 1e9 if known else None,
        memory_gigabytes=found[-1].peak_memory / 1e9 if found else None,
        sampled=len(found),
        sample_failures=attempts - made,
        about=spec.plan.parts,
        measured_seconds=took,
    )


def _bytes(last: Measurement, rows: int, made: int, units: int) -> float:
    """What ``rows`` in ``units`` take on disk, from the ``made`` ones that were measured: rows, and of each unit a file
    for every split and its failures."""
    each = max(last.file_bytes - last.empty_file_bytes, 0) / made
    return rows * each + units * (len(SPLITS) + 1) * last.empty_file_bytes


def measure(job: LabelJob, entries: list[Entry]) -> Iterator[Measurement]:
    """Label each of ``entries`` twice, in a worker, and write nothing."""
    schema = row_schema(job.metadata)

    def file_bytes(rows: list[Row]) -> int:
        sink = pa.BufferOutputStream()
        write_table(row_table(rows, schema), sink)
        return int(sink.getvalue().size)

    made: list[Row] = []
    empty = file_bytes(made)
    for entry in entries:
        seconds = []
        for _ in range(2):
            begin = time.monotonic()
            labeled = UnitAttempt(job).run([entry])
            seconds.append(time.monotonic() - begin)
        rows = [row for of_split in labeled.rows.values() for row in of_split]
        made += rows
        attempts = len(rows) + len(labeled.failures)
        yield Measurement(attempts, len(rows), seconds[0], seconds[1], file_bytes(made), empty, peak_memory())
