"""The way of a work unit, from its entries to its files: check, conformers, labels, rows and failures, Parquet.

It runs in a worker and knows nothing of other units. A listener is called as it goes on, and may end it between two
batches.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from qmgen.corpus.columns import SCHEMA_VERSION
from qmgen.corpus.plan import FAILURES
from qmgen.corpus.schema import failure_schema, failure_table, keep_of, kept_columns, row_schema, row_table
from qmgen.corpus.unit_records import FileRecord, write_unit
from qmgen.errors import Interrupted
from qmgen.molecules.types import Conformer, Failure, Molecule, Pruned
from qmgen.pipeline.checkpoint import RETRIED_REASONS, UnitCheckpoint, UnitContents
from qmgen.pipeline.crash_policy import ConformerKey
from qmgen.pipeline.job import LabelJob
from qmgen.pipeline.level import opened_guess
from qmgen.pipeline.messages import StopUnit, UnitListener
from qmgen.pipeline.rows import failure_row, not_finite, row, symbols
from qmgen.pipeline.source import Entry, UnitInput, UnitRevision


@dataclass(frozen=True)
class UnitResult:
    """What became of a unit: ``entries`` = ``molecules`` with a row + those with none + ``merged``; ``pruned`` counts
    conformers that were made and left out, ``resumed`` those rows that an earlier attempt had made. ``cycles`` of all
    rows; ``guess_seconds`` that a network took, and ``fallbacks``: how many it had no density for."""

    index: int
    entries: int
    molecules: int
    merged: int
    rows: int
    failures: dict[str, int]
    seconds: float
    records: list[FileRecord]
    pruned: int = 0
    resumed: int = 0
    cycles: int = 0
    guess_seconds: float = 0.0
    fallbacks: int = 0


def do_unit(job: LabelJob, work: UnitInput, listener: UnitListener | None = None) -> UnitResult:
    """Embed, label and write one unit, beginning with the checkpoint of an earlier attempt.

    A ``StopUnit`` that the ``listener`` raises ends the unit; a checkpoint is then saved where ``job.partials`` says.
    Raises ``QmgenError`` where files cannot be written.
    """
    begin = time.monotonic()
    listener = listener or UnitListener()
    checkpoint = UnitCheckpoint(job.partials, work.unit, job.metadata) if job.partials is not None else None
    attempt = UnitAttempt(job, listener, work.suspected, work.excluded, checkpoint, work.revision)
    found = attempt.run(work.entries)
    tables = {split: row_table(rows, row_schema(job.metadata)) for split, rows in found.rows.items()}
    entries = len(work.entries) - (work.revision.known if work.revision else 0) + work.merged
    counts: dict[str, Any] = {"entries": entries, "merged": work.merged}
    if work.revision is not None:
        counts |= work.revision.counts(found.rows)
    if work.duplicates:  # the manifest lists them, in a file of its own
        counts["duplicates"] = [list(one) for one in work.duplicates]
    if job.procedure.prunes:  # a corpus that never prunes keeps the bytes that it had before there was such a thing
        counts["pruned"] = found.pruned
    schema = failure_schema({**job.metadata, "unit": counts})
    tables[FAILURES] = failure_table(map(failure_row, found.failures), schema)
    records = write_unit(job.place, work.unit, tables, listener.stage)
    listener.checkpoint(None)
    if checkpoint:
        checkpoint.remove()
    return UnitResult(
        index=work.unit.index,
        entries=entries,
        molecules=len({r["molecule_id"] for rows in found.rows.values() for r in rows}),
        merged=work.merged,
        rows=found.done,
        failures=dict(Counter(str(failure.reason) for failure in found.failures)),
        seconds=time.monotonic() - begin,
        records=records,
        pruned=found.pruned,
        resumed=found.resumed,
        cycles=sum(r["cycles"] for rows in found.rows.values() for r in rows),
        guess_seconds=found.tally.seconds["guess"],
        fallbacks=found.tally.fallbacks,
    )


class UnitAttempt:
    """One attempt to turn entries into rows and failures, less what is there already by ``revision``.

    ``suspected`` conformers are labeled before all others, each alone; ``excluded`` ones become failures.
    ``checkpoint`` brings what an earlier attempt had, and saves what this one has.
    """

    def __init__(
        self,
        job: LabelJob,
        listener: UnitListener | None = None,
        suspected: Iterable[ConformerKey] = (),
        excluded: Mapping[ConformerKey, Failure] | None = None,
        checkpoint: UnitCheckpoint | None = None,
        revision: UnitRevision | None = None,
    ) -> None:
        self.job, self.listener, self.checkpoint = job, listener or UnitListener(), checkpoint
        self.suspected, self.excluded = frozenset(suspected), excluded or {}
        self.revision = revision or UnitRevision()
        self.found = (checkpoint.load() if checkpoint else None) or UnitContents()
        self.loaded = self.found.keys()
        self.rows = self.found.resumed = self.found.done
        self.refused: list[Failure] = []
        self.awaited: set[ConformerKey] = set()
        self.on_device: set[ConformerKey] = set()
        self.molecules: dict[ConformerKey, Molecule] = {}
        # a corpus from before goes on with the columns that it has
        self.columns = row_schema(job.metadata).names
        version = job.metadata.get("schema_version", SCHEMA_VERSION)
        self.kept_columns = tuple(kept_columns(keep_of(job.metadata), version).values())
        #: held while what is found changes: another thread may save it meanwhile
        self.changing = threading.RLock()

    def run(self, entries: list[Entry]) -> UnitContents:
        """Rows and failures of ``entries``. Raises ``RuntimeError`` if any entry became neither."""
        self.listener.checkpoint(self.save)
        try:
            geometries = self._embedded(self._to_embed(entries))
            others = self._label_suspected(geometries)
            self._label(chain(others, geometries))
        except (StopUnit, Interrupted):
            self.save()
            raise
        self.found.failures = self.refused + self.found.failures
        self._check_accounts(entries)
        return self.found

    def save(self, hurried: bool | None = None) -> None:
        """Save a checkpoint: at once, or if it is time to (sooner where ``hurried``)."""
        with self.changing:
            if self.checkpoint and (hurried is None or self.checkpoint.due(hurried)):
                unfinished = {molecule for molecule, _ in (*self.awaited, *self.excluded)}
                unfinished |= {one.molecule_id for one in self.found.failures if one.reason in RETRIED_REASONS}
                self.checkpoint.save(self.found, self.found.complete - unfinished)

    def _to_embed(self, entries: list[Entry]) -> list[Molecule]:
        """The molecules that the level of theory can label and that are not finished, suspected ones first."""
        checked = [self.job.stages.check(entry, self.job.settings) for entry in entries]
        refused = (entry for entry in checked if isinstance(entry, Failure))
        self.refused = [one for entry in refused for one in self.revision.failures(entry)]
        again = {(one.molecule_id, one.conformer_id) for one in self.refused}  # of a unit that was whole before
        self.found.failures = [one for one in self.found.failures if (one.molecule_id, one.conformer_id) not in again]
        left = [entry for entry in checked if isinstance(entry, Molecule) and not self._finished(entry)]
        self.molecules = {(m.molecule_id, -1 if m.positions is None else m.conformer_id): m for m in left}
        suspected = {molecule for molecule, _ in self.suspected}
        left.sort(key=lambda molecule: molecule.molecule_id not in suspected)
        self._report()
        return left

    def _finished(self, molecule: Molecule) -> bool:
        """Whether an earlier attempt has left nothing to do about it."""
        number = molecule.molecule_id
        if molecule.positions is not None:
            return (number, molecule.conformer_id) in self.loaded
        return number in self.found.complete or (number, -1) in self.loaded

    def _embedded(self, molecules: list[Molecule]) -> Iterator[Conformer]:
        """The geometries that are to be labeled; failures and pruned conformers of the embedding are recorded."""
        job, found = self.job, self.found
        items = job.stages.conformers(
            iter(molecules), job.conformers, job.seed, job.embed_time_limit, procedure=job.procedure
        )
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
                    found.pruned_of[item.molecule_id] = self.revision.pruned(item.molecule_id, item.count)
                    continue
                if isinstance(item, Failure):
                    found.failures.extend(
                        one
                        for one in self.revision.failures(item)
                        if (one.molecule_id, one.conformer_id) not in self.loaded
                    )
            if isinstance(item, Failure):
                self._report()
                self._between_batches()
                continue
            key = (item.molecule_id, item.conformer_id)
            if key in self.loaded or not self.revision.wants(*key):
                continue
            excluded = key in self.excluded
            with self.changing:
                if excluded:
                    found.failures.append(replace(self.excluded[key], name=item.name, smiles=item.smiles))
                else:
                    self.awaited.add(key)
            self._report()
            self._between_batches()
            if not excluded:
                yield item

    def _label_suspected(self, geometries: Iterator[Conformer]) -> list[Conformer]:
        """Label the suspected conformers, one after another; returns the geometries that came with them."""
        others: list[Conformer] = []
        suspected = {molecule for molecule, _ in self.suspected}
        for conformer in geometries if suspected else ():
            if (conformer.molecule_id, conformer.conformer_id) in self.suspected:
                self._label(iter([conformer]))
                self.save(hurried=True)  # another of them may end this process at any moment
                continue
            others.append(conformer)
            if conformer.molecule_id not in suspected:
                break
        return others

    def _label(self, geometries: Iterator[Conformer]) -> None:
        found, job = self.found, self.job
        guess = tally = None
        if job.network is not None:
            guess, tally = opened_guess(job.network, job.settings, job.stages), found.tally
        for result in job.stages.label(geometries, job.settings, self._start_batch, guess=guess, tally=tally):
            failure = result if isinstance(result, Failure) else not_finite(*result)
            with self.changing:
                if failure is not None:
                    key = (failure.molecule_id, failure.conformer_id)
                    self.awaited.discard(key)
                    found.failures.append(failure)
                else:
                    assert not isinstance(result, Failure)
                    conformer, label = result
                    key = (conformer.molecule_id, conformer.conformer_id)
                    self.awaited.remove(key)
                    molecule = self.molecules.get(key) or self.molecules.get((conformer.molecule_id, -1))
                    made = row(conformer, label, molecule, self.kept_columns)
                    split = job.splitter.split(conformer.family or conformer.smiles, symbols(conformer.numbers))
                    found.rows[split].append({name: made[name] for name in self.columns})
                    self.rows += 1
            self._report()
            if key in self.on_device:
                self.on_device.discard(key)
                if not self.on_device:
                    self.listener.on_device((), *self._numbers())
                    self._between_batches()

    def _start_batch(self, batch: list[Conformer]) -> None:
        keys = tuple((conformer.molecule_id, conformer.conformer_id) for conformer in batch)
        self.on_device = set(keys)
        self.listener.stage("label")
        self.listener.on_device(keys, *self._numbers())

    def _between_batches(self) -> None:
        self.listener.between_batches()
        self.save(hurried=False)

    def _report(self) -> None:
        self.listener.progress(*self._numbers())

    def _numbers(self) -> tuple[int, int]:
        return self.rows, len(self.refused) + len(self.found.failures)

    def _check_accounts(self, entries: list[Entry]) -> None:
        """Nothing is lost: every geometry came back, every entry and all that was wanted is in a row or a failure."""
        keys = self.found.keys()
        seen = {molecule for molecule, _ in keys}
        given = [entry for entry in entries if isinstance(entry, Molecule) and entry.positions is not None]
        lost = sorted({entry.molecule_id for entry in entries} - seen)
        lost += sorted(
            {m.molecule_id for m in given if not {(m.molecule_id, m.conformer_id), (m.molecule_id, -1)} & keys}
        )
        awaited = self.awaited | (self.revision.keys() - keys)
        if lost or awaited:
            raise RuntimeError(f"neither row nor failure: molecules {lost[:5]}, conformers {sorted(awaited)[:5]}")
