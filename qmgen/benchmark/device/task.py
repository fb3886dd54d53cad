"""What a measurement is given, and how it answers: entry by entry, each guarded, none begun when time is short."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

from qmgen.benchmark.device.geometries import Geometries

Entry = dict[str, Any]


def one_line(error: BaseException) -> str:
    """The type and the first words of an error, without line breaks."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


@dataclass
class Task:
    """One measurement in its own process.

    Attributes:
        toy: tiny molecules and sizes.
        accelerator: the default device is no CPU.
        geometries: what to label.
        ends: ``time.monotonic`` after which nothing is begun.
        put: takes the key and the value of each entry as it is finished.
        tell: takes a line of progress.
        throughput: conformers a second by grid level, as far as they were measured before.
        scratch: an empty folder.
        keep: a folder in which a later session goes on; None: nothing is kept.
    """

    toy: bool
    accelerator: bool
    geometries: Geometries
    ends: float
    put: Callable[[str, Entry], None]
    tell: Callable[[str], None]
    throughput: dict[str, float]
    scratch: Path
    keep: Path | None = None
    _longest: float = field(default=0.0, init=False)

    def left(self) -> float:
        """Seconds in which something may still be begun."""
        return self.ends - monotonic()

    def entry(self, key: str, work: Callable[[], Entry]) -> Entry | None:
        """Put what ``work`` returns under ``key``, with its seconds; or that it failed; or that it was not begun.

        It is begun only while the longest entry so far would fit into the time left. Returns what was measured.
        """
        if self.left() < self._longest:
            self.put(key, {"skipped": f"{self.left():.0f} s were left, the entry before took {self._longest:.0f}"})
            return None
        self.tell(key)
        begin = perf_counter()
        try:
            found, good = work(), True
        except Exception as error:  # whatever it is, the other figures are still wanted
            found, good = {"error": one_line(error)}, False
        seconds = perf_counter() - begin
        self._longest = max(self._longest, seconds)
        self.put(key, {**found, "seconds": round(seconds, 3)})
        return found if good else None
