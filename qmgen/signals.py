"""Stopping in good order: a signal or the end of the time is a wish; Ctrl-C after that is a command."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, Final

from qmgen.errors import Interrupted

#: a person, a scheduler that takes the machine back, and its warning some time before
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
#: seconds from the wish to stop until the main thread is interrupted wherever it is (``within``)
STOP_WITHIN: Final = 15.0
#: seconds that it has then to clear up, before the process is ended
_CLEAR_UP_WITHIN: Final = 3.0
#: seconds until ``exit_on_sigterm`` raises again
_AGAIN: Final = 1.0


class StopWatch:
    """A context in which SIGINT, SIGTERM and SIGUSR1, and ``time_limit`` seconds, set ``reason``.

    A SIGINT after any of these raises ``SystemExit(130)`` at once. The other two may come as often as they like:
    schedulers warn, then ask, and only then kill. ``unit`` is what is finished first and ``kept`` what stays of the
    work, for what is said. Outside of the main thread only the time limit works.

    With ``within`` (of this watch, or of one around it), ``Interrupted`` is raised in the main thread, wherever that
    waits, when the wish to stop has not been heeded for that many seconds; and where even this comes to nothing, the
    process ends with exit code 75.
    """

    def __init__(
        self,
        time_limit: float | None = None,
        unit: str = "batch",
        kept: str = "finished work units",
        within: float | None = None,
    ) -> None:
        self._unit, self._kept, self._within = unit, kept, within
        self.reason: str | None = None
        self._signalled = False
        self._deadline = None if time_limit is None else time.monotonic() + time_limit
        self._before: dict[int, Any] = {}
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._overdue = False

    def stopping(self) -> bool:
        """Whether the run should come to its end."""
        if self.reason is None and self._deadline is not None and time.monotonic() >= self._deadline:
            self.reason = "the time limit"
        return self.reason is not None

    def __enter__(self) -> StopWatch:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._handle)
            if self._deadline is not None and self._within is not None:
                self._arm(self._deadline + self._within)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        with self._lock:
            pass  # a signal of our own is on its way, and must not meet the handlers of others
        for number, handler in self._before.items():
            signal.signal(number, handler)
            outer = getattr(handler, "__self__", None)
            if isinstance(outer, StopWatch) and self._signalled:  # whoever is around this one must know too
                outer.reason = outer.reason or self.reason
                outer._signalled = True
                outer._ask()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._overdue and not self._over.is_set():
            self._overdue = False
            raise Interrupted(
                f"stopped by {self.reason}, in the middle of what could not be ended in time; {self._kept} are kept, "
                "the same command continues"
            )
        # not print: a signal may arrive in the middle of another write to the same stream
        if self.reason is None:
            self.reason, self._signalled = signal.Signals(number).name, True
            line = f"\nqmgen: stopping after the {self._unit} in hand; Ctrl-C (once more) to stop at once\n"
            _tell(line)
            self._ask()
        elif number == signal.SIGINT:
            _tell(f"\nqmgen: stopped; {self._kept} are kept, the same command continues\n")
            raise SystemExit(130)

    def _ask(self) -> None:
        """Somebody has asked to stop: see to it that this happens, or that the watch around this one does."""
        outer = getattr(self._before.get(signal.SIGTERM), "__self__", None)
        if self._within is not None:
            self._arm(time.monotonic() + self._within)
        elif isinstance(outer, StopWatch):
            outer.reason = outer.reason or self.reason
            outer._ask()

    def _arm(self, when: float) -> None:
        with contextlib.suppress(RuntimeError):  # there is no room for a thread
            threading.Thread(target=self._insist, args=(when,), daemon=True).start()

    def _insist(self, when: float) -> None:
        """Interrupt the main thread at ``when``, and end the process some time after, unless this watch is over."""
        if self._over.wait(max(when - time.monotonic(), 0.0)):
            return
        with self._lock:
            if self._over.is_set():
                return
            self.reason = self.reason or "the time limit"
            inner = getattr(signal.getsignal(signal.SIGTERM), "__self__", self)
            inner._overdue, inner.reason = True, inner.reason or self.reason
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)  # it has a handler: ``_handle``
        if not self._over.wait(_CLEAR_UP_WITHIN):
            _tell(f"qmgen: stopped by {self.reason}; {self._kept} are kept, the same command continues\n")
            os._exit(Interrupted.exit_code)


@contextlib.contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """SIGTERM raises ``SystemExit(143)`` in the body, so that the contexts around it clear up.

    The exception is raised again each second until the body has ended: Python drops an exception that a signal handler
    raises within a finalizer or a callback of the garbage collector, and JAX has such callbacks. Does nothing outside
    of the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    main, over, lock, asked = threading.main_thread().ident or 0, threading.Event(), threading.Lock(), threading.Event()

    def insist() -> None:
        while not over.wait(_AGAIN):
            with lock:
                if not over.is_set():
                    signal.pthread_kill(main, signal.SIGTERM)

    def handle(number: int, frame: FrameType | None) -> None:
        if over.is_set():
            return
        if not asked.is_set():
            asked.set()
            with contextlib.suppress(RuntimeError):  # there is no room for a thread
                threading.Thread(target=insist, daemon=True).start()
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        over.set()
        with lock:
            pass  # a signal of our own is on its way, and must not meet the handler of others
        signal.signal(signal.SIGTERM, before)


def _tell(line: str) -> None:
    """Write to standard error, which may be closed."""
    with contextlib.suppress(OSError):
        os.write(2, line.encode())
