"""How far an enumeration is, on standard error: molecules, their rate, the share of items done, and the time left."""

from __future__ import annotations

import itertools
import time
from typing import Final, TextIO

from qmgen.molecules.enumeration.items import items
from qmgen.molecules.selection import ResumePoint, Selection
from qmgen.progress import ProgressLine
from qmgen.quantities import duration

#: seconds that may be spent on finding out how many items there are
COUNT_LIMIT: Final = 3.0


class EnumerationProgress(ProgressLine):
    """How many molecules are unknown beforehand; what is known is how many items of the graphs there are."""

    def __init__(self, quiet: bool = False, stream: TextIO | None = None) -> None:
        super().__init__("enumerating", "molecule", quiet=quiet, log=True, stream=stream)
        self._items: list[int] = []
        self._place = self._first_place = 0

    def count_items(self, chosen: Selection) -> None:
        """Find out how many items there are, unless that takes long; without it no time left is told."""
        if self.quiet:
            return
        end, counts = time.monotonic() + COUNT_LIMIT, []
        for query in chosen.queries:
            counts.append(sum(1 for _ in itertools.takewhile(lambda _: time.monotonic() < end, items(query))))
        self._items = counts if time.monotonic() < end else []

    def resume(self, molecules: int, place: ResumePoint) -> None:
        """What an earlier process did."""
        self.begin(self.label, self.unit, None, molecules)
        self._place = self._first_place = self._number(place)

    def found(self, molecules: int, place: ResumePoint | None = None) -> None:
        """So many more molecules; all before ``place`` is done."""
        if place is not None:
            self._place = self._number(place)
            total, done = sum(self._items), self._place - self._first_place
            if total and done:
                left = self.seconds() * (total - self._place) / done
                self.note = f"{100 * self._place / total:.0f}% of the graphs, about {duration(left)} left"
        self.advance(molecules)

    def _number(self, place: ResumePoint) -> int:
        return sum(self._items[: place.query]) + place.item
