"""One JSON file in runs/ per process that wrote to the corpus: who, where, with what, how far; and the locks of ranks.

The file is written when the run begins, now and then while it goes on, and at its end: whoever asks how a corpus is
getting on reads these, and asks the kernel who still holds a rank's lock.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from qmgen.corpus.locks import Lock, held
from qmgen.corpus.seal import sealed, sound_table
from qmgen.corpus.store import Store, read_small

FOLDER: Final = "runs"
#: of the lines of a record
INDENT: Final = 1
_LOCK: Final = re.compile(rf"{FOLDER}/rank-([0-9]{{5,12}})\.lock")
RUNNING, FINISHED, STOPPED, FAILED = "running", "finished", "stopped", "failed"


@dataclass(frozen=True)
class RunFile:
    """The record of one process, under a name that no other process has, with a checksum of itself."""

    store: Store
    name: str

    @classmethod
    def new(cls, store: Store) -> RunFile:
        """A record that begins now."""
        began = datetime.now(UTC)
        return cls(store, f"{FOLDER}/{began:%Y%m%dT%H%M%S}-{socket.gethostname()}-{os.getpid()}.json")

    def write(self, record: Mapping[str, Any]) -> None:
        """Replace the record. Raises ``OSError``."""
        self.store.write(self.name, sealed(record, INDENT))


def records(store: Store) -> Iterator[dict[str, Any]]:
    """All records, oldest name first; what cannot be read, or was changed since, is passed over: they are a help, not
    the corpus."""
    for name in sorted(store.names(FOLDER)):
        if name.endswith(".json"):
            with contextlib.suppress(OSError, ValueError):
                yield sound_table(read_small(store, name), INDENT)


def rank_lock(store: Store, rank: int, doing: Mapping[str, Any] | None = None) -> Lock:
    """The lock of a rank on this corpus; on an object store it holds among the processes of this machine. ``doing`` is
    what its holder says of its work."""
    about = {"doing": dict(doing)} if doing is not None else None
    return Lock(_lock_path(store, rank), store.local, about)


def holders(store: Store) -> dict[int, dict[str, Any]]:
    """Who runs which rank now, as far as it can be seen from here."""
    found = {}
    path = _lock_path(store, 0)
    before, _, after = path.name.rpartition(f"{0:05d}")
    for lock in sorted(path.parent.glob(f"{before}*{after}")):
        number = lock.name.removeprefix(before).removesuffix(after)
        if number.isdigit() and (by := held(lock, store.local)) is not None:
            found[int(number)] = by
    return found


def running(store: Store, rank: int) -> dict[str, Any] | None:
    """Who runs this rank now (``pid``, ``host``); None where nobody does, or nobody that can be seen from here."""
    return held(_lock_path(store, rank), store.local)


def rank_of_lock(name: str) -> int | None:
    """The rank whose lock is called ``name``; None where it is no such name."""
    found = _LOCK.fullmatch(name)
    return None if found is None else int(found[1])


def _lock_path(store: Store, rank: int) -> Path:
    if store.local is not None:
        return store.local / FOLDER / f"rank-{rank:05d}.lock"
    place = sha256(store.place.encode()).hexdigest()[:24]
    return Path(tempfile.gettempdir()) / f"qmgen-locks-{os.getuid()}" / f"{place}-rank-{rank:05d}.lock"
