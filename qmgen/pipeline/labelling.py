"""The entries of a unit on their way to rows and failures: check, conformers, labels, and the books of it all.

Whoever listens hears how far it is and which conformers are on the device, and may end it between two batches.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from qmgen.corpus.columns import SCHEMA_VERSION
from qmgen.corpus.schema import keep_of, kept_columns, row_schema
from qmgen.corpus.splits import SPLITS
from qmgen.errors import Interrupted
from qmgen.labeling.types import Tally
from qmgen.molecules.types import Conformer, Failure, Molecule, Pruned, Reason
from qmgen.pipeline.crash_policy import Exclusion, Key
from qmgen.pipeline.learned import opened
from qmgen.pipeline.rows import not_finite, row, symbols
from qmgen.pipeline.source import Entry, UnitRevision

if TYPE_CHECKING:
    from qmgen.pipeline.checkpoint import UnitCheckpoint
    from qmgen.pipeline.unit import Job


#: failures that are not kept in part: who goes on with the unit tries again
PASSING: Final = (Reason.WORKER_CRASHED, Reason.MACHINE_TROUBLE)


class Leave(BaseException):
    """The parent said stop. Not an ``Exception``: no station of the pipeline may take it for a failure."""


class Listener:
    """Who hears how a unit goes. This one is deaf."""

    def progress(self, rows: int, failures: int) -> None:
        """So many rows and failures so far."""

    def holding(self, keys: tuple[Key, ...], rows: int, failures: int) -> None:
        """The batch ``keys`` goes to the device, or, if empty, has come back from it; with the numbers so far."""

    def stage(self, name: str) -> None:
        """What is being done now (see ``stage_name``)."""

    def between(self) -> None:
        """Nothing is on the device. What this raises ends the unit; its partial work is kept if that is ``Leave``."""

    def keeper(self, keep: Callable[[], None] | None) -> None:
        """From now on ``keep`` saves the unit's partial work, also from another thread; None: no more."""


@dataclass
class Labelled:
    """Rows by split, and failures, as they come; how many conformers were pruned, by molecule; the molecules that
    need no embedding any more; the number of rows that an earlier attempt had made; and what a network that guesses
    took in this one."""

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {split: [] for split in SPLITS})
    failures: list[Failure] = field(default_factory=list)
    pruned_of: dict[int, int] = field(default_factory=dict)
    complete: set[int] = field(default_factory=set)
    resumed: int = 0
    tally: Tally = field(default_factory=Tally)

    @property
    def pruned(self) -> int:
        """Conformers that were pruned."""
        return sum(self.pruned_of.values())

    @property
    def done(self) -> int:
        """The number of rows."""
        return sum(map(len, self.rows.values()))

    def keys(self) -> set[Key]:
        """The (molecule_id, conformer_id) of all rows and failures; -1 stands for a molecule as a whole."""
        keys = {(r["molecule_id"], r["conformer_id"]) for rows in self.rows.values() for r in rows}
        return keys | {(failure.molecule_id, failure.conformer_id) for failure in self.failures}


def label_entries(
    job: Job,
    entries: list[Entry],
    listener: Listener | None = None,
    suspects: Iterable[Key] = (),
    condemned: Mapping[Key, Exclusion] | None = None,
    keeper: UnitCheckpoint | None = None,
    already: UnitRevision | None = None,
) -> Labelled:
    """Rows and failures of ``entries``, less what is there ``already``.

    ``suspects`` are labelled before all others, each alone; ``condemned`` become failures, as their verdicts say.
    ``keeper`` brings what an earlier attempt had, and keeps what this one has. Raises ``RuntimeError`` if any entry
    became neither row nor failure.
    """
    already = already or UnitRevision()
    attempt = _Attempt(job, listener or Listener(), frozenset(suspects), condemned or {}, keeper, already)
    attempt.listener.keeper(attempt.keep)
    try:
        attempt.run(entries)
    except (Leave, Interrupted):
        attempt.keep()
        raise
    found = attempt.found
    found.failures = attempt.refused + found.failures
    _check_books(entries, found, attempt.awaited, already.keys())
    return found


class _Attempt:
    """One attempt at a unit: what was found, what is awaited, and where the stations are."""

    def __init__(
        self,
        job: Job,
        listener: Listener,
        suspects: frozenset[Key],
        condemned: Mapping[Key, Exclusion],
        keeper: UnitCheckpoint | None,
        already: UnitRevision,
    ) -> None:
        self.job, self.listener, self.keeper, self.already = job, listener, keeper, already
        self.suspects, self.condemned = suspects, condemned
        self.found = (keeper.load() if keeper else None) or Labelled()
        self.kept = self.found.keys()
        self.rows = self.found.resumed = self.found.done
        self.refused: list[Failure] = []
        self.awaited: set[Key] = set()
        self.held: set[Key] = set()
        self.molecules: dict[Key, Molecule] = {}
        # a corpus from before goes on with the columns that it has
        self.columns = row_schema(job.metadata).names
        version = job.metadata.get("schema_version", SCHEMA_VERSION)
        self.carried = tuple(kept_columns(keep_of(job.metadata), version).values())
        #: held while what is found changes: another thread may keep it meanwhile
        self.changing = threading.RLock()

    def run(self, entries: list[Entry]) -> None:
        check = self.job.stages.load("check")
        checked = [check(entry, self.job.settings) for entry in entries]
        refused = (entry for entry in checked if isinstance(entry, Failure))
        self.refused = [one for entry in refused for one in self.already.failures(entry)]
        again = {(one.molecule_id, one.conformer_id) for one in self.refused}  # of a unit that was whole before
        self.found.failures = [one for one in self.found.failures if (one.molecule_id, one.conformer_id) not in again]
        left = [entry for entry in checked if isinstance(entry, Molecule) and not self._finished(entry)]
        self.molecules = {(m.molecule_id, -1 if m.positions is None else m.conformer_id): m for m in left}
        suspected = {molecule for molecule, _ in self.suspects}
        left.sort(key=lambda molecule: molecule.molecule_id not in suspected)
        self._tell()
        geometries = self._embedded(left)
        others = self._suspects_first(geometries, suspected)
        self._label(chain(others, geometries))

    def keep(self, hurried: bool | None = None) -> None:
        """Keep what there is: at once, or if it is time to (sooner where ``hurried``)."""
        with self.changing:
            if self.keeper and (hurried is None or self.keeper.due(hurried)):
                unfinished = {molecule for molecule, _ in (*self.awaited, *self.condemned)}
                unfinished |= {one.molecule_id for one in self.found.failures if one.reason in PASSING}
                self.keeper.save(self.found, self.found.complete - unfinished)

    def _finished(self, molecule: Molecule) -> bool:
        """Whether an earlier attempt has left nothing to do about it."""
        number = molecule.molecule_id
        if molecule.positions is not None:
            return (number, molecule.conformer_id) in self.kept
        return number in self.found.complete or (number, -1) in self.kept

    def _embedded(self, molecules: list[Molecule]) -> Iterator[Conformer]:
        """The geometries that are to be labelled; all else that the embedding says is written down."""
        job, found = self.job, self.found
        embed = job.stages.load("conformers")
        items = embed(iter(molecules), job.conformers, job.seed, job.embed_time_limit, procedure=job.procedure)
        before = None
        while True:
            self.listener.stage("embed")
            item = next(items, None)
            with self.changing:
                if before is not None and (item is None or item.molecule_id != before):
                    found.complete.add(before)
                if item is None:
                    return
                before = item.molecule_id
                if isinstance(item, Pruned):
                    found.pruned_of[item.molecule_id] = self.already.pruned(item.molecule_id, item.count)
                    continue
                if isinstance(item, Failure):
                    found.failures.extend(
                        one
                        for one in self.already.failures(item)
                        if (one.molecule_id, one.conformer_id) not in self.kept
                    )
            if isinstance(item, Failure):
                self._tell()
                self._between()
                continue
            key = (item.molecule_id, item.conformer_id)
            if key in self.kept or not self.already.wants(*key):
                continue
            dies = key in self.condemned
            with self.changing:
                if dies:
                    found.failures.append(Failure(*key, item.name, item.smiles, *self.condemned[key]))
                else:
                    self.awaited.add(key)
            self._tell()
            self._between()
            if not dies:
                yield item

    def _suspects_first(self, geometries: Iterator[Conformer], suspected: set[int]) -> list[Conformer]:
        """Label the suspects, one after another; the geometries that came with them are handed back."""
        others: list[Conformer] = []
        if not suspected:
            return others
        for conformer in geometries:
            if (conformer.molecule_id, conformer.conformer_id) in self.suspects:
                self._label(iter([conformer]))
                self.keep(hurried=True)  # another of them may end this process at any moment
                continue
            others.append(conformer)
            if conformer.molecule_id not in suspected:
                break
        return others

    def _label(self, geometries: Iterator[Conformer]) -> None:
        found, job = self.found, self.job
        more: dict[str, Any] = {}
        if job.learned is not None:
            more = {"guess": opened(job.learned, job.settings, job.stages), "tally": found.tally}
        for result in job.stages.load("label")(geometries, job.settings, self._starting, **more):
            failure = result if isinstance(result, Failure) else not_finite(*result)
            with self.changing:
                if failure is not None:
                    key = (failure.molecule_id, failure.conformer_id)
                    self.awaited.discard(key)
                    found.failures.append(failure)
                else:
                    conformer, label = result
                    key = (conformer.molecule_id, conformer.conformer_id)
                    self.awaited.remove(key)
                    split = job.splitter.split(conformer.family or conformer.smiles, symbols(conformer.numbers))
                    made = row(conformer, label, self._molecule_of(conformer), self.carried)
                    found.rows[split].append({name: made[name] for name in self.columns})
                    self.rows += 1
            self._tell()
            if key in self.held:
                self.held.discard(key)
                if not self.held:
                    self.listener.holding((), *self._numbers())
                    self._between()

    def _molecule_of(self, conformer: Conformer) -> Molecule | None:
        given = self.molecules.get((conformer.molecule_id, conformer.conformer_id))
        return given or self.molecules.get((conformer.molecule_id, -1))

    def _starting(self, batch: list[Conformer]) -> None:
        keys = tuple((conformer.molecule_id, conformer.conformer_id) for conformer in batch)
        self.held = set(keys)
        self.listener.stage("label")
        self.listener.holding(keys, *self._numbers())

    def _between(self) -> None:
        self.listener.between()
        self.keep(hurried=False)

    def _tell(self) -> None:
        self.listener.progress(*self._numbers())

    def _numbers(self) -> tuple[int, int]:
        return self.rows, len(self.refused) + len(self.found.failures)


def _check_books(entries: list[Entry], found: Labelled, awaited: set[Key], wanted: set[Key]) -> None:
    """Nothing is lost: every geometry came back, every entry is in a row or a failure, and so is all of ``wanted``."""
    keys = found.keys()
    seen = {molecule for molecule, _ in keys}
    given = (entry for entry in entries if isinstance(entry, Molecule) and entry.positions is not None)
    lost = sorted({entry.molecule_id for entry in entries} - seen)
    lost += sorted({m.molecule_id for m in given if not {(m.molecule_id, m.conformer_id), (m.molecule_id, -1)} & keys})
    awaited |= wanted - keys
    if lost or awaited:
        raise RuntimeError(f"neither row nor failure: molecules {lost[:5]}, conformers {sorted(awaited)[:5]}")
