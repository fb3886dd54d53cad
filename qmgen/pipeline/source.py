"""The source of a run: its entries, counted, digested, numbered through all files, and cut into work units."""

from __future__ import annotations

import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final, Protocol

from qmgen.corpus.plan import Plan, Unit, plan
from qmgen.corpus.revisions import FailureKey
from qmgen.corpus.unit_records import digest
from qmgen.errors import Interrupted, QmgenError, UsageError
from qmgen.molecules.entries import NamedDuplicates, merge_key
from qmgen.molecules.types import Failure, Molecule, Reason
from qmgen.pipeline.crash_policy import ConformerKey
from qmgen.pipeline.stages import Stages


@dataclass(frozen=True)
class UnitRevision:
    """What a unit that adds to a finished corpus leaves out: ``known`` entries were counted before. ``first[m]``: the
    lowest conformer still missing. ``only[m]``: exactly the conformers to label. Molecules in neither: all conformers.
    ``labeled`` molecules have rows in earlier revisions. ``decided`` are the earlier failures that the unit tries
    again."""

    known: int = 0
    first: Mapping[int, int] = field(default_factory=dict)
    only: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    labeled: frozenset[int] = frozenset()
    decided: tuple[FailureKey, ...] = ()

    def wants(self, molecule_id: int, conformer_id: int) -> bool:
        """Whether this conformer is to be labeled here."""
        if molecule_id in self.only:
            return conformer_id in self.only[molecule_id]
        return conformer_id >= self.first.get(molecule_id, 0)

    def failures(self, failure: Failure) -> Iterator[Failure]:
        """What ``failure`` comes to here: one of a whole molecule is one of each conformer that was wanted, where these
        are known one by one."""
        if failure.conformer_id < 0:
            wanted = self.only.get(failure.molecule_id, (failure.conformer_id,))
            yield from (replace(failure, conformer_id=conformer) for conformer in wanted)
        elif self.wants(failure.molecule_id, failure.conformer_id):
            yield failure

    def pruned(self, molecule_id: int, count: int) -> int:
        """How many of ``count`` pruned conformers were not counted before."""
        return 0 if molecule_id in self.only else count

    def keys(self) -> set[tuple[int, int]]:
        """What must become a row or a failure, as far as it is known one by one."""
        return {(molecule, conformer) for molecule, wanted in self.only.items() for conformer in wanted}

    def counts(self, rows: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
        """What the unit's failures file holds about this: see ``corpus.unit_records.UnitRecord``."""
        again = {split: len({r["molecule_id"] for r in of_split} & self.labeled) for split, of_split in rows.items()}
        counts: dict[str, Any] = {"again": again}
        if self.decided:
            counts["decided"] = [list(key) for key in self.decided]
        return counts


Entry = Molecule | Failure
#: the molecule_id and name of a duplicate, and the molecule_id of the molecule that it was merged into
Duplicate = tuple[int, str, int]

#: seconds that are spent on units of others before a sign of life
_PATIENCE: Final = 1.0
_LARGEST_ID: Final = 2**63 - 1  # that the column molecule_id holds
HELD: Final = 20000  # entries kept in memory instead of being read a second time


@dataclass(frozen=True)
class UnitInput:
    """A unit and what is to be done in it: its entries, less ``merged`` duplicates of earlier ones, of which
    ``duplicates`` are those with a name; where it adds to a finished corpus, ``revision`` says how. ``suspected``
    conformers are labeled first, each alone; ``excluded`` conformers become these failures, whose name and SMILES are
    not filled in."""

    unit: Unit
    entries: list[Entry]
    merged: int
    revision: UnitRevision | None = None
    duplicates: tuple[Duplicate, ...] = ()
    suspected: tuple[ConformerKey, ...] = ()
    excluded: Mapping[ConformerKey, Failure] = field(default_factory=dict)


class MoleculeSource(Protocol):
    """Where the molecules of a run come from: ``FileSource``, or ``EnumerationParts``."""

    @property
    def identity(self) -> Any:
        """What the recipe says of it, as plain values."""
        ...

    def plan(self, conformers: int, units: int | None, limit: int | None) -> Plan:
        """The plan of a run over it, as ``corpus.plan.plan``."""
        ...

    def works(self, plan: Plan, wanted: Container[int]) -> Generator[UnitInput | None, None, None]:
        """Those units of ``plan`` whose index is ``wanted``, in order; None where the next is not there yet."""
        ...

    def expected(self, unit: Unit) -> int:
        """How many entries ``unit`` holds; of an enumeration, about."""
        ...

    def sample(self, plan: Plan, count: int, until: float) -> list[Entry]:
        """Some ``count`` entries, spread evenly over what is wanted; fewer, or none, where the clock
        (``time.monotonic``) shows ``until`` before."""
        ...


@dataclass(frozen=True)
class FileSource:
    """``files`` in order, ``entries`` in all of them together, ``digests`` (SHA-256) of their contents; ``keep``, the
    columns that their entries carry, and ``named``, the SMILES that have duplicates with names (None: any may).

    Where a corpus is extended whose files are gone, ``stored()`` gives ``n_stored`` entries that come before those of
    the files: the molecules of the corpus."""

    files: tuple[Path, ...]
    smiles_column: str | None
    stages: Stages
    entries: int
    digests: tuple[str, ...]
    held: tuple[Entry, ...] | None = None
    keep: tuple[str, ...] = ()
    named: frozenset[str] | None = None
    stored: Callable[[], Iterator[Entry]] = lambda: iter(())
    n_stored: int = 0

    def __iter__(self) -> Iterator[Entry]:
        """All entries, unmerged. Identifiers go on from one file to the next, so that they do not collide."""
        yield from self.stored()
        held = self.held
        for entry in held if held is not None else _read(self.files, self.smiles_column, self.stages, self.keep):
            yield replace(entry, molecule_id=entry.molecule_id + self.n_stored) if self.n_stored else entry

    @property
    def identity(self) -> list[str]:
        """The digests: where files lie, and under which names, changes no row."""
        return list(self.digests)

    def plan(self, conformers: int, units: int | None, limit: int | None) -> Plan:
        """``corpus.plan.plan`` for all entries."""
        return plan(self.entries, conformers, units, limit)

    def expected(self, unit: Unit) -> int:
        """The entries of ``unit``."""
        return unit.end - unit.start

    def sample(self, plan: Plan, count: int, until: float) -> list[Entry]:
        """Every n-th of the wanted entries, so that there are ``count`` of them, or as many as are read ``until`` then;
        the first of them always."""
        step = max(plan.wanted // count, 1)
        sampled = []
        for place, entry in enumerate(islice(self, min(plan.wanted, count * step))):
            if place % step == 0:
                sampled.append(entry)
            if time.monotonic() >= until:
                break
        return sampled

    def works(self, plan: Plan, wanted: Container[int]) -> Generator[UnitInput | None, None, None]:
        """The ``wanted`` units with their entries; a duplicate is merged into its first occurrence in the source.

        A geometry whose identifiers were given before becomes a failure: two rows must not share a key.
        """
        told = time.monotonic()
        for unit, mine, duplicates in self.places(plan):
            if unit.index not in wanted:
                if time.monotonic() - told > _PATIENCE:  # the pool that waits has to look for signals
                    yield None
                    told = time.monotonic()
            else:
                merged = unit.end - unit.start - len(mine)
                yield UnitInput(unit, [entry for _, entry in mine], merged, duplicates=duplicates)

    def places(self, plan: Plan) -> Iterator[tuple[Unit, list[tuple[int, Entry]], tuple[Duplicate, ...]]]:
        """The units of ``plan`` with their entries as in ``works``, each with its place in the source, and their
        duplicates with names."""
        placed = _Placed(islice(self, plan.begin + plan.wanted), self.named)
        unique = unique_keys(self.stages.merge(placed))
        entry = next(unique, None)
        for unit in plan:
            mine: list[tuple[int, Entry]] = []
            while entry is not None and placed.place < unit.end:
                if placed.place >= unit.start:  # what lies before was labeled earlier; duplicates of it are merged
                    mine.append((placed.place, entry))
                entry = next(unique, None)
            if entry is None and placed.place + 1 < min(unit.end, self.entries):
                raise QmgenError(
                    f"the molecules have changed while they were read: {placed.place + 1} of {self.entries} are left "
                    f"in {', '.join(map(str, self.files))}; put the file back, and run again"
                )
            yield unit, mine, placed.merged(unit.start, unit.end)


class _Placed(Iterator[Entry]):
    """Entries, and the ``place`` (from 0) of the one taken last; a merger hands out each before it takes the next.

    Of the molecules in ``named`` (None: of all) it knows which are duplicates: all but the first.
    """

    def __init__(self, entries: Iterator[Entry], named: frozenset[str] | None) -> None:
        self._entries, self._named = entries, named
        self.place = -1
        self._first: dict[str, int] = {}
        self._merged: deque[tuple[int, Duplicate]] = deque()

    def __next__(self) -> Entry:
        entry = next(self._entries)
        self.place += 1
        key = merge_key(entry)
        if key and (self._named is None or key in self._named):
            first = self._first.setdefault(key, entry.molecule_id)
            if first != entry.molecule_id and entry.name:
                self._merged.append((self.place, (entry.molecule_id, entry.name, first)))
        return entry

    def merged(self, start: int, end: int) -> tuple[Duplicate, ...]:
        """The duplicates with names from place ``start`` up to ``end``; those before are forgotten."""
        duplicates = []
        while self._merged and self._merged[0][0] < end:
            place, duplicate = self._merged.popleft()
            if place >= start:
                duplicates.append(duplicate)
        return tuple(duplicates)


def unique_keys(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The entries, with a failure in place of a geometry whose identifiers were given before: a source that has its own
    identifiers may give one twice. Each entry is handed out before the next is taken."""
    seen: set[int] = set()
    for entry in entries:
        if isinstance(entry, Failure) or entry.positions is None:
            yield entry
            continue
        number, conformer = entry.molecule_id, entry.conformer_id
        key = (number << 32) | conformer
        if key in seen:
            detail = f"molecule_id {number} with conformer_id {conformer} stands twice in the source"
            yield Failure(number, conformer, entry.name, entry.smiles, Reason.UNREADABLE, detail)
        else:
            seen.add(key)
            yield entry


@contextmanager
def open_source(
    files: Sequence[str],
    smiles_column: str | None,
    stages: Stages,
    stopping: Callable[[], bool] = lambda: False,
    keep: Sequence[str] = (),
) -> Iterator[FileSource]:
    """The source of ``files`` (``-`` is standard input, spooled to a temporary file for as long as this is open), whose
    entries carry the columns ``keep``.

    Raises ``UsageError`` on a file that is missing, empty, holds no molecule, or lacks a column to keep;
    ``Interrupted`` when ``stopping()``.
    """
    with tempfile.TemporaryDirectory(prefix="qmgen-") as folder:
        paths = tuple(_spool(Path(folder)) if name == "-" else _checked(Path(name)) for name in files)
        entries = 0
        held: list[Entry] | None = []
        duplicates = NamedDuplicates()
        for entry in _read(paths, smiles_column, stages, keep):
            entries += 1
            duplicates.see(entry)
            if stopping():
                raise Interrupted("stopped while the molecules were counted; the same command begins again")
            if held is not None:
                held.append(entry)
                if entries > HELD:
                    held = None
        if not entries:
            raise UsageError(f"no molecules in {', '.join(files)}: the input must hold at least one")
        digests = tuple(digest(path) for path in paths)  # of the contents: names and places change no row
        of_all = None if held is None else tuple(held)
        yield FileSource(paths, smiles_column, stages, entries, digests, of_all, tuple(keep), duplicates.keys)


def _read(
    paths: Sequence[Path], smiles_column: str | None, stages: Stages, keep: Sequence[str] = ()
) -> Iterator[Entry]:
    offset = 0
    for path in paths:
        last = -1
        for entry in stages.read(path, smiles_column, keep):
            last = max(last, entry.molecule_id)
            if offset + last > _LARGEST_ID:
                raise UsageError(
                    f"{path}: its molecule_id {last} and the {offset} of the files before it are together beyond "
                    f"{_LARGEST_ID}: give these files to runs of their own"
                )
            yield replace(entry, molecule_id=entry.molecule_id + offset) if offset else entry
        offset += last + 1


def _checked(path: Path) -> Path:
    if not path.exists():
        raise UsageError(f"no such file: {path}")
    if path.is_dir():
        raise UsageError(f"{path} is a directory: give a file of molecules")
    if path.stat().st_size == 0:
        raise UsageError(f"{path} is empty: the input must hold at least one molecule")
    return path


def _spool(folder: Path) -> Path:
    """Standard input as a file of SMILES, so that it can be counted, cut into units, and read by several processes."""
    path = folder / "stdin.smi"
    with path.open("wb") as stream:
        while piece := sys.stdin.buffer.read(1 << 20):
            stream.write(piece)
    if path.stat().st_size == 0:
        raise UsageError("standard input is empty: pipe SMILES into it, one per line")
    return path
