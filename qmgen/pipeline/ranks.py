"""The rank of a process: which share of the work units it does, and the lock that keeps others from doing the same.

The rank is the one given, else that of Slurm's or Kubernetes' variables; else the process does all units.

Of world size w, rank r does the units whose index leaves r when divided by w.

Slurm tells a process two places: of its job in an array (``SLURM_ARRAY_TASK_ID`` of ``_MIN``, ``_MAX``, ``_STEP``), and
of itself among those that ``srun`` started together (``SLURM_PROCID`` of ``SLURM_STEP_NUM_TASKS``). A batch script has
``SLURM_PROCID=0`` and ``SLURM_NTASKS`` too, though it runs once: only a step's own variables count.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qmgen import files
from qmgen.corpus.identity import difference
from qmgen.corpus.locks import Held
from qmgen.corpus.plan import Plan, Unit
from qmgen.corpus.runs import holders, rank_lock
from qmgen.corpus.store import Store
from qmgen.corpus.store.local import FOLDERS
from qmgen.corpus.unit_records import digest
from qmgen.errors import AlreadyRunning, QmgenError, UsageError

if TYPE_CHECKING:
    from qmgen.config.generate import GenerateConfig, RetryConfig


_SAY: Final = "give --rank and --world-size"
#: srun's pseudo-steps (an interactive shell, the batch script) are numbered from here on: one process each
_FIRST_PSEUDO_STEP: Final = 0xFFFFFFF0


@dataclass(frozen=True)
class Rank:
    """Number ``rank``, from 0, of ``world_size`` processes that share the work units."""

    rank: int = 0
    world_size: int = 1


def rank_of(rank: int | None, world_size: int | None, environment: Mapping[str, str]) -> Rank:
    """The share of this process. ``rank`` and ``world_size`` are what the user gave, None where nothing.

    Raises ``UsageError`` where half of the answer is missing, or the halves do not fit each other.
    """
    if rank is not None:
        if world_size is None:
            raise UsageError(f"--rank {rank} of how many? give --world-size too")
        return _checked(rank, world_size, "--rank", "--world-size")
    if world_size is not None and world_size < 1:
        raise UsageError(f"--world-size {world_size} is below 1")
    found = _from_slurm(environment)
    if found is None:
        return _from_kubernetes(world_size, environment)
    if world_size is not None and world_size != found.world_size:
        raise UsageError(f"Slurm started {found.world_size} processes, not --world-size {world_size}: give --rank too")
    return found


def _from_slurm(environment: Mapping[str, str]) -> Rank | None:
    array, step = _place_in_array(environment), _place_in_step(environment)
    if array is None or step is None:
        return array or step
    return Rank(array.rank * step.world_size + step.rank, array.world_size * step.world_size)


def _place_in_array(environment: Mapping[str, str]) -> Rank | None:
    """The place among the indices of a job array, which must be evenly spaced to tell it."""
    index = _number(environment, "SLURM_ARRAY_TASK_ID")
    if index is None:
        return None
    first, last = _number(environment, "SLURM_ARRAY_TASK_MIN"), _number(environment, "SLURM_ARRAY_TASK_MAX")
    step = _number(environment, "SLURM_ARRAY_TASK_STEP") or 1
    if first is None or last is None:
        raise UsageError(f"Slurm's array task {index} does not know the array's bounds: {_SAY}")
    count = _number(environment, "SLURM_ARRAY_TASK_COUNT")
    even = (last - first) % step == 0 == (index - first) % step and first <= index <= last
    expected = (last - first) // step + 1
    if not even or (count is not None and count != expected):
        raise UsageError(f"Slurm's array from {first} to {last} has gaps, so task {index} has no rank: {_SAY}")
    return Rank((index - first) // step, expected)


def _place_in_step(environment: Mapping[str, str]) -> Rank | None:
    """The place among the processes that srun started together."""
    number = _number(environment, "SLURM_STEP_ID", "SLURM_STEPID")
    process = _number(environment, "SLURM_PROCID")
    if number is None or number >= _FIRST_PSEUDO_STEP or process is None:
        return None
    count = _number(environment, "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS")
    if count is None:
        return None
    return _checked(process, count, "SLURM_PROCID", "SLURM_STEP_NUM_TASKS")


def _from_kubernetes(world_size: int | None, environment: Mapping[str, str]) -> Rank:
    """The index of a pod in an Indexed Job, which does not tell how many there are."""
    index = _number(environment, "JOB_COMPLETION_INDEX")
    if index is None:
        if world_size not in (None, 1):
            raise UsageError(f"--world-size {world_size}, but which of them is this? give --rank too")
        return Rank()
    if world_size is None:
        raise UsageError(
            f"Kubernetes says that this is pod {index}, but not of how many: give --world-size or QMGEN_WORLD_SIZE, "
            "the Job's completions"
        )
    return _checked(index, world_size, "JOB_COMPLETION_INDEX", "--world-size")


def _checked(rank: int, world_size: int, name: str, of_name: str) -> Rank:
    if world_size < 1:
        raise UsageError(f"{of_name} {world_size} is below 1")
    if not 0 <= rank < world_size:
        raise UsageError(f"{name} {rank} is not one of {of_name} {world_size}: ranks go from 0 to {world_size - 1}")
    return Rank(rank, world_size)


def _number(environment: Mapping[str, str], *names: str) -> int | None:
    """The first of these variables that is set and not empty."""
    for name in names:
        text = environment.get(name, "").strip()
        if not text:
            continue
        if not (text.isascii() and text.isdigit()):
            raise UsageError(f"{name}={text!r} in the environment is no number: unset it, or {_SAY}")
        return int(text)
    return None


#: settings that say where, by whom and for how long something is done, not what
_HOW: Final = frozenset(
    {"out", "directory", "rank", "world_size", "workers", "devices", "time_limit", "max_failures", "molecules"}
)
_SWITCHES: Final = ("extend", "overwrite")
#: looks at locks whose holders have not said yet who they are, and seconds between
_LOOKS: Final = 5
_PAUSE: Final = 0.1


@dataclass(frozen=True)
class RunningCommand:
    """A command that writes to a corpus: its ``words`` and ``settings``, as plain values. It is ``whole`` where its
    source is known: standard input is not before it has been read."""

    words: str
    settings: Mapping[str, Any]
    whole: bool = True

    def as_json(self) -> dict[str, Any]:
        """Plain values, for the lock of its rank."""
        return {"words": self.words, "settings": dict(self.settings)}

    def other_than(self, held: Mapping[str, Any]) -> str | None:
        """What the holder of a lock does, in words, where that is something else; None where it is the same, or where
        the lock does not say."""
        doing = held.get("doing")
        if not isinstance(doing, dict) or not isinstance(settings := doing.get("settings"), dict):
            return None
        if doing.get("words") != self.words:
            return f"`{doing.get('words')}`"
        changes = difference(settings, self.settings)
        return f"`{self.words}` with other settings ({changes})" if changes else None


def generate_command(config: GenerateConfig, guess: str, digests: Iterable[str] | None = None) -> RunningCommand:
    """``qmgen generate`` with ``config``; ``guess`` as labeling sees it. ``digests`` are those of its source, taken
    from the files where they are not given."""
    whole = digests is not None or "-" not in config.molecules
    if digests is None:
        digests = [digest(Path(name)) for name in config.molecules if Path(name).is_file()]
    listed = list(digests)
    settings = {name: value for name, value in config.model_dump(mode="json").items() if name not in _HOW}
    words = " ".join(["qmgen generate", *(f"--{name}" for name in _SWITCHES if settings.pop(name))])
    source = sha256("".join(listed).encode()).hexdigest()[:16] if listed else None
    return RunningCommand(words, {**settings, "guess": guess, "molecules": source}, whole)


def retry_command(config: RetryConfig) -> RunningCommand:
    """``qmgen retry`` with ``config``."""
    settings = {name: value for name, value in config.model_dump(mode="json").items() if name not in _HOW}
    return RunningCommand("qmgen retry", settings)


def refuse_if_busy(store: Store, rank: Rank, command: RunningCommand) -> None:
    """Raise ``AlreadyRunning`` where another process does ``command`` as this ``rank``, ``UsageError`` where one does
    something else in ``store`` as any rank."""
    if not command.whole:
        return
    for number, by in sorted(_others(store).items()):
        who = f"process {by.get('pid')} on {by.get('host')}" if by.get("pid") and by.get("host") else "another process"
        if (other := command.other_than(by)) is not None:
            raise UsageError(
                f"{store.place} is being written by {who}: {other}; wait until that is done, stop it, or choose "
                "another directory"
            )
        if number == rank.rank:
            raise AlreadyRunning(
                f"rank {rank.rank} of {store.place} is being done by {who}: nothing to do here "
                "(other ranks can run beside it: --rank, --world-size)"
            )


def _others(store: Store) -> dict[int, dict[str, Any]]:
    """Who holds which rank, except this process. One that has just taken its lock gets a moment to say who it is."""
    found: dict[int, dict[str, Any]] = {}
    for _ in range(_LOOKS):
        found = holders(store)
        if all(by.get("pid") for by in found.values()):
            break
        time.sleep(_PAUSE)
    own = (os.getpid(), socket.gethostname())
    return {number: by for number, by in found.items() if (by.get("pid"), by.get("host")) != own}


@contextmanager
def hold_rank(store: Store, rank: Rank, command: RunningCommand) -> Iterator[None]:
    """Hold the lock of ``rank`` for ``command``.

    Raises ``AlreadyRunning`` when another process has it for the same command, ``UsageError`` when one does something
    else in ``store``, or nothing can be written.
    """
    if store.local is not None and store.local.exists() and not store.local.is_dir():
        raise UsageError(f"{store.place} is a file: choose another --out")
    refuse_links(store)
    lock = rank_lock(store, rank.rank, command.as_json())
    try:
        lock.acquire()
    except Held as by:
        refuse_if_busy(store, rank, replace(command, whole=True))
        raise QmgenError(f"rank {rank.rank} of {store.place} is held by {by.who}: run this again") from None
    except files.Linked:  # which says all of it
        raise
    except OSError as error:
        raise UsageError(f"cannot write to {store.place}: {error.strerror or error}; choose another --out") from error
    if not lock.certain:
        print(
            f"qmgen: {store.place} lies on a file system without locks: a second process with rank {rank.rank} would "
            "not be kept out, and do the same work",
            file=sys.stderr,
        )
    try:
        refuse_if_busy(store, rank, replace(command, whole=True))
        yield
    finally:
        lock.release()


def refuse_links(store: Store) -> None:
    """Raise ``UsageError`` where a folder of the corpus is a symbolic link: before anything is written."""
    if store.local is not None:
        files.refuse_links(store.local, *FOLDERS)


def units_of_rank(plan: Plan, rank: Rank) -> list[Unit]:
    """The units of ``plan`` that ``rank`` does: every ``world_size``-th."""
    return [unit for unit in plan if unit.index % rank.world_size == rank.rank]
