"""The workers of a run, seen from the parent: started, fed one unit at a time, heard, replaced, stopped.

Each worker has its own pipe, so that one that dies can block no other. Whichever is free gets the next unit; the unit
of one that died comes before all others.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any

from qmgen.errors import QmgenError, from_process
from qmgen.machine import oom_kills
from qmgen.pipeline import stage_name
from qmgen.pipeline.ahead import Ahead
from qmgen.pipeline.cores import Claims
from qmgen.pipeline.deaths import STILLBORN, Death, Key, Trial, death_of
from qmgen.pipeline.layout import Layout, Place
from qmgen.pipeline.messages import Do, Done, Failed, Holding, Measure, Measured, Progress, Ready, Start, Stop, Stopped
from qmgen.pipeline.source import Work
from qmgen.pipeline.unit import Job, UnitResult
from qmgen.runtime import labelling_environment

_MAIN = "import sys; from qmgen.pipeline.worker import main; main(int(sys.argv[1]), int(sys.argv[2]))"


@dataclass
class Worker:
    """One process: its pipe, its place, what it is doing and holds on its device, and what it told about itself."""

    process: subprocess.Popen[bytes]
    connection: Connection
    place: Place
    oom_kills: int | None = None
    ready: bool = False
    told: bool = False
    work: Work | None = None
    held: tuple[Key, ...] = ()
    rows: int = 0
    failures: int = 0
    begun: int | None = None
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """What it is doing, in words."""
        if self.work is None:
            return "while leaving" if self.told else "while waiting for work" if self.ready else "while starting"
        unit = self.work.unit
        return f"in work unit {unit.index} ({unit.holds})"


@dataclass(frozen=True)
class _Died:
    """Not a message, but the end of them; ``stage`` is the last that the process showed."""

    death: Death
    stage: str


@dataclass
class Pool:
    """A worker for ``job`` at each place of ``layout``: with one thread, pinned to a core that no other run has claimed
    as far as there are any; with any number of threads on any core where the layout has no cores.

    ``on_progress(rows, failures)`` hears of each advance (a negative one when a worker died with what it had),
    ``on_done(result)`` of each finished unit. ``deaths`` lists the workers that died: unit (None for none), how, and in
    which stage. Use it as a context: leaving it ends every process.
    """

    job: Job
    layout: Layout
    on_progress: Callable[[int, int], None] = lambda rows, failures: None
    on_done: Callable[[UnitResult], None] = lambda result: None
    workers: list[Worker] = field(default_factory=list)
    gone: list[Worker] = field(default_factory=list)
    claims: Claims = field(default_factory=Claims)
    deaths: list[dict[str, Any]] = field(default_factory=list)
    _ahead: Ahead = field(default_factory=lambda: Ahead(iter(())))
    _again: deque[Work] = field(default_factory=deque)
    _trials: dict[int, Trial] = field(default_factory=dict)
    _stillborn: int = 0

    def __enter__(self) -> Pool:
        for place in self.layout.pinned(self.claims).places:
            self.workers.append(self._start(place))
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def run(self, works: Iterator[Work | None], stopping: Callable[[], bool]) -> None:
        """Do ``works``, until they are done or ``stopping()``; then only the batches in hand are finished. Where
        ``works`` yields None, the next one is not there yet, and is asked for again within half a second.

        A worker that dies is replaced, and its unit given again. Raises what a worker raised if it is meant for the
        user, ``QmgenError`` when workers die and nothing comes of replacing them, ``RuntimeError`` with the worker's
        traceback when it met a bug.
        """
        self._ahead = Ahead(works)
        self._ahead.look()
        told = False
        while self.workers:
            if stopping() and not told:
                told = True
                for worker in self.workers:
                    self._stop(worker)
            for worker, message in self._heard():
                if isinstance(message, Ready):
                    worker.about.update(message.about)
                    worker.ready, self._stillborn = True, 0
                elif isinstance(message, Progress):
                    self._advance(worker, message.rows, message.failures)
                elif isinstance(message, Holding):
                    self._advance(worker, message.rows, message.failures)
                    self._hold(worker, message.keys)
                elif isinstance(message, Done):
                    self._advance(worker, message.result.rows, sum(message.result.failures.values()))
                    self._trials.pop(message.result.index, None)
                    worker.work, worker.held, worker.rows, worker.failures = None, (), 0, 0
                    self.on_done(message.result)
                elif isinstance(message, _Died):
                    self._replace(worker, message, told)
            if not told:
                for worker in [w for w in self.workers if w.ready and w.work is None and not w.told]:
                    self._give(worker)
                self._ahead.look()

    def measure(self, request: Measure) -> Measured:
        """One measurement by the first worker. Raises as ``run`` does."""
        while self.workers:
            for worker, message in self._heard():
                if isinstance(message, Ready):
                    _send(worker, request)
                elif isinstance(message, Measured):
                    return message
                elif isinstance(message, _Died):
                    raise QmgenError(f"the worker died while it measured: {message.death.how}")
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

    def _start(self, place: Place) -> Worker:
        ours, theirs = Pipe()
        environment = os.environ | labelling_environment(one_thread=bool(self.layout.cores)) | dict(place.environment)
        environment["PYTHONPATH"] = os.pathsep.join(p or os.getcwd() for p in sys.path)
        # a session of its own: the terminal's Ctrl-C reaches us alone, and the whole group can be killed
        process = subprocess.Popen(
            [sys.executable, "-c", _MAIN, str(theirs.fileno()), str(place.core)],
            env=environment,
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        worker = Worker(process, ours, place, oom_kills())
        _send(worker, Start(self.job))
        return worker

    def _heard(self) -> Iterator[tuple[Worker, Any]]:
        """What workers said within half a second; those that left or died are taken off the list."""
        by_pipe = {worker.connection: worker for worker in self.workers}
        for pipe in wait(list(by_pipe), timeout=0.5):
            worker = by_pipe[pipe]  # type: ignore[index]
            try:
                message = worker.connection.recv()
            except (EOFError, OSError):  # an OSError is also the end in the middle of a message
                yield worker, self._bury(worker)
                continue
            if isinstance(message, Failed):
                raise from_process("a worker", message.exit_code, message.message, message.traceback)
            if isinstance(message, Stopped):
                worker.about.update(message.about)
                self._leave(worker)
            yield worker, message
        for worker in list(self.workers):
            if worker.process.poll() is not None and not worker.connection.poll():
                yield worker, self._bury(worker)

    def _advance(self, worker: Worker, rows: int, failures: int) -> None:
        if worker.begun is None:
            worker.begun = rows + failures
        self.on_progress(rows - worker.rows, failures - worker.failures)
        worker.rows, worker.failures = rows, failures

    def _hold(self, worker: Worker, keys: tuple[Key, ...]) -> None:
        if worker.work and (trial := self._trials.get(worker.work.unit.index)):
            trial.survived(worker.held)
        worker.held = keys

    def _give(self, worker: Worker) -> None:
        """The next unit if it is there; leave, where there are no more."""
        work = self._again.popleft() if self._again else self._ahead.take()
        if work is not None:
            trial = self._trials.get(work.unit.index) or Trial()
            worker.work, worker.begun, worker.oom_kills = work, None, oom_kills()
            _send(worker, Do(work, tuple(trial.suspects), dict(trial.condemned)))
        elif self._ahead.over:
            self._stop(worker)

    def _stop(self, worker: Worker) -> None:
        worker.told = True
        _send(worker, Stop())

    def _replace(self, worker: Worker, died: _Died, stopping: bool) -> None:
        """Take back what a dead worker had, judge, and start another in its place if there is work for it."""
        how, work = died.death.how, worker.work
        self.deaths.append({"unit": work.unit.index if work else None, "how": how, "stage": died.stage})
        self.on_progress(-worker.rows, -worker.failures)
        condemned: list[Key] = []
        if not worker.ready:
            self._stillborn += 1
        if work and not stopping:
            trial = self._trials.setdefault(work.unit.index, Trial())
            done = worker.rows + worker.failures
            condemned = trial.died(died.death, worker.held, done if worker.begun is None else worker.begun, done)
            self._again.append(work)
            if trial.hopeless:
                raise _giving_up(worker.where, trial.hopeless, how)
        if self._stillborn >= STILLBORN and not stopping:
            raise _giving_up(worker.where, self._stillborn, how)
        wanted = bool(self._again or not self._ahead.over) and not stopping
        fate = "it is replaced" if wanted else "the run is stopping" if stopping else "nothing is left for it to do"
        for molecule, conformer in condemned:
            fate += f", molecule {molecule} (conformer {conformer}) becomes a failure"
        print(f"qmgen: a worker died {worker.where}: {how}; {fate}", file=sys.stderr, flush=True)
        if wanted:
            self.workers.append(self._start(worker.place))

    def _leave(self, worker: Worker) -> None:
        self.workers.remove(worker)
        self.gone.append(worker)
        worker.connection.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.process.wait(timeout=10)
            return
        worker.process.kill()
        worker.process.wait()

    def _bury(self, worker: Worker) -> _Died:
        """Take a worker off the list that says no more; how it died."""
        guess = "label" if worker.held else "idle" if worker.ready else "start"
        stage = stage_name.shown(worker.process.pid) or guess  # before its process is waited for, and gone for good
        code = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = worker.process.wait(timeout=10)
        if code is None:
            worker.process.kill()
            worker.process.wait()
        before, now = worker.oom_kills, oom_kills()
        worker.connection.close()
        self.workers.remove(worker)
        self.gone.append(worker)
        death = death_of(code, before is not None and now is not None and now > before)
        worker.about["died"] = death.how
        return _Died(death, stage)


def _send(worker: Worker, message: object) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it died: the next wait finds out
        worker.connection.send(message)


def _giving_up(where: str, deaths: int, how: str) -> QmgenError:
    many = f"{deaths} workers in a row died {where} without getting any further, the last one: {how}"
    return QmgenError(f"{many}; finished units are kept, the same command continues")
