"""Which command writes to a corpus, and what another one finds there: the same is being done already, another waits."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qmgen.corpus.identity import difference
from qmgen.corpus.runs import holders
from qmgen.corpus.shard import digest
from qmgen.corpus.store import Store
from qmgen.errors import AlreadyRunning, UsageError
from qmgen.pipeline.ranks import Rank

if TYPE_CHECKING:
    from qmgen.config.generate import GenerateConfig, RetryConfig

#: settings that say where, by whom and for how long something is done, not what
_HOW: Final = frozenset(
    {"out", "directory", "rank", "world_size", "workers", "devices", "time_limit", "max_failures", "molecules"}
)
_SWITCHES: Final = ("extend", "overwrite")
#: looks at locks whose holders have not said yet who they are, and seconds between
_LOOKS: Final = 5
_PAUSE: Final = 0.1


@dataclass(frozen=True)
class Command:
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


def generate_command(config: GenerateConfig, guess: str, digests: Iterable[str] | None = None) -> Command:
    """``qmgen generate`` with ``config``; ``guess`` as labelling sees it. ``digests`` are those of its source, taken
    from the files where they are not given."""
    whole = digests is not None or "-" not in config.molecules
    if digests is None:
        digests = [digest(Path(name)) for name in config.molecules if Path(name).is_file()]
    listed = list(digests)
    settings = {name: value for name, value in config.model_dump(mode="json").items() if name not in _HOW}
    words = " ".join(["qmgen generate", *(f"--{name}" for name in _SWITCHES if settings.pop(name))])
    source = sha256("".join(listed).encode()).hexdigest()[:16] if listed else None
    return Command(words, {**settings, "guess": guess, "molecules": source}, whole)


def retry_command(config: RetryConfig) -> Command:
    """``qmgen retry`` with ``config``."""
    settings = {name: value for name, value in config.model_dump(mode="json").items() if name not in _HOW}
    return Command("qmgen retry", settings)


def refuse_if_busy(store: Store, rank: Rank, command: Command) -> None:
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
