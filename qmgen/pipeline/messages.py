"""What the parent and its workers say to one another over a pipe. Plain dataclasses, one per sentence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from qmgen.pipeline.crash_policy import Exclusion, Key
from qmgen.pipeline.source import Entry, UnitInput
from qmgen.pipeline.unit import Job, UnitResult


@dataclass(frozen=True)
class Start:
    """Parent: here is the job. The worker answers ``Ready``."""

    job: Job


@dataclass(frozen=True)
class Do:
    """Parent: do this unit. The worker answers ``Progress`` and ``Holding`` any number of times, then ``Done``, or
    ``Stopped``. ``suspects`` are to be labelled first, each alone; ``condemned`` become failures by their verdicts."""

    work: UnitInput
    suspects: tuple[Key, ...] = ()
    condemned: dict[Key, Exclusion] = field(default_factory=dict)


@dataclass(frozen=True)
class Measure:
    """Parent: label these, each twice, and write nothing. The worker answers ``Measured`` for each."""

    entries: list[Entry]


@dataclass(frozen=True)
class Stop:
    """Parent: finish the batch in hand and leave; without it, where it takes long. The worker answers ``Stopped``."""


@dataclass(frozen=True)
class Ready:
    """Worker: waiting for work. ``about`` says who it is: pid, core, devices, versions."""

    about: dict[str, Any]


@dataclass(frozen=True)
class Beat:
    """Worker, every few seconds, from a thread of its own: the process runs. ``stage`` is what its main thread does."""

    stage: str


@dataclass(frozen=True)
class Progress:
    """Worker: rows and failures of the unit in hand so far."""

    rows: int
    failures: int


@dataclass(frozen=True)
class Holding:
    """Worker: the batch of these conformers goes to the device; if empty, the last one has come back from it. With the
    numbers of rows and failures so far."""

    keys: tuple[Key, ...]
    rows: int
    failures: int


@dataclass(frozen=True)
class Done:
    """Worker: the unit's files are written."""

    result: UnitResult


@dataclass(frozen=True)
class Measured:
    """Worker, of one entry: ``rows`` out of ``attempts``; seconds of the first pass (with compilation) and of the
    second; bytes of a file of all rows so far, and of one without rows; the largest resident memory so far in bytes."""

    attempts: int
    rows: int
    cold_seconds: float
    warm_seconds: float
    file_bytes: int
    empty_file_bytes: int
    peak_memory: int


@dataclass(frozen=True)
class Stopped:
    """Worker: leaving. ``about`` holds what it knows at its end (seconds of compilation)."""

    about: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Failed:
    """Worker: an exception, and with it the end. ``message`` of an error meant for the user, else ``traceback``;
    ``memory``: there was too little of it."""

    exit_code: int | None
    message: str
    traceback: str
    memory: bool = False
