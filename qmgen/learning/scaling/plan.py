"""Which trainings one ``qmgen train schnet`` asks for, in which order, and where each is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qmgen.config.train import TrainSchnetConfig, rows_of
from qmgen.errors import UsageError
from qmgen.learning.training.folder import cell_of

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
