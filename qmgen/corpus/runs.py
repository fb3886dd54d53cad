"""One JSON file in runs/ per process that wrote to the corpus: who, where, with what, how far; and the locks of ranks.

The file is written when the run begins, now and then while it goes on, and at its end: whoever asks how a corpus is
getting on reads these, and asks the kernel who still holds a rank's lock.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from qmgen.corpus.locks import Lock, held
from qmgen.corpus.store import Store

FOLDER: Final = "runs"
RUNNING, FINISHED, STOPPED, FAILED = "running", "finished", "stopped", "failed"


@dataclass(frozen=True)
class RunFile:
    """The record of one process, under a name that no other process has."""

    store: Store
    name: str

    @classmethod
    def new(cls, store: Store) -> RunFile:
        """A record that begins now."""
        began = datetime.now(UTC)
        return cls(store, f"{FOLDER}/{began:%Y%m%dT%H%M%S}-{socket.gethostname()}-{os.getpid()}.json")

    def write(self, record: Mapping[str, Any]) -> None:
        """Replace the record. Raises ``OSError``."""
        self.store.write(self.name, (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode())


def records(store: Store) -> Iterator[dict[str, Any]]:
    """All records, oldest name first; what cannot be read is passed over: they are a help, not the corpus."""
    for name in sorted(store.names(FOLDER)):
        if name.endswith(".json"):
            with contextlib.suppress(OSError, ValueError):
                found = json.loads(store.read(name))
                if isinstance(found, dict):
                    yield found


def rank_lock(store: Store, rank: int, doing: Mapping[str, Any] | None = None) -> Lock:
    """The lock of a rank on this corpus; on an object store it holds among the processes of this machine. ``doing`` is
    what its holder says of its work."""
    return Lock(_lock_path(store, rank), {"doing": dict(doing)} if doing is not None else None)


def holders(store: Store) -> dict[int, dict[str, Any]]:
    """Who runs which rank now, as far as it can be seen from here."""
    found = {}
    path = _lock_path(store, 0)
    before, _, after = path.name.rpartition(f"{0:05d}")
    for lock in sorted(path.parent.glob(f"{before}*{after}")):
        number = lock.name.removeprefix(before).removesuffix(after)
        if number.isdigit() and (by := held(lock)) is not None:
            found[int(number)] = by
    return found


def running(store: Store, rank: int) -> dict[str, Any] | None:
    """Who runs this rank now (``pid``, ``host``); None where nobody does, or nobody that can be seen from here."""
    return held(_lock_path(store, rank))


def _lock_path(store: Store, rank: int) -> Path:
    if store.local is not None:
        return store.local / FOLDER / f"rank-{rank:05d}.lock"
    place = sha256(store.place.encode()).hexdigest()[:24]
    return Path(tempfile.gettempdir()) / f"qmgen-locks-{os.getuid()}" / f"{place}-rank-{rank:05d}.lock"
