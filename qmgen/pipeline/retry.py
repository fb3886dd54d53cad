"""``qmgen retry``: the failures of a finished corpus once more, with harder settings, as a new revision of it.

Its rows join the others; what fails again is a failure again. Either way the retry decides: the earlier failures stay
in their files, and no longer count.

More time, more cycles and another first guess can help. What a molecule is does not change: one that is unreadable,
charged or without a force field stays a failure. Nor does an embedding that found no geometry, whose seeds are fixed.
Thresholds of convergence are never loosened.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Container, Generator, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qmgen.config.generate import MOST_CYCLES
from qmgen.corpus.identity import config_hash, difference
from qmgen.corpus.plan import Listing, Plan, part_of_molecule, plan
from qmgen.corpus.revisions import (
    RETRY,
    CorpusHistory,
    FailureKey,
    Revision,
    history_of,
    labeled_conformers,
    standing_failures,
)
from qmgen.corpus.store import Store, store_of
from qmgen.corpus.unit_records import unit_record_of
from qmgen.defaults import PLAIN_GUESSES
from qmgen.errors import Interrupted, UsageError
from qmgen.molecules.types import Failure, Molecule, Reason
from qmgen.pipeline.job import canonical, job_of, source_of
from qmgen.pipeline.level import recorded_guess
from qmgen.pipeline.ranks import Rank, hold_rank, refuse_if_busy, refuse_links, retry_command
from qmgen.pipeline.revise import RunSpec, as_revision, refuse_unfinished, stored_config, with_revision
from qmgen.pipeline.run import CorpusRun
from qmgen.pipeline.run_record import RetrySummary, RunClock
from qmgen.pipeline.source import Entry, FileSource, MoleculeSource, UnitInput, UnitRevision
from qmgen.pipeline.stages import Stages
from qmgen.progress import RunProgress
from qmgen.signals import STOP_WITHIN, StopWatch

if TYPE_CHECKING:
    from qmgen.config.generate import GenerateConfig, RetryConfig


_MORE_TIME_HELPS: Final = frozenset({Reason.EMBEDDING_TIMEOUT, Reason.EMBEDDING_CRASHED})
_MORE_CYCLES_HELP: Final = frozenset({Reason.NOT_CONVERGED})
#: alone in its batch, a conformer needs least memory, and harms no other
_ALONE_HELPS: Final = frozenset(
    {Reason.OUT_OF_MEMORY, Reason.INTERNAL_ERROR, Reason.WORKER_CRASHED, Reason.MACHINE_TROUBLE}
)

#: reasons of failures that are tried again
RETRYABLE: Final = frozenset(str(reason) for reason in _MORE_TIME_HELPS | _MORE_CYCLES_HELP | _ALONE_HELPS)
#: settings that a retry may change
RETRY_SETTINGS: Final = ("max_cycles", "embed_time_limit", "guess", "batch_size")

_MORE_CYCLES: Final = 4
_MORE_TIME: Final = 10


def harder_settings(before: Mapping[str, Any], reasons: Collection[str], given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings for failures of these ``reasons``, harder than those of ``before``; what is ``given`` goes first."""
    settings = {name: before[name] for name in RETRY_SETTINGS}
    if before["guess"] not in PLAIN_GUESSES:  # a network's had its chance, and may be gone
        settings["guess"] = PLAIN_GUESSES[0]
    if _MORE_CYCLES_HELP.intersection(reasons):
        settings["max_cycles"] = max(min(before["max_cycles"] * _MORE_CYCLES, MOST_CYCLES), before["max_cycles"])
        settings["guess"] = "core" if before["guess"] == "atoms" else "atoms"
    if _MORE_TIME_HELPS.intersection(reasons):
        settings["embed_time_limit"] = before["embed_time_limit"] * _MORE_TIME
    if _ALONE_HELPS.intersection(reasons):
        settings["batch_size"] = 1
    return settings | {name: value for name, value in given.items() if value is not None}


#: entries of the source that are in memory at a time while it is searched
_AT_A_TIME = 1000
#: seconds between two looks at what an enumeration has come to
_PATIENCE = 0.2
#: failures of a molecule, by its identifier
FailuresByMolecule = dict[int, list[FailureKey]]


def retry(
    config: RetryConfig,
    progress: RunProgress | None = None,
    stages: Stages | None = None,
    quiet: bool = False,
    dry_run: bool = False,
) -> RetrySummary:
    """Try the failures of the corpus ``config.directory`` again; ``dry_run`` only says which, and how.

    Raises ``UsageError`` where the corpus is not finished, or its molecules are not to be had any more; else as
    ``run.generate``.
    """
    stages = stages or Stages()
    clock = RunClock()
    with ExitStack() as stack:
        watch = stack.enter_context(StopWatch(config.time_limit, within=STOP_WITHIN))
        store, rank, command = store_of(config.directory), Rank(), retry_command(config)
        if not dry_run:
            refuse_links(store)
            refuse_if_busy(store, rank, command)
            if history_of(store, Listing.of(store)) is None:
                raise UsageError(f"{store.place} holds no finished corpus: there is nothing to try again")
            stack.enter_context(hold_rank(store, rank, command))
        listing = Listing.of(store)
        history = history_of(store, listing)
        if history is None:
            raise UsageError(f"{store.place} holds no finished corpus: there is nothing to try again")
        begun = _begun(history, listing)
        if begun is None:
            refuse_unfinished(store, listing, history)
        number = begun.number if begun is not None else len(history.revisions) + 1
        failed = _failed(store, listing, number)
        tried: dict[str, int] = {}
        for keys in failed.values():
            for _, _, reason in keys:
                tried[reason] = tried.get(reason, 0) + (reason in RETRYABLE)
        tried = {reason: n for reason, n in sorted(tried.items()) if n}
        if not failed:
            return RetrySummary(store.place, None, {}, {}, 0, _standing(store), None, config.max_failures)
        settings = _settings(config, store, history, begun, set(tried))
        if dry_run:
            return RetrySummary(store.place, number, tried, settings, 0, _standing(store))
        again = stored_config(store)
        update = {"workers": config.workers, "time_limit": config.time_limit, "max_failures": config.max_failures}
        # what the corpus was begun from, wherever that is now: a retry needs it no more
        network = recorded_guess(history.current, again.guess)
        again, theory, network = canonical(again.model_copy(update=update), stages, network)
        source = _source(again, store, stages, watch, stack)
        recipe = job_of(again, theory, source, stages, network).metadata["recipe"]
        if config_hash(recipe) != config_hash(history.current):
            raise UsageError(
                f"config.toml of {store.place}, or a file of molecules that it names, is not what the corpus was made "
                f"with ({difference(history.current, recipe)}): put that back"
            )
        labeled = labeled_conformers(store, listing, np.array(sorted(failed), dtype=np.int64), number)
        entries = list(retried_entries(source, history.plan, failed, watch))
        revision = begun or _next_retry(history, number, settings, entries, tried)
        if revision.plan.entries != len(entries):
            raise UsageError(f"the retry of {store.place} was begun with other failures: its files were changed since")
        spec = RunSpec(
            again,
            as_revision(job_of(again.model_copy(update=settings), theory, source, stages), revision, theory),
            revision.plan,
            partial(retry_inputs, entries, revision.plan, failed, labeled, again.conformers),
            lambda unit: unit.end - unit.start,
            with_revision(history, revision),
            revision,
        )
        summary = CorpusRun(spec, store, rank, progress or RunProgress(quiet=quiet), clock).run(watch)
        return RetrySummary(
            store.place, number, tried, settings, _rows(store, number), summary.failures, summary, config.max_failures
        )


def retried_entries(
    source: MoleculeSource, planned: Plan, failed: FailuresByMolecule, watch: StopWatch
) -> Iterator[Molecule]:
    """The entries of ``source`` that have ``failed`` and are to be tried again, in order; ``planned`` are the units of
    revision 0.

    Of an enumeration their parts are gone through once more. Raises ``Interrupted`` when ``watch`` says stop.
    """
    for entries in _pieces(source, planned, failed):
        if watch.stopping():
            raise Interrupted("stopped while the molecules were looked up; the same command begins again")
        for entry in entries:
            if not isinstance(entry, Failure) and _failures_of(entry, failed):
                yield entry


def _pieces(source: MoleculeSource, planned: Plan, failed: FailuresByMolecule) -> Iterator[list[Entry]]:
    if isinstance(source, FileSource):
        for _, placed, _ in source.places(Plan(source.entries, -(-source.entries // _AT_A_TIME))):
            yield [entry for _, entry in placed]
        return
    with closing(source.works(planned, {part_of_molecule(molecule) for molecule in failed})) as works:
        for work in works:
            if work is None:
                time.sleep(_PATIENCE)
            yield work.entries if work is not None else []


def retry_inputs(
    entries: list[Molecule],
    planned: Plan,
    failed: FailuresByMolecule,
    labeled: Mapping[int, set[int]],
    conformers: int,
    wanted: Container[int],
) -> Generator[UnitInput | None, None, None]:
    """The ``wanted`` units of ``planned`` over ``entries``: of each molecule the conformers that have ``failed``; of
    one that failed as a whole, all of its ``conformers`` that are not ``labeled``."""
    for unit in planned:
        if unit.index not in wanted:
            continue
        of_unit = entries[unit.start : unit.stop]
        only: dict[int, set[int]] = {}
        for entry in of_unit:
            molecule = entry.molecule_id
            asked = {conformer for _, conformer, _ in _failures_of(entry, failed)}
            if -1 in asked and molecule not in labeled:
                continue  # all of it
            if -1 in asked:
                asked = set(range(conformers)) - labeled[molecule]
            only.setdefault(molecule, set()).update(asked)
        revision = UnitRevision(
            known=len(of_unit),
            only={molecule: tuple(sorted(asked)) for molecule, asked in only.items()},
            labeled=frozenset(entry.molecule_id for entry in of_unit if entry.molecule_id in labeled),
            decided=tuple(sorted({key for entry in of_unit for key in _failures_of(entry, failed)})),
        )
        yield UnitInput(unit, list(of_unit), 0, revision)


def _failures_of(entry: Molecule, failed: FailuresByMolecule) -> list[FailureKey]:
    """The failures that trying ``entry`` again decides: of one that came with its geometry, those of that one."""
    keys = failed.get(entry.molecule_id, [])
    return keys if entry.positions is None else [key for key in keys if key[1] == entry.conformer_id]


def _begun(history: CorpusHistory, listing: Listing) -> Revision | None:
    """The retry that was stopped before its end, if that is all that is not finished."""
    left = history.unfinished(listing)
    last = history.revisions[-1:]
    return left if isinstance(left, Revision) and left.kind == RETRY and (left,) == last else None


def _failed(store: Store, listing: Listing, number: int) -> FailuresByMolecule:
    """What is to be tried again, of the failures that stand before revision ``number``.

    Of a molecule that failed as a whole all failures are, whatever their reasons: it is made anew.
    """
    standing: FailuresByMolecule = {}
    for table in standing_failures(store, listing, number):
        columns = table.select(["molecule_id", "conformer_id", "reason"]).to_pydict()
        for key in zip(*columns.values(), strict=True):
            standing.setdefault(key[0], []).append(key)
    chosen: FailuresByMolecule = {}
    for molecule, keys in standing.items():
        again = [key for key in keys if key[2] in RETRYABLE]
        if again:
            chosen[molecule] = keys if any(conformer == -1 for _, conformer, _ in again) else again
    return chosen


def _settings(
    config: RetryConfig, store: Store, history: CorpusHistory, begun: Revision | None, reasons: set[str]
) -> dict[str, Any]:
    """Of the retry that was begun, else harder than those of the last one, else than those of the corpus."""
    given = {name: getattr(config, name) for name in RETRY_SETTINGS}
    if lacking := [name for name in RETRY_SETTINGS if name not in history.current]:
        raise UsageError(f"{store.place} does not say with which {lacking[0]} it was made: it cannot be tried again")
    if begun is None:
        retries = [one for one in history.revisions if one.kind == RETRY]
        return harder_settings(retries[-1].recipe if retries else history.current, reasons, given)
    settings = {name: begun.recipe.get(name) for name in RETRY_SETTINGS}
    if other := [name for name, value in given.items() if value not in (None, settings[name])]:
        raise UsageError(
            f"a retry of {store.place} with {other[0]} = {settings[other[0]]} is not finished: `qmgen retry` without "
            "settings goes on with it"
        )
    return settings


def _source(config: GenerateConfig, store: Store, stages: Stages, watch: StopWatch, stack: ExitStack) -> MoleculeSource:
    for name in config.molecules:
        if name == "-" or not Path(name).is_file():
            what = "came from standard input" if name == "-" else f"are no longer in {name}"
            raise UsageError(
                f"the molecules of {store.place} {what}: put them into a file, and its name into config.toml"
            )
    return stack.enter_context(source_of(config, stages, keep=True, watch=watch))


def _next_retry(
    history: CorpusHistory, number: int, settings: Mapping[str, Any], entries: list[Molecule], tried: Mapping[str, int]
) -> Revision:
    planned = plan(len(entries), max(sum(tried.values()) // len(entries), 1))
    recipe = {**history.current, **settings}
    return Revision(number, RETRY, config_hash(history.recipe), recipe, replace(planned, revision=number))


def _rows(store: Store, number: int) -> int:
    """Rows that a revision has gained."""
    units = (unit_record_of(store, name) for key, name in Listing.of(store).units() if key[0] == number)
    return sum(file.rows for unit in units for file in unit.data.values())


def _standing(store: Store) -> dict[str, int]:
    """Failures that stand, by reason."""
    listing = Listing.of(store)
    reasons: Counter[str] = Counter()
    for table in standing_failures(store, listing):
        reasons.update(table["reason"].to_pylist())
    return dict(sorted(reasons.items()))
