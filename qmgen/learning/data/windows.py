"""The rows of one epoch, a window at a time: what is in memory at once, however large the corpus.

Row groups come in an order of their own each epoch, and the stream of their rows is cut into windows of one length;
so every window but the last is full, and any of them can be read without those before it. A selection that fits in one
window is read once and kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from qmgen.errors import UsageError
from qmgen.learning.data.order import shuffled
from qmgen.learning.data.packed import Packed
from qmgen.learning.data.source import RowSource

WINDOW_ROWS = 262_144


@dataclass
class Windows:
    """The rows ``indices`` (sorted; all where None) of a split. ``rows`` is the length of a window."""

    source: RowSource
    split: str
    indices: np.ndarray | None
    seed: int
    rows: int = WINDOW_ROWS
    _bounds: np.ndarray = field(init=False, repr=False)
    _kept: Packed | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        starts = self.source.groups(self.split).starts
        # where the selected rows of each row group begin: in ``indices``, or in the split itself
        self._bounds = starts if self.indices is None else np.searchsorted(self.indices, starts)
        if not self.total:
            raise UsageError(f"{self.source.place}: no row of {self.split} is selected: ask for at least one")

    @property
    def total(self) -> int:
        """Rows in all."""
        return int(self._bounds[-1])

    def __len__(self) -> int:
        return -(-self.total // self.rows)

    def length(self, window: int) -> int:
        """Rows of a window."""
        return min(self.rows, self.total - window * self.rows)

    def read(self, epoch: int, window: int, ordered: bool = False) -> Packed:
        """Window number ``window`` of an epoch; the same rows each time it is asked for. ``ordered``: in the order of
        the corpus. Raises as ``RowSource.read`` does."""
        if len(self) > 1:
            return self.source.read(self.split, self.numbers(epoch, window, ordered), smiles=False)
        if self._kept is None:
            self._kept = self.source.read(self.split, self.indices, smiles=False)
        return self._kept

    def numbers(self, epoch: int, window: int, ordered: bool = False) -> np.ndarray:
        """The rows of a window, as numbers within the split."""
        sizes = np.diff(self._bounds)
        order = np.arange(len(sizes)) if ordered or len(self) == 1 else shuffled(len(sizes), self.seed, epoch, 0)
        ends = np.cumsum(sizes[order])
        low = window * self.rows
        high = low + self.length(window)
        pieces = []
        for place in range(int(np.searchsorted(ends, low, side="right")), int(np.searchsorted(ends, high)) + 1):
            group = order[place]
            first = int(self._bounds[group] + max(0, low - (ends[place] - sizes[group])))
            last = int(self._bounds[group + 1] - max(0, ends[place] - high))
            pieces.append(np.arange(first, last) if self.indices is None else self.indices[first:last])
        return np.sort(np.concatenate(pieces))
