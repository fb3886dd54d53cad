"""What a run writes about itself while it goes on, for ``qmgen status``; and its summary at the end."""

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
from qmgen.corpus.runs import RUNNING, write_record
from qmgen.corpus.store import Store
from qmgen.errors import Interrupted, QmgenError
from qmgen.machine import versions
from qmgen.molecules.types import Reason
from qmgen.pipeline.level import NetworkGuess
from qmgen.pipeline.unit import UnitResult
from qmgen.quantities import duration, size

#: seconds between two writings, on a disk and on an object store
WRITE_EVERY: Final = 15.0
WRITE_EVERY_REMOTE: Final = 60.0


class RunClock:
    """When the run began, by the calendar and by a clock that never jumps."""

    def __init__(self) -> None:
        self.date = datetime.now(UTC)
        self._begin = time.monotonic()

    def seconds(self) -> float:
        return time.monotonic() - self._begin


@dataclass
class RunRecord:
    """The record of this run, called ``name`` in ``store``. ``units`` are the finished ones; ``rows`` and ``failures``
    count those in hand too, which ``in_hand`` lists by unit. ``excluded``: conformers (molecule, conformer) that ended
    their workers."""

    store: Store
    name: str
    clock: RunClock
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
    excluded: list[tuple[int, int]] = field(default_factory=list)
    workers_in_hand: Callable[[], list[dict[str, int]]] = list
    network: NetworkGuess | None = None
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
        every = WRITE_EVERY if self.store.local is not None else WRITE_EVERY_REMOTE
        if self._written is None or self.clock.seconds() - self._written >= every:
            self.write(RUNNING)

    def write(self, state: str) -> None:
        """Write the record; a refusal is said once, and hurts nothing else: the rows matter more."""
        self._written = self.clock.seconds()
        try:
            write_record(self.store, self.name, self._as_json(state))
        except OSError as error:
            if not self._refused:
                print(f"qmgen: no record of this run was written: {error.strerror or error}", file=sys.stderr)
            self._refused = True

    def saved(self) -> dict[str, Any]:
        """``mean_cycles`` of a row of the finished units (None before there is one); and where a network guesses, the
        ``guess_seconds`` that it took of the workers, and ``guess_fallbacks``: molecules that began without it."""
        rows = sum(result.rows for result in self.results)
        found: dict[str, Any] = {"mean_cycles": sum(r.cycles for r in self.results) / rows if rows else None}
        if self.network is not None:
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
            **({"guess": self.network.about()} if self.network is not None else {}),
            **self.saved(),
            "workers": self.workers,
            "deaths": self.deaths,
            "condemned": [list(key) for key in self.excluded],
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


@dataclass(frozen=True)
class RunSummary:
    """Counts of the whole corpus if it is ``complete`` or there is but one rank, else of this rank's units (``rows``,
    ``molecules`` with a row, ``failures`` by reason, ``merged`` duplicates, ``pruned`` conformers); ``entries`` of the
    source (of a whole enumeration, in the same units as the rows), ``files``, ``bytes``, ``units`` and ``units_done``
    of all ranks; and of this run alone: the ``run_`` fields, ``repaired`` damages, ``mean_cycles`` of a row,
    ``guess_seconds`` of workers' time that a learned guess took (its compilation included; None without one) and the
    ``guess_fallbacks`` of molecules that began without it, the times in seconds, and
    ``conformers_per_second`` from its start to its end, compilation included. Where the command extends a corpus,
    ``added_rows`` and ``added_failures`` are those of the extension alone."""

    directory: str
    entries: int
    rows: int
    molecules: int
    failures: dict[str, int]
    merged: int
    splits: dict[str, int]
    files: int
    bytes: int
    run_rows: int
    run_failures: int
    run_units: int
    units: int
    workers: int
    seconds: float
    conformers_per_second: float
    seconds_to_first_row: float | None
    compile_seconds: float | None
    max_failures: int | None = None
    pruned: int = 0
    rank: int = 0
    world_size: int = 1
    complete: bool = True
    units_done: int = 0
    repaired: int = 0
    mean_cycles: float | None = None
    guess_seconds: float | None = None
    guess_fallbacks: int | None = None
    added_rows: int | None = None
    added_failures: dict[str, int] | None = None

    @property
    def nothing_made(self) -> QmgenError | None:
        """The error of a command that asked for rows and has made none, though all of it is done; None otherwise."""
        rows = self.rows if self.added_rows is None else self.added_rows
        failures = self.failures if self.added_failures is None else self.added_failures
        if rows or not failures or not (self.complete or self.world_size == 1):
            return None
        reasons = ", ".join(f"{reason} {n}" for reason, n in failures.items())
        what = f"not one row was made: {reasons}; failures/ in {self.directory} says more"
        if Reason.MACHINE_TROUBLE in failures:
            return Interrupted(f"{what}; when the machine is well, the same command tries again")
        return QmgenError(what)

    @property
    def failed(self) -> int:
        """Failures of all reasons."""
        return sum(self.failures.values())

    @property
    def too_many_failures(self) -> bool:
        """More failures than ``max_failures``: exit code 3."""
        return self.max_failures is not None and self.failed > self.max_failures

    def text(self) -> str:
        """A few lines for standard error."""
        who = "" if self.complete or self.world_size == 1 else f"rank {self.rank} of {self.world_size}: "
        lines = [f"{who}{self.rows} rows of {self.molecules} molecules in {self.directory}"]
        lines.append("  splits      " + ", ".join(f"{name} {rows}" for name, rows in self.splits.items()))
        reasons = ", ".join(f"{reason} {n}" for reason, n in self.failures.items())
        lines.append(f"  failures    {self.failed}" + (f" ({reasons}); see failures/" if reasons else ""))
        if doubtful := self.failures.get(Reason.MACHINE_TROUBLE, 0):
            lines.append(f"  machine     {doubtful} of them may be this machine's: the same command tries them again")
        if self.merged:
            lines.append(f"  duplicates  {self.merged} merged")
        if self.pruned:
            lines.append(f"  conformers  {self.pruned} pruned")
        lines.append(f"  files       {self.files}, {size(self.bytes)}")
        if self.run_units:
            first = (
                "" if self.seconds_to_first_row is None else f", first row after {duration(self.seconds_to_first_row)}"
            )
            compiled = f", compiling {duration(self.compile_seconds)} in all" if self.compile_seconds else ""
            rate = f"{self.conformers_per_second:.2f} conformers/s with {self.workers} worker(s)"
            lines.append(f"  this run    {self.run_rows} rows in {duration(self.seconds)}, {rate}{first}{compiled}")
            if self.mean_cycles is not None:
                lines.append(f"  SCF         {self.mean_cycles:.1f} cycles a row{self._guessing()}")
        else:
            lines.append("  this run    nothing was left to do")
        if self.repaired:
            lines.append(f"  mended      {self.repaired} damage(s)")
        if not self.complete:
            lines.append(
                f"  corpus      {self.units_done} of {self.units} work units done; qmgen status {self.directory}"
            )
        return "\n".join(lines)

    def _guessing(self) -> str:
        if self.guess_seconds is None:
            return ""
        share = self.guess_seconds / (self.seconds * self.workers)
        without = f", {self.guess_fallbacks} begun without it" if self.guess_fallbacks else ""
        return f"; the learned guess took {duration(self.guess_seconds)} of the workers' time ({share:.1%}){without}"


@dataclass(frozen=True)
class RetrySummary:
    """What a retry did: revision ``number`` of the corpus (None where there was nothing to retry) has ``tried``
    these failures, by reason, with these ``settings``, and gained ``rows``; ``failures`` stand in the whole corpus.
    ``summary`` is that of the run, None where nothing was run."""

    directory: str
    number: int | None
    tried: dict[str, int]
    settings: dict[str, Any]
    rows: int
    failures: dict[str, int]
    summary: RunSummary | None = None
    max_failures: int | None = None

    @property
    def too_many_failures(self) -> bool:
        """More failures than ``max_failures``: exit code 3."""
        return self.max_failures is not None and sum(self.failures.values()) > self.max_failures

    def text(self) -> str:
        """A few lines for standard error."""
        left = ", ".join(f"{reason} {n}" for reason, n in self.failures.items())
        standing = f"  failures    {sum(self.failures.values())}" + (f" ({left}); see failures/" if left else "")
        if self.number is None:
            return f"nothing to retry in {self.directory}\n{standing}"
        tried = ", ".join(f"{reason} {n}" for reason, n in self.tried.items())
        settings = ", ".join(f"{name} {value}" for name, value in self.settings.items() if value is not None)
        did = "would try" if self.summary is None else f"{self.rows} rows gained from"
        return (
            f"{did} {sum(self.tried.values())} failures of {self.directory} ({tried})\n  with        {settings}\n"
            + (standing)
        )
