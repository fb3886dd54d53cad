"""The ranks as Parsl apps: started, started again where they may go on, told to stop, merged at the end."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from qmgen import files
from qmgen.cluster.job import RESUMABLE, TOO_MANY_FAILURES, Job
from qmgen.cluster.parsl_provider import executor_of
from qmgen.cluster.rank_app import run_rank
from qmgen.config.corpus import SubmitConfig
from qmgen.errors import UsageError
from qmgen.signals import StopWatch

#: settings of qmgen and the place of its code: what a rank must have as it is here, whatever started its worker
_CARRIED = ("QMGEN_", "PYTHONPATH", "JAX_")


@dataclass
class Outcome:
    """What became of the ranks: done, still to be done, or failed (rank to what went wrong); how often one was started
    again; whether the merge went well (None: not tried)."""

    ranks: int
    done: list[int] = field(default_factory=list)
    stopped: list[int] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    too_many_failures: list[int] = field(default_factory=list)
    restarts: int = 0
    merged: bool | None = None

    @property
    def exit_code(self) -> int:
        """1 where a rank failed or the merge did, 75 where the same command goes on, 3 past the allowed failures."""
        if self.failed or self.merged is False:
            return 1
        if self.stopped:
            return RESUMABLE
        return TOO_MANY_FAILURES if self.too_many_failures else 0


def submit(job: Job, settings: SubmitConfig, say: Callable[[str], None]) -> Outcome:
    """Run ``job`` on Parsl to its end; ``say`` hears of each rank that ends.

    The first Ctrl-C (or SIGTERM) asks all ranks to stop, a second raises ``SystemExit(130)``; either way Parsl's own
    processes and jobs are ended. Raises ``UsageError`` where Parsl or the provider will not do.
    """
    executor = executor_of(settings)
    place = _place_for_parsl(job)
    logs = job.make_logs()
    stop = logs / f"{job.name}.stop"
    files.refuse_links(place, "parsl")
    files.remove(job.top, str(PurePath(job.folder, stop.name)))
    import parsl

    config = parsl.Config(executors=[executor], run_dir=str(place / "parsl"), usage_tracking=0, exit_mode="cleanup")
    with StopWatch() as watch, parsl.DataFlowKernel(config) as kernel:
        app = parsl.python_app(run_rank, data_flow_kernel=kernel)
        crew = _Crew(job, settings, logs, stop, app, say)
        try:
            crew.run(watch)
        finally:
            if crew.pending:  # left in a hurry: whoever still runs shall hear of it
                crew.ask_to_stop()
    outcome = crew.outcome
    if not (outcome.failed or outcome.stopped):
        merged = subprocess.run(job.merge_command(), cwd=job.directory, stdin=subprocess.DEVNULL, check=False)
        outcome.merged = merged.returncode == 0
    return outcome


def _place_for_parsl(job: Job) -> Path:
    """A folder whose name Parsl can write into its shell scripts, which it does unquoted."""
    for folder in (job.logs, job.directory):
        if re.fullmatch(r"[\w./+@,=-]+", str(folder)):
            return folder
    raise UsageError(
        f"Parsl cannot work below {job.directory}: call qmgen submit in a folder without spaces in its name"
    )


class _Crew:
    """The ranks in flight, each with the number of times it was started."""

    def __init__(
        self, job: Job, settings: SubmitConfig, logs: Path, stop: Path, app: Any, say: Callable[[str], None]
    ) -> None:
        self.job, self.settings, self.logs, self.stop, self.app, self.say = job, settings, logs, stop, app, say
        self.outcome = Outcome(job.ranks)
        self.pending: dict[Future[int], tuple[int, int]] = {}
        carried = {name: value for name, value in os.environ.items() if name.startswith(_CARRIED)}
        self.environment = carried

    def run(self, watch: StopWatch) -> None:
        for rank in range(self.job.ranks):
            self._start(rank, 0)
        while self.pending:
            ended, _ = wait(self.pending, timeout=0.5, return_when=FIRST_COMPLETED)
            if watch.stopping() and not self.stop.exists():
                self.ask_to_stop()
            for future in ended:
                rank, restarts = self.pending.pop(future)
                self._ended(rank, restarts, future, watch.stopping())

    def ask_to_stop(self) -> None:
        """Put the file there that all ranks look for."""
        with files.opened(self.job.top, self.job.folder) as folder:
            files.open_for_writing(folder, self.stop.name, self.stop, append=True).close()

    def _start(self, rank: int, restarts: int) -> None:
        words = self.job.rank_command(rank)
        place, top = str(self.job.directory), str(self.job.top)
        log = str(PurePath(self.job.folder, self._log(rank).name))
        future = self.app(words, place, top, log, str(self.stop), self.environment)
        self.pending[future] = (rank, restarts)

    def _ended(self, rank: int, restarts: int, future: Future[int], stopping: bool) -> None:
        error = future.exception()
        code = RESUMABLE if error is not None and _lost(error) else None if error is not None else future.result()
        outcome = self.outcome
        if code == RESUMABLE and not stopping and restarts < self.settings.max_requeues:
            outcome.restarts += 1
            self.say(f"rank {rank} of {self.job.ranks} was stopped ({error or 'exit code 75'}): started again")
            self._start(rank, restarts + 1)
        elif code == RESUMABLE:
            outcome.stopped.append(rank)
            self.say(f"rank {rank} of {self.job.ranks} is not done; the same command continues")
        elif code in (0, TOO_MANY_FAILURES):
            outcome.done.append(rank)
            if code:
                outcome.too_many_failures.append(rank)
            self.say(f"rank {rank} of {self.job.ranks} is done ({len(outcome.done)} of {self.job.ranks})")
        else:
            how = f"exit code {code}" if error is None else " ".join(f"{type(error).__name__}: {error}".split())
            outcome.failed[rank] = how
            self.say(f"rank {rank} of {self.job.ranks} failed ({how}): see {self._log(rank)}")

    def _log(self, rank: int) -> Path:
        return self.logs / f"{self.job.name}-rank-{rank}.log"


def _lost(error: BaseException) -> bool:
    """Whether a worker or its node went away: the end of a block's time, a preemption, a crash of the machine."""
    from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost

    return isinstance(error, ManagerLost | WorkerLost)
