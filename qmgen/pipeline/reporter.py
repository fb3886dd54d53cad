"""What a worker tells while it does a unit, and how it hears that it should leave."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from qmgen.pipeline.crash_policy import Key
from qmgen.pipeline.labelling import Leave, Listener
from qmgen.pipeline.link import Link
from qmgen.pipeline.messages import Holding, Progress

REPORT_EVERY: Final = 0.5  # seconds


class Reporter(Listener):
    """Tells the parent how far a unit is, now and then, and what is on the device, always; shows the stage."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._next = 0.0
        self._any_rows = False

    def progress(self, rows: int, failures: int) -> None:
        now = time.monotonic()
        if now >= self._next or (rows and not self._any_rows):
            self._link.send(Progress(rows, failures))
            self._next, self._any_rows = now + REPORT_EVERY, rows > 0

    def holding(self, keys: tuple[Key, ...], rows: int, failures: int) -> None:
        self._link.send(Holding(keys, rows, failures))

    def stage(self, name: str) -> None:
        self._link.show(name)

    def between(self) -> None:
        """Raises ``Leave`` when the parent has said stop."""
        if self._link.stopping:
            raise Leave

    def keeper(self, keep: Callable[[], None] | None) -> None:
        self._link.keep = keep
