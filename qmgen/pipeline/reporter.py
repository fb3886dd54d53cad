"""What a worker tells while it does a unit, and how it hears that it should leave."""

from __future__ import annotations

import time
from multiprocessing.connection import Connection
from typing import Final

from qmgen.pipeline import stage_name
from qmgen.pipeline.deaths import Key
from qmgen.pipeline.labelling import Leave, Listener
from qmgen.pipeline.messages import Holding, Progress

REPORT_EVERY: Final = 0.5  # seconds


class Reporter(Listener):
    """Tells the parent how far a unit is, now and then, and what is on the device, always; shows the stage."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._next = 0.0
        self._any_rows = False
        self._stage = ""

    def progress(self, rows: int, failures: int) -> None:
        now = time.monotonic()
        if now >= self._next or (rows and not self._any_rows):
            self._connection.send(Progress(rows, failures))
            self._next, self._any_rows = now + REPORT_EVERY, rows > 0

    def holding(self, keys: tuple[Key, ...], rows: int, failures: int) -> None:
        self._connection.send(Holding(keys, rows, failures))

    def stage(self, name: str) -> None:
        if name != self._stage:
            self._stage = name
            stage_name.show(name)

    def between(self) -> None:
        """Raises ``Leave`` when the parent has said stop: the only thing that it says while a unit is done."""
        if self._connection.poll():
            self._connection.recv()
            raise Leave
