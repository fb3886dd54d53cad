"""The workers of a run, seen from the parent: started, given one unit at a time, watched, replaced, stopped.

Each worker has its own pipe, so that one that dies can block no other. A free worker gets the next unit; the unit of
one that died comes before all others. No wait is without a bound: a worker that stops answering is ended and replaced,
and one that does not stop after ``STOP`` is ended too.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from qmgen.errors import Interrupted, QmgenError, from_process
from qmgen.machine import address_space_limit, oom_kills
from qmgen.molecules.types import Reason
from qmgen.pipeline.crash_policy import (
    MAX_FAILED_STARTS,
    ConformerKey,
    MachineHealth,
    UnitCrashes,
    WorkerDeath,
    death_of,
)
from qmgen.pipeline.job import LabelJob
from qmgen.pipeline.layout import CoreLocks, WorkerPlace, pinned
from qmgen.pipeline.messages import (
    STOP,
    Measurement,
    UnitProgress,
    WorkerFailure,
    WorkerState,
    shown_stage,
)
from qmgen.pipeline.source import Entry, UnitInput
from qmgen.pipeline.unit import UnitResult
from qmgen.processes import Child, Gone, StallClock
from qmgen.runtime import labeling_environment

#: seconds that a worker may be silent, without CPU time, before it is taken for one that answers no more
SILENT_LIMIT: Final = 30.0
#: seconds that its main thread may be without CPU time while other threads give signs of life, by what it does: files
#: on a disk that hangs, a device that is at it. An idle one waits for us, and embedding watches over itself
_STILL_LIMITS: Final = {"start": 300.0, "write": 300.0, "commit": 300.0, "label": 3600.0}


@dataclass
class WorkerProcess:
    """One process: its pipe, its place, its unit and the batch on its device, and what it has sent about itself."""

    child: Child
    place: WorkerPlace
    stillness: StallClock
    oom_kills: int | None = None
    ready: bool = False
    told: bool = False
    work: UnitInput | None = None
    on_device: tuple[ConformerKey, ...] = ()
    rows: int = 0
    failures: int = 0
    begun: int | None = None
    begun_rows: int = 0
    stage: str = "start"
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """What it is doing, in words."""
        if self.work is None:
            return "while leaving" if self.told else "while waiting for work" if self.ready else "while starting"
        unit = self.work.unit
        return f"in work unit {unit.index} ({unit.holds})"

    def silent_for(self) -> str | None:
        """In which way it answers no more, if it does so. To be asked about once a second."""
        silent, still = self.child.clock.stalled(), self.stillness.stalled()
        limit = _STILL_LIMITS.get("start" if self.stage == "idle" and self.work is not None else self.stage)
        if self.ready and silent >= SILENT_LIMIT:
            return f"no sign of life for {silent:.0f} s"
        if limit is not None and still >= limit:
            return f"nothing done for {still:.0f} s"
        return None


def start_worker(job: LabelJob, place: WorkerPlace, inbox: queue.SimpleQueue[Any]) -> WorkerProcess:
    """A new worker for ``job`` at ``place``, whose messages arrive in ``inbox``. ``OSError``: there is no room."""
    environment = labeling_environment(one_thread=place.one_thread) | dict(place.environment)
    child = Child.start("qmgen.pipeline.worker:main", place.core, environment=environment, inbox=inbox)
    child.channel.send(job)
    return WorkerProcess(child, place, StallClock(child.process.pid), oom_kills())


#: seconds that workers have to stop after ``STOP``
STOP_WITHIN: Final = 11.0
#: seconds in which killed processes are gone, unless a file system hangs
_DIE_WITHIN: Final = 2.0
_LOOK_EVERY: Final = 0.5


@dataclass
class Pool:
    """A worker for ``job`` at each of ``places``; one that has one thread is pinned to a core that no other run has
    claimed, as far as there is one.

    ``on_progress(rows, failures)`` is called at each advance (a negative one when a worker died with what it had),
    ``on_done(result)`` for each finished unit. ``deaths`` lists the workers that died: unit (None for none), how, and
    in which stage; ``excluded`` the conformers that become failures because their workers died of them. ``health``
    holds what earlier runs have shown of the machine. Use it as a context: leaving it ends every process.
    """

    job: LabelJob
    places: Sequence[WorkerPlace]
    on_progress: Callable[[int, int], None] = lambda rows, failures: None
    on_done: Callable[[UnitResult], None] = lambda result: None
    workers: list[WorkerProcess] = field(default_factory=list)
    gone: list[WorkerProcess] = field(default_factory=list)
    claims: CoreLocks = field(default_factory=CoreLocks)
    deaths: list[dict[str, Any]] = field(default_factory=list)
    excluded: list[ConformerKey] = field(default_factory=list)
    health: MachineHealth = field(default_factory=MachineHealth)
    _inbox: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)
    _inputs: Iterator[UnitInput | None] = field(default_factory=lambda: iter(()))
    _prefetched: UnitInput | None = None
    _inputs_ended: bool = False
    _again: deque[UnitInput] = field(default_factory=deque)
    _later: deque[UnitInput] = field(default_factory=deque)
    _crashes: dict[int, UnitCrashes] = field(default_factory=dict)
    _failed_starts: int = 0
    _trouble: Interrupted | None = None

    def __enter__(self) -> Pool:
        for place in pinned(self.places, self.claims):
            self.workers.append(self._start(place))
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def run(self, works: Iterator[UnitInput | None], stopping: Callable[[], bool]) -> None:
        """Do ``works``, until they are done or ``stopping()``; then only the batches in hand are finished, as far as
        that takes ``STOP_WITHIN`` seconds at most. Where ``works`` yields None, the next one is not there yet, and is
        asked for again within half a second.

        A worker that dies is replaced, and its unit given again. Raises what a worker raised if it is meant for the
        user, ``Interrupted`` when the machine fails rather than a molecule, ``RuntimeError`` with the worker's
        traceback when it met a bug.
        """
        self._inputs = works
        self._prefetch()
        deadline: float | None = None
        while self.workers:
            asked = stopping()
            if deadline is None and (asked or self._trouble is not None):
                deadline = time.monotonic() + STOP_WITHIN
                for worker in list(self.workers):
                    if worker.ready:
                        self._stop(worker)
                    else:  # there is nothing that it could finish or keep; leaving the context ends it
                        self._leave(worker)
            for worker, message in self._heard():
                self._handle(worker, message, deadline is not None)
            if deadline is not None and time.monotonic() >= deadline:
                self._abandon()
            if deadline is None:
                for worker in [w for w in self.workers if w.ready and w.work is None and not w.told]:
                    self._give(worker)
                self._prefetch()
        if self._trouble is None and (never := self.health.never) is not None and deadline is None:
            self._trouble = _machine_trouble(never)
        if self._trouble is not None:
            raise self._trouble

    def _handle(self, worker: WorkerProcess, message: Any, stopping: bool) -> None:
        """Act on a message of ``worker``."""
        if isinstance(message, WorkerState) and not message.leaving:
            worker.about.update(message.about)
            worker.ready, self._failed_starts = True, 0
        elif isinstance(message, UnitProgress):
            self._advance(worker, message.rows, message.failures)
            if message.on_device is not None:
                self._hold(worker, message.on_device)
        elif isinstance(message, UnitResult):
            self._advance(worker, message.rows, sum(message.failures.values()))
            self._crashes.pop(message.index, None)
            worker.work, worker.on_device, worker.rows, worker.failures = None, (), 0, 0
            self.on_done(message)
        elif isinstance(message, WorkerDeath):
            self._replace(worker, message, stopping)

    def measure(self, entries: list[Entry], until: float) -> Iterator[Measurement]:
        """Measurements by the first worker: one for each of ``entries``, as many as are done when the clock
        (``time.monotonic``) shows ``until``. Raises as ``run`` does."""
        left = len(entries)
        while self.workers and left and time.monotonic() < until:
            for worker, message in self._heard():
                if isinstance(message, WorkerState) and not message.leaving:
                    worker.child.channel.send(entries)
                elif isinstance(message, Measurement):
                    left -= 1
                    yield message
                elif isinstance(message, WorkerDeath):
                    how = f"the worker died while it measured: {message.how}"
                    raise _machine_trouble(how) if message.machine else QmgenError(how)

    def in_hand(self) -> list[dict[str, int]]:
        """Of each unit that a worker is at: its index, and rows and failures so far."""
        return [
            {"index": worker.work.unit.index, "rows": worker.rows, "failures": worker.failures}
            for worker in self.workers
            if worker.work is not None
        ]

    def kill(self) -> None:
        """End every worker now, and whatever it started."""
        everyone = [*self.workers, *self.gone]
        for worker in everyone:
            if worker.child.process.poll() is None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(worker.child.process.pid, signal.SIGKILL)
        deadline = time.monotonic() + _DIE_WITHIN
        for worker in everyone:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.child.process.wait(max(deadline - time.monotonic(), 0.0))
            worker.child.channel.close()
        self.workers.clear()
        self.claims.release()

    def _start(self, place: WorkerPlace) -> WorkerProcess:
        try:
            return start_worker(self.job, place, self._inbox)
        except OSError as error:  # no memory or no place for another process
            raise _machine_trouble(f"no worker can be started ({error.strerror or error})") from error

    def _heard(self) -> Iterator[tuple[WorkerProcess, Any]]:
        """What workers said within half a second; those that left, died or answer no more are taken off the list."""
        heard: list[Any] = []
        with contextlib.suppress(queue.Empty):
            heard.append(self._inbox.get(timeout=_LOOK_EVERY))
            while True:
                heard.append(self._inbox.get_nowait())
        by_channel = {worker.child.channel: worker for worker in self.workers}
        for channel, message in heard:
            worker = by_channel.get(channel)
            if worker is None or worker not in self.workers:
                continue  # its last words, after it was taken off
            worker.child.clock.moved()
            if isinstance(message, str):
                worker.stage = message
                continue
            worker.stillness.moved()
            if isinstance(message, Gone):
                yield worker, self._bury(worker)
            elif isinstance(message, WorkerFailure) and message.memory:
                yield (
                    worker,
                    self._bury(worker, WorkerDeath(f"too little memory ({_short(message.message)})", True, True)),
                )
            elif isinstance(message, WorkerFailure):
                self._fail(worker, message)
            elif isinstance(message, Exception):
                raise message
            else:
                if isinstance(message, WorkerState) and message.leaving:
                    worker.about.update(message.about)
                    self._leave(worker)
                yield worker, message
        for worker in list(self.workers):
            if (silence := worker.silent_for()) is not None:
                yield worker, self._bury(worker, WorkerDeath(silence, False, True))

    def _fail(self, worker: WorkerProcess, failed: WorkerFailure) -> None:
        """Raise what a worker raised; where it met the machine's trouble, let the others stop in good order first."""
        error = from_process("a worker", failed.exit_code, failed.message, failed.traceback)
        if not isinstance(error, Interrupted):
            raise error
        self._trouble = self._trouble or error
        self.on_progress(-worker.rows, -worker.failures)
        self._leave(worker)

    def _abandon(self) -> None:
        """The time to stop is over: end the workers that are still at it; what they have kept stays."""
        for worker in list(self.workers):
            print(
                f"qmgen: a worker {worker.where} did not stop within {STOP_WITHIN:.0f} s, and is ended",
                file=sys.stderr,
                flush=True,
            )
            self.on_progress(-worker.rows, -worker.failures)
            worker.about["ended"] = f"it did not stop within {STOP_WITHIN:.0f} s"
            self._leave(worker)
        self.kill()

    def _advance(self, worker: WorkerProcess, rows: int, failures: int) -> None:
        if worker.begun is None:
            worker.begun, worker.begun_rows = rows + failures, rows
            self.health.proven |= rows > 0  # an earlier attempt has made them
        elif rows > max(worker.rows, worker.begun_rows):
            self.health.labeled()
        self.on_progress(rows - worker.rows, failures - worker.failures)
        worker.rows, worker.failures = rows, failures

    def _hold(self, worker: WorkerProcess, keys: tuple[ConformerKey, ...]) -> None:
        if worker.work and (crashes := self._crashes.get(worker.work.unit.index)):
            crashes.survived(worker.on_device)
        worker.on_device = keys

    def _prefetch(self) -> None:
        """Have the next unit ready, if it is there; this blocks no longer than the iterator does."""
        if self._prefetched is None and not self._inputs_ended:
            try:
                self._prefetched = next(self._inputs)
            except StopIteration:
                self._inputs_ended = True

    @property
    def _no_more(self) -> bool:
        """Whether all units were taken."""
        return self._inputs_ended and self._prefetched is None

    def _give(self, worker: WorkerProcess) -> None:
        """The next unit if it is there; leave, where there are no more."""
        if self._again:
            work: UnitInput | None = self._again.popleft()
        elif self._later and not self.health.in_doubt:
            work = self._later.popleft()
        else:
            self._prefetch()
            work, self._prefetched = self._prefetched, None
        if work is None and self._no_more and self._later:
            if any(other.work is not None for other in self.workers):
                return  # what they label may show that the machine is sound
            if (never := self.health.never) is not None:
                self._trouble = _machine_trouble(never)
                return
            work = self._later.popleft()
        if work is not None:
            crashes = self._crashes.get(work.unit.index) or UnitCrashes()
            worker.work = replace(work, suspected=tuple(crashes.suspected), excluded=dict(crashes.excluded))
            worker.begun, worker.oom_kills = None, oom_kills()
            worker.child.channel.send(worker.work)
        elif self._no_more:
            self._stop(worker)

    def _stop(self, worker: WorkerProcess) -> None:
        worker.told = True
        worker.child.channel.send(STOP)

    def _replace(self, worker: WorkerProcess, death: WorkerDeath, stopping: bool) -> None:
        """Take back what a dead worker had, judge, and start another in its place if there is work for it."""
        how, work = death.how, worker.work
        self.deaths.append({"unit": work.unit.index if work else None, "how": how, "stage": death.stage})
        self.on_progress(-worker.rows, -worker.failures)
        excluded: list[ConformerKey] = []
        crashes: UnitCrashes | None = None
        if not worker.ready:
            self._failed_starts += 1
        if work and not stopping:
            crashes = self._crashes.setdefault(work.unit.index, UnitCrashes())
            done = worker.rows + worker.failures
            excluded = crashes.died(death, worker.on_device, done if worker.begun is None else worker.begun, done)
            for key in excluded:
                self.health.exclude(crashes.excluded[key])
            self.excluded += excluded
            # a unit that ends with an excluded conformer waits until something else shows that the machine is sound
            (self._later if excluded else self._again).append(work)
            if crashes.hopeless:
                self._trouble = _giving_up(worker.where, crashes.hopeless, how)
            elif (lost := self.health.lost) is not None:
                self._trouble = _machine_trouble(lost)
        if self._failed_starts >= MAX_FAILED_STARTS and not stopping:
            self._trouble = _giving_up(worker.where, self._failed_starts, how)
        stopping = stopping or self._trouble is not None
        wanted = bool(self._again or self._later or not self._no_more) and not stopping
        fate = "it is replaced" if wanted else "the run is stopping" if stopping else "nothing is left for it to do"
        for key in excluded:
            crashed = crashes is not None and crashes.excluded[key].reason is Reason.WORKER_CRASHED
            fate += f", molecule {key[0]} (conformer {key[1]}) {'becomes a failure' if crashed else 'is left out'}"
        print(f"qmgen: a worker died {worker.where}: {how}; {fate}", file=sys.stderr, flush=True)
        if wanted:
            self.workers.append(self._start(worker.place))

    def _leave(self, worker: WorkerProcess) -> None:
        """Take off the list a worker that has nothing more to do; its process ends by itself, or with all others."""
        self.workers.remove(worker)
        self.gone.append(worker)

    def _bury(self, worker: WorkerProcess, death: WorkerDeath | None = None) -> WorkerDeath:
        """Take a worker off the list that sends no more messages. Its death, with the stage; ``death`` where it is
        known."""
        guess = "label" if worker.on_device else "idle" if worker.ready else "start"
        # before its process is waited for, and gone for good
        stage = shown_stage(worker.child.process.pid) or guess
        code = worker.child.end(2.0 if death is None else 0.0)
        before, now = worker.oom_kills, oom_kills()
        self.workers.remove(worker)
        self.gone.append(worker)
        if death is None:
            limited = address_space_limit() is not None
            death = death_of(code, before is not None and now is not None and now > before, limited)
        worker.about["died"] = death.how
        return replace(death, stage=stage)


def _short(message: str) -> str:
    line = " ".join(message.split())
    return line if len(line) <= 120 else line[:119] + "…"


def _giving_up(where: str, deaths: int, how: str) -> Interrupted:
    return _machine_trouble(f"{deaths} workers in a row died {where} without getting any further, the last one: {how}")


def _machine_trouble(what: str) -> Interrupted:
    return Interrupted(
        f"{what}; this looks like the machine's trouble (memory, a limit, a library), not the molecules': finished "
        "units are kept, and when it is mended the same command continues"
    )
