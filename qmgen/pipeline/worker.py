"""A worker process: pins itself, imports what it needs, does the units that it is given.

Started by ``pool`` as ``python -c "from qmgen.pipeline.worker import main; main(...)"``, and not by
``multiprocessing``: nothing of the parent's ``__main__`` is imported, and the environment is exactly what it is given.
At its top stand only the standard library and what imports no more: numpy and jax come after the pinning.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from qmgen.machine import peak_memory

if TYPE_CHECKING:
    from qmgen.pipeline.messages import Measure, Measured
    from qmgen.pipeline.unit import Job

REPORT_EVERY = 0.5  # seconds


class _Leave(BaseException):
    """The parent said stop. Not an ``Exception``: no station of the pipeline may take it for a failure."""


def main(handle: int, core: int) -> None:
    """Serve the parent at the other end of the socket ``handle``; ``core`` is the only one to run on (-1: any)."""
    os.set_inheritable(handle, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears them and tells us
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if core >= 0 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    threading.Thread(target=_leave_with_parent, args=(os.getppid(),), daemon=True).start()
    connection = Connection(handle)
    try:
        _serve(connection, core)
    except (BrokenPipeError, EOFError, ConnectionResetError):
        os._exit(1)  # no parent, no work


def _serve(connection: Connection, core: int) -> None:
    from qmgen.errors import QmgenError
    from qmgen.pipeline.messages import Do, Done, Failed, Measure, Ready, Start, Stopped
    from qmgen.pipeline.unit import do_unit

    compiling = _Compiling()
    try:
        start = connection.recv()
        assert isinstance(start, Start)
        start.job.stages.load("prepare")()
        compiling.listen()
        connection.send(Ready(_about(core)))
        while True:
            message = connection.recv()
            if isinstance(message, Do):
                connection.send(Done(do_unit(start.job, message.work, _Reporter(connection))))
            elif isinstance(message, Measure):
                connection.send(_measure(start.job, message))
            else:
                break
    except _Leave:
        pass
    except QmgenError as error:
        connection.send(Failed(error.exit_code, str(error), ""))
        return
    except (BrokenPipeError, EOFError, ConnectionResetError):
        raise
    except Exception as error:
        connection.send(Failed(None, f"{type(error).__name__}: {error}", traceback.format_exc()))
        return
    connection.send(Stopped({"compile_seconds": round(compiling.seconds, 3), "peak_memory_bytes": peak_memory()}))


class _Reporter:
    """Tells the parent how far the unit is, now and then, and hears from it whether to stop."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.next = 0.0
        self.any_rows = False

    def __call__(self, rows: int, failures: int) -> None:
        from qmgen.pipeline.messages import Progress

        if self.connection.poll():
            self.connection.recv()
            raise _Leave
        now = time.monotonic()
        if now >= self.next or (rows and not self.any_rows):
            self.connection.send(Progress(rows, failures))
            self.next, self.any_rows = now + REPORT_EVERY, rows > 0


class _Compiling:
    """Adds up the seconds that XLA compiles, once jax is there."""

    seconds = 0.0

    def listen(self) -> None:
        if "jax" in sys.modules:
            sys.modules["jax"].monitoring.register_event_duration_secs_listener(self._hear)

    def _hear(self, event: str, duration: float, **_: Any) -> None:
        if "backend_compile" in event:
            self.seconds += duration


def _measure(job: Job, message: Measure) -> Measured:
    import pyarrow as pa

    from qmgen.corpus.rows import row_table
    from qmgen.corpus.schema import row_schema
    from qmgen.corpus.shard import write_table
    from qmgen.pipeline.messages import Measured
    from qmgen.pipeline.unit import label_entries

    seconds = []
    for _ in range(2):
        begin = time.monotonic()
        labelled = label_entries(job, message.entries, lambda rows, failures: None)
        seconds.append(time.monotonic() - begin)
    rows = [row for of_split in labelled.rows.values() for row in of_split]
    sink = pa.BufferOutputStream()
    write_table(row_table(rows, row_schema(job.metadata)), sink)
    attempts = len(rows) + len(labelled.failures)
    return Measured(attempts, len(rows), seconds[0], seconds[1], sink.getvalue().size, peak_memory())


def _about(core: int) -> dict[str, Any]:
    about: dict[str, Any] = {"pid": os.getpid(), "core": core if core >= 0 else None}
    if "jax" in sys.modules:
        about["devices"] = [str(device.device_kind) for device in sys.modules["jax"].local_devices()]
    return about


def _leave_with_parent(parent: int) -> None:
    """A worker whose parent was killed must not go on alone."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)
