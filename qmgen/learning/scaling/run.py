"""The trainings of one ``qmgen train schnet``, shared with whoever runs the same command, and the report on them.

Each training is done under a lock in its folder: the same command on several nodes that share a file system takes
each a training that nobody else has in hand. Whoever finishes the last one writes the report; so does every repetition.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qmgen.config.train import TrainSchnetConfig
from qmgen.corpus.runs import records
from qmgen.errors import Interrupted
from qmgen.learning.data.held_out import Division, divided
from qmgen.learning.data.leakage import check_splits
from qmgen.learning.data.source import open_rows
from qmgen.learning.scaling.collect import alike, read_cells
from qmgen.learning.scaling.estimate import measured_rate
from qmgen.learning.scaling.plan import SCRATCH, Cell, cells
from qmgen.learning.scaling.share import share
from qmgen.learning.scaling.table import text
from qmgen.learning.scaling.write import few_molecules, report, write
from qmgen.learning.schnet.stored import Stored, load_model
from qmgen.learning.schnet.train import shape_of, train_cell
from qmgen.learning.targets import targets_of
from qmgen.learning.training.folder import claim
from qmgen.learning.training.progress import Quiet, default_progress
from qmgen.signals import StopWatch


@dataclass(frozen=True)
class Summary:
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
        return text(self.cells, self.elsewhere, self.report)


def run(settings: TrainSchnetConfig, quiet: bool = False) -> Summary:
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
        default_progress().say(few)
    plain = settings.model_copy(update={"init": None, "preset": preset})

    with StopWatch(settings.time_limit, unit="step", kept="checkpoints") as stop:

        def one(cell: Cell) -> None:
            progress = Quiet() if quiet else default_progress()
            own, begin = (plain, None) if cell.scratch else (settings, init)
            _train(own, source, cell, stop, progress, begin)

        try:
            elsewhere = share(planned, one, quiet)
        except Interrupted as stopped:
            if settings.overwrite:
                raise Interrupted(f"{stopped}, without --overwrite") from None
            raise

    asked = read_cells(cell.folder for cell in planned)
    finished = alike(asked, read_cells(sorted(settings.out.glob("rows-*/seed-*"))))
    scratch = alike(asked, read_cells(sorted((settings.out / SCRATCH).glob("rows-*/seed-*"))))
    found = None
    if not elsewhere and len(asked) == len(planned):
        found = report(
            settings,
            finished,
            scratch,
            _corpus(division),
            measured_rate(records(source.corpus.store)),
            settings.target_error,
        )
        write(found, settings.out)
    return Summary(str(settings.out), finished, scratch, elsewhere, found)


def _train(
    settings: TrainSchnetConfig, source: Any, cell: Cell, stop: StopWatch, progress: Any, init: Stored | None
) -> None:
    train_cell(settings, source, cell.rows, cell.seed, cell.folder, stop, progress, init)


def _corpus(division: Division) -> dict[str, Any]:
    source = division.source
    counts = {split: source.count(split) for split in ("train", "validation", "test")}
    held_out = counts["train"] - division.training_rows
    return {
        "place": _shown(source.place),
        "digest": source.digest,
        "rows": counts,
        "held_out": held_out,
        "train_rows": division.training_rows,
        "train_share": division.training_rows / sum(counts.values()),
    }


def _shown(place: str) -> str:
    """As a name that says as much to others: not the folders of this machine."""
    return place if "://" in place else Path(place).name
