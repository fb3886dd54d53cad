"""Stopping in good order: a signal or the end of the time is a wish; Ctrl-C after that is a command."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Final

#: a person, a scheduler that takes the machine back, and its warning some time before
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class StopWatch:
    """A context in which SIGINT, SIGTERM and SIGUSR1, and ``time_limit`` seconds, set ``reason``.

    A SIGINT after any of these raises ``SystemExit(130)`` at once. The other two may come as often as they like:
    schedulers warn, then ask, and only then kill. ``unit`` is what is finished first and ``kept`` what stays of the
    work, for what is said. Outside of the main thread only the time limit works.
    """

    def __init__(self, time_limit: float | None = None, unit: str = "batch", kept: str = "finished work units") -> None:
        self._unit, self._kept = unit, kept
        self.reason: str | None = None
        self._signalled = False
        self._deadline = None if time_limit is None else time.monotonic() + time_limit
        self._before: dict[int, Any] = {}

    def stopping(self) -> bool:
        """Whether the run should come to its end."""
        if self.reason is None and self._deadline is not None and time.monotonic() >= self._deadline:
            self.reason = "the time limit"
        return self.reason is not None

    def __enter__(self) -> StopWatch:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
            outer = getattr(handler, "__self__", None)
            if isinstance(outer, StopWatch) and self._signalled:  # whoever is around this one must know too
                outer.reason = outer.reason or self.reason
                outer._signalled = True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # not print: a signal may arrive in the middle of another write to the same stream
        if self.reason is None:
            self.reason, self._signalled = signal.Signals(number).name, True
            line = f"\nqmgen: stopping after the {self._unit} in hand; Ctrl-C (once more) to stop at once\n"
            os.write(2, line.encode())
        elif number == signal.SIGINT:
            os.write(2, f"\nqmgen: stopped; {self._kept} are kept, the same command continues\n".encode())
            raise SystemExit(130)
