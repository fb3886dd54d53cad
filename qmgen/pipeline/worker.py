"""A worker process: pins itself, imports what it needs, labels the units that it is given.

Started by ``pool`` as a ``processes.Child``. At the top of this file only the standard library is imported, and what
imports no more: numpy and jax come after the pinning. What happens to a unit stands in ``unit``.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, Final

from qmgen.machine import lacks_memory, peak_memory
from qmgen.pipeline.messages import (
    STOP,
    StopUnit,
    UnitListener,
    UnitProgress,
    WorkerFailure,
    WorkerState,
    show_stage,
)
from qmgen.processes import Parent, offer_to_oom_killer

if TYPE_CHECKING:
    from qmgen.pipeline.crash_policy import ConformerKey

#: seconds between two signs of life, and between two reports of progress
BEAT_EVERY: Final = 2.0
REPORT_EVERY: Final = 0.5
#: seconds that the main thread has to come to an end by itself; while it waits for geometries; and more while it writes
LEAVE_WITHIN: Final = 7.0
_EMBED_WITHIN: Final = 1.0
_WRITE_WITHIN: Final = 2.0
_WRITING: Final = ("write", "commit")
_NO_PARENT: Final = (BrokenPipeError, EOFError, ConnectionResetError)


def main(parent: Parent, core: int) -> None:
    """Serve ``parent``; ``core`` is the only one to run on (-1: any)."""
    connection = parent.connect()
    offer_to_oom_killer()
    show_stage("start")
    if core >= 0 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    with _sends_failures(connection):
        job = connection.recv()
        from qmgen.pipeline.unit import do_unit

        job.stages.prepare()
        link = ParentLink(connection)
        link.start()
        link.send(WorkerState(_about(core)))
        with contextlib.suppress(StopUnit):
            while (order := link.order()) != STOP:
                if isinstance(order, list):
                    from qmgen.pipeline.estimate import measure

                    for measurement in measure(job, order):
                        link.send(measurement)
                else:
                    link.send(do_unit(job, order, link))
        link.leave()


@contextlib.contextmanager
def _sends_failures(connection: Connection) -> Iterator[None]:
    """An exception goes to the parent as a ``WorkerFailure``; where there is no parent any more, the process ends."""
    try:
        try:
            yield
        except _NO_PARENT:
            raise
        except Exception as error:
            connection.send(_failure(error))
    except _NO_PARENT:
        os._exit(1)


class ParentLink(UnitListener):
    """The pipe ``connection``: threads receive orders and send signs of life while the main thread works.

    A worker that compiles, embeds or waits for a disk can thus still be stopped: where its main thread does not come to
    an end in time, the thread that received STOP saves a checkpoint, and ends the process. As the listener of a unit it
    reports progress now and then, and what is on the device at once. It adds up the seconds of compilation.

    The threads begin with ``start``: before that the main thread imports what orders are made of, and modules that two
    threads import at once may be seen half made.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._compile_seconds = 0.0
        self._sending = threading.Lock()
        self._orders: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._save: Callable[[], None] | None = None
        self._stage = "start"
        self._next_report = 0.0
        self._any_rows = False

    def start(self) -> None:
        """Receive orders, give signs of life, and time XLA's compilations (where jax is imported) from now on."""
        if "jax" in sys.modules:
            sys.modules["jax"].monitoring.register_event_duration_secs_listener(self._timed)
        for run in (self._receive, self._beat):
            threading.Thread(target=run, daemon=True).start()

    def send(self, message: object) -> None:
        """Send ``message``. Raises ``OSError`` when the parent is gone."""
        with self._sending:
            self._connection.send(message)

    def order(self) -> Any:
        """The next order, waiting for it. Raises what kept it from being read."""
        self.stage("idle")
        order = self._orders.get()
        if isinstance(order, Exception):
            raise order
        self._next_report, self._any_rows = 0.0, False
        return order

    def leave(self) -> None:
        """Tell the parent, and end the process: nothing of it is worth the time that an orderly end takes."""
        about = {"compile_seconds": round(self._compile_seconds, 3), "peak_memory_bytes": peak_memory()}
        try:
            self.send(WorkerState(about, leaving=True))
        finally:
            os._exit(0)

    def progress(self, rows: int, failures: int) -> None:
        now = time.monotonic()
        if now >= self._next_report or (rows and not self._any_rows):
            self.send(UnitProgress(rows, failures))
            self._next_report, self._any_rows = now + REPORT_EVERY, rows > 0

    def on_device(self, keys: tuple[ConformerKey, ...], rows: int, failures: int) -> None:
        self.send(UnitProgress(rows, failures, keys))

    def stage(self, name: str) -> None:
        if name != self._stage:
            self._stage = name
            show_stage(name)

    def between_batches(self) -> None:
        """Raises ``StopUnit`` when the parent has said stop."""
        if self._stopping.is_set():
            raise StopUnit

    def checkpoint(self, save: Callable[[], None] | None) -> None:
        self._save = save

    def _receive(self) -> None:
        while True:
            try:
                order = self._connection.recv()
            except (EOFError, OSError):
                os._exit(1)  # no parent, no work
            except Exception as error:
                order = error
            stop = isinstance(order, str) and order == STOP
            if stop:
                self._stopping.set()
            self._orders.put(order)
            if stop:
                self._end_in_time()

    def _end_in_time(self) -> None:
        """After STOP: end without the main thread, where it does not come to an end itself."""
        time.sleep(min(_EMBED_WITHIN, LEAVE_WITHIN))
        if self._stage != "embed":  # where geometries are awaited, there is nothing to finish
            time.sleep(LEAVE_WITHIN - min(_EMBED_WITHIN, LEAVE_WITHIN))
        if self._stage in _WRITING:
            time.sleep(_WRITE_WITHIN)
        save = self._save
        if save is not None:
            save()
        self.leave()

    def _timed(self, event: str, duration: float, **_: Any) -> None:
        if "backend_compile" in event:
            self._compile_seconds += duration

    def _beat(self) -> None:
        while True:
            time.sleep(BEAT_EVERY)
            try:
                self.send(self._stage)
            except OSError:
                os._exit(1)


def _about(core: int) -> dict[str, Any]:
    about: dict[str, Any] = {"pid": os.getpid(), "core": core if core >= 0 else None}
    if "jax" in sys.modules:
        about["devices"] = [str(device.device_kind) for device in sys.modules["jax"].local_devices()]
    return about


def _failure(error: Exception) -> WorkerFailure:
    from qmgen.errors import QmgenError, to_process

    return WorkerFailure(*to_process(error), not isinstance(error, QmgenError) and lacks_memory(error))
