"""How far an enumeration is, on standard error: molecules, their rate, the share of items done, and the time left."""

from __future__ import annotations

import itertools
import sys
import time
from types import TracebackType
from typing import Final, TextIO

from qmgen.molecules.enumeration.items import items
from qmgen.molecules.selection import ResumePoint, Selection
from qmgen.quantities import duration

#: seconds between two lines in a log file, and between two of the bar
LINE_EVERY, BAR_EVERY = 30.0, 0.2
#: seconds that may be spent on finding out how many items there are
COUNT_LIMIT: Final = 3.0


class Meter:
    """A line that is written over on a terminal, a line now and then elsewhere; nothing where ``quiet``."""

    def __init__(self, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._terminal = self._stream.isatty()
        self._begin = self._last = time.monotonic()
        self._molecules = self._before = 0
        self._items: list[int] = []
        self._done = self._done_before = 0

    def __enter__(self) -> Meter:
        self._begin = self._last = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._terminal and not self._quiet:
            self._stream.write("\r\033[K")
            self._stream.flush()

    def total(self, chosen: Selection) -> None:
        """Find out how many items there are, unless that takes long; without it no time left is told."""
        if self._quiet:
            return
        end, counts = time.monotonic() + COUNT_LIMIT, []
        for query in chosen.queries:
            counts.append(sum(1 for _ in itertools.takewhile(lambda _: time.monotonic() < end, items(query))))
        self._items = counts if time.monotonic() < end else []

    def start(self, molecules: int, place: ResumePoint) -> None:
        """What an earlier process did."""
        self._molecules = self._before = molecules
        self._done = self._done_before = self._place(place)

    def found(self, molecules: int, place: ResumePoint | None = None) -> None:
        """So many more molecules; all before ``place`` is done."""
        self._molecules += molecules
        if place is not None:
            self._done = self._place(place)
        now = time.monotonic()
        if self._quiet or now - self._last < (BAR_EVERY if self._terminal else LINE_EVERY):
            return
        self._last = now
        line = self._line(now - self._begin)
        self._stream.write(f"\r\033[K{line}" if self._terminal else f"qmgen: {line}\n")
        self._stream.flush()

    def _place(self, place: ResumePoint) -> int:
        return sum(self._items[: place.query]) + place.item

    def _line(self, seconds: float) -> str:
        line = f"{self._molecules} molecules, {(self._molecules - self._before) / seconds:.0f}/s"
        total, done = sum(self._items), self._done - self._done_before
        if total and done:
            left = seconds * (total - self._done) / done
            line += f", {100 * self._done / total:.0f}% of the graphs, about {duration(left)} left"
        return line
