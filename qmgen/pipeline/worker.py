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
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from qmgen.machine import lacks_memory, peak_memory
from qmgen.pipeline.stage_name import show
from qmgen.processes import die_with_parent, offer_to_oom_killer

if TYPE_CHECKING:
    from qmgen.pipeline.messages import Measure, Measured
    from qmgen.pipeline.unit import Job


def main(handle: int, core: int) -> None:
    """Serve the parent at the other end of the socket ``handle``; ``core`` is the only one to run on (-1: any)."""
    os.set_inheritable(handle, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears them and tells us
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    parent = os.getppid()
    die_with_parent(parent)
    offer_to_oom_killer()
    show("start")
    if core >= 0 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    threading.Thread(target=_leave_with_parent, args=(parent,), daemon=True).start()
    connection = Connection(handle)
    try:
        _serve(connection, core)
    except (BrokenPipeError, EOFError, ConnectionResetError):
        os._exit(1)  # no parent, no work


def _serve(connection: Connection, core: int) -> None:
    try:
        _work(connection, core)
    except (BrokenPipeError, EOFError, ConnectionResetError):
        raise
    except Exception as error:
        from qmgen.errors import QmgenError
        from qmgen.pipeline.messages import Failed

        if isinstance(error, QmgenError):
            connection.send(Failed(error.exit_code, "\n".join(error.lines), ""))
        else:
            message = f"{type(error).__name__}: {error}"
            connection.send(Failed(None, message, traceback.format_exc(), lacks_memory(error)))


def _work(connection: Connection, core: int) -> None:
    start = connection.recv()
    from qmgen.pipeline.labelling import Leave
    from qmgen.pipeline.link import Link
    from qmgen.pipeline.messages import Do, Done, Measure, Ready, Start
    from qmgen.pipeline.reporter import Reporter
    from qmgen.pipeline.unit import do_unit

    assert isinstance(start, Start)
    compiling = _Compiling()
    start.job.stages.load("prepare")()
    compiling.listen()
    link = Link(connection, compiling.about)
    link.start()
    link.send(Ready(_about(core)))
    try:
        while True:
            link.show("idle")
            message = link.order()
            if isinstance(message, Do):
                reporter = Reporter(link)
                result = do_unit(start.job, message.work, reporter, message.suspects, message.condemned)
                link.send(Done(result))
            elif isinstance(message, Measure):
                for measured in _measure(start.job, message):
                    link.send(measured)
            else:
                break
    except Leave:
        pass
    link.leave()


class _Compiling:
    """Adds up the seconds that XLA compiles, once jax is there."""

    seconds = 0.0

    def about(self) -> dict[str, Any]:
        """What the process knows at its end."""
        return {"compile_seconds": round(self.seconds, 3), "peak_memory_bytes": peak_memory()}

    def listen(self) -> None:
        if "jax" in sys.modules:
            sys.modules["jax"].monitoring.register_event_duration_secs_listener(self._hear)

    def _hear(self, event: str, duration: float, **_: Any) -> None:
        if "backend_compile" in event:
            self.seconds += duration


def _measure(job: Job, message: Measure) -> Iterator[Measured]:
    import pyarrow as pa

    from qmgen.corpus.rows import Row, row_table
    from qmgen.corpus.schema import row_schema
    from qmgen.corpus.shard import write_table
    from qmgen.pipeline.labelling import label_entries
    from qmgen.pipeline.messages import Measured

    schema = row_schema(job.metadata)

    def file_bytes(rows: list[Row]) -> int:
        sink = pa.BufferOutputStream()
        write_table(row_table(rows, schema), sink)
        return int(sink.getvalue().size)

    made: list[Row] = []
    empty = file_bytes(made)
    for entry in message.entries:
        seconds = []
        for _ in range(2):
            begin = time.monotonic()
            labelled = label_entries(job, [entry])
            seconds.append(time.monotonic() - begin)
        rows = [row for of_split in labelled.rows.values() for row in of_split]
        made += rows
        attempts = len(rows) + len(labelled.failures)
        yield Measured(attempts, len(rows), seconds[0], seconds[1], file_bytes(made), empty, peak_memory())


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
