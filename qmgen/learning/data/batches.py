"""Batches of a selection of rows, epoch after epoch: each row once an epoch, the same batches for the same seed, from
any place of them on.

>>> batches = Batches(source, "train", indices, normalisation, 112, edges, seed=0)
>>> for batch, after in batches.epoch_batches(0):        # ``after``: where to go on once this batch is done
...     step(batch)
>>> for batch, after in batches.epoch_batches(after.epoch, after): ...
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from qmgen.learning.batch import Batch
from qmgen.learning.data.order import shuffled
from qmgen.learning.data.packed import Packed
from qmgen.learning.data.padding import padded
from qmgen.learning.data.source import RowSource
from qmgen.learning.data.windows import WINDOW_ROWS, Windows
from qmgen.learning.targets.normalisation import Normalisation

#: molecules larger than the last edge get arrays of a multiple of this
_STEP = 8


@dataclass(frozen=True)
class Position:
    """The batch to come: number ``batch`` of window ``window`` of epoch ``epoch``, all from 0."""

    epoch: int = 0
    window: int = 0
    batch: int = 0


class Batches:
    """The rows ``indices`` (sorted numbers within ``split``; all where None), normalised, ``batch_size`` at a time.

    ``edges``: the sizes molecules are padded to (``buckets.edges``), ascending. ``window_rows``: how many rows are in
    memory at once; taken down to a multiple of the batch size, so that only an epoch's last batch needs dummies.
    Raises ``UsageError`` where no row is selected.
    """

    def __init__(
        self,
        source: RowSource,
        split: str,
        indices: np.ndarray | None,
        normalisation: Normalisation,
        batch_size: int,
        edges: tuple[int, ...],
        seed: int,
        window_rows: int = WINDOW_ROWS,
    ) -> None:
        if batch_size < 1:
            raise ValueError("a batch holds at least one molecule")
        self.batch_size, self.edges, self.seed = batch_size, tuple(edges), seed
        self.windows = Windows(source, split, indices, seed, max(batch_size, window_rows // batch_size * batch_size))
        self._normalisation = normalisation
        self._kept: tuple[Packed, dict[str, np.ndarray]] | None = None

    @property
    def rows(self) -> int:
        """Rows an epoch."""
        return self.windows.total

    @property
    def steps_per_epoch(self) -> int:
        """Batches an epoch."""
        return -(-self.rows // self.batch_size)

    def epoch_batches(self, epoch: int, start: Position | None = None) -> Iterator[tuple[Batch, Position]]:
        """The batches of an epoch in its own random order, from ``start`` (of this epoch) on; each with the position
        after it, which after the last batch is the beginning of the next epoch.

        Raises as ``RowSource.read`` does, and ``UsageError`` for elements that ``normalisation`` does not know.
        """
        begin = start or Position(epoch)
        if begin.epoch != epoch:
            raise ValueError(f"{begin} is not in epoch {epoch}")
        for window in range(begin.window, len(self.windows)):
            packed, values = self._window(epoch, window)
            chunks = self._shuffled_chunks(packed, epoch, window)
            for number in range(begin.batch if window == begin.window else 0, len(chunks)):
                rows, atoms = chunks[number]
                after = Position(epoch, window, number + 1)
                if number + 1 == len(chunks):
                    last = window + 1 == len(self.windows)
                    after = Position(epoch + 1) if last else Position(epoch, window + 1)
                yield padded(packed, values, rows, self.batch_size, atoms), after

    def in_order(self) -> Iterator[tuple[Batch, np.ndarray]]:
        """All rows once, for evaluation: each batch with the places (among the selected rows, in their order) of the
        molecules it holds, dummies left out. Batches are sorted by size within a window."""
        for window in range(len(self.windows)):
            packed, values = self._window(0, window, ordered=True)
            for rows, atoms in self._chunks(packed, np.arange(len(packed)), None):
                yield padded(packed, values, rows, self.batch_size, atoms), rows + window * self.windows.rows

    def _window(self, epoch: int, window: int, ordered: bool = False) -> tuple[Packed, dict[str, np.ndarray]]:
        if self._kept is not None:
            return self._kept
        packed = self.windows.read(epoch, window, ordered)
        values = {name: self._normalisation.normalise(name, v, packed) for name, v in packed.values.items()}
        if len(self.windows) == 1:
            self._kept = packed, values
        return packed, values

    def _shuffled_chunks(self, packed: Packed, epoch: int, window: int) -> list[tuple[np.ndarray, int]]:
        seed = (self.seed, epoch, window + 1)
        chunks = self._chunks(packed, shuffled(len(packed), *seed, 0), seed)
        return [chunks[number] for number in shuffled(len(chunks), *seed, 1)]

    def _chunks(self, packed: Packed, order: np.ndarray, seed: tuple[int, ...] | None) -> list[tuple[np.ndarray, int]]:
        """Rows of each batch and the atoms it is padded to: what does not fill a batch goes up to the next size."""
        sizes, size = packed.sizes[order], self.batch_size
        bounds, largest = list(self.edges), int(sizes.max())
        if not bounds or largest > bounds[-1]:
            bounds.append(-(-largest // _STEP) * _STEP)
        bucket = np.searchsorted(bounds, sizes)
        left = order[:0]
        chunks: list[tuple[np.ndarray, int]] = []
        for number, atoms in enumerate(bounds):
            rows = np.concatenate([left, order[bucket == number]])
            if seed is not None and len(left):  # so that those from below spread over the batches of this size
                rows = rows[shuffled(len(rows), *seed, 2 + number)]
            full = len(rows) // size * size
            chunks += [(rows[at : at + size], atoms) for at in range(0, full, size)]
            left = rows[full:]
        if len(left):
            atoms = bounds[int(np.searchsorted(bounds, packed.sizes[left].max()))]
            chunks.append((left, atoms))
        return chunks
