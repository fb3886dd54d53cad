"""``--dry-run``: the plan, and what it will cost, from labelling a few of its molecules."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from qmgen.corpus.listing import Listing
from qmgen.corpus.store import store_of
from qmgen.pipeline.behind import refuse_other_enumeration
from qmgen.pipeline.claim import mine
from qmgen.pipeline.enumeration.as_source import source_of
from qmgen.pipeline.extend import aim_at
from qmgen.pipeline.job import canonical, job_of
from qmgen.pipeline.layout import layout
from qmgen.pipeline.messages import Measure
from qmgen.pipeline.pool import Pool
from qmgen.pipeline.ranks import rank_of
from qmgen.pipeline.stages import Stages

if TYPE_CHECKING:
    from qmgen.config.models import GenerateConfig

SAMPLE: Final = 8  # molecules, spread evenly over the source
CONFORMERS: Final = 8  # of each of them, at most: with a thousand the measurement would be a run


@dataclass(frozen=True)
class Estimate:
    """``rows`` in all, at most (duplicates, failures and pruned conformers will be fewer; stereoisomers are as many a
    molecule as in the sample), in ``units`` work units by ``workers``. Of a whole enumeration ``molecules`` and
    ``rows`` are ``about``.

    For the ``units_left``: ``hours`` on this machine without compilation, ``gigabytes`` on disk. ``memory_gigabytes``
    of one worker at its peak. Measured on ``sampled`` molecules, of which ``sample_failures`` got no label."""

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
    memory_gigabytes: float
    sampled: int
    sample_failures: int
    about: bool = False

    def text(self) -> str:
        """A few lines for standard error."""
        lines = [
            f"{'about ' if self.about else ''}{self.rows} rows of {self.molecules} molecules "
            f"in {self.units} work units "
            f"({self.units_left} to do), {self.workers} worker(s), into {self.directory}",
            f"  measured    {self.sampled} molecules, {self.sample_failures} without a label",
        ]
        if self.hours is None or self.gigabytes is None or self.seconds_per_row is None:
            lines.append("  no estimate: none of them got a label")
        else:
            lines.append(f"  time        {self.hours:.2g} h ({self.seconds_per_row:.2g} s a row and worker)")
            lines.append(f"  disk        {self.gigabytes:.2g} GB")
        lines.append(f"  start-up    {self.compile_seconds:.1f} s for compiling the measured shapes")
        lines.append(f"  memory      {self.memory_gigabytes:.2g} GB a worker")
        return "\n".join(lines)


def estimate(config: GenerateConfig, stages: Stages | None = None) -> Estimate:
    """Plan the run and label a few molecules of it twice, in one worker; nothing is written. Raises as ``generate``."""
    stages = stages or Stages()
    config, theory, learned = canonical(config, stages)
    store = store_of(config.out)
    if config.extend:
        refuse_other_enumeration(config, store)
    with ExitStack() as stack:
        source = stack.enter_context(source_of(config, stages, keep=False))
        aim = aim_at(config, job_of(config, theory, source, stages, learned), source, store, stack)
        sample = source.sample(aim.plan, SAMPLE)
    listing = Listing({}) if config.overwrite else Listing.of(store)
    left = [
        unit for unit in mine(aim.plan, rank_of(config.rank, config.world_size, os.environ)) if not listing.done(unit)
    ]
    places = layout(config.workers, config.devices, max(len(left), 1))
    count = len(places.places)
    few = min(aim.job.conformers, CONFORMERS)
    with Pool(replace(aim.job, conformers=few), replace(places, places=places.places[:1])) as pool:
        measured = pool.measure(Measure(sample))
    isomers = 1.0
    if config.stereo == "enumerate" and not aim.job.procedure.prunes:  # else what was pruned hides the isomers
        isomers = max(measured.attempts / (len(sample) * few), 1.0)
    rows = round(sum(map(aim.expected, left)) * isomers)
    per_attempt = measured.warm_seconds / measured.attempts if measured.attempts else 0.0
    known = measured.rows > 0
    return Estimate(
        directory=store.place,
        molecules=sum(map(source.expected, aim.plan)),
        rows=round(sum(map(aim.expected, aim.plan)) * isomers),
        units=sum(1 for _ in aim.plan),
        units_left=len(left),
        workers=count,
        seconds_per_row=per_attempt if known else None,
        compile_seconds=max(measured.cold_seconds - measured.warm_seconds, 0.0),
        hours=rows * per_attempt / count / 3600 if known else None,
        gigabytes=rows * measured.file_bytes / measured.rows / 1e9 if known else None,
        memory_gigabytes=measured.peak_memory / 1e9,
        sampled=len(sample),
        sample_failures=measured.attempts - measured.rows,
        about=aim.plan.parts,
    )
