"""The ranks as Parsl apps: started, started again where they can continue, asked to stop, merged at the end.

Providers are chosen by name, with options as ``key=value``. Parsl's classes are used in this file alone.
"""

from __future__ import annotations

import inspect
import os
import re
import shlex
import subprocess
import sysconfig
import tomllib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from qmgen import files
from qmgen.cluster.job import RESUMABLE, TOO_MANY_FAILURES, ClusterJob, run_rank
from qmgen.config.corpus import SubmitConfig
from qmgen.config.sources import nearest
from qmgen.errors import UsageError
from qmgen.signals import StopWatch

MISSING = "Parsl is not installed: pip install 'qmgen[cluster]'"


def executor_of(settings: SubmitConfig) -> Any:
    """Parsl's executor for ``settings``. Raises ``UsageError`` without Parsl, and for what Parsl does not have."""
    try:
        import parsl.providers
        from parsl.executors import HighThroughputExecutor
    except ImportError:
        raise UsageError(MISSING) from None
    provider = _provider(parsl.providers, settings)
    # on this machine alone: do not listen on its other addresses
    address = settings.address or ("127.0.0.1" if settings.provider.lower() == "local" else None)
    accelerators: Any = settings.gpus or ()
    executor = HighThroughputExecutor(
        label="qmgen",
        provider=provider,
        address=address,
        max_workers_per_node=settings.workers_per_node,
        cores_per_worker=1e-3,  # as many workers as asked for, on any number of cores
        available_accelerators=accelerators,
    )
    # Parsl looks for its own programs on the PATH, where those of an environment that is not activated are not
    scripts = Path(sysconfig.get_path("scripts"))
    if (scripts / "interchange.py").exists():
        # a terminal's Ctrl-C goes to Parsl's programs too, of which this one would die before the ranks have ended
        executor.interchange_launch_cmd = ["sh", "-c", "trap '' INT; exec \"$0\"", str(scripts / "interchange.py")]
        executor.launch_cmd = f"{shlex.quote(str(scripts))}/{executor.launch_cmd}"
    return executor


def options_of(pairs: Sequence[str]) -> dict[str, Any]:
    """``key=value`` with values as TOML writes them; what is no TOML is text: ``walltime=1:00:00``, ``nodes=2``."""
    options: dict[str, Any] = {}
    for pair in pairs:
        key, _, text = pair.partition("=")
        try:
            found = tomllib.loads(f"value = {text}")
        except tomllib.TOMLDecodeError:
            found = {"value": text}
        options[key] = found["value"] if found.keys() == {"value"} else text
        if not isinstance(options[key], str | int | float | bool | list | dict):  # a date or time of day
            options[key] = text
    return options


def _provider(providers: Any, settings: SubmitConfig) -> Any:
    kind = _named(providers, settings.provider, "Provider", "provider")
    known = [name for name in inspect.signature(kind.__init__).parameters if name != "self"]
    options = options_of(settings.provider_options)
    for key in options:
        if key not in known:
            raise UsageError(f"Parsl's {kind.__name__} has no option {key!r}{nearest(key, known)}")
    if isinstance(options.get("launcher"), str):
        import parsl.launchers

        options["launcher"] = _named(parsl.launchers, options["launcher"], "Launcher", "launcher")()
    if settings.setup:
        if "worker_init" not in known:
            raise UsageError(f"Parsl's {kind.__name__} runs no shell lines first: it goes without --setup")
        options["worker_init"] = "\n".join([*settings.setup, *filter(None, [options.get("worker_init")])])
    try:
        return kind(**options)
    except Exception as error:  # each provider has errors of its own: a missing package, a key of the wrong type
        words = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"Parsl's {kind.__name__} will not do: {words}") from error


def _named(module: Any, name: str, ending: str, what: str) -> Any:
    """The class of ``module`` that is called ``name``, in any case, with or without ``ending``."""
    kinds = {kind.removesuffix(ending).lower(): kind for kind in _public(module, ending)}
    wanted = name.lower().removesuffix(ending.lower())
    if wanted not in kinds:
        raise UsageError(f"Parsl has no {what} {name!r}{nearest(wanted, kinds)}")
    return getattr(module, kinds[wanted])


def _public(module: Any, ending: str) -> Iterable[str]:
    return (name for name in module.__all__ if name.endswith(ending))


#: settings of qmgen and the place of its code: what a rank must have as it is here, whatever started its worker
_CARRIED = ("QMGEN_", "PYTHONPATH", "JAX_")


@dataclass
class RanksOutcome:
    """How the ranks ended: done, still to be done, or failed (rank to what went wrong); how often one was started
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


def submit(job: ClusterJob, settings: SubmitConfig, say: Callable[[str], None]) -> RanksOutcome:
    """Run ``job`` on Parsl to its end; ``say`` is called with a line for each rank that ends.

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
        in_flight = _RanksInFlight(job, settings, logs, stop, app, say)
        try:
            in_flight.run(watch)
        finally:
            if in_flight.pending:  # interrupted: the ranks that still run are asked to stop
                in_flight.ask_to_stop()
    outcome = in_flight.outcome
    if not (outcome.failed or outcome.stopped):
        merged = subprocess.run(job.merge_command(), cwd=job.directory, stdin=subprocess.DEVNULL, check=False)
        outcome.merged = merged.returncode == 0
    return outcome


def _place_for_parsl(job: ClusterJob) -> Path:
    """A folder whose name Parsl can write into its shell scripts, which it does unquoted."""
    for folder in (job.logs, job.directory):
        if re.fullmatch(r"[\w./+@,=-]+", str(folder)):
            return folder
    raise UsageError(
        f"Parsl cannot work below {job.directory}: call qmgen submit in a folder without spaces in its name"
    )


class _RanksInFlight:
    """The ranks in flight, each with the number of times it was started."""

    def __init__(
        self, job: ClusterJob, settings: SubmitConfig, logs: Path, stop: Path, app: Any, say: Callable[[str], None]
    ) -> None:
        self.job, self.settings, self.logs, self.stop, self.app, self.say = job, settings, logs, stop, app, say
        self.outcome = RanksOutcome(job.ranks)
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
