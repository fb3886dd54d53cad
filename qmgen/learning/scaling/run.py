"""The trainings of one ``qmgen train schnet``, shared with whoever runs the same command, and the report on them.

Each training is done under a lock in its folder: the same command on several nodes that share a file system takes
each a training that nobody else has in hand. Whoever finishes the last one writes the report; so does every repetition.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from qmgen.config.train import TrainSchnetConfig, rows_of
from qmgen.corpus.locks import Held, Lock
from qmgen.corpus.runs import records
from qmgen.errors import Interrupted, UsageError
from qmgen.learning.data.source import open_rows
from qmgen.learning.data.splits import Division, check_splits, divided
from qmgen.learning.scaling.law import measured_rate
from qmgen.learning.scaling.report import RESULT, alike, few_molecules, read_cells, report, summary_text, write
from qmgen.learning.schnet.model import load_model
from qmgen.learning.schnet.train import shape_of, train_cell
from qmgen.learning.targets import targets_of
from qmgen.learning.training.folder import cell_of, claim
from qmgen.progress import TrainingProgress
from qmgen.signals import StopWatch

#: below RUN: the trainings from scratch that those with --init are compared with
SCRATCH: Final = "scratch"


@dataclass(frozen=True)
class Cell:
    """One training; ``scratch`` where it is the counterpart of one with ``--init``."""

    rows: int
    seed: int
    folder: Path
    scratch: bool = False

    @property
    def name(self) -> str:
        """For people: ``1000 rows, seed 2``."""
        return f"{self.rows} rows, seed {self.seed}{', from scratch' if self.scratch else ''}"


def cells(settings: TrainSchnetConfig, available: int) -> list[Cell]:
    """All trainings: few rows first, all seeds of them, so that a curve appears early.

    Raises ``UsageError`` where more rows are asked for than the ``available`` training rows.
    """
    numbers = rows_of(settings.rows) or (available,)
    if numbers[-1] > available:
        raise UsageError(f"--rows {numbers[-1]} is more than the corpus's {available} training rows: ask for fewer")
    both = settings.init is not None and settings.scratch
    made = []
    for rows in numbers:
        for seed in range(settings.seed, settings.seed + settings.seeds):
            made.append(Cell(rows, seed, cell_of(settings.out, rows, seed)))
            if both:
                made.append(Cell(rows, seed, cell_of(settings.out / SCRATCH, rows, seed), scratch=True))
    return made


def share(planned: Sequence[Cell], train: Callable[[Cell], None], quiet: bool) -> list[str]:
    """Call ``train`` with each cell that nobody holds, under its lock; return the cells that others have in hand.

    Those are asked for again at the end: whoever had them may have been stopped since. A cell that is finished is not
    passed over but given to ``train``, which sees whether its result is that of these settings.
    """
    left = list(planned)
    while left:
        held: list[tuple[Cell, str]] = []
        done = 0
        for cell in left:
            number = planned.index(cell) + 1
            try:
                with Lock(cell.folder / ".lock"):
                    if not quiet and not (cell.folder / RESULT).exists():
                        print(f"qmgen: training {number} of {len(planned)}: {cell.name}", file=sys.stderr, flush=True)
                    train(cell)
                    done += 1
            except Held as by:
                held.append((cell, by.who))
        if not done or not held:
            return [f"{cell.name}: in the hands of {who}" for cell, who in held if not (cell.folder / RESULT).exists()]
        left = [cell for cell, _ in held]
    return []


@dataclass(frozen=True)
class ScalingSummary:
    """What came of it: ``cells`` are the contents of ``result.json`` of all trainings of this kind in the folder, those
    of earlier commands too, ``scratch`` those of counterparts of ``--init``,
    ``elsewhere`` the trainings that other processes have in hand, ``report`` what ``scaling.json`` holds (None while
    any is unfinished)."""

    out: str
    cells: list[dict[str, Any]]
    scratch: list[dict[str, Any]] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    report: dict[str, Any] | None = None

    def text(self) -> str:
        """A table of errors by rows, the law and the estimate; or who has what is missing."""
        return summary_text(self.cells, self.elsewhere, self.report)


def run(settings: TrainSchnetConfig, quiet: bool = False) -> ScalingSummary:
    """Train each cell that is not finished and that no other process holds; write the report when all are finished.

    Raises ``Interrupted`` when stopped (the same command goes on), ``UsageError`` and ``QmgenError`` as ``train_cell``
    and ``claim`` do.
    """
    targets = targets_of(settings.target)
    init = load_model(settings.init) if settings.init else None
    preset, _ = shape_of(settings, targets, init)
    source = open_rows(settings.data, targets, ["train"])
    division = divided(source, settings.validation_fraction)
    planned = cells(settings, division.training_rows)
    check_splits(source)
    claim(settings)
    if not quiet and (few := few_molecules(division.molecules(settings.validation_rows))):
        TrainingProgress(quiet=True).say(few)
    plain = settings.model_copy(update={"init": None, "preset": preset})

    with StopWatch(settings.time_limit, unit="step", kept="checkpoints") as stop:

        def one(cell: Cell) -> None:
            progress = TrainingProgress(quiet=quiet)
            own, begin = (plain, None) if cell.scratch else (settings, init)
            train_cell(own, source, cell.rows, cell.seed, cell.folder, stop, progress, begin)

        try:
            elsewhere = share(planned, one, quiet)
        except Interrupted as stopped:
            if settings.overwrite:
                raise Interrupted(f"{stopped}, without --overwrite") from None
            raise

    asked = read_cells(cell.folder for cell in planned)
    finished = alike(asked, read_cells(sorted(settings.out.glob("rows-*/seed-*"))))
    scratch = alike(asked, read_cells(sorted((settings.out / SCRATCH).glob("rows-*/seed-*"))))
    summary = None
    if not elsewhere and len(asked) == len(planned):
        summary = report(
            settings,
            finished,
            scratch,
            _corpus(division),
            measured_rate(records(source.corpus.store)),
            settings.target_error,
        )
        write(summary, settings.out)
    return ScalingSummary(str(settings.out), finished, scratch, elsewhere, summary)


def _corpus(division: Division) -> dict[str, Any]:
    source = division.source
    counts = {split: source.count(split) for split in ("train", "validation", "test")}
    held_out = counts["train"] - division.training_rows
    return {
        # a name that says as much to others: not the folders of this machine
        "place": source.place if "://" in source.place else Path(source.place).name,
        "digest": source.digest,
        "rows": counts,
        "held_out": held_out,
        "train_rows": division.training_rows,
        "train_share": division.training_rows / sum(counts.values()),
    }
