"""The work units of a corpus: fixed ranges of the source's entries, and the files each of them becomes.

A unit writes one data file per split and one failures file, all with its index and the number of units in their names,
even if empty. It is done when all of them exist. Units follow from the source and the configuration alone.

A limit ("the first 20 molecules") changes no unit. The one that it cuts is written under names of its own
(``train-00000-of-00064.first-20.parquet``); without the limit that unit is not done, and its whole files replace those.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from qmgen.corpus.splits import SPLITS

ROWS_PER_UNIT: Final = 1000
LEAST_UNITS: Final = 8  # so that a small job keeps several workers busy
FAILURES: Final = "failures"

_NAME = re.compile(r"^(?P<kind>train|validation|test|part)-(?P<index>\d{5,})-of-(?P<count>\d{5,})"
                   r"(\.first-(?P<first>\d+))?\.parquet$")  # fmt: skip


@dataclass(frozen=True)
class Unit:
    """Entries ``start`` to ``stop`` (exclusive) of the source, as number ``index`` of ``count``; of these, only the
    first ``first`` are done where that is not None."""

    index: int
    count: int
    start: int
    stop: int
    first: int | None = None

    @property
    def end(self) -> int:
        """One past the last entry to be done."""
        return self.stop if self.first is None else self.start + self.first

    def files(self) -> dict[str, str]:
        """Names within the corpus: one per split, and ``failures``, which is written last and marks the unit done."""
        tail = f"{self.index:05d}-of-{self.count:05d}"
        tail += ".parquet" if self.first is None else f".first-{self.first}.parquet"
        return {split: f"data/{split}-{tail}" for split in SPLITS} | {FAILURES: f"failures/part-{tail}"}

    def done(self, directory: Path) -> bool:
        """Whether all files of this unit exist under their final names; for a cut one, a longer cut will do."""
        if all((directory / name).is_file() for name in reversed(self.files().values())):
            return True
        if self.first is None:
            return False
        others = (int(m["first"]) for p in directory.glob("failures/*.first-*.parquet") if (m := _NAME.match(p.name)))
        wider = [replace(self, first=first) for first in set(others) if first > self.first]
        return any(unit.done(directory) for unit in [replace(self, first=None), *sorted(wider, key=lambda u: -u.end)])


@dataclass(frozen=True)
class Plan:
    """``count`` units over ``entries`` entries, of which the first ``limit`` are wanted (all where None)."""

    entries: int
    count: int
    limit: int | None = None

    @property
    def wanted(self) -> int:
        """Entries to be done."""
        return self.entries if self.limit is None else min(self.limit, self.entries)

    def __iter__(self) -> Iterator[Unit]:
        """The units to be done, in order."""
        for index in range(self.count):
            start, stop = index * self.entries // self.count, (index + 1) * self.entries // self.count
            if start >= self.wanted > 0:
                return
            first = self.wanted - start if stop > self.wanted else None
            yield Unit(index, self.count, start, stop, first)


def plan(entries: int, conformers: int = 1, units: int | None = None, limit: int | None = None) -> Plan:
    """The plan for ``entries`` molecules of ``conformers`` geometries each.

    About 1000 rows a unit, but at least 8 units, and never more than entries; or exactly ``units``. Raises
    ``ValueError`` when there is nothing to plan.
    """
    if entries < 1 or conformers < 1 or (units is not None and units < 1) or (limit is not None and limit < 1):
        raise ValueError("a plan needs at least one molecule, one conformer and one unit, and a limit of at least 1")
    automatic = max(-(-entries * conformers // ROWS_PER_UNIT), LEAST_UNITS)
    return Plan(entries, min(units or automatic, entries), limit)


def listed(directory: Path, kind: str) -> list[str]:
    """Names (within ``directory``) of the files of a split or of ``failures``, in order of their units.

    A cut unit's files are left out where the whole unit, or a longer cut of it, stands beside them.
    """
    folder = FAILURES if kind == FAILURES else "data"
    wanted = "part" if kind == FAILURES else kind
    best: dict[tuple[int, int], tuple[float, str]] = {}
    for path in (directory / folder).glob("*.parquet"):
        match = _NAME.match(path.name)
        if match is None or match["kind"] != wanted:
            continue
        place = (int(match["count"]), int(match["index"]))
        covered = float(match["first"]) if match["first"] else float("inf")
        best[place] = max(best.get(place, (0.0, "")), (covered, f"{folder}/{path.name}"))
    return [best[place][1] for place in sorted(best)]


def superseded(directory: Path) -> list[str]:
    """Names of the files of cut units for which a whole or longer one is complete: safe to remove."""
    kept = {name for kind in (*SPLITS, FAILURES) for name in listed(directory, kind)}
    committed = {_tail(name) for name in listed(directory, FAILURES)}
    found = []
    for folder in ("data", FAILURES):
        for path in sorted((directory / folder).glob("*.first-*.parquet")):
            name = f"{folder}/{path.name}"
            if _NAME.match(path.name) and name not in kept and _tail(name) not in committed:
                found.append(name)
    return found


def _tail(name: str) -> str:
    """What the files of one unit share: all after the split's name."""
    return name.rsplit("/", 1)[-1].split("-", 1)[1]
