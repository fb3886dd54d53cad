"""How far something is, on standard error: a bar of tqdm on a terminal, a line now and then elsewhere.

>>> with ProgressLine("reading", "file", total=40) as line:
...     line.advance(1)
reading: 1 of 40 files (2%), 3.1 files/s, 12 s left
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Final, TextIO

from qmgen.quantities import duration, size

#: seconds between two lines in a log file, and between two states of the bar on a terminal
LINE_EVERY: Final = 30.0
SHOW_EVERY: Final = 0.2


class ProgressLine:
    """``done`` of ``total`` (None: unknown) of a ``unit`` (``B``: bytes are shown by their size), with the rate since
    ``first`` of them were done, the time left, and a ``note``.

    ``quiet`` shows nothing. ``log``: where there is no terminal, a line each ``every`` seconds instead of nothing.
    ``always``: the bar of a terminal, whatever the stream is.
    """

    def __init__(
        self,
        label: str,
        unit: str,
        total: int | None = None,
        first: int = 0,
        *,
        quiet: bool = False,
        log: bool = False,
        always: bool = False,
        stream: TextIO | None = None,
        every: float = LINE_EVERY,
    ) -> None:
        self._stream = stream or sys.stderr
        self._on_terminal = always or (self._stream.isatty() and not quiet)
        self._bar: Any = None
        self.quiet = quiet and not always
        self._every = every if log and not quiet else None
        self.begin(label, unit, total, first)

    def begin(self, label: str, unit: str, total: int | None, first: int = 0) -> None:
        """The clock starts; what was shown of something else is forgotten."""
        self.label, self.unit, self.total, self.done, self.note = label, unit, total, first, ""
        self._first = first
        self._begin = self._last = time.monotonic()
        self._end_bar()

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def seconds(self) -> float:
        """Since the clock started."""
        return max(time.monotonic() - self._begin, 1e-9)

    def advance(self, count: int) -> None:
        """``count`` more are done."""
        self.done += count
        self.show()

    def show(self, now: bool = False) -> None:
        """Show the state, where it is time to (or ``now``)."""
        if self._on_terminal:
            self._show_bar(now)
        elif self._every is not None and (now or time.monotonic() - self._last >= self._every):
            self._last = time.monotonic()
            print(f"qmgen: {self._line()}", file=self._stream, flush=True)

    def say(self, line: str) -> None:
        """Another line, even where progress is not shown."""
        if self._bar is None:
            print(f"qmgen: {line}", file=self._stream, flush=True)
        else:
            self._bar.write(f"qmgen: {line}", file=self._stream)

    def close(self) -> None:
        """The last state of a bar stays."""
        if self._on_terminal and self.done != self._first:
            self._show_bar(now=True)
        self._end_bar()

    def _show_bar(self, now: bool) -> None:
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                desc=self.label,
                total=self.total,
                initial=self._first,
                unit="B" if self.unit == "B" else f" {self.unit}s",
                unit_scale=self.unit == "B",
                file=self._stream,
                mininterval=SHOW_EVERY,
                miniters=1,
                smoothing=0.1,
                dynamic_ncols=True,
            )
        if self.note:
            self._bar.set_postfix_str(self.note, refresh=False)
        self._bar.total = self.total
        self._bar.update(self.done - self._bar.n)
        if now:
            self._bar.refresh()

    def _end_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _line(self) -> str:
        rate = (self.done - self._first) / self.seconds()
        count = self._count(self.done)
        if self.total is not None:
            share = f" ({100 * self.done / self.total:.0f}%)" if self.total else ""
            count = f"{count.split(' ')[0] if self.unit != 'B' else count} of {self._count(self.total)}{share}"
        text = f"{self.label}: {count}, {self._count(rate)}/s"
        if self.total is not None:
            text += f", {duration(max(self.total - self.done, 0) / rate if rate else None)} left"
        return f"{text}; {self.note}" if self.note else text

    def _count(self, value: float) -> str:
        if self.unit == "B":
            return size(value)
        number = f"{value:.3g}" if isinstance(value, float) and value < 100 else f"{value:.0f}"
        return f"{number} {self.unit}{'' if value == 1 else 's'}"


class RunProgress(ProgressLine):
    """What a run of labels tells: ``start`` with the geometries that are expected, then of each advance the rows and
    failures, a negative one where a worker died with what it had."""

    def __init__(
        self,
        stream: TextIO | None = None,
        every: float = LINE_EVERY,
        *,
        quiet: bool = False,
        always: bool = False,
        log: bool = True,
    ) -> None:
        super().__init__("labeling", "conformer", 0, quiet=quiet, log=log, always=always, stream=stream, every=every)

    def start(self, expected: int) -> None:
        self.begin("labeling", "conformer", expected)
        self._rows = self._failures = 0

    def advance(self, rows: int, failures: int = 0) -> None:
        self._rows, self._failures = self._rows + rows, self._failures + failures
        self.note = f"{self._rows} rows, {self._failures} failures"
        super().advance(rows + failures)

    def expect(self, more: int) -> None:
        """``more`` (or fewer, if negative) geometries than was thought."""
        assert self.total is not None
        self.total = max(self.total + more, self.done)


class TrainingProgress(ProgressLine):
    """What a training tells. ``rate`` is rows (or what ``unit`` of ``start`` says) per second; ``errors`` a text such
    as ``y 85.2 meV``. The first step and the first validation are shown at once."""

    def __init__(self, *, quiet: bool = False, stream: TextIO | None = None, every: float = LINE_EVERY) -> None:
        super().__init__("training", "step", quiet=quiet, log=True, stream=stream, every=every)
        self._errors, self._rows = "", "row"

    def start(self, label: str, steps: int, done: int, unit: str = "row") -> None:
        self.begin(label, "step", steps, done)
        self._errors, self._rows = "", unit
        self._last = float("-inf")

    def advance_to(self, step: int, loss: float, rate: float) -> None:
        self.note = f"{self._errors}loss {loss:.4f}, {rate:.0f} {self._rows}s/s"
        self.advance(step - self.done)

    def validated(self, errors: str, best: bool) -> None:
        first, self._errors = not self._errors, f"{errors}{'' if best else ' (not better)'}, "
        self.note = errors
        self.show(now=first)
