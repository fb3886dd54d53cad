"""The work units of a corpus: fixed ranges of the source's entries, or the parts of an enumeration; and the files each
of them becomes.

A unit writes one data file per split and one failures file, all with its index and the number of units in their names,
even if empty. It is done when all of them exist. Units follow from the source and the configuration alone.

A limit ("the first 20 molecules") changes no unit. The one that it cuts is written under names of its own
(``train-00000-of-00064.first-20.parquet``); without the limit that unit is not done, and its whole files replace those.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from qmgen.corpus.splits import SPLITS

ROWS_PER_UNIT: Final = 1000
LEAST_UNITS: Final = 8  # so that a small job keeps several workers busy
#: from here on units grow instead: a file costs a file system the same, however small
MANY_UNITS: Final = 4096
MOST_ROWS_PER_UNIT: Final = 25000
#: no corpus has more: four million files, of which a file system makes heavy work
MOST_UNITS: Final = 2**20
#: nor was it added to more often
MOST_ADDITIONS: Final = 10**6
FAILURES: Final = "failures"
#: bits of the ``molecule_id`` of an enumerated molecule that say its place in the unit
PLACE_BITS: Final = 32
#: the folder of what states the revisions of a corpus
REVISIONS_FOLDER: Final = "generations"


@dataclass(frozen=True)
class Unit:
    """Entries ``start`` to ``stop`` (exclusive) of the source, as number ``index`` of ``count``; of these, only the
    first ``first`` are done where that is not None. ``revision`` 0 is the corpus as first planned (see
    ``corpus.revisions``). A ``part`` of an enumeration stands in for its molecules, not counted before."""

    index: int
    count: int
    start: int
    stop: int
    first: int | None = None
    revision: int = 0
    part: bool = False

    @property
    def holds(self) -> str:
        """What is in it, in words."""
        return f"part {self.index + 1} of {self.count}" if self.part else f"molecules {self.start} to {self.end - 1}"

    @property
    def end(self) -> int:
        """One past the last entry to be done."""
        return self.stop if self.first is None else self.start + self.first

    @property
    def tail(self) -> str:
        """What the names of all its files share: ``00003-of-00064.parquet``."""
        more = f".more-{self.revision}" if self.revision else ""
        cut = f".first-{self.first}" if self.first is not None else ""
        return f"{self.index:05d}-of-{self.count:05d}{more}{cut}.parquet"

    def files(self) -> dict[str, str]:
        """Names within the corpus: one per split, and ``failures``, which is written last and marks the unit done."""
        return {split: f"data/{split}-{self.tail}" for split in SPLITS} | {FAILURES: f"{FAILURES}/part-{self.tail}"}


@dataclass(frozen=True)
class Plan:
    """``count`` units over ``entries`` entries, of which the first ``limit`` are wanted (all where None).

    ``revision`` numbers what was added to a finished corpus, from 1; its entries begin at ``begin``. With ``parts`` the
    entries are not molecules but the parts of an enumeration, one a unit.
    """

    entries: int
    count: int
    limit: int | None = None
    revision: int = 0
    begin: int = 0
    parts: bool = False

    @property
    def wanted(self) -> int:
        """Entries to be done."""
        return self.entries if self.limit is None else min(self.limit, self.entries)

    @property
    def size(self) -> int:
        """Units of which something is to be done."""
        return min(self.count, -(-self.wanted * self.count // self.entries)) if self.wanted > 0 else self.count

    def __iter__(self) -> Iterator[Unit]:
        """The units to be done, in order."""
        for index in range(self.count):
            unit = self.unit(index)
            if unit is None:
                return
            yield unit

    def unit(self, index: int) -> Unit | None:
        """Unit ``index``; None where there is none, or nothing of it is to be done."""
        if not 0 <= index < self.count:
            return None
        start, stop = index * self.entries // self.count, (index + 1) * self.entries // self.count
        if start >= self.wanted > 0:
            return None
        first = self.wanted - start if stop > self.wanted else None
        return Unit(index, self.count, self.begin + start, self.begin + stop, first, self.revision, self.parts)


def plan(entries: int, conformers: int = 1, units: int | None = None, limit: int | None = None) -> Plan:
    """The plan for ``entries`` molecules of ``conformers`` geometries each.

    About 1000 rows a unit, but at least 8 units and never more than entries; above 4096 units they grow to 25 000 rows
    before there are more; there are never more than ``MOST_UNITS``. Or exactly ``units``. Raises ``ValueError`` when
    there is nothing to plan.
    """
    if entries < 1 or conformers < 1 or (units is not None and units < 1) or (limit is not None and limit < 1):
        raise ValueError("a plan needs at least one molecule, one conformer and one unit, and a limit of at least 1")
    rows = entries * conformers
    fewest = max(-(-rows // MOST_ROWS_PER_UNIT), MANY_UNITS)
    automatic = min(max(-(-rows // ROWS_PER_UNIT), LEAST_UNITS), fewest, MOST_UNITS)
    return Plan(entries, min(units or automatic, entries), limit)


def plan_of_parts(count: int) -> Plan:
    """The plan for a whole enumeration, dealt to ``count`` parts."""
    return Plan(count, count, parts=True)


def part_molecule_id(unit: int, place: int) -> int:
    """The ``molecule_id`` of the molecule at ``place`` (from 0) of part ``unit``: it depends on the unit alone."""
    return (unit << PLACE_BITS) | place


def part_of_molecule(molecule_id: int) -> int:
    """The unit of the molecule with this identifier, inverse to ``part_molecule_id``."""
    return molecule_id >> PLACE_BITS
