"""``validate``: a seeded sample of a corpus, recomputed with PySCF at the level of theory the files state."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import numpy as np

from qmgen import files
from qmgen.corpus.reader import open_corpus
from qmgen.errors import QmgenError, UsageError
from qmgen.machine import granted_cpus, versions
from qmgen.validation.compare import DEFAULT, Tolerances, compare
from qmgen.validation.density import own_density
from qmgen.validation.oracle import Level, Reference, solve, solve_lower
from qmgen.validation.pool import single_threaded_pool, unordered
from qmgen.validation.result import Failed, Report, Row
from qmgen.validation.sample import Entry, Sample, draw, level_of

FILE_NAME = "validation.json"
TRIED_FIRST = 6  # restarts before it is decided whether more are worth their time


def validate(
    directory: Path | str,
    *,
    sample: int = 50,
    seed: int = 0,
    tolerances: Tolerances = DEFAULT,
    out: Path | None = None,
    jobs: int | None = None,
    progress: bool = True,
) -> Report:
    """Recompute ``sample`` rows of the corpus in ``directory`` and compare.

    Writes ``out`` (default: ``validation.json`` in the corpus; a directory gets a file of that name). ``jobs`` PySCF
    processes, one per core by default, each with one thread; progress goes to standard error, if that is a terminal.
    Being out of tolerance is in the report, not an exception. Raises ``UsageError`` for a directory without rows or
    with a level of theory that PySCF cannot follow, ``QmgenError`` when PySCF gave no reference at all.
    """
    if sample < 1:
        raise UsageError(f"a sample of {sample} rows compares nothing: give at least 1")
    corpus = open_corpus(directory)
    level = level_of(corpus)
    drawn = draw(corpus, sample, seed)
    start = perf_counter()
    workers = min(jobs or granted_cpus(), len(drawn.entries))
    outcomes = _solve_all(drawn.entries, level, tolerances.energy, workers, progress)
    report = _report(corpus.place, level, tolerances, sample, seed, drawn, outcomes)
    report.provenance.update(jobs=workers, seconds=round(perf_counter() - start, 3))
    if not report.rows:
        raise QmgenError(
            f"PySCF converged for none of the {len(drawn.entries)} sampled rows: {report.failed[0].detail}"
        )
    _write(report, _target(Path() if "://" in str(directory) else Path(directory), out))
    return report


@dataclass(frozen=True)
class Task:
    """What a PySCF process gets: a row, how far below PySCF it may lie, and PySCF's ``first`` solution if it is to be
    started again from elsewhere."""

    index: int
    entry: Entry
    level: Level
    tolerance: float
    first: Reference | None = None


@dataclass(frozen=True)
class Outcome:
    """PySCF's last word on a row. ``below``: ours lies below PySCF's first solution; ``restarted``: PySCF has looked
    for a lower one. ``problem`` says why there is no reference."""

    index: int
    reference: Reference | None
    below: bool = False
    restarted: bool = False
    problem: str = ""


def recompute(task: Task) -> Outcome:
    """Run in a PySCF process: solve; or, where there is a first solution, look for a lower one, as from our density."""
    entry, first = task.entry, task.first
    try:
        found = solve(entry.numbers, entry.positions, task.level) if first is None else first
        if first is not None or not found.converged:
            target = entry.energy + task.tolerance
            density = None if first is None else _density(task)
            found = solve_lower(entry.numbers, entry.positions, task.level, found, target=target, density=density)
    except (QmgenError, ArithmeticError, ValueError, RuntimeError) as error:  # numpy's LinAlgError is a ValueError
        return Outcome(task.index, None, problem=" ".join(f"{type(error).__name__}: {error}".split()))
    if not found.converged:
        return Outcome(task.index, None, problem=f"PySCF did not converge in {found.cycles} cycles from any guess")
    below = first is not None or entry.energy < found.energy - task.tolerance
    return Outcome(task.index, found, below, restarted=first is not None)


def _density(task: Task) -> np.ndarray | None:
    """Our density for a row; None where it cannot be had: a help for PySCF, which then goes on with its own guesses."""
    try:
        return own_density(task.entry.numbers, task.entry.positions, task.level)
    except Exception:  # whatever breaks in our own program must not keep the oracle from its judgement
        return None


def _solve_all(
    entries: tuple[Entry, ...], level: Level, tolerance: float, workers: int, progress: bool
) -> list[Outcome]:
    """Outcomes in the order of ``entries``; large molecules go first, so that no core is left alone at the end.

    Rows below PySCF's solution are tried again from our density and from other starts: a few, and all the others if any
    of those few was worth it. (A whole corpus below PySCF was made at another level; no restart will mend that.)
    """
    order = sorted(range(len(entries)), key=lambda index: (-entries[index].n_orbitals, index))
    with single_threaded_pool(workers) as pool:
        tasks = [Task(index, entries[index], level, tolerance) for index in order]
        found = {outcome.index: outcome for outcome in _shown(unordered(pool, recompute, tasks), len(tasks), progress)}
        below = [index for index in order if found[index].below]
        for part in (below[:TRIED_FIRST], below[TRIED_FIRST:]):
            tasks = [Task(index, entries[index], level, tolerance, found[index].reference) for index in part]
            again = list(_shown(unordered(pool, recompute, tasks), len(tasks), progress and bool(part), "restarts"))
            found.update((outcome.index, outcome) for outcome in again)
            if not any(_reached(entries[outcome.index], outcome, tolerance) for outcome in again):
                break
    return [found[index] for index in range(len(entries))]


def _reached(entry: Entry, outcome: Outcome, tolerance: float) -> bool:
    """Whether PySCF, once restarted, came down to our energy."""
    reference = outcome.reference
    return outcome.restarted and reference is not None and reference.energy <= entry.energy + tolerance


def _shown(outcomes: Iterator[Outcome], total: int, progress: bool, what: str = "PySCF") -> Iterator[Outcome]:
    from tqdm import tqdm

    shown = tqdm(outcomes, total=total, desc=what, unit="row", file=sys.stderr, disable=None if progress else True)
    yield from shown


def _report(
    directory: str,
    level: Level,
    tolerances: Tolerances,
    size: int,
    seed: int,
    drawn: Sample,
    outcomes: list[Outcome],
) -> Report:
    pairs = [(e, o, o.reference) for e, o in zip(drawn.entries, outcomes, strict=True) if o.reference is not None]
    entries, references = [entry for entry, _, _ in pairs], [reference for _, _, reference in pairs]
    names = entries[0].values if entries else {}
    ours = {name: [entry.values[name] for entry in entries] for name in names}
    theirs = {name: [reference.values[name] for reference in references] for name in names}
    rows = tuple(
        Row(
            molecule_id=entry.molecule_id,
            conformer_id=entry.conformer_id,
            smiles=entry.smiles,
            atoms=len(entry.numbers),
            n_orbitals=entry.n_orbitals,
            guess=reference.guess,
            restarted=outcome.restarted,
            seconds=round(reference.seconds, 3),
        )
        for entry, outcome, reference in pairs
    )
    failed = tuple(
        Failed(entry.molecule_id, entry.conformer_id, outcome.problem)
        for entry, outcome in zip(drawn.entries, outcomes, strict=True)
        if outcome.reference is None
    )
    return Report(
        directory=directory,
        level=level,
        tolerances=tolerances,
        sample=size,
        seed=seed,
        corpus_rows=drawn.rows,
        not_converged=drawn.not_converged,
        rows=rows,
        failed=failed,
        ours=ours,
        reference=theirs,
        below=sum(outcome.below for _, outcome, _ in pairs),
        lowered=sum(_reached(entry, outcome, tolerances.energy) for entry, outcome, _ in pairs),
        comparison=compare(ours, theirs, tolerances),
        provenance={"date": datetime.now(UTC).isoformat(timespec="seconds"), **versions()},
    )


def _target(directory: Path, out: Path | None) -> Path:
    if out is None:
        return directory / FILE_NAME
    if out.suffix != ".json":
        return out / FILE_NAME
    return Path(os.path.realpath(out))  # a link that the user names is written through


def _write(report: Report, path: Path) -> None:
    try:
        files.write(path.parent, path.name, report.to_json().encode())
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}; choose another place with --out") from error
