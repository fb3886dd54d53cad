"""The work units of a corpus, the files of each, the files that exist, and the split of each molecule.

Units are fixed ranges of the source's entries, or the parts of an enumeration; they follow from the source and the
configuration alone. A unit writes one data file per split and one failures file, all with its index and the number of
units in their names, even if empty. It is done when all of them exist.

A limit ("the first 20 molecules") changes no unit. The unit that the limit cuts is written under names of its own
(``train-00000-of-00064.first-20.parquet``); without the limit that unit is not done, and its whole files replace those.

The split is a seeded hash of the canonical SMILES, of the Hill formula where there is none. It depends on neither the
machine nor the run nor any other molecule; conformers of one molecule are in one split. Where stereoisomers are
enumerated, the caller gives the SMILES without stereo marks, so that they are in one split too.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from typing import Final

from qmgen.corpus.store import Store

SPLITS: Final = ("train", "validation", "test")


@dataclass(frozen=True)
class Splitter:
    """``validation`` and ``test`` are fractions of the molecules; the rest is ``train``.

    Raises ``ValueError`` when the fractions are negative or leave nothing to train on.
    """

    seed: int = 0
    validation: float = 0.05
    test: float = 0.05

    def __post_init__(self) -> None:
        if self.validation < 0 or self.test < 0 or self.validation + self.test >= 1:
            raise ValueError("validation and test fractions must not be negative, and their sum must be less than 1")

    def split(self, smiles: str, symbols: Iterable[str]) -> str:
        """The split of a molecule, by ``smiles``, or by the formula of its element ``symbols`` if that is empty.

        The digest's first 64 bits are a number u in [0, 1): test for u < test, validation up to test + validation.
        """
        place = self.place(smiles, symbols)
        if place < self.test:
            return "test"
        return "validation" if place < self.test + self.validation else "train"

    def place(self, smiles: str, symbols: Iterable[str]) -> float:
        """The number u in [0, 1) of a molecule, which ``split`` decides by."""
        key = smiles or hill_formula(symbols)
        digest = blake2b(f"{self.seed}\0{key}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64


def hill_formula(symbols: Iterable[str]) -> str:
    """Formula in Hill order: C, H, then the alphabet; the alphabet alone where there is no carbon. ``C2H6O``."""
    counts = Counter(symbols)
    first = ["C", "H"] if "C" in counts else []
    order = [s for s in first if s in counts] + sorted(counts.keys() - set(first))
    return "".join(f"{symbol}{counts[symbol] if counts[symbol] > 1 else ''}" for symbol in order)


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


_NAME: Final = re.compile(
    r"(?P<folder>data/(?P<split>train|validation|test)|failures/part)-(?P<index>\d{5,7})-of-(?P<count>\d{5,7})"
    r"(\.more-(?P<more>\d{1,7}))?(\.first-(?P<first>\d{1,18}))?\.parquet",
    re.ASCII,
)
#: a unit without its entries: (more, count, index)
UnitKey = tuple[int, int, int]


@dataclass(frozen=True)
class Named:
    """What the name of a file says: its ``kind`` (a split or ``failures``), unit, and cut (None where whole)."""

    kind: str
    key: UnitKey
    first: int | None

    @property
    def covered(self) -> float:
        """Entries of its unit that it covers."""
        return float("inf") if self.first is None else float(self.first)


@dataclass(frozen=True)
class Listing:
    """``sizes``: bytes of each file in data/ and failures/, by its name within the corpus."""

    sizes: Mapping[str, int]

    @classmethod
    def of(cls, store: Store) -> Listing:
        """What is there now. Raises ``OSError`` where the store cannot be listed."""
        return cls({**store.names("data"), **store.names(FAILURES)})

    def files(self, kind: str) -> list[str]:
        """Names of the files of a split or of ``failures``, in order of their units, what was added later last.

        A cut unit's files are left out where the whole unit, or a longer cut of it, stands beside them.
        """
        best: dict[UnitKey, tuple[float, str]] = {}
        for name, named in self._named.items():
            if named.kind == kind:
                best[named.key] = max(best.get(named.key, (0.0, "")), (named.covered, name))
        return [best[key][1] for key in sorted(best)]

    def done(self, unit: Unit) -> bool:
        """Whether all files of ``unit`` are there; for a cut one, a longer cut will do."""
        if self._all(unit):
            return True
        if unit.first is None:
            return False
        key = (unit.revision, unit.count, unit.index)
        return any(
            self._all(replace(unit, first=named.first))
            for named in self._committed.get(key, ())
            if named.covered > unit.first
        )

    def superseded(self) -> list[str]:
        """Names of the files of cut units for which a whole or longer one is complete: safe to remove."""
        kept = {name for kind in (*SPLITS, FAILURES) for name in self.files(kind)}
        committed = {_tail(name) for name in self.files(FAILURES)}
        cut = (name for name, named in self._named.items() if named.first is not None)
        return sorted(name for name in cut if name not in kept and _tail(name) not in committed)

    def foreign(self) -> list[str]:
        """Names of the files that are none of a corpus."""
        return sorted(name for name in self.sizes if name not in self._named)

    def units(self) -> Iterator[tuple[UnitKey, str]]:
        """The committed units, in order: key, and the name of the failures file."""
        return ((self._named[name].key, name) for name in self.files(FAILURES))

    def _all(self, unit: Unit) -> bool:
        return all(name in self.sizes for name in unit.files().values())

    @cached_property
    def _named(self) -> dict[str, Named]:
        return {name: named for name in self.sizes if (named := parse(name)) is not None}

    @cached_property
    def _committed(self) -> dict[UnitKey, list[Named]]:
        found: dict[UnitKey, list[Named]] = {}
        for named in self._named.values():
            if named.kind == FAILURES:
                found.setdefault(named.key, []).append(named)
        return found


def parse(name: str) -> Named | None:
    """What ``data/train-00000-of-00064.parquet`` says; None for a name that is none of ours."""
    match = _NAME.fullmatch(name)
    if match is None or not 0 < int(match["count"]) <= MOST_UNITS:  # as many units would be asked for
        return None
    first = None if match["first"] is None else int(match["first"])
    return Named(match["split"] or FAILURES, (int(match["more"] or 0), int(match["count"]), int(match["index"])), first)


def siblings(failures: str) -> dict[str, str]:
    """The names of all files of a unit, by kind, from that of its failures file."""
    tail = _tail(failures)
    return {split: f"data/{split}-{tail}" for split in SPLITS} | {FAILURES: failures}


def _tail(name: str) -> str:
    """What the files of one unit share: all after the split's name."""
    return name.rsplit("/", 1)[-1].split("-", 1)[1]
