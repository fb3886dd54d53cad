"""What the death of a worker means for the molecules it was busy with. Plain logic: no process, no clock.

A batch that died with its worker is labeled again one conformer at a time; the one that kills a second worker is
excluded: it becomes a failure, and the run goes on without it. A death counts against a molecule only if its cause
lies inside the process. A bare SIGKILL comes from outside: from a scheduler, a person, a test. Where a death may have
been the machine's doing (too little memory above all), so may the failure, and the same command tries it again; and
where several molecules in a row are excluded, it is the machine that fails, and the run ends.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

from qmgen.molecules.types import Failure, Reason
from qmgen.processes import OWN_FAULT, ending

#: (molecule_id, conformer_id)
ConformerKey = tuple[int, int]

#: explained deaths that exclude a conformer, the last of them alone
DEATHS_TO_EXCLUDE: Final = 2
#: so many unexplained ones, each time alone and never survived, are no chance any more
MAX_UNEXPLAINED_DEATHS: Final = 8
#: deaths in a row that bring a unit no further before the run gives up
MAX_DEATHS_WITHOUT_PROGRESS: Final = 8
#: the same, where memory ran out each time
MAX_DEATHS_OUT_OF_MEMORY: Final = 3
#: the same, where each attempt labels something, but never more than an earlier one
MAX_DEATHS_WITHOUT_NEW_BEST: Final = 100
#: workers in a row that die before they are ready
MAX_FAILED_STARTS: Final = 3
#: different molecules in a row that are excluded, and nothing labeled between them: it is not they that fail
MAX_EXCLUDED_IN_A_ROW: Final = 3


@dataclass(frozen=True)
class WorkerDeath:
    """``how``: the name of a signal, or ``exit code n``; ``explained``: the cause lies in what the worker did;
    ``machine``: the machine may all the same have caused it; ``stage``: the last that the process showed."""

    how: str
    explained: bool
    machine: bool = False
    stage: str = ""


def death_of(code: int | None, memory_ran_out: bool, limited: bool = False) -> WorkerDeath:
    """The death behind the return ``code`` of a process (negative: a signal; None: it lived, but spoke no more);
    ``memory_ran_out``: the kernel killed some process for want of memory meanwhile; ``limited``: its address space has
    a limit, so that want of memory may end it in any way."""
    if code is None:
        return WorkerDeath("it fell silent", False, True)
    name = ending(code)
    if code >= 0:
        return WorkerDeath(name, True, limited)
    if name == "SIGKILL" and memory_ran_out:
        return WorkerDeath("SIGKILL for want of memory", True, True)
    return WorkerDeath(name, name in OWN_FAULT, limited or name not in OWN_FAULT)


@dataclass
class UnitCrashes:
    """What the deaths of its workers mean for a unit: the next worker labels the ``suspected`` conformers alone;
    the ``excluded`` ones are not labeled and become these failures."""

    suspected: dict[ConformerKey, None] = field(default_factory=dict)
    excluded: dict[ConformerKey, Failure] = field(default_factory=dict)
    _machines: set[ConformerKey] = field(default_factory=set)
    _in_company: dict[ConformerKey, str] = field(default_factory=dict)
    _alone: dict[ConformerKey, list[str]] = field(default_factory=dict)
    _unlucky: dict[ConformerKey, int] = field(default_factory=dict)
    _furthest: int = 0
    _fruitless: int = 0
    _starved: int = 0
    _aimless: int = 0

    def died(self, death: WorkerDeath, on_device: Iterable[ConformerKey], begun: int, done: int) -> list[ConformerKey]:
        """A worker died with the batch ``on_device`` on its device; the keys that this excludes.

        ``begun`` and ``done`` count rows and failures, at the beginning of its attempt and at the end.
        """
        keys = [key for key in on_device if key not in self.excluded]
        fresh = [key for key in keys if key not in self.suspected]
        self.suspected.update(dict.fromkeys(keys))
        excluded = []
        if len(keys) == 1:
            excluded = self._blame(keys[0], death)
        elif death.explained:
            self._in_company.update(dict.fromkeys(keys, death.how))
        further = bool(fresh or excluded) or done > self._furthest
        self._aimless = 0 if further else self._aimless + 1
        # a kill from outside may come at any time: an attempt that labeled anything is not held against the unit
        self._fruitless = 0 if further or (done > begun and not death.explained) else self._fruitless + 1
        self._starved = 0 if not self._fruitless or not (death.explained and death.machine) else self._starved + 1
        self._furthest = max(self._furthest, done)
        return excluded

    def survived(self, on_device: Iterable[ConformerKey]) -> None:
        """The batch ``on_device`` is labeled. A conformer that was alone in it did not cause the deaths in company."""
        keys = list(on_device)
        if len(keys) == 1:
            self._in_company.pop(keys[0], None)
            self._unlucky.pop(keys[0], None)

    @property
    def hopeless(self) -> int:
        """Deaths in a row that brought the unit no further, if they are too many; else 0."""
        if self._fruitless >= MAX_DEATHS_WITHOUT_PROGRESS or self._starved >= MAX_DEATHS_OUT_OF_MEMORY:
            return self._fruitless
        return self._aimless if self._aimless >= MAX_DEATHS_WITHOUT_NEW_BEST else 0

    def _blame(self, key: ConformerKey, death: WorkerDeath) -> list[ConformerKey]:
        if death.machine:
            self._machines.add(key)
        if death.explained:
            self._alone.setdefault(key, []).append(death.how)
            before = [self._in_company[key]] if key in self._in_company else []
            ways = sorted([*before, *self._alone[key]])
            if len(ways) < DEATHS_TO_EXCLUDE:
                return []
            how = f"{ways[0]} twice" if ways[0] == ways[-1] else " and ".join(ways)
        else:
            self._unlucky[key] = self._unlucky.get(key, 0) + 1
            if self._unlucky[key] < MAX_UNEXPLAINED_DEATHS:
                return []
            how = f"{death.how} {MAX_UNEXPLAINED_DEATHS} times"
        reason = Reason.MACHINE_TROUBLE if key in self._machines else Reason.WORKER_CRASHED
        self.excluded[key] = Failure(*key, "", "", reason, f"{how} while it was being labelled")
        self.suspected.pop(key, None)
        return [key]


@dataclass
class MachineHealth:
    """Whether the machine is sound, as far as the fates of molecules show: ``proven`` once something was labeled.

    ``before`` are conformers that an earlier run excluded too: they are the ones that fail.
    """

    proven: bool = False
    before: Collection[ConformerKey] = ()
    _in_a_row: dict[int, str] = field(default_factory=dict)
    _doubtful: bool = False

    @property
    def in_doubt(self) -> bool:
        """Whether a molecule was excluded since the last one was labeled."""
        return bool(self._in_a_row)

    def labeled(self) -> None:
        """A conformer was labeled."""
        self.proven = True
        self._in_a_row.clear()

    def exclude(self, failure: Failure) -> None:
        """A conformer becomes this failure."""
        machine = failure.reason is Reason.MACHINE_TROUBLE
        if machine or (failure.molecule_id, failure.conformer_id) not in self.before:
            self._in_a_row[failure.molecule_id] = failure.detail
            self._doubtful |= machine

    @property
    def lost(self) -> str | None:
        """Why the run should end, if it should: too many molecules in a row."""
        if len(self._in_a_row) < MAX_EXCLUDED_IN_A_ROW:
            return None
        numbers = ", ".join(map(str, list(self._in_a_row)[-MAX_EXCLUDED_IN_A_ROW:]))
        return f"{len(self._in_a_row)} molecules in a row ({numbers}) ended their workers, the last one: {self._last}"

    @property
    def never(self) -> str | None:
        """Why the run has failed as a whole, if nothing was ever labeled, and that may be the machine's doing."""
        if self.proven or not self._doubtful or not self._in_a_row:
            return None
        return f"no molecule could be labelled, the last one: {self._last}"

    @property
    def _last(self) -> str:
        return list(self._in_a_row.values())[-1]
