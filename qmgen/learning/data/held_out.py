"""Which rows of a corpus a training learns from, and which it is validated on: the corpus's own splits, or with a share
of the training molecules held out too, where the validation split is small or empty.

>>> division = divided(source, 0.1)
>>> division.select(1000, seed=0)          # of the training rows that are left
>>> division.validation(10_000)            # rows of the split validation, and of the split train
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from qmgen.config.base import LARGEST_SEED
from qmgen.corpus.splits import Splitter
from qmgen.errors import UsageError
from qmgen.learning.data.selection import select
from qmgen.learning.data.source import RowSource

#: no corpus has this seed, so that what is held out has nothing to do with how the corpus was split
HELD_OUT_SEED: Final = LARGEST_SEED + 1
#: which validation rows, where there are more than are used: the same for all trainings
VALIDATION_SEED: Final = 0
_BATCH: Final = 65536


@dataclass(frozen=True)
class Division:
    """``kept`` and ``held_out``: numbers of rows of the split train (sorted, int64); both None where nothing is held
    out, and all are kept."""

    source: RowSource
    fraction: float | None = None
    kept: np.ndarray | None = None
    held_out: np.ndarray | None = None

    @property
    def training_rows(self) -> int:
        """Rows to learn from."""
        return self.source.count("train") if self.kept is None else len(self.kept)

    def select(self, rows: int, seed: int) -> np.ndarray:
        """As ``selection.select`` of the rows to learn from: numbers of rows of the split train."""
        chosen = select(self.training_rows, rows, seed)
        return chosen if self.kept is None else self.kept[chosen]

    def validation(self, most: int) -> list[tuple[str, np.ndarray]]:
        """The rows to validate on, ``most`` of them or all: splits, and numbers of rows of each."""
        own = self.source.count("validation")
        total = own + (0 if self.held_out is None else len(self.held_out))
        chosen = select(total, min(most, total), VALIDATION_SEED)
        cut = int(np.searchsorted(chosen, own))
        found = [("validation", chosen[:cut])]
        if self.held_out is not None:
            found.append(("train", self.held_out[chosen[cut:] - own]))
        return [(split, rows) for split, rows in found if len(rows)]

    def molecules(self, most: int) -> int:
        """How many molecules ``validation(most)`` has: conformers of one tell little more than one."""
        found: set[int] = set()
        for split, rows in self.validation(most):
            ids = [batch.column("molecule_id").to_numpy() for batch in _stream(self.source, split, ["molecule_id"])]
            found.update(np.unique(np.concatenate(ids)[rows]).tolist())
        return len(found)


def divided(source: RowSource, fraction: float | None) -> Division:
    """``source`` with ``fraction`` of its training molecules held out, by a seeded hash of their SMILES (of their
    formula where there is none): the same for every training, and conformers of one molecule never part.

    Raises ``UsageError`` where nothing is left to learn from or to validate on.
    """
    if fraction is None:
        source.require("train")
        if not source.count("validation"):
            raise UsageError(f"{source.lacking('validation')}; or hold out molecules with --validation-fraction 0.1")
        return Division(source)
    # kept with the source, for all trainings of a process: a look at every training row
    known: dict[float, Division] = source.__dict__.setdefault("_divisions", {})
    if fraction not in known:
        aside = _held_out(source, fraction)
        division = Division(source, fraction, np.flatnonzero(~aside), np.flatnonzero(aside))
        if not division.training_rows or not (source.count("validation") or aside.any()):
            what, do = ("left to learn from", "smaller") if aside.any() else ("held out", "larger")
            raise UsageError(
                f"{source.place}: of its {len(aside):,} training rows none is {what} with --validation-fraction "
                f"{fraction:g}: give a {do} one, or generate more molecules"
            )
        known[fraction] = division
    return known[fraction]


def _held_out(source: RowSource, fraction: float) -> np.ndarray:
    """(rows of train,) bool. Isomers that share a ``molecule_id`` follow the least of their keys' hashes."""
    splitter = Splitter(HELD_OUT_SEED, fraction, 0.0)
    ids, places = [np.zeros(0, np.int64)], [np.zeros(0)]
    for batch in _stream(source, "train", ["molecule_id", "smile", "z"]):
        ids.append(batch.column("molecule_id").to_numpy())
        names = batch.column("smile").to_pylist()
        bare = {row: _symbols(batch.column("z")[row].as_py()) for row, name in enumerate(names) if not name}
        known: dict[str, float] = {}
        for name in names:
            if name and name not in known:
                known[name] = splitter.place(name, ())
        places.append(np.array([known[n] if n else splitter.place("", bare[row]) for row, n in enumerate(names)]))
    molecules, which = np.unique(np.concatenate(ids), return_inverse=True)
    least = np.full(len(molecules), np.inf)
    np.minimum.at(least, which, np.concatenate(places))
    return np.asarray(least[which] < fraction)


def _symbols(numbers: list[int]) -> list[str]:
    """Any names do, as long as equal elements have equal ones."""
    return [str(number) for number in numbers]


def _stream(source: RowSource, split: str, columns: list[str]) -> Iterator[Any]:
    for name in source.groups(split).names:
        with source.corpus.open(name) as opened:
            yield from opened.iter_batches(batch_size=_BATCH, columns=columns, use_threads=False)
