"""What a run did, for the person who started it and for scripts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qmgen.errors import Interrupted, QmgenError
from qmgen.molecules.types import Reason
from qmgen.quantities import duration, size


@dataclass(frozen=True)
class Summary:
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
class Retried:
    """What a retry did: generation ``number`` of the corpus (None where there was nothing to retry) has ``tried``
    these failures, by reason, with these ``settings``, and gained ``rows``; ``failures`` stand in the whole corpus.
    ``summary`` is that of the run, None where nothing was run."""

    directory: str
    number: int | None
    tried: dict[str, int]
    settings: dict[str, Any]
    rows: int
    failures: dict[str, int]
    summary: Summary | None = None
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
