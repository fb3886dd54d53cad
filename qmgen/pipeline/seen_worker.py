"""One worker of a run as its parent sees it: process, pipe, what it does, and whether it gives signs of life."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
from dataclasses import dataclass, field
from multiprocessing.connection import Pipe
from typing import Any, Final

from qmgen.machine import oom_kills
from qmgen.pipeline.crash_policy import Key
from qmgen.pipeline.layout import WorkerPlace
from qmgen.pipeline.messages import Start
from qmgen.pipeline.source import Work
from qmgen.pipeline.unit import Job
from qmgen.processes import Channel, StallClock
from qmgen.runtime import labelling_environment

_MAIN = "import sys; from qmgen.pipeline.worker import main; main(int(sys.argv[1]), int(sys.argv[2]))"
#: seconds that a worker may be silent, without CPU time, before it is taken for one that answers no more
SILENT: Final = 30.0
#: seconds that its main thread may be without CPU time while other threads give signs of life, by what it does: files
#: on a disk that hangs, a device that is at it. An idle one waits for us, and embedding watches over itself
_STILL: Final = {"start": 300.0, "write": 300.0, "commit": 300.0, "label": 3600.0}


@dataclass
class Worker:
    """One process: its pipe, its place, what it is doing and holds on its device, and what it told about itself."""

    process: subprocess.Popen[bytes]
    channel: Channel
    place: WorkerPlace
    silence: StallClock
    stillness: StallClock
    oom_kills: int | None = None
    ready: bool = False
    told: bool = False
    work: Work | None = None
    held: tuple[Key, ...] = ()
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
        silent, still = self.silence.stalled(), self.stillness.stalled()
        limit = _STILL.get("start" if self.stage == "idle" and self.work is not None else self.stage)
        if self.ready and silent >= SILENT:
            return f"no sign of life for {silent:.0f} s"
        if limit is not None and still >= limit:
            return f"nothing done for {still:.0f} s"
        return None


def started(job: Job, place: WorkerPlace, one_thread: bool, inbox: queue.SimpleQueue[Any]) -> Worker:
    """A new worker for ``job`` at ``place``, whose messages arrive in ``inbox``. ``OSError``: there is no room."""
    ours, theirs = Pipe()
    environment = os.environ | labelling_environment(one_thread=one_thread) | dict(place.environment)
    environment["PYTHONPATH"] = os.pathsep.join(p or os.getcwd() for p in sys.path)
    # a session of its own: the terminal's Ctrl-C reaches us alone, and the whole group can be killed
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", _MAIN, str(theirs.fileno()), str(place.core)],
            env=environment,
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    channel = Channel(ours, inbox)
    channel.send(Start(job))
    return Worker(process, channel, place, StallClock(process.pid), StallClock(process.pid), oom_kills())
