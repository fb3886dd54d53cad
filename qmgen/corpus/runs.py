"""One JSON file in runs/ per process that wrote to the corpus, the locks of ranks, and which ranks are running.

The record says who, where, with what, and how far; it is written when the run begins, now and then while it goes on,
and at its end. The kernel's lock on a rank tells for certain whether its process runs, on this machine or on a file
system that shares locks. Elsewhere a record that was written lately means "perhaps".
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from qmgen.corpus.locks import Lock, held, knows_locks
from qmgen.corpus.plan import MOST_UNITS
from qmgen.corpus.seal import is_count, number_of, sealed, sound_table, units_of, whole_of
from qmgen.corpus.store import Store, read_small
from qmgen.errors import one_line

FOLDER: Final = "runs"
#: of the lines of a record
INDENT: Final = 1
_LOCK: Final = re.compile(rf"{FOLDER}/rank-([0-9]{{5,12}})\.lock")
RUNNING, FINISHED, STOPPED, FAILED = "running", "finished", "stopped", "failed"


def new_record_name() -> str:
    """The name within the corpus of the record of this process, which begins now: no other process has this name."""
    return f"{FOLDER}/{datetime.now(UTC):%Y%m%dT%H%M%S}-{socket.gethostname()}-{os.getpid()}.json"


def write_record(store: Store, name: str, record: Mapping[str, Any]) -> None:
    """Write or replace a record, with a checksum of itself. Raises ``OSError``."""
    store.write(name, sealed(record, INDENT))


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


PERHAPS, KILLED, SILENT = "perhaps running", "killed", "silent"
#: states of a rank that something may still come from
LIVE: Final = (RUNNING, PERHAPS)
#: seconds for which a record that cannot be checked counts as a sign of life: three writings on an object store
FRESH: Final = 180.0


@dataclass(frozen=True)
class RankState:
    """The latest word of a rank. ``state``: running (it holds its lock), perhaps running, finished, stopped, failed,
    killed (without a last word), or silent (no word for long, and its lock cannot be seen). ``age`` is that of the
    record in seconds by this machine's calendar, None where it is dated in the future or not at all."""

    rank: int
    world_size: int | None
    state: str
    host: str | None = None
    pid: int | None = None
    rows: int = 0
    units_done: int = 0
    units_to_do: int = 0
    seconds: float = 0.0
    written: str | None = None
    age: float | None = None
    note: str = ""
    record: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)


def rank_states(store: Store, run_records: list[dict[str, Any]], now: datetime | None = None) -> list[RankState]:
    """The state of every rank that has a record or a lock here, in order. ``run_records`` stand oldest first."""
    now = now or datetime.now(UTC)
    by_rank: dict[int, list[dict[str, Any]]] = {}
    for record in run_records:
        if is_count(rank := record.get("rank"), 0, MOST_UNITS):
            by_rank.setdefault(rank, []).append(record)
    seen = {rank for name in store.names(FOLDER) if (rank := rank_of_lock(name)) is not None}
    return [
        state for rank in sorted(by_rank.keys() | seen) for state in _states(store, rank, by_rank.get(rank, []), now)
    ]


def _states(store: Store, rank: int, run_records: list[dict[str, Any]], now: datetime) -> list[RankState]:
    holder = running(store, rank)
    if holder is not None:
        for record in reversed(run_records):  # whatever the calendar says, the holder of the lock is the one at work
            if (record.get("pid"), record.get("host")) == (holder.get("pid"), holder.get("host")):
                if record.get("state") == RUNNING:
                    return [_state(rank, RUNNING, record, now)]
                break
        pid, host = holder.get("pid"), holder.get("host")
        size = run_records[-1].get("world_size") if run_records else None
        note = "no record yet: it has just begun, or is at its end"
        return [_state(rank, RUNNING, {"world_size": size, "pid": pid, "host": host}, now, note, of_lock=True)]
    if not run_records:
        return []
    record = run_records[-1]
    state = record.get("state")
    if state != RUNNING:
        known = state if state in (FINISHED, STOPPED, FAILED) else SILENT
        return [_state(rank, known, record, now)]
    if record.get("host") == socket.gethostname() and _locks_tell(store):
        return [_state(rank, KILLED, record, now)]
    age = _age(record, now)
    if age is None or age < -FRESH:
        note = "its record is dated in the future: clocks differ" if age is not None else "its record has no date"
        return [_state(rank, SILENT, record, now, note)]
    return [_state(rank, PERHAPS if age <= FRESH else SILENT, record, now)]


def _state(
    rank: int, state: str, record: Mapping[str, Any], now: datetime, note: str = "", of_lock: bool = False
) -> RankState:
    age = _age(record, now)
    if not note and age is not None and age < -FRESH:
        note = "its record is dated in the future: clocks differ"
    size, host, pid, written = (record.get(key) for key in ("world_size", "host", "pid", "written"))
    return RankState(
        rank=rank,
        world_size=size if isinstance(size, int) else None,
        state=state,
        host=one_line(host) if isinstance(host, str) else None,
        pid=pid if isinstance(pid, int) else None,
        rows=whole_of(record.get("rows")),
        units_done=len(units_of(record)),
        units_to_do=whole_of(record.get("units_to_do")),
        seconds=number_of(record.get("seconds")),
        written=written if isinstance(written, str) else None,
        age=age if age is not None and age >= 0 else None,
        note=note,
        record=None if of_lock else record,
    )


def _age(record: Mapping[str, Any], now: datetime) -> float | None:
    """Seconds since the record was written; negative for one from the future."""
    try:
        written = datetime.fromisoformat(record["written"])
        return (now - written).total_seconds()
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _locks_tell(store: Store) -> bool:
    """Whether a lock that nobody holds means that nobody is there: not on a file system without locks."""
    if store.local is None:
        return True  # then it lies in this machine's own temporary directory
    names = [name for name in store.names(FOLDER) if name.endswith(".json")]
    return bool(names) and knows_locks(store.local / names[0], store.local)
