"""Which cores a run pins its processes to, so that two runs on one machine do not share some and leave others idle.

    with Claims() as claims:
        claims.take(cores, 2)       # (0, 1); for another run at the same time (2, 3)

A core is claimed by an advisory lock on a file of its own, in a directory that all runs of the user share. The kernel
releases the locks when the process ends, however it ends; the files themselves mean nothing and stay.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

#: stands for no core in particular: such a process is not pinned
ANY: Final = -1


def directory() -> Path:
    """Where the locks are: the same for a user's runs from a terminal, from cron and from a batch job."""
    return Path("/tmp") / f"qmgen-cores-{os.getuid()}"


class Claims:
    """The cores this run has claimed, until the context is left."""

    def __init__(self) -> None:
        self._locks: list[int] = []

    def __enter__(self) -> Claims:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def take(self, cores: Sequence[int], count: int) -> tuple[int, ...]:
        """``count`` places: cores of ``cores`` that no one had claimed, then ``ANY`` where there are no more."""
        folder = _own(directory())
        taken: list[int] = []
        for core in cores if folder is not None else ():
            if len(taken) == count:
                break
            if self._lock(folder / f"{core}.lock"):  # type: ignore[operator]
                taken.append(core)
        return (*taken, *[ANY] * (count - len(taken)))

    def release(self) -> None:
        """Give all of them back."""
        for lock in self._locks:
            os.close(lock)
        self._locks.clear()

    def _lock(self, path: Path) -> bool:
        with contextlib.suppress(OSError):
            # not inherited by workers: what they leave behind must not hold a core
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock)
                return False
            self._locks.append(lock)
            return True
        return False


def _own(folder: Path) -> Path | None:
    """``folder``, made if need be; None where it cannot be had or somebody else put it there."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    return folder if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() else None
