"""What was added to a finished corpus, one revision after another: by ``--extend``, or by ``qmgen retry``.

Revision 0 is the corpus as first planned. Each later one has a number, settings and a plan of its own, and its files
carry ``more-1``, ``more-2`` ... in their names. A statement, ``generations/more-1.json``, is written before its first
file, so that all ranks, and a run that continues after a kill, do the same. The files of a revision say the same in
their metadata, should the statement be lost.

A retry decides the failures that it tries again, whatever became of them: the failures file of its unit lists them in
its metadata as molecule, conformer and reason. They stay in the earlier failures files, which are never changed, and no
longer count.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qmgen.corpus.identity import MANIFEST, config_hash, odd_recipe, stored_recipe
from qmgen.corpus.locks import Held, Lock
from qmgen.corpus.plan import (
    FAILURES,
    MOST_ADDITIONS,
    MOST_UNITS,
    REVISIONS_FOLDER,
    Listing,
    Plan,
    Unit,
    plan_of_parts,
    siblings,
)
from qmgen.corpus.plan_recovery import plan_of, sound_manifest_of
from qmgen.corpus.schema import decode, failure_schema
from qmgen.corpus.seal import is_count, list_of, sealed, sound_table
from qmgen.corpus.store import Store, read_small
from qmgen.corpus.unit_records import UNREADABLE, DamagedUnit, unit_in, unit_record_of
from qmgen.errors import UsageError, first_line
from qmgen.files import Linked

EXTEND, RETRY = "extend", "retry"
#: seconds that another process is given to state what it adds, which takes it an instant
_PATIENCE: Final = 30.0


@dataclass(frozen=True)
class Revision:
    """Number ``number`` (from 1), of ``kind`` "extend" or "retry", added to the corpus whose configuration hash is
    ``base``. ``recipe`` is the whole row-changing configuration of its rows. The plan of an extension is over places of
    the source as extended, that of a retry over the entries that it tries again."""

    number: int
    kind: str
    base: str
    recipe: Mapping[str, Any]
    plan: Plan

    @property
    def hash(self) -> str:
        """The configuration hash of its files."""
        return config_hash(self.recipe)

    @property
    def name(self) -> str:
        """The name of its statement within the corpus."""
        return f"{REVISIONS_FOLDER}/more-{self.number}.json"

    @property
    def mark(self) -> dict[str, Any]:
        """The metadata ``more`` of its files."""
        plan = {"entries": self.plan.entries, "units": self.plan.count, "begin": self.plan.begin}
        return {"number": self.number, "kind": self.kind, "base": self.base, "plan": plan}

    def as_json(self) -> dict[str, Any]:
        """Plain values: what its statement and the manifest hold."""
        return {**self.mark, "config_hash": self.hash, "recipe": dict(self.recipe)}

    @classmethod
    def of(cls, stated: Mapping[str, Any]) -> Revision:
        """The inverse of ``as_json``. Raises ``KeyError``, ``TypeError`` or ``ValueError`` on anything else."""
        number, kind, base, recipe = (stated[name] for name in ("number", "kind", "base", "recipe"))
        entries, units, begin = (stated["plan"][name] for name in ("entries", "units", "begin"))
        counts = is_count(number, 1, MOST_ADDITIONS) and is_count(entries, 1) and is_count(begin)
        if not counts or not is_count(units, 1, min(entries, MOST_UNITS)):
            raise ValueError("its numbers are none of a corpus")
        if kind not in (EXTEND, RETRY) or not isinstance(base, str) or odd_recipe(recipe):
            raise ValueError("it does not say what was added")
        return cls(number, kind, base, dict(recipe), Plan(entries, units, None, number, begin))


def begun_revisions(store: Store, listing: Listing | None = None) -> list[Revision]:
    """All that were begun, in order; [] for a corpus to which nothing was added."""
    listing = listing or Listing.of(store)
    stated = {name for name in store.names(REVISIONS_FOLDER) if name.endswith(".json")}
    files = {key[0]: name for key, name in listing.units() if key[0]}
    found: dict[int, Revision] = {}
    for name in stated:
        one = _stated(store, name)
        if one is not None:
            found[one.number] = one
    for number in files.keys() - found.keys():  # a lost or damaged statement: the files say the same
        with contextlib.suppress(*UNREADABLE):
            metadata = decode(pq.ParquetFile(store.open(files[number])).schema_arrow.metadata)
            one = Revision.of({**metadata["more"], "recipe": metadata["recipe"]})
            if one.number == number:
                found[number] = one
    if stated - {one.name for one in found.values()}:  # nor is there a file yet
        for one in _in_manifest(store):
            if one.name in stated:
                found.setdefault(one.number, one)
    return [found[number] for number in sorted(found)]


def _stated(store: Store, name: str) -> Revision | None:
    """What a statement says; None where it cannot be read, or was changed since."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        one = Revision.of(sound_table(read_small(store, name)))
        return one if one.name == name else None
    return None


def _in_manifest(store: Store) -> Iterator[Revision]:
    """What the manifest says was added, where it is what was written."""
    with contextlib.suppress(OSError, ValueError):
        for one in list_of(sound_table(read_small(store, MANIFEST)).get("more")):
            with contextlib.suppress(ValueError, KeyError, TypeError):
                yield Revision.of(one)


def begin_revision(store: Store, revision: Revision) -> None:
    """State ``revision``, unless it is stated already; from now on the manifest calls the corpus unfinished.

    Raises ``UsageError`` when another process has begun another one with this number.
    """
    with _alone(store):
        begun = {one.number: one for one in begun_revisions(store)}.get(revision.number)
        if begun is not None and begun.as_json() != revision.as_json():
            raise UsageError(
                f"another process has just begun to add something else to {store.place}: wait for it, then run again"
            )
        try:
            if begun is None or _stated(store, revision.name) is None:  # lost, or not what was written
                store.write(revision.name, sealed(revision.as_json()))
            _mark_unfinished(store, revision)
        except Linked:
            raise
        except OSError as error:
            raise UsageError(f"cannot write to {store.place}: {error.strerror or error}") from error


def _mark_unfinished(store: Store, revision: Revision) -> None:
    """Counting anew can wait until there is something to count; that it is not all must stand there at once."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        manifest = sound_table(read_small(store, MANIFEST))
        more = [one for one in list_of(manifest.get("more")) if isinstance(one, dict)]
        if all(one.get("number") != revision.number for one in more):
            manifest |= {"complete": False, "more": [*more, revision.as_json()]}
            store.write(MANIFEST, sealed(manifest))


@contextmanager
def _alone(store: Store) -> Iterator[None]:
    """Keep other processes on this file system from stating a revision meanwhile; an object store has no locks."""
    if store.local is None:
        yield
        return
    deadline = time.monotonic() + _PATIENCE
    while True:
        lock = Lock(store.local / REVISIONS_FOLDER / "begin.lock", store.local)
        try:
            lock.acquire()
        except Held as by:
            if time.monotonic() >= deadline:
                raise UsageError(f"{store.place} is just being added to by {by.who}, which does not go on") from None
            time.sleep(0.05)
            continue
        except Linked:
            raise
        except OSError as error:
            raise UsageError(f"cannot write to {store.place}: {error.strerror or error}") from error
        try:
            yield
        finally:
            lock.release()
        return


#: what a recipe says without which nothing can be added to the corpus
_NEEDED: Final = frozenset({"conformers", "source"})


@dataclass(frozen=True)
class CorpusHistory:
    """``recipe`` and ``plan`` of revision 0, and the later ``revisions``: the settings and molecules of a corpus."""

    recipe: Mapping[str, Any]
    plan: Plan
    revisions: tuple[Revision, ...] = ()

    def plans(self) -> Iterator[Plan]:
        """The plan of revision 0, then those of the later ones."""
        yield self.plan
        yield from (one.plan for one in self.revisions)

    def below(self, number: int) -> CorpusHistory:
        """The corpus as it was before revision ``number``."""
        return CorpusHistory(self.recipe, self.plan, tuple(one for one in self.revisions if one.number < number))

    def extensions(self) -> list[Revision]:
        """The revisions that are no retries."""
        return [one for one in self.revisions if one.kind == EXTEND]

    @property
    def current(self) -> Mapping[str, Any]:
        """The recipe of the corpus as it has been extended; retries do not change it."""
        return self.extensions()[-1].recipe if self.extensions() else self.recipe

    @property
    def entries(self) -> int:
        """Entries of its source, as extended."""
        ends = [one.plan.begin + one.plan.entries for one in self.extensions()]
        return ends[-1] if ends else self.plan.entries

    @property
    def wanted(self) -> int:
        """Entries to be done in all: fewer than ``entries`` where there is a limit."""
        return self.entries - self.plan.entries + self.plan.wanted

    def unfinished(self, listing: Listing) -> Revision | Plan | None:
        """The first unfinished part: a revision, or the plan of revision 0; None where all are finished."""
        if not is_whole(self.plan, listing):
            return self.plan
        return next((one for one in self.revisions if not is_whole(one.plan, listing)), None)


def is_whole(plan: Plan, listing: Listing) -> bool:
    """Whether all units of ``plan`` are done."""
    return all(listing.done(unit) for unit in plan)


def history_of(store: Store, listing: Listing) -> CorpusHistory | None:
    """The history of the corpus in ``store``; None where there is none, or none with all of its first files."""
    recipe = stored_recipe(store)
    if recipe is None or not recipe.keys() >= _NEEDED:
        return None
    added = tuple(one for one in begun_revisions(store, listing) if one.recipe.keys() >= _NEEDED)
    if isinstance(recipe.get("source"), Mapping):  # the parts of an enumeration
        return CorpusHistory(recipe, plan_of_parts(recipe["source"]["units"]), added)
    planned = plan_of(sound_manifest_of(store).get("plan")) or _plan_of_files(store, listing)
    return None if planned is None else CorpusHistory(recipe, planned, added)


def _plan_of_files(store: Store, listing: Listing) -> Plan | None:
    """The plan of revision 0 without a manifest, from the records of its units, if all are there."""
    first = [(key, name) for key, name in listing.units() if not key[0]]
    counts = {count for (_, count, _), _ in first}
    if len(counts) != 1 or len(first) != (count := counts.pop()) or any(".first-" in name for _, name in first):
        return None
    try:
        return Plan(sum(unit_record_of(store, name).entries for _, name in first), count)
    except (DamagedUnit, OSError):
        return None


#: a row of a failures file: molecule_id, conformer_id, reason
FailureKey = tuple[int, int, str]


def decided_failures(store: Store, listing: Listing, number: int) -> set[FailureKey]:
    """What the finished units of revision ``number`` have decided."""
    found: set[FailureKey] = set()
    for key, name in listing.units():
        if key[0] == number:
            with _readable(store, name):
                unit = unit_in(decode(pq.ParquetFile(store.open(name)).schema_arrow.metadata), name)
            found.update((m, c, reason) for m, c, reason in unit.get("decided", []))
    return found


def standing_failures(store: Store, listing: Listing, below: int | None = None) -> Iterator[pa.Table]:
    """The failures of each unit that no revision has decided, in order, as of before revision ``below`` (None: all)."""
    later = sorted({key[0] for key, _ in listing.units() if key[0] and (below is None or key[0] < below)})
    known = {number: decided_failures(store, listing, number) for number in later}
    for key, name in listing.units():
        if below is not None and key[0] >= below:
            continue
        with _readable(store, name):
            table = pq.ParquetFile(store.open(name)).read().replace_schema_metadata(None)
            if not table.schema.equals(failure_schema().remove_metadata()):
                raise DamagedUnit(f"{name} has other columns than a failures file")
        gone = set().union(*(those for number, those in known.items() if number > key[0]))
        yield _without(table, gone) if gone and table.num_rows else table


@contextmanager
def _readable(store: Store, name: str) -> Iterator[None]:
    """Raises ``UsageError`` where the failures file ``name`` is damaged."""
    try:
        yield
    except (DamagedUnit, *UNREADABLE) as error:
        what = str(error) if isinstance(error, DamagedUnit) else f"{name} cannot be read ({first_line(error)})"
        raise UsageError(f"{store.place}: {what}: run the same `qmgen generate` again, which mends it") from error


def _without(table: pa.Table, gone: set[FailureKey]) -> pa.Table:
    columns: dict[str, list[Any]] = table.select(["molecule_id", "conformer_id", "reason"]).to_pydict()
    keep = [row not in gone for row in zip(*columns.values(), strict=True)]
    return table.filter(pa.array(keep, pa.bool_()))


Ids = frozenset[int]


class StoredMolecules:
    """Which molecules of ``history`` in ``store`` have rows, and which failed as a whole. Queried in the order of the
    source, it reads each file once."""

    def __init__(self, store: Store, listing: Listing, history: CorpusHistory) -> None:
        self._store, self._listing, self._history = store, listing, history
        self._plans = [history.plan, *(one.plan for one in history.extensions())]
        self._kept: dict[Unit, tuple[Ids, Ids]] = {}
        retries = [one for one in history.revisions if one.kind == RETRY]
        self._decided = set().union(*(decided_failures(store, listing, one.number) for one in retries))
        found = [self._read(unit) for one in retries for unit in one.plan]
        self._of_retries: tuple[Ids, Ids] = (
            frozenset().union(*(rows for rows, _ in found)),
            frozenset().union(*(failed for _, failed in found)),
        )

    def of(self, start: int, stop: int) -> tuple[Ids, Ids]:
        """Molecules with rows, and those that failed as a whole: at least of entries ``start`` to ``stop``."""
        needed = [unit for plan in self._plans for unit in _overlapping(plan, start, stop)]
        self._kept = {unit: self._kept.get(unit) or self._read(unit) for unit in needed}
        found = [*self._kept.values(), self._of_retries]
        return frozenset().union(*(rows for rows, _ in found)), frozenset().union(*(failed for _, failed in found))

    def _read(self, unit: Unit) -> tuple[Ids, Ids]:
        rows: set[int] = set()
        failed: set[int] = set()
        for kind, name in unit.files().items():
            file = pq.ParquetFile(self._store.open(name))
            if kind != FAILURES:
                rows.update(np.unique(file.read(columns=["molecule_id"])["molecule_id"].to_numpy()).tolist())
                continue
            columns = file.read(columns=["molecule_id", "conformer_id", "reason"]).to_pydict()
            for m, c, reason in zip(*columns.values(), strict=True):
                if c == -1 and (m, c, reason) not in self._decided:
                    failed.add(m)
        return frozenset(rows), frozenset(failed)


def labeled_conformers(store: Store, listing: Listing, ids: np.ndarray, below: int) -> dict[int, set[int]]:
    """Which conformers of ``ids`` have rows in revisions before ``below``. Reads two columns of the corpus."""
    found: dict[int, set[int]] = {}
    for key, failures in listing.units():
        for kind, name in siblings(failures).items() if key[0] < below else ():
            if kind == FAILURES:
                continue
            table = pq.ParquetFile(store.open(name)).read(columns=["molecule_id", "conformer_id"])
            molecules, conformers = table["molecule_id"].to_numpy(), table["conformer_id"].to_numpy()
            among = np.isin(molecules, ids)
            for molecule, conformer in zip(molecules[among].tolist(), conformers[among].tolist(), strict=True):
                found.setdefault(molecule, set()).add(conformer)
    return found


def _overlapping(plan: Plan, start: int, stop: int) -> Iterator[Unit]:
    """The units of ``plan`` that hold entries from ``start`` to ``stop``, found without going through all of them."""
    first, last = (max((place - plan.begin) * plan.count // plan.entries, 0) for place in (start, stop))
    for index in range(max(first - 1, 0), min(last + 2, plan.count)):
        begin, end = (plan.begin + number * plan.entries // plan.count for number in (index, index + 1))
        unit = Unit(index, plan.count, begin, end, revision=plan.revision)
        if unit.start < stop and start < unit.stop:
            yield unit
