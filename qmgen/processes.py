"""Child processes: started, watched, ended; pipes that never block; and groups of them that share out tasks.

>>> child = Child.start("qmgen.pipeline.worker:main", core)     # calls main(Parent(...), core) in a new process
>>> child.channel.send(order)
>>> message = child.receive(0.5)                                # None: nothing came within half a second
>>> ending(child.end())

Nothing of the parent's ``__main__`` is imported in a child, no child outlives its parent, and the terminal's Ctrl-C
reaches the parent alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, Final, NamedTuple

from qmgen.errors import QmgenError, from_process, to_process

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


def ending(code: int | None) -> str:
    """How a process with the return ``code`` ended: the name of a signal, or ``exit code n``; None: not at all."""
    if code is None:
        return "it does not die"
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


class Parent(NamedTuple):
    """What a child knows of its parent: the descriptor of its end of the pipe, the process, and whether its main thread
    started the child."""

    descriptor: int
    pid: int
    main_thread: bool

    def connect(self, orphaned: Callable[[], object] | None = None) -> Connection:
        """The child's first act: leave SIGINT and SIGTERM to the parent, end when the parent is gone, open the pipe.

        The kernel ends the child where it can, even while it is stopped: on Linux, with the thread that started it,
        for which only a main thread is sure to live as long as its process. Else a thread looks once a second; as it
        does where something is to be done then (``orphaned``).
        """
        os.set_inheritable(self.descriptor, False)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if orphaned is not None or not self.main_thread or not _killed_with_parent():
            threading.Thread(target=self._watch, args=(orphaned,), daemon=True).start()
        elif os.getppid() != self.pid:
            os._exit(1)  # it died before it could be watched
        return Connection(self.descriptor)

    def _watch(self, orphaned: Callable[[], object] | None) -> None:
        while os.getppid() == self.pid:
            time.sleep(1.0)
        if orphaned is not None:
            orphaned()
        os._exit(1)


def _killed_with_parent() -> bool:
    """Ask the kernel to end this process with the thread that started it; whether it will."""
    with contextlib.suppress(OSError, AttributeError):
        return not ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    return False


@dataclass
class Child:
    """A process of this Python at the other end of ``channel``; ``clock`` tells how long it has not got on."""

    process: subprocess.Popen[bytes]
    channel: Channel
    clock: StallClock

    @classmethod
    def start(
        cls,
        entry: str,
        *arguments: object,
        environment: Mapping[str, str] | None = None,
        inbox: queue.SimpleQueue[Any] | None = None,
        quiet: bool = False,
    ) -> Child:
        """A new process that calls ``entry`` (``module:function``) with a ``Parent`` and ``arguments``, which ``repr``
        must be able to write. It looks for modules where this process does; ``environment`` is added to this
        process's; a ``quiet`` one prints nothing. Messages arrive in ``inbox``, where one is given.

        It leads a process group. Raises ``OSError`` where there is no memory or no place for another process.
        """
        ours, theirs = Pipe()
        module, _, function = entry.partition(":")
        parent = Parent(theirs.fileno(), os.getpid(), threading.current_thread() is threading.main_thread())
        program = (
            f"import sys; sys.path[:] = {[path or os.getcwd() for path in sys.path]!r}; "
            f"from qmgen.processes import Parent; from {module} import {function}; "
            f"{function}({', '.join(map(repr, (parent, *arguments)))})"
        )
        output = subprocess.DEVNULL if quiet else None
        try:
            process = subprocess.Popen(
                [sys.executable, "-c", program],
                env={**os.environ, **(environment or {})},
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        return cls(process, Channel(ours, inbox), StallClock(process.pid))

    def receive(self, timeout: float) -> Any:
        """The next message within ``timeout`` seconds, ``Gone`` at their end; None if nothing came. Not for a child
        that shares its inbox.

        Raises what kept a message from being packed or unpacked; the process is ended then.
        """
        try:
            _, message = self.channel.inbox.get(timeout > 0, timeout or None)
        except queue.Empty:
            return None
        if isinstance(message, Exception):
            self.end()
            raise message
        self.clock.moved()
        return message

    def end(self, grace: float = 0.0) -> int | None:
        """End the process and whatever it started, after ``grace`` seconds to end by itself. As ``end``."""
        code = end(self.process, grace, group=True)
        self.channel.close()
        return code


class ProcessGroup:
    """``count`` children that each build ``entry`` (``module:callable``) from ``setup`` and call that with one task
    after another; whichever is free gets the next.

    ``name`` says in an error what one of them is, ``advice`` what to do where one died. ``cores``: child i is pinned to
    the i-th of them. A context: leaving it ends the children.
    """

    def __init__(
        self,
        entry: str,
        setup: Any,
        count: int,
        name: str,
        advice: str,
        environment: Mapping[str, str] | None = None,
        cores: tuple[int, ...] = (),
    ) -> None:
        self.count = count
        self._entry, self._setup, self._name, self._advice = entry, setup, name, advice
        self._environment, self._cores = environment, cores
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._children: dict[Channel, Child] = {}

    def __enter__(self) -> ProcessGroup:
        """All are built when this returns."""
        try:
            for number in range(self.count):
                core = self._cores[number % len(self._cores)] if self._cores else -1
                child = Child.start(f"{__name__}:serve_group", core, environment=self._environment, inbox=self._inbox)
                self._children[child.channel] = child
                child.channel.send((self._entry, self._setup))
            for _ in range(self.count):
                self._receive()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children.values():
            child.end()
        self._children.clear()

    def results(self, tasks: Iterable[Any]) -> Iterator[tuple[int, int, Any]]:
        """Of each task, as it is done: its place among ``tasks``, the number of the child, and the result.

        Raises ``QmgenError`` when a child died; what a task raised where that is meant for the user, else
        ``RuntimeError`` with its traceback.
        """
        numbers = {channel: number for number, channel in enumerate(self._children)}
        waiting, doing = enumerate(tasks), {}
        for channel in self._children:
            if (task := next(waiting, None)) is not None:
                doing[channel] = task[0]
                channel.send(task[1])
        while doing:
            channel, result = self._receive()
            place = doing.pop(channel)
            if (task := next(waiting, None)) is not None:
                doing[channel] = task[0]
                channel.send(task[1])
            yield place, numbers[channel], result

    def _receive(self) -> tuple[Channel, Any]:
        channel, message = self._inbox.get()
        if isinstance(message, Gone):
            how = ending(self._children[channel].end(5.0))
            raise QmgenError(f"{self._name} died ({how}), perhaps for want of memory: {self._advice}")
        if isinstance(message, Exception):
            raise message
        if message[0] == "error":
            raise from_process(self._name, *message[1])
        return channel, message[1]


def _acted(act: Callable[[Any], Any], task: Any) -> Any:
    """``act(task)``; what looks like the end of the pipe, but is an error of the task, is told apart from it."""
    try:
        return act(task)
    except (EOFError, ConnectionResetError, BrokenPipeError) as error:
        raise RuntimeError(f"{type(error).__name__}: {error}") from error


def serve_group(parent: Parent, core: int) -> None:
    """The life of a child of a ``ProcessGroup``: pin, build, answer tasks until the pipe closes."""
    connection = parent.connect()
    if core >= 0 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    with contextlib.suppress(EOFError, ConnectionResetError, BrokenPipeError):
        try:
            entry, setup = connection.recv()
            module, _, function = entry.partition(":")
            act = getattr(import_module(module), function)(setup)
            connection.send(("ready", None))
            while True:
                connection.send(("done", _acted(act, connection.recv())))
        except (EOFError, ConnectionResetError, BrokenPipeError):
            raise
        except Exception as error:
            connection.send(("error", to_process(error)))
