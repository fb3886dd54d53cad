"""Batches of a selection of rows, epoch after epoch: each row once an epoch, the same batches for the same seed, from
any place of them on.

>>> normalization, batches = training_batches(source, indices, 112, seed=0)
>>> for batch, after in batches.epoch_batches(0):        # ``after``: where to go on once this batch is done
...     step(batch)
>>> for batch, after in batches.epoch_batches(after.epoch, after): ...
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any, Final

import jax
import numpy as np

from qmgen.errors import UsageError
from qmgen.learning.data.packed import MoleculeBatch, Normalization, Packed, concatenate, fit, padded
from qmgen.learning.data.source import RowSource
from qmgen.learning.targets import Target


def shuffled(count: int, *seed: int) -> np.ndarray:
    """(count,) int64, 0 .. count - 1 in the order that belongs to these numbers (not negative)."""
    # sorting the generator's own bits: NumPy promises those, but not what its shuffle does with them
    bits = np.random.PCG64(np.random.SeedSequence(seed)).random_raw(count)
    return np.argsort(bits, kind="stable").astype(np.int64)


def edges(histogram: np.ndarray, most: int = 4, step: int = 1) -> tuple[int, ...]:
    """At most ``most`` sizes, ascending multiples of ``step``, that hold all molecules with the fewest padded pairs.

    ``histogram[n]`` is the number of molecules of n atoms (``np.bincount(packed.sizes)``). The last edge holds the
    largest. Raises ``ValueError`` where there is no molecule.
    """
    counts = np.asarray(histogram, dtype=np.int64)
    sizes = np.flatnonzero(counts)
    if not len(sizes) or sizes[0] == 0 or most < 1 or step < 1:
        raise ValueError("buckets need molecules of at least one atom, and a number and a step of at least 1")
    rounded = -(-sizes // step) * step
    choices = np.unique(rounded)
    held = np.array([int(counts[sizes[rounded == edge]].sum()) for edge in choices])
    return tuple(int(edge) for edge in _best(choices, held, most))


def pairs(histogram: np.ndarray, chosen: tuple[int, ...]) -> int:
    """Padded pairs of all molecules with these edges: what ``edges`` makes smallest."""
    counts = np.asarray(histogram, dtype=np.int64)
    bounds = (0, *chosen)
    return sum(int(counts[low + 1 : high + 1].sum()) * high * high for low, high in pairwise(bounds))


def _best(choices: np.ndarray, held: np.ndarray, most: int) -> list[int]:
    """Dynamic programming: cost[j] of the first j sizes with k edges is the least, over the i sizes that k - 1 edges
    hold, of cost[i] and of all others in one array as large as the last."""
    count, total = len(choices), np.concatenate([[0], np.cumsum(held)])
    cost = [0.0] + [float("inf")] * count
    back: list[list[int]] = []
    best: tuple[float, int] = (float("inf"), 0)
    for used in range(1, min(most, count) + 1):
        least, origin = [float("inf")] * (count + 1), [0] * (count + 1)
        for last in range(1, count + 1):
            square = int(choices[last - 1]) ** 2
            for first in range(last):
                price = cost[first] + int(total[last] - total[first]) * square
                if price < least[last]:
                    least[last], origin[last] = price, first
        back.append(origin)
        cost = least
        if least[count] < best[0]:
            best = (least[count], used)
    chosen, last = [], count
    for used in range(best[1], 0, -1):
        chosen.append(int(choices[last - 1]))
        last = back[used - 1][last]
    return chosen[::-1]


WINDOW_ROWS = 262_144


@dataclass
class Windows:
    """The rows ``indices`` (sorted; all where None) of a split, a window at a time: what is in memory at once.

    Row groups come in an order of their own each epoch, and the stream of their rows is cut into windows of ``rows``
    rows: every window but the last is full, and any of them can be read without those before it. A selection that fits
    in one window is read once and kept.
    """

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


#: molecules larger than the last edge get arrays of a multiple of this
_STEP = 8


@dataclass(frozen=True)
class Position:
    """The batch to come: number ``batch`` of window ``window`` of epoch ``epoch``, all from 0."""

    epoch: int = 0
    window: int = 0
    batch: int = 0


class Batches:
    """The rows ``indices`` (sorted numbers within ``split``; all where None), normalized, ``batch_size`` at a time.

    ``edges``: the sizes molecules are padded to (``buckets.edges``), ascending. ``window_rows``: how many rows are in
    memory at once; taken down to a multiple of the batch size, so that only an epoch's last batch needs dummies.
    Raises ``UsageError`` where no row is selected.
    """

    def __init__(
        self,
        source: RowSource,
        split: str,
        indices: np.ndarray | None,
        normalization: Normalization,
        batch_size: int,
        edges: tuple[int, ...],
        seed: int,
        window_rows: int = WINDOW_ROWS,
    ) -> None:
        if batch_size < 1:
            raise ValueError("a batch holds at least one molecule")
        self.batch_size, self.edges, self.seed = batch_size, tuple(edges), seed
        self.windows = Windows(source, split, indices, seed, max(batch_size, window_rows // batch_size * batch_size))
        self._normalization = normalization
        self._kept: tuple[Packed, dict[str, np.ndarray]] | None = None

    @property
    def rows(self) -> int:
        """Rows an epoch."""
        return self.windows.total

    @property
    def steps_per_epoch(self) -> int:
        """Batches an epoch."""
        return -(-self.rows // self.batch_size)

    def epoch_batches(self, epoch: int, start: Position | None = None) -> Iterator[tuple[MoleculeBatch, Position]]:
        """The batches of an epoch in its own random order, from ``start`` (of this epoch) on; each with the position
        after it, which after the last batch is the beginning of the next epoch.

        Raises as ``RowSource.read`` does, and ``UsageError`` for elements that ``normalization`` does not know.
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
            del packed, values  # before the next window is read: one at a time in memory

    def batches(self, place: dict[str, Any] | None) -> Generator[tuple[MoleculeBatch, dict[str, Any], int]]:
        """Epochs without an end, from ``place`` (the fields of a ``Position``) on: each batch on the device, the place
        after it, and how many molecules of it are no dummies."""
        position = Position(**place) if place else Position()
        while True:
            for batch, after in self.epoch_batches(position.epoch, position):
                position = after
                rows = int(np.count_nonzero(batch.weights))  # while it is on the host
                yield jax.device_put(batch), asdict(after), rows

    def in_order(self) -> Iterator[tuple[MoleculeBatch, np.ndarray]]:
        """All rows once, for evaluation: each batch with the places (among the selected rows, in their order) of the
        molecules it holds, dummies left out. Batches are sorted by size within a window."""
        for window in range(len(self.windows)):
            packed, values = self._window(0, window, ordered=True)
            for rows, atoms in self._chunks(packed, np.arange(len(packed)), None):
                yield padded(packed, values, rows, self.batch_size, atoms), rows + window * self.windows.rows
            del packed, values

    def _window(self, epoch: int, window: int, ordered: bool = False) -> tuple[Packed, dict[str, np.ndarray]]:
        if self._kept is not None:
            return self._kept
        packed = self.windows.read(epoch, window, ordered)
        values = {name: self._normalization.normalize(name, v, packed) for name, v in packed.values.items()}
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


#: rows of an element that the first window lacks which are added to those that references are fitted to
_RARE_ROWS: Final = 64


def training_batches(
    source: RowSource,
    indices: np.ndarray | None,
    batch_size: int,
    seed: int,
    window_rows: int = WINDOW_ROWS,
    normalization: Normalization | None = None,
) -> tuple[Normalization, Batches]:
    """The normalization of the selected training rows (or the one given), and batches of them.

    Normalization and padded sizes come from all rows where they fit in one window, else from the first window of epoch
    0: a quarter of a million rows say what a billion do. References of atoms need every element: where they are wanted,
    one pass over all rows adds some of each element that the first window lacks.
    """
    rows = max(batch_size, window_rows // batch_size * batch_size)
    windows = Windows(source, "train", indices, seed, rows)
    first = windows.read(0, 0)
    if normalization is None:
        extensive = any(target.extensive for target in source.targets)
        normalization = fit(source.targets, _with_rare_elements(windows, first) if extensive else first)
    sizes = edges(np.bincount(first.sizes))
    known = of_any_element(normalization, source.targets)
    return normalization, Batches(source, "train", indices, known, batch_size, sizes, seed, window_rows)


def of_any_element(normalization: Normalization, targets: tuple[Target, ...]) -> Normalization:
    """``normalization`` for rows with any element, but where references of atoms are needed: what few rows, or the
    first window, do not hold must neither end a training nor leave molecules out of its errors."""
    if any(target.extensive for target in targets):
        return normalization
    return replace(normalization, elements=tuple(range(1, 100)))


def _with_rare_elements(windows: Windows, first: Packed) -> Packed:
    """``first``, and some rows of later windows with elements that it lacks."""
    seen, parts = set(first.numbers.tolist()), [first]
    for window in range(1, len(windows)):
        packed = windows.read(0, window)
        new = np.array(sorted(set(packed.numbers.tolist()) - seen), np.uint8)
        if not len(new):
            continue
        seen |= set(new.tolist())
        molecule = np.repeat(np.arange(len(packed)), packed.sizes)
        parts += [packed.take(np.unique(molecule[packed.numbers == z])[:_RARE_ROWS]) for z in new]
    return concatenate(parts)
