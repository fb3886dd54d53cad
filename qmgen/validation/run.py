"""``validate``: a seeded sample of a corpus, recomputed with PySCF at the level of theory that the files state."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import numpy as np

from qmgen import files
from qmgen.corpus.columns import CHECKED, Column
from qmgen.corpus.reader import Corpus, open_corpus
from qmgen.dft.level import LevelOfTheory
from qmgen.errors import QmgenError, UsageError
from qmgen.machine import granted_cpus, versions
from qmgen.processes import ProcessGroup
from qmgen.progress import ProgressLine
from qmgen.runtime import ONE_THREAD
from qmgen.validation.compare import DEFAULT, ComparedRow, RowWithoutReference, Tolerances, ValidationReport, compare
from qmgen.validation.oracle import FUNCTIONALS, Reference, own_density, solve, solve_lower

_KEYS: Final = ("molecule_id", "conformer_id", "converged")
_COLUMNS: Final = ("molecule_id", "conformer_id", "smile", "z", "pos", "N")


@dataclass(frozen=True)
class SampledRow:
    """One row: ``numbers`` (atoms,), ``positions`` (atoms, 3) Bohr as stored; ``values`` by the names of ``CHECKED``,
    as far as the corpus has these columns: energies in Hartree, all else in the unit of the column."""

    molecule_id: int
    conformer_id: int
    smiles: str
    numbers: np.ndarray
    positions: np.ndarray
    n_orbitals: int
    values: Mapping[str, Any]

    @property
    def energy(self) -> float:
        """The total energy in Hartree."""
        return float(self.values["energy"])


@dataclass(frozen=True)
class SampledRows:
    """``entries`` in the order of (molecule_id, conformer_id), out of ``rows`` rows of which ``not_converged`` are
    never drawn."""

    entries: tuple[SampledRow, ...]
    rows: int
    not_converged: int


def level_of(corpus: Corpus) -> LevelOfTheory:
    """The level of theory that the files state. Raises ``UsageError`` when it is missing or PySCF cannot follow."""
    stated = corpus.level_of_theory
    missing = [key for key in ("xc", "basis", "grid_level") if key not in stated]
    if missing:
        raise UsageError(f"{corpus.place} does not state its level of theory (no {', '.join(missing)} in the metadata)")
    level = LevelOfTheory(
        str(stated["xc"]),
        str(stated["basis"]),
        int(stated["grid_level"]),
        str(stated.get("jk", "exact")),
        None if stated.get("auxbasis") is None else str(stated["auxbasis"]),
        bool(stated.get("cartesian", False)),
    )
    if level.xc not in FUNCTIONALS:
        raise UsageError(
            f"{corpus.place} was made with the functional {level.xc!r}, which has no PySCF counterpart here; "
            f"known: {', '.join(FUNCTIONALS)}"
        )
    fitting = level.fitting_set
    if level.jk not in ("exact", "df") or (fitting and fitting.checksum != stated.get("auxbasis_checksum")):
        raise UsageError(f"{corpus.place} was made with other fitting functions than those of this qmgen: {level}")
    return level


def hartree_in_ev(corpus: Corpus) -> float:
    """The factor the rows were written with. Raises ``UsageError`` when the metadata do not state it."""
    factor = (corpus.metadata.get("constants") or {}).get("hartree_in_ev")
    if not isinstance(factor, float):
        raise UsageError(f"{corpus.place} does not state its constants (no hartree_in_ev in the metadata)")
    return factor


def draw(corpus: Corpus, size: int, seed: int) -> SampledRows:
    """``size`` converged rows of all splits (all of them where there are fewer), without replacement.

    Depends on the rows and the seed, not on how the rows lie in files. Raises ``UsageError`` when there is nothing to
    draw from.
    """
    keys = corpus.table(columns=_KEYS)
    molecules, conformers, converged = (keys[name].to_numpy() for name in _KEYS)
    order = np.lexsort((conformers, molecules))
    candidates = order[converged[order]]
    rows, usable = len(order), len(candidates)
    if not rows:
        raise UsageError(f"{corpus.place} holds no rows: its failures files say why")
    if not usable:
        raise UsageError(f"{corpus.place}: none of its {rows} rows converged, there is nothing to compare")
    drawn = np.random.default_rng(seed).permutation(usable)[:size]
    entries = _read(corpus, np.sort(candidates[drawn]), hartree_in_ev(corpus))
    entries.sort(key=lambda entry: (entry.molecule_id, entry.conformer_id))
    return SampledRows(tuple(entries), rows, rows - usable)


def _read(corpus: Corpus, places: np.ndarray, factor: float) -> list[SampledRow]:
    """The rows at ``places`` (ascending) in the order in which the corpus is read."""
    entries: list[SampledRow] = []
    offset = 0
    checked = {name: column for name, column in CHECKED.items() if column.is_in(corpus.schema)}
    for batch in corpus.batches(columns=[*_COLUMNS, *(column.name for column in checked.values())]):
        inside = places[(places >= offset) & (places < offset + batch.num_rows)] - offset
        offset += batch.num_rows
        if len(inside):
            entries += [_sampled_row(row, checked, factor) for row in batch.take(inside).to_pylist()]
    return entries


def _sampled_row(row: Mapping[str, Any], checked: Mapping[str, Column], factor: float) -> SampledRow:
    def value(column: Column) -> Any:
        plain = row[column.name]
        if column.length:
            return np.array(plain, dtype=np.float64)
        return plain / factor if column.unit == "eV" else plain

    return SampledRow(
        molecule_id=row["molecule_id"],
        conformer_id=row["conformer_id"],
        smiles=row["smile"],
        numbers=np.array(row["z"], dtype=np.uint8),
        positions=np.array(row["pos"], dtype=np.float64).reshape(-1, 3),
        n_orbitals=row["N"],
        values={name: value(column) for name, column in checked.items()},
    )


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
) -> ValidationReport:
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
    report = _report_of(corpus.place, level, tolerances, sample, seed, drawn, outcomes)
    report.provenance.update(jobs=workers, seconds=round(perf_counter() - start, 3))
    if not report.rows:
        raise QmgenError(
            f"PySCF converged for none of the {len(drawn.entries)} sampled rows: {report.failed[0].detail}"
        )
    _write(report, _target(Path() if "://" in str(directory) else Path(directory), out))
    return report


@dataclass(frozen=True)
class ReferenceTask:
    """What a PySCF process gets: a row, how far below PySCF it may lie, and PySCF's ``first`` solution if it is to be
    started again from elsewhere."""

    index: int
    entry: SampledRow
    level: LevelOfTheory
    tolerance: float
    first: Reference | None = None


@dataclass(frozen=True)
class ReferenceOutcome:
    """PySCF's last word on a row. ``below``: ours lies below PySCF's first solution; ``restarted``: PySCF has looked
    for a lower one. ``problem`` says why there is no reference."""

    index: int
    reference: Reference | None
    below: bool = False
    restarted: bool = False
    problem: str = ""


def recompute(task: ReferenceTask) -> ReferenceOutcome:
    """Run in a PySCF process: solve; or, where there is a first solution, look for a lower one, as from our density."""
    entry, first = task.entry, task.first
    try:
        reference = solve(entry.numbers, entry.positions, task.level) if first is None else first
        if first is not None or not reference.converged:
            target = entry.energy + task.tolerance
            density = None if first is None else _density(task)
            reference = solve_lower(
                entry.numbers, entry.positions, task.level, reference, target=target, density=density
            )
    except (QmgenError, ArithmeticError, ValueError, RuntimeError) as error:  # numpy's LinAlgError is a ValueError
        return ReferenceOutcome(task.index, None, problem=" ".join(f"{type(error).__name__}: {error}".split()))
    if not reference.converged:
        return ReferenceOutcome(
            task.index, None, problem=f"PySCF did not converge in {reference.cycles} cycles from any guess"
        )
    below = first is not None or entry.energy < reference.energy - task.tolerance
    return ReferenceOutcome(task.index, reference, below, restarted=first is not None)


def recomputer(_: None) -> Callable[[ReferenceTask], ReferenceOutcome]:
    """In a PySCF process, once: PySCF imported and held to one thread."""
    from pyscf import lib

    lib.num_threads(1)
    return recompute


def _density(task: ReferenceTask) -> np.ndarray | None:
    """Our density for a row; None where it cannot be had: a help for PySCF, which then goes on with its own guesses."""
    try:
        return own_density(task.entry.numbers, task.entry.positions, task.level)
    except Exception:  # whatever breaks in our own program must not keep the oracle from its judgment
        return None


def _solve_all(
    entries: tuple[SampledRow, ...], level: LevelOfTheory, tolerance: float, workers: int, progress: bool
) -> list[ReferenceOutcome]:
    """Outcomes in the order of ``entries``; large molecules go first, so that no core is left alone at the end.

    Rows below PySCF's solution are tried again from our density and from other starts: a few, and all the others if any
    of those few was worth it. (A whole corpus below PySCF was made at another level; no restart will mend that.)
    """
    order = sorted(range(len(entries)), key=lambda index: (-entries[index].n_orbitals, index))
    environment = {**ONE_THREAD, "JAX_PLATFORMS": "cpu"}  # many processes cannot share an accelerator's memory
    name, advice = "a PySCF process", "try again with fewer processes (jobs)"
    with ProcessGroup(f"{__name__}:recomputer", None, workers, name, advice, environment) as group:
        tasks = [ReferenceTask(index, entries[index], level, tolerance) for index in order]
        outcomes = {outcome.index: outcome for outcome in _shown(group, tasks, progress)}
        below = [index for index in order if outcomes[index].below]
        for part in (below[:TRIED_FIRST], below[TRIED_FIRST:]):
            tasks = [
                ReferenceTask(index, entries[index], level, tolerance, outcomes[index].reference) for index in part
            ]
            again = list(_shown(group, tasks, progress and bool(part), "restarts"))
            outcomes.update((outcome.index, outcome) for outcome in again)
            if not any(_reached(entries[outcome.index], outcome, tolerance) for outcome in again):
                break
    return [outcomes[index] for index in range(len(entries))]


def _reached(entry: SampledRow, outcome: ReferenceOutcome, tolerance: float) -> bool:
    """Whether PySCF, once restarted, came down to our energy."""
    reference = outcome.reference
    return outcome.restarted and reference is not None and reference.energy <= entry.energy + tolerance


def _shown(
    group: ProcessGroup, tasks: list[ReferenceTask], progress: bool, what: str = "PySCF"
) -> Iterator[ReferenceOutcome]:
    with ProgressLine(what, "row", len(tasks), quiet=not progress) as line:
        for _, _, outcome in group.results(tasks):
            line.advance(1)
            yield outcome


def _report_of(
    directory: str,
    level: LevelOfTheory,
    tolerances: Tolerances,
    size: int,
    seed: int,
    drawn: SampledRows,
    outcomes: list[ReferenceOutcome],
) -> ValidationReport:
    pairs = [(e, o, o.reference) for e, o in zip(drawn.entries, outcomes, strict=True) if o.reference is not None]
    entries, references = [entry for entry, _, _ in pairs], [reference for _, _, reference in pairs]
    names = entries[0].values if entries else {}
    ours = {name: [entry.values[name] for entry in entries] for name in names}
    theirs = {name: [reference.values[name] for reference in references] for name in names}
    rows = tuple(
        ComparedRow(
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
        RowWithoutReference(entry.molecule_id, entry.conformer_id, outcome.problem)
        for entry, outcome in zip(drawn.entries, outcomes, strict=True)
        if outcome.reference is None
    )
    return ValidationReport(
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


def _write(report: ValidationReport, path: Path) -> None:
    try:
        files.write(path.parent, path.name, report.to_json().encode())
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}; choose another place with --out") from error
