"""The works of a run as the pool takes them: one is made ready before it is asked for, and none is waited for."""

from __future__ import annotations

from collections.abc import Iterator

from qmgen.pipeline.source import Work


class Ahead:
    """``works`` yields None where the next one is not there yet, and ends when there are no more.

    ``over`` is True when all were taken. Nothing here blocks for longer than ``works`` does.
    """

    def __init__(self, works: Iterator[Work | None]) -> None:
        self._works = works
        self._held: Work | None = None
        self._ended = False

    @property
    def over(self) -> bool:
        return self._ended and self._held is None

    def look(self) -> None:
        """Have one ready if there is one."""
        if self._held is None and not self._ended:
            try:
                self._held = next(self._works)
            except StopIteration:
                self._ended = True

    def take(self) -> Work | None:
        """The next one, or None where it is not there yet, or all are taken."""
        self.look()
        work, self._held = self._held, None
        return work
