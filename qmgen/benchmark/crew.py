"""A crew of processes that stays together over several timed passes: started and warmed once, then fed tasks.

>>> with Crew("qmgen.benchmark.engines:PySCF", setup, count=2, cores=(0, 1)) as crew:
...     done = crew.work(tasks)         # whichever process is free gets the next task
...     done.seconds, done.results, done.peak_memory

As in ``qmgen.pipeline``: one process per core, pinned to it (-1: to none), with one thread; on any core and with any
number of threads where ``cores`` is empty.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from time import perf_counter
from typing import Any

from qmgen.errors import QmgenError
from qmgen.machine import peak_memory
from qmgen.runtime import environment, labelling_environment


@dataclass(frozen=True)
class Pass:
    """One pass: wall-clock ``seconds`` from the first task handed out to the last result, ``results`` in the order of
    the tasks, and the largest resident set of each process so far, in bytes."""

    seconds: float
    results: list[Any]
    peak_memory: list[int]


@dataclass
class Crew:
    """``count`` processes that each build ``side`` (``module:class``) from ``setup`` and call it with one task after
    another. Use it as a context; leaving it ends the processes."""

    side: str
    setup: Any
    count: int
    cores: tuple[int, ...] = ()
    start_seconds: float = 0.0
    _members: list[tuple[BaseProcess, Connection]] = field(default_factory=list)

    def __enter__(self) -> Crew:
        begin = perf_counter()
        context = multiprocessing.get_context("spawn")
        try:
            with environment(labelling_environment(bool(self.cores))):
                for number in range(self.count):
                    ours, theirs = context.Pipe()
                    core = self.cores[number % len(self.cores)] if self.cores else -1
                    process = context.Process(target=_serve, args=(theirs, self.side, self.setup, core), daemon=True)
                    process.start()
                    theirs.close()
                    self._members.append((process, ours))
            for member in range(self.count):
                self._receive(member)
        except BaseException:
            self._end()
            raise
        self.start_seconds = perf_counter() - begin
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def work(self, tasks: Sequence[Any]) -> Pass:
        """All ``tasks``, in order, each by whichever process is free.

        Raises ``QmgenError`` when a process died, ``RuntimeError`` with its traceback when a task raised.
        """
        results: list[Any] = [None] * len(tasks)
        peaks = [0] * self.count
        waiting = list(enumerate(tasks))[::-1]
        doing: dict[int, int] = {}
        begin = perf_counter()
        for member in range(min(self.count, len(tasks))):
            doing[member] = self._send(member, waiting)
        while doing:
            by_pipe = {self._members[member][1]: member for member in doing}
            for pipe in wait(list(by_pipe)):
                member = by_pipe[pipe]  # type: ignore[index]
                results[doing.pop(member)], peaks[member] = self._receive(member)
                if waiting:
                    doing[member] = self._send(member, waiting)
        return Pass(perf_counter() - begin, results, peaks)

    def _send(self, member: int, waiting: list[tuple[int, Any]]) -> int:
        index, task = waiting.pop()
        self._members[member][1].send(task)
        return index

    def _receive(self, member: int) -> tuple[Any, int]:
        process, connection = self._members[member]
        try:
            kind, content, peak = connection.recv()
        except (EOFError, ConnectionResetError):
            process.join(5)
            raise QmgenError(
                f"a {self.side.rpartition(':')[2]} process of the benchmark died (exit code {process.exitcode}), "
                "perhaps for want of memory: try fewer workers or smaller molecules"
            ) from None
        if kind == "user":
            raise QmgenError(*content.split("\n"))
        if kind == "bug":
            raise RuntimeError(f"in a process of the benchmark:\n{content}")
        return content, peak

    def _end(self) -> None:
        for process, connection in self._members:
            connection.close()
            process.kill()
            process.join()
        self._members.clear()


def _serve(connection: Connection, side: str, setup: Any, core: int) -> None:
    """The life of a process: pin, build the side, answer tasks until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it and ends us
    if core >= 0 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    with contextlib.suppress(EOFError, ConnectionResetError, BrokenPipeError):
        try:
            module, _, name = side.partition(":")
            act = getattr(import_module(module), name)(setup)
            connection.send(("ready", None, peak_memory()))
            while True:
                result = act(connection.recv())
                connection.send(("done", result, peak_memory()))
        except QmgenError as error:
            connection.send(("user", "\n".join(error.lines), 0))
        except (EOFError, ConnectionResetError, BrokenPipeError):
            raise
        except Exception:
            connection.send(("bug", traceback.format_exc(), 0))
