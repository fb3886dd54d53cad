"""The processes of a running ``qmgen generate`` as Linux shows them: parent, workers, and those that embed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_KINDS: Final = {"qmgen.pipeline.worker": "worker", "qmgen.molecules.embedding_worker": "embedding"}


@dataclass(frozen=True)
class Process:
    """``resident`` in bytes and ``cpu_seconds`` (user and system) of a process at the monotonic time ``when``."""

    pid: int
    kind: str
    resident: int
    cpu_seconds: float
    when: float


def processes(parent: int) -> Iterator[Process]:
    """``parent`` and all that descend from it, now."""
    children: dict[int, list[int]] = {}
    for pid in (int(name) for name in os.listdir(_PROC) if name.isdecimal()):
        with suppress(OSError, IndexError, ValueError):
            children.setdefault(int(_stat(pid)[1]), []).append(pid)
    waiting = [parent]
    while waiting:
        pid = waiting.pop()
        waiting += children.get(pid, [])
        with suppress(OSError, IndexError, ValueError):  # it ended meanwhile
            yield _process(pid, pid == parent)


def _process(pid: int, is_parent: bool) -> Process:
    fields = _stat(pid)
    command = (_PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace")
    kind = "parent" if is_parent else next((kind for name, kind in _KINDS.items() if name in command), "other")
    ticks = int(fields[11]) + int(fields[12])
    resident = int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    return Process(pid, kind, resident, ticks / os.sysconf("SC_CLK_TCK"), time.monotonic())


def _stat(pid: int) -> list[str]:
    """The fields after the name, which stands in brackets and may hold anything: state, parent, ..."""
    return (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
