"""Child processes: how one ended, whether it gets on, that none outlives its parent, and pipes that never block."""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

#: signals that a process brings upon itself
OWN_FAULT: Final = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE")
#: seconds that one look of a ``StallClock`` counts at most: what is longer was a wait of the watching process itself
_LONGEST_LOOK: Final = 1.0
#: CPU seconds below which a process has not got on, and the same as a share of the time that was watched: the signs of
#: life of an idle process cost less
_LEAST_CPU: Final = 0.02
_LEAST_SHARE: Final = 0.01
_PR_SET_PDEATHSIG: Final = 1


@dataclass(frozen=True)
class Seen:
    """A process as the kernel shows it: ``state`` (R, S, D, T ...) and ``cpu``, the seconds that it has computed."""

    state: str
    cpu: float


def look(pid: int) -> Seen | None:
    """Process ``pid`` now; None where it is gone, or the system has no /proc."""
    try:
        fields = Path("/proc", str(pid), "stat").read_text(encoding="utf-8", errors="replace").rsplit(")", 1)[1].split()
        return Seen(fields[0], (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"))
    except (OSError, IndexError, ValueError):
        return None


class StallClock:
    """Seconds for which process ``pid`` has not got on, as far as this process was running itself.

    It gets on where it uses CPU time, and where ``moved`` is called. A suspension of both processes (Slurm's, a
    laptop's sleep) does not count: of the time since the look before at most a second does. So ``stalled`` has to be
    asked about once a second. Where the system shows no CPU time, only ``moved`` sets it back. ``state`` is that of the
    process when it was last looked at, "" where it is not shown.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._last = time.monotonic()
        self._stalled = 0.0
        self._cpu: float | None = None
        self.state = ""

    def moved(self) -> None:
        """The process has given a sign of progress."""
        self._stalled, self._cpu = 0.0, None
        self._last = time.monotonic()

    def stalled(self) -> float:
        """The seconds so far; 0 as soon as it gets on."""
        now = time.monotonic()
        self._stalled += min(now - self._last, _LONGEST_LOOK)
        self._last = now
        seen = look(self._pid)
        if seen is not None:
            self.state = seen.state
            if self._cpu is None:
                self._cpu = seen.cpu
            elif seen.cpu - self._cpu >= _LEAST_CPU + _LEAST_SHARE * self._stalled:
                self._stalled, self._cpu = 0.0, seen.cpu
        return self._stalled


def ending(code: int) -> str:
    """How a process with the return ``code`` ended: the name of a signal, or ``exit code n``."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:  # a real-time signal
        return f"signal {-code}"


def end(process: subprocess.Popen[bytes], grace: float, group: bool = False) -> int | None:
    """End ``process`` (with ``group``, all of the process group that it leads) unless it ends within ``grace`` seconds.

    Its return code; None where it does not even die: SIGKILL waits for a file system that hangs, this does not.
    """
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(grace)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if group:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(2.0)
    return None


def die_with_parent(parent: int) -> None:
    """Let the kernel end this process with the thread of process ``parent`` that started it, even while it is stopped.

    Only Linux does; elsewhere nothing happens.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)  # it died before it could be watched


def offer_to_oom_killer() -> None:
    """Where memory runs out, the kernel is to end this process rather than its parent, which starts another."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")


class Gone:
    """The other end of a ``Channel`` is closed: nothing more will come."""


class Channel:
    """One end of a pipe between processes whose user never waits on it: a thread sends, another receives.

    What arrives stands in ``inbox`` as ``(channel, message)``, in order; at the end ``(channel, Gone())``. Where a
    message cannot be packed or unpacked, the error stands there in its place. So a process that is stopped in the
    middle of a message, or does not take what is sent to it, blocks a thread alone.
    """

    def __init__(self, connection: Connection, inbox: queue.SimpleQueue[Any] | None = None) -> None:
        self.inbox: queue.SimpleQueue[Any] = inbox if inbox is not None else queue.SimpleQueue()
        self._connection = connection
        self._outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._receive, self._deliver)]
        for thread in self._threads:
            thread.start()

    def send(self, message: object) -> None:
        """Hand ``message`` over; it is lost where nobody takes it any more."""
        self._outbox.put(message)

    def close(self) -> None:
        """End both directions; what has not been sent is lost. Harmless when repeated."""
        self._outbox.put(Gone)
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self._connection.fileno())) as pipe:
            pipe.shutdown(socket.SHUT_RDWR)  # wakes a thread that waits
        for thread in self._threads:
            thread.join(2.0)
        if not any(thread.is_alive() for thread in self._threads):
            self._connection.close()

    def _receive(self) -> None:
        while True:
            try:
                message = self._connection.recv()
            except (EOFError, OSError):  # an OSError is also the end in the middle of a message
                break
            except Exception as error:  # what unpacking raises depends on what was sent
                message = error
            self.inbox.put((self, message))
        self.inbox.put((self, Gone()))

    def _deliver(self) -> None:
        while (message := self._outbox.get()) is not Gone:
            try:
                self._connection.send(message)
            except (BrokenPipeError, ConnectionResetError):
                return  # the receiving thread finds out as well
            except Exception as error:
                self.inbox.put((self, error))
