"""How far a run is, on standard error: one bar on a terminal, else a plain line now and then."""

from __future__ import annotations

import sys
import time
from typing import Protocol, TextIO

from qmgen.quantities import duration

LINE_EVERY = 30.0  # seconds


class Progress(Protocol):
    """What a run tells as it goes. ``expected`` counts geometries; each advance is of rows and failures."""

    def start(self, expected: int) -> None: ...

    def advance(self, rows: int, failures: int) -> None: ...

    def expect(self, more: int) -> None:
        """``more`` (or fewer, if negative) geometries than was thought."""
        ...

    def close(self) -> None: ...


class Quiet:
    """Says nothing."""

    def start(self, expected: int) -> None:
        pass

    def advance(self, rows: int, failures: int) -> None:
        pass

    def expect(self, more: int) -> None:
        pass

    def close(self) -> None:
        pass


class Bar:
    """A tqdm bar with rate and time left, where standard error is a terminal."""

    def start(self, expected: int) -> None:
        from tqdm import tqdm

        self._failures = 0
        self._bar = tqdm(total=expected, unit="conf", desc="labelling", smoothing=0.1, dynamic_ncols=True)

    def advance(self, rows: int, failures: int) -> None:
        self._failures += failures
        if failures:
            self._bar.set_postfix(failed=self._failures, refresh=False)
        self._bar.update(rows + failures)

    def expect(self, more: int) -> None:
        if more:
            self._bar.total = max((self._bar.total or 0) + more, self._bar.n)
            self._bar.refresh()

    def close(self) -> None:
        self._bar.close()


class Lines:
    """A line every half minute, for log files."""

    def __init__(self, stream: TextIO | None = None, every: float = LINE_EVERY) -> None:
        self._stream = stream or sys.stderr
        self._every = every

    def start(self, expected: int) -> None:
        self._expected, self._rows, self._failures = expected, 0, 0
        self._begin = self._last = time.monotonic()

    def advance(self, rows: int, failures: int) -> None:
        self._rows += rows
        self._failures += failures
        now = time.monotonic()
        if now - self._last < self._every:
            return
        self._last = now
        done = self._rows + self._failures
        rate = done / (now - self._begin)
        left = max(self._expected - done, 0) / rate if rate else None
        print(
            f"qmgen: {self._rows} rows, {self._failures} failures of {self._expected}; "
            f"{rate:.2f} conformers/s, {duration(left)} left",
            file=self._stream,
            flush=True,
        )

    def expect(self, more: int) -> None:
        self._expected += more

    def close(self) -> None:
        pass


def default_progress() -> Progress:
    """A bar on a terminal, lines elsewhere."""
    return Bar() if sys.stderr.isatty() else Lines()
