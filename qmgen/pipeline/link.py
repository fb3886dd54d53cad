"""A worker's end of the pipe to its parent: threads hear orders and give signs of life while the main thread works.

So a worker that compiles, embeds or waits for a disk still hears that it should stop: where its main thread does not
come to it, the thread that heard it keeps what was labelled, and ends the process.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Final

from qmgen.pipeline import stage_name
from qmgen.pipeline.messages import Beat, Stop, Stopped

#: seconds between two signs of life
BEAT_EVERY: Final = 2.0
#: seconds that the main thread has to come to an end by itself; while it waits for geometries; and more while it writes
LEAVE_WITHIN: Final = 7.0
_EMBED_WITHIN: Final = 1.0
_WRITE_WITHIN: Final = 2.0
_WRITING: Final = ("write", "commit")


class Link:
    """The pipe ``connection``. ``keep``, where it is set, saves the work in hand, and may be called from any thread;
    ``about`` says what the process knows at its end.

    The threads begin with ``start``: before that the main thread imports what orders are made of, and modules that two
    threads import at once may be seen half made.
    """

    def __init__(self, connection: Connection, about: Callable[[], dict[str, Any]]) -> None:
        self.keep: Callable[[], None] | None = None
        self._connection, self._about = connection, about
        self._sending = threading.Lock()
        self._orders: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._stage = "start"

    def start(self) -> None:
        """Hear orders, and give signs of life, from now on."""
        for run in (self._hear, self._beat):
            threading.Thread(target=run, daemon=True).start()

    @property
    def stopping(self) -> bool:
        """Whether the parent has said stop."""
        return self._stopping.is_set()

    def show(self, stage: str) -> None:
        """The main thread begins with ``stage`` (see ``stage_name``)."""
        if stage != self._stage:
            self._stage = stage
            stage_name.show(stage)

    def send(self, message: object) -> None:
        """Say ``message``. Raises ``OSError`` when the parent is gone."""
        with self._sending:
            self._connection.send(message)

    def order(self) -> Any:
        """The next order, waiting for it. Raises what kept it from being read."""
        message = self._orders.get()
        if isinstance(message, Exception):
            raise message
        return message

    def leave(self) -> None:
        """Say goodbye, and end the process: nothing of it is worth the time that an orderly end takes."""
        try:
            self.send(Stopped(self._about()))
        finally:
            os._exit(0)

    def _hear(self) -> None:
        while True:
            try:
                message = self._connection.recv()
            except (EOFError, OSError):
                os._exit(1)  # no parent, no work
            except Exception as error:
                message = error
            if isinstance(message, Stop):
                self._stopping.set()
            self._orders.put(message)
            if isinstance(message, Stop):
                self._end_in_time()

    def _end_in_time(self) -> None:
        """Once the parent has said stop: end without the main thread, where it does not come to an end itself."""
        time.sleep(min(_EMBED_WITHIN, LEAVE_WITHIN))
        if self._stage != "embed":  # where geometries are awaited, there is nothing to finish
            time.sleep(LEAVE_WITHIN - min(_EMBED_WITHIN, LEAVE_WITHIN))
        if self._stage in _WRITING:
            time.sleep(_WRITE_WITHIN)
        keep = self.keep
        if keep is not None:
            keep()
        self.leave()

    def _beat(self) -> None:
        while True:
            time.sleep(BEAT_EVERY)
            try:
                self.send(Beat(self._stage))
            except OSError:
                os._exit(1)
