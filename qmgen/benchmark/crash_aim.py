"""Killing a process in a stage of one's choice: freeze it, look where it stands, and only then kill it.

Processes of qmgen show their stage as their name (``pipeline.stage_name``). A name that is read may be out of date when
the signal arrives; that of a process that has stopped is not.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qmgen.pipeline.stage_name import shown

WORKER: Final = "worker"
PARENT: Final = "parent"
#: what they show, in order; a parent that shows nothing yet is still loading
STAGES: Final = {
    PARENT: ("load", "read", "check", "run", "merge"),
    WORKER: ("start", "idle", "embed", "label", "write", "commit"),
}


@dataclass(frozen=True)
class Kill:
    """One that happened: who was killed, in which stage, and whether that stage had been aimed at."""

    role: str
    stage: str
    aimed: bool


def workers_of(parent: int) -> list[int]:
    """The worker processes of a parent; [] when it is gone."""
    try:
        text = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    except OSError:
        return []
    return [int(pid) for pid in text.split()]


def stage_of(role: str, pid: int) -> str | None:
    """The stage in which ``pid`` is now; None for one that is gone or has not said yet."""
    if role == WORKER or not Path("/proc", str(pid)).exists():
        return shown(pid)
    return shown(pid) or "load"


def shoot(role: str, pid: int, stage: str | None, corpus: Path, aimed: bool = True) -> Kill | None:
    """Kill ``pid`` if, once frozen, it stands in ``stage`` (in whichever where that is None); else let it go on.

    A worker counts as writing only when a file of its stands in ``corpus/.tmp``.
    """
    try:
        os.kill(pid, signal.SIGSTOP)
        found = stage_of(role, pid) if _frozen(pid) else None
        hit = found is not None and stage in (None, found)
        if hit and found == "write":
            hit = stage is None or any(corpus.glob(f".tmp/*-{pid}-*/*"))
        os.kill(pid, signal.SIGKILL if hit else signal.SIGCONT)
    except ProcessLookupError:
        return None
    return Kill(role, str(found), aimed) if hit else None


def _frozen(pid: int) -> bool:
    """Whether all threads of ``pid`` have stopped, waiting for it a little: one in a disk's hands stops late."""
    for _ in range(200):
        try:
            states = {
                stat.read_text().rsplit(")", 1)[1].split()[0] for stat in Path(f"/proc/{pid}/task").glob("*/stat")
            }
        except OSError:
            return False
        if states and states <= {"T", "t"}:
            return True
        if "Z" in states or "X" in states:
            return False
        time.sleep(0.001)
    return False
