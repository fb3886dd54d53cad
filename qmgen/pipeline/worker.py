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
from qmgen.pipeline.stage_name import show

if TYPE_CHECKING:
    from qmgen.pipeline.messages import Measure, Measured
    from qmgen.pipeline.unit import Job


def main(handle: int, core: int) -> None:
    """Serve the parent at the other end of the socket ``handle``; ``core`` is the only one to run on (-1: any)."""
    os.set_inheritable(handle, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears them and tells us
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    show("start")
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
    from qmgen.pipeline.labelling import Leave
    from qmgen.pipeline.messages import Do, Done, Failed, Measure, Ready, Start, Stopped
    from qmgen.pipeline.reporter import Reporter
    from qmgen.pipeline.unit import do_unit

    compiling = _Compiling()
    try:
        start = connection.recv()
        assert isinstance(start, Start)
        start.job.stages.load("prepare")()
        compiling.listen()
        connection.send(Ready(_about(core)))
        while True:
            show("idle")
            message = connection.recv()
            if isinstance(message, Do):
                reporter = Reporter(connection)
                result = do_unit(start.job, message.work, reporter, message.suspects, message.condemned)
                connection.send(Done(result))
            elif isinstance(message, Measure):
                connection.send(_measure(start.job, message))
            else:
                break
    except Leave:
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
    from qmgen.pipeline.labelling import label_entries
    from qmgen.pipeline.messages import Measured

    seconds = []
    for _ in range(2):
        begin = time.monotonic()
        labelled = label_entries(job, message.entries)
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
