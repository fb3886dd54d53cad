"""What a run writes about itself while it goes on, for ``qmgen status`` and for later."""

from __future__ import annotations

import os
import platform
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from qmgen.corpus.plan import Plan
from qmgen.corpus.runs import RUNNING, RunFile
from qmgen.machine import versions
from qmgen.pipeline.learned import Learned
from qmgen.pipeline.unit import UnitResult

#: seconds between two writings, on a disk and on an object store
WRITE_EVERY: Final = 15.0
WRITE_EVERY_REMOTE: Final = 60.0


class Clock:
    """When the run began, by the calendar and by a clock that never jumps."""

    def __init__(self) -> None:
        self.date = datetime.now(UTC)
        self._begin = time.monotonic()

    def seconds(self) -> float:
        return time.monotonic() - self._begin


@dataclass
class Record:
    """The record of this run. ``units`` are the finished ones; ``rows`` and ``failures`` count those in hand too, which
    ``in_hand`` lists by unit. ``condemned``: conformers (molecule, conformer) that ended their workers."""

    file: RunFile
    clock: Clock
    plan: Plan
    rank: int
    world_size: int
    config_hash: str
    licence: str
    to_do: int
    results: list[UnitResult] = field(default_factory=list)
    workers: list[dict[str, Any]] = field(default_factory=list)
    deaths: list[dict[str, Any]] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)
    condemned: list[tuple[int, int]] = field(default_factory=list)
    workers_in_hand: Callable[[], list[dict[str, int]]] = list
    learned: Learned | None = None
    first_row: float | None = None
    rows: int = 0
    failures: int = 0
    _written: float | None = None
    _refused: bool = False

    def advance(self, rows: int, failures: int) -> None:
        """So many more rows and failures."""
        if rows > 0 and self.first_row is None:
            self.first_row = self.clock.seconds()
        self.rows += rows
        self.failures += failures
        self.write_now_and_then()

    def write_now_and_then(self) -> None:
        """Write the record if the last time is long enough ago."""
        every = WRITE_EVERY if self.file.store.local is not None else WRITE_EVERY_REMOTE
        if self._written is None or self.clock.seconds() - self._written >= every:
            self.write(RUNNING)

    def write(self, state: str) -> None:
        """Write the record; a refusal is said once, and hurts nothing else: the rows matter more."""
        self._written = self.clock.seconds()
        try:
            self.file.write(self._as_json(state))
        except OSError as error:
            if not self._refused:
                print(f"qmgen: no record of this run was written: {error.strerror or error}", file=sys.stderr)
            self._refused = True

    def saved(self) -> dict[str, Any]:
        """``mean_cycles`` of a row of the finished units (None before there is one); and where a network guesses, the
        ``guess_seconds`` that it took of the workers, and ``guess_fallbacks``: molecules that began without it."""
        rows = sum(result.rows for result in self.results)
        found: dict[str, Any] = {"mean_cycles": sum(r.cycles for r in self.results) / rows if rows else None}
        if self.learned is not None:
            found["guess_seconds"] = round(sum(result.guess_seconds for result in self.results), 3)
            found["guess_fallbacks"] = sum(result.fallbacks for result in self.results)
        return found

    def _as_json(self, state: str) -> dict[str, Any]:
        return {
            "state": state,
            "host": socket.gethostname(),
            "platform": platform.platform(),
            "pid": os.getpid(),
            "rank": self.rank,
            "world_size": self.world_size,
            "config_hash": self.config_hash,
            "licence": self.licence,
            "plan": {
                "entries": self.plan.entries,
                "units": self.plan.count,
                "wanted": self.plan.wanted,
                "more": self.plan.revision,
                "begin": self.plan.begin,
                **({"enumeration": True} if self.plan.parts else {}),
            },
            "began": self.clock.date.isoformat(timespec="seconds"),
            "written": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(self.clock.seconds(), 3),
            "seconds_to_first_row": self.first_row,
            "units_to_do": self.to_do,
            "rows": self.rows,
            "failures": self.failures,
            **({"guess": self.learned.about()} if self.learned is not None else {}),
            **self.saved(),
            "workers": self.workers,
            "deaths": self.deaths,
            "condemned": [list(key) for key in self.condemned],
            "in_hand": self.workers_in_hand(),
            "repaired": self.repaired,
            "units": [
                {
                    "index": r.index,
                    "rows": r.rows,
                    "failures": r.failures,
                    "seconds": round(r.seconds, 3),
                    "sha256": r.records[-1].sha256,  # of the failures file, which holds those of the others
                }
                for r in sorted(self.results, key=lambda r: r.index)
            ],
            "versions": versions(),
        }
