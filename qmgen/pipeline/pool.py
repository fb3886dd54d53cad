"""The workers of a run, seen from the parent: started, fed one unit at a time, heard, stopped.

Each worker has its own pipe, so that one that dies can block no other. Whichever is free gets the next unit.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any

from qmgen.errors import QmgenError, UsageError
from qmgen.machine import granted_cpus, usable_cores
from qmgen.pipeline.ahead import Ahead
from qmgen.pipeline.cores import Claims
from qmgen.pipeline.messages import Do, Done, Failed, Measure, Measured, Progress, Ready, Start, Stop, Stopped
from qmgen.pipeline.source import Work
from qmgen.pipeline.unit import Job, UnitResult
from qmgen.runtime import labelling_environment

_MAIN = "import sys; from qmgen.pipeline.worker import main; main(int(sys.argv[1]), int(sys.argv[2]))"


@dataclass
class Worker:
    """One process: its pipe, what it is doing, and what it told about itself."""

    process: subprocess.Popen[bytes]
    connection: Connection
    ready: bool = False
    told: bool = False
    work: Work | None = None
    rows: int = 0
    failures: int = 0
    about: dict[str, Any] = field(default_factory=dict)


@dataclass
class Pool:
    """``count`` workers for ``job`` with one thread each, pinned to those of ``cores`` that no other run has claimed,
    the rest to none; with any number of threads on any core where ``cores`` is empty.

    ``on_progress(rows, failures)`` hears of each advance, ``on_done(result)`` of each finished unit. Use it as a
    context: leaving it ends every process.
    """

    job: Job
    count: int
    cores: tuple[int, ...]
    on_progress: Callable[[int, int], None] = lambda rows, failures: None
    on_done: Callable[[UnitResult], None] = lambda result: None
    workers: list[Worker] = field(default_factory=list)
    gone: list[Worker] = field(default_factory=list)
    claims: Claims = field(default_factory=Claims)

    def __enter__(self) -> Pool:
        for core in self.claims.take(self.cores, self.count):
            self.workers.append(self._start(core))
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def run(self, works: Iterator[Work | None], stopping: Callable[[], bool]) -> None:
        """Do ``works``, until they are done or ``stopping()``; then only the batches in hand are finished. Where
        ``works`` yields None, the next one is not there yet, and is asked for again within half a second.

        Raises what a worker raised if it is meant for the user, ``QmgenError`` when one died, ``RuntimeError`` with the
        worker's traceback when it met a bug.
        """
        ahead = Ahead(works)
        ahead.look()
        told = False
        while self.workers:
            if stopping() and not told:
                told = True
                for worker in self.workers:
                    self._stop(worker)
            for worker, message in self._heard():
                if isinstance(message, Ready):
                    worker.about.update(message.about)
                    worker.ready = True
                elif isinstance(message, Progress):
                    self._advance(worker, message.rows, message.failures)
                elif isinstance(message, Done):
                    self._advance(worker, message.result.rows, sum(message.result.failures.values()))
                    worker.work, worker.rows, worker.failures = None, 0, 0
                    self.on_done(message.result)
            if not told:
                for worker in [w for w in self.workers if w.ready and w.work is None and not w.told]:
                    self._give(worker, ahead)
                ahead.look()

    def measure(self, request: Measure) -> Measured:
        """One measurement by the first worker. Raises as ``run`` does."""
        while self.workers:
            for worker, message in self._heard():
                if isinstance(message, Ready):
                    _send(worker, request)
                elif isinstance(message, Measured):
                    return message
        raise QmgenError("the worker ended before it had measured anything")

    def kill(self) -> None:
        """End every worker now, and whatever it started."""
        for worker in self.workers:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(worker.process.pid, signal.SIGKILL)
            worker.process.wait()
            worker.connection.close()
        self.workers.clear()
        self.claims.release()

    def _start(self, core: int) -> Worker:
        ours, theirs = Pipe()
        environment = os.environ | labelling_environment(one_thread=bool(self.cores))
        environment["PYTHONPATH"] = os.pathsep.join(p or os.getcwd() for p in sys.path)
        # a session of its own: the terminal's Ctrl-C reaches us alone, and the whole group can be killed
        process = subprocess.Popen(
            [sys.executable, "-c", _MAIN, str(theirs.fileno()), str(core)],
            env=environment,
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        worker = Worker(process, ours)
        _send(worker, Start(self.job))
        return worker

    def _heard(self) -> Iterator[tuple[Worker, Any]]:
        """What workers said within half a second; those that left or died are taken off the list."""
        by_pipe = {worker.connection: worker for worker in self.workers}
        for pipe in wait(list(by_pipe), timeout=0.5):
            worker = by_pipe[pipe]  # type: ignore[index]
            try:
                message = worker.connection.recv()
            except (EOFError, ConnectionResetError):
                raise self._death(worker) from None
            if isinstance(message, Failed):
                raise _raised(message)
            if isinstance(message, Stopped):
                worker.about.update(message.about)
                self._leave(worker)
            yield worker, message
        for worker in self.workers:
            if worker.process.poll() is not None and not worker.connection.poll():
                raise self._death(worker)

    def _advance(self, worker: Worker, rows: int, failures: int) -> None:
        self.on_progress(rows - worker.rows, failures - worker.failures)
        worker.rows, worker.failures = rows, failures

    def _give(self, worker: Worker, ahead: Ahead) -> None:
        """The next unit if it is there; leave, where there are no more."""
        work = ahead.take()
        if work is not None:
            worker.work = work
            _send(worker, Do(work))
        elif ahead.over:
            self._stop(worker)

    def _stop(self, worker: Worker) -> None:
        worker.told = True
        _send(worker, Stop())

    def _leave(self, worker: Worker) -> None:
        self.workers.remove(worker)
        self.gone.append(worker)
        worker.connection.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.process.wait(timeout=10)
            return
        worker.process.kill()
        worker.process.wait()

    def _death(self, worker: Worker) -> QmgenError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.process.wait(timeout=5)
        code = worker.process.poll()
        how = f"exit code {code}"
        if code is not None and code < 0:
            how = signal.Signals(-code).name + (", perhaps for want of memory" if code == -signal.SIGKILL else "")
        unit = worker.work.unit if worker.work else None
        where = f" in work unit {unit.index} ({unit.holds})" if unit else " while starting"
        return QmgenError(f"a worker died{where}: {how}; finished units are kept, the same command continues")


def default_layout(workers: int | None, units: int) -> tuple[int, tuple[int, ...]]:
    """Workers, and the cores they may be pinned to (none on an accelerator): one worker per core's worth of time that
    is granted, or one in all."""
    if _accelerator():
        return min(workers or 1, units), ()
    return min(workers or granted_cpus(), units), usable_cores()


def _accelerator() -> bool:
    """Whether jax will choose something else than a CPU, judged without importing it."""
    from importlib.metadata import distributions

    platforms = os.environ.get("JAX_PLATFORMS", "")
    if platforms:
        return platforms.split(",")[0] != "cpu"
    plugins = ("jax-cuda", "jax_cuda", "jax-rocm", "jax_rocm", "libtpu")
    found = any((d.metadata["Name"] or "").lower().startswith(plugins) for d in distributions())
    return found and any(os.path.exists(path) for path in ("/dev/nvidia0", "/dev/kfd", "/dev/accel0", "/dev/vfio/0"))


def _send(worker: Worker, message: object) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it died: the next wait finds out
        worker.connection.send(message)


def _raised(message: Failed) -> Exception:
    if message.exit_code is None:
        error = RuntimeError(f"in a worker: {message.message}")
        error.add_note(message.traceback)
        return error
    return (UsageError if message.exit_code == 2 else QmgenError)(message.message)
