"""Which files of a corpus there are, looked up once: two lists of names, however many units.

Names say everything: a unit is done when all of its files exist. They are parsed here and built in ``plan``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from qmgen.corpus.plan import FAILURES, MOST_UNITS, Unit
from qmgen.corpus.splits import SPLITS
from qmgen.corpus.store import Store

_NAME: Final = re.compile(
    r"(?P<folder>data/(?P<split>train|validation|test)|failures/part)-(?P<index>\d{5,7})-of-(?P<count>\d{5,7})"
    r"(\.more-(?P<more>\d{1,7}))?(\.first-(?P<first>\d{1,18}))?\.parquet",
    re.ASCII,
)
#: a unit without its entries: (more, count, index)
Key = tuple[int, int, int]


@dataclass(frozen=True)
class Named:
    """What the name of a file says: its ``kind`` (a split or ``failures``), unit, and cut (None where whole)."""

    kind: str
    key: Key
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
        best: dict[Key, tuple[float, str]] = {}
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

    def units(self) -> Iterator[tuple[Key, str]]:
        """The committed units, in order: key, and the name of the failures file."""
        return ((self._named[name].key, name) for name in self.files(FAILURES))

    def _all(self, unit: Unit) -> bool:
        return all(name in self.sizes for name in unit.files().values())

    @cached_property
    def _named(self) -> dict[str, Named]:
        return {name: named for name in self.sizes if (named := parse(name)) is not None}

    @cached_property
    def _committed(self) -> dict[Key, list[Named]]:
        found: dict[Key, list[Named]] = {}
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
