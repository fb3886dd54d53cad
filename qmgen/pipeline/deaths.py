"""What the death of a worker means for the molecules it was busy with. Plain logic: no process, no clock.

A batch that died with its worker is labelled again one conformer at a time; the one that kills a second worker is
condemned: it becomes a failure, and the run goes on without it. A death counts against a molecule only if its cause
lies inside the process. A bare SIGKILL is somebody else's doing: a scheduler, a person, a test.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

#: (molecule_id, conformer_id)
Key = tuple[int, int]

#: signals that a process brings upon itself
_OWN_FAULT: Final = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE")
#: explained deaths that condemn a conformer, the last of them alone
ENOUGH: Final = 2
#: so many unexplained ones, each time alone and never survived, are no chance any more
TOO_UNLUCKY: Final = 8
#: deaths in a row that bring a unit no further before the run gives up
FRUITLESS: Final = 8
#: the same, where each attempt labels something, but never more than an earlier one
AIMLESS: Final = 100
#: workers in a row that die before they are ready
STILLBORN: Final = 3


@dataclass(frozen=True)
class Death:
    """``how``: the name of a signal, or ``exit code n``; ``explained``: the cause lies in what the worker did."""

    how: str
    explained: bool


def death_of(code: int | None, memory_ran_out: bool) -> Death:
    """The death behind the return ``code`` of a process (negative: a signal; None: it lived, but spoke no more);
    ``memory_ran_out``: the kernel killed some process for want of memory meanwhile."""
    if code is None:
        return Death("it fell silent", False)
    if code >= 0:
        return Death(f"exit code {code}", True)
    try:
        name = signal.Signals(-code).name
    except ValueError:  # a real-time signal
        name = f"signal {-code}"
    if name == "SIGKILL" and memory_ran_out:
        return Death("SIGKILL for want of memory", True)
    return Death(name, name in _OWN_FAULT)


@dataclass
class Trial:
    """What the deaths of its workers say about a unit: ``suspects`` are to be labelled alone, ``condemned`` not at all
    (with the reason). Both are what the next worker is told."""

    suspects: dict[Key, None] = field(default_factory=dict)
    condemned: dict[Key, str] = field(default_factory=dict)
    _in_company: dict[Key, str] = field(default_factory=dict)
    _alone: dict[Key, list[str]] = field(default_factory=dict)
    _unlucky: dict[Key, int] = field(default_factory=dict)
    _furthest: int = 0
    _fruitless: int = 0
    _aimless: int = 0

    def died(self, death: Death, held: Iterable[Key], begun: int, done: int) -> list[Key]:
        """A worker died with the batch ``held`` on its device; the keys that this condemns.

        ``begun`` and ``done`` count rows and failures, at the beginning of its attempt and at the end.
        """
        keys = [key for key in held if key not in self.condemned]
        fresh = [key for key in keys if key not in self.suspects]
        self.suspects.update(dict.fromkeys(keys))
        condemned = []
        if len(keys) == 1:
            condemned = self._blame(keys[0], death)
        elif death.explained:
            self._in_company.update(dict.fromkeys(keys, death.how))
        further = bool(fresh or condemned) or done > self._furthest
        self._aimless = 0 if further else self._aimless + 1
        # another's doing may strike at any time: an attempt that labelled anything is not held against the unit
        self._fruitless = 0 if further or (done > begun and not death.explained) else self._fruitless + 1
        self._furthest = max(self._furthest, done)
        return condemned

    def survived(self, held: Iterable[Key]) -> None:
        """The batch ``held`` is through. One that was alone has shown that the deaths in company were not its own."""
        keys = list(held)
        if len(keys) == 1:
            self._in_company.pop(keys[0], None)
            self._unlucky.pop(keys[0], None)

    @property
    def hopeless(self) -> int:
        """Deaths in a row that brought the unit no further, if they are too many; else 0."""
        if self._fruitless >= FRUITLESS:
            return self._fruitless
        return self._aimless if self._aimless >= AIMLESS else 0

    def _blame(self, key: Key, death: Death) -> list[Key]:
        if death.explained:
            self._alone.setdefault(key, []).append(death.how)
            before = [self._in_company[key]] if key in self._in_company else []
            ways = sorted([*before, *self._alone[key]])
            if len(ways) < ENOUGH:
                return []
            how = f"{ways[0]} twice" if ways[0] == ways[-1] else " and ".join(ways)
        else:
            self._unlucky[key] = self._unlucky.get(key, 0) + 1
            if self._unlucky[key] < TOO_UNLUCKY:
                return []
            how = f"{death.how} {TOO_UNLUCKY} times"
        self.condemned[key] = f"{how} while it was being labelled"
        self.suspects.pop(key, None)
        return [key]
