"""The messages of a parent and its workers over their pipe, and the stage in the name of the process.

The parent sends the ``LabelJob`` first, then a ``UnitInput`` at a time or, for an estimate, a list of entries to be
measured, and at the end ``STOP``. A worker sends its ``WorkerState`` when it is ready and when it leaves, every few
seconds the stage of its main thread (a string: the process runs), ``UnitProgress`` any number of times, a
``UnitResult`` for each unit whose files are written, a ``Measurement`` for each entry measured, or a ``WorkerFailure``.

The stage is the name of the process too: ``top`` and ``ps`` show it, and the crash test aims by it. Workers: ``start``,
``idle``, ``embed`` (labeling waits for geometries), ``label``, ``write``, ``commit``. The parent: ``read`` (the
source), ``check`` (what is done), ``run``, ``merge`` (the manifest).

Only the standard library is imported here: a worker needs this before it pins itself to a core.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from qmgen.pipeline.crash_policy import ConformerKey

#: finish the batch on the device and leave; without it, where it takes long
STOP: Final = "stop"
STAGE_PREFIX: Final = "qmgen:"
#: the kernel keeps no more of a name
_LONGEST_NAME: Final = 15


@dataclass(frozen=True)
class WorkerState:
    """Worker: ready for work or, if ``leaving``, at its end. ``about`` says what it knows of itself: pid, core and
    devices; at the end seconds of compilation and peak memory."""

    about: dict[str, Any]
    leaving: bool = False


@dataclass(frozen=True)
class UnitProgress:
    """Worker: rows and failures of its unit so far. ``on_device`` is the batch that now goes to the device; empty: the
    last one has come back; None: nothing has changed there."""

    rows: int
    failures: int
    on_device: tuple[ConformerKey, ...] | None = None


@dataclass(frozen=True)
class Measurement:
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
class WorkerFailure:
    """A process: an exception, and with it the end. ``message`` of an error meant for the user (with ``exit_code``),
    else ``traceback``; ``memory``: there was too little of it."""

    exit_code: int | None
    message: str
    traceback: str
    memory: bool = False


class StopUnit(BaseException):
    """The parent has sent ``STOP``. Not an ``Exception``: no station of the pipeline may take it for a failure."""


class UnitListener:
    """What is called while a unit is labeled. These methods do nothing."""

    def progress(self, rows: int, failures: int) -> None:
        """So many rows and failures so far."""

    def on_device(self, keys: tuple[ConformerKey, ...], rows: int, failures: int) -> None:
        """The batch ``keys`` goes to the device, or, if empty, has come back from it; with the numbers so far."""

    def stage(self, name: str) -> None:
        """The stage that begins now."""

    def between_batches(self) -> None:
        """Nothing is on the device. What this raises ends the unit; a checkpoint is saved if that is ``StopUnit``."""

    def checkpoint(self, save: Callable[[], None] | None) -> None:
        """From now on ``save`` saves a checkpoint of the unit, also from another thread; None: no more."""


def show_stage(stage: str) -> None:
    """Give this process the name ``qmgen:<stage>``; nothing happens on systems that have no such names."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text((STAGE_PREFIX + stage)[:_LONGEST_NAME], encoding="ascii")


def shown_stage(pid: int) -> str | None:
    """The stage that process ``pid`` shows, or showed before it died; None if it shows none, or is gone for good."""
    try:
        name = Path("/proc", str(pid), "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
    return name.removeprefix(STAGE_PREFIX) if name.startswith(STAGE_PREFIX) else None
