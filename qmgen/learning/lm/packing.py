"""Texts packed into rows of one length (nothing is cut, and little is padding), and batches of rows in a seeded order.

>>> rows = rows_of(sequences.lengths(), order, length=64)
>>> batch = batch_of(sequences, rows[:32], size=32, length=64)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import jax
import numpy as np

from qmgen.errors import UsageError
from qmgen.learning.lm.texts import PAD_ID, Sequences

#: texts among which the next of a row is chosen
WAITING: Final = 64


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TokenBatch:
    """B rows of T tokens, each of several texts.

    Attributes:
        tokens: (B, T) int32.
        targets: (B, T) int32, the token after each, in its text.
        positions: (B, T) int32, places within the text.
        segments: (B, T) int32, which text of the row, from 1; 0 is padding.
        weights: (B, T) float32, 1 where there is a target.
    """

    tokens: Any
    targets: Any
    positions: Any
    segments: Any
    weights: Any


def rows_of(lengths: np.ndarray, order: np.ndarray, length: int) -> list[list[int]]:
    """Which texts each row of ``length`` tokens holds: the first that waits, then of the ``WAITING`` next in ``order``
    the longest that still fits, and again.

    Raises ``UsageError`` where a text is longer than a row.
    """
    if len(order) and (longest := int(lengths[order].max())) > length:
        raise UsageError(
            f"a molecule has {longest} tokens, begin and end counted, and a row {length}: leave it out, or train with "
            "a longer --context"
        )
    sizes: list[int] = lengths.tolist()
    coming = iter(order.tolist())
    waiting: dict[int, deque[int]] = {}  # by length, each in order
    first: deque[int] = deque()
    gone: set[int] = set()
    rows: list[list[int]] = []

    def refill() -> None:
        for index in islice(coming, WAITING - len(first) + len(gone)):
            first.append(index)
            waiting.setdefault(sizes[index], deque()).append(index)

    refill()
    while first:
        row, room = [], length
        size: int | None = sizes[first[0]]
        while size is not None:
            index = waiting[size].popleft()
            if not waiting[size]:
                del waiting[size]
            gone.add(index)
            row.append(index)
            room -= size
            size = max((one for one in waiting if one <= room), default=None)
        while first and first[0] in gone:
            gone.discard(first.popleft())
        rows.append(row)
        refill()
    return rows


def batch_of(sequences: Sequences, rows: list[list[int]], size: int, length: int) -> TokenBatch:
    """``rows`` as arrays on the host, filled to ``size`` rows with padding."""
    shape = (size, length)
    tokens = np.full(shape, PAD_ID, np.int32)
    targets, positions, segments = (np.zeros(shape, np.int32) for _ in range(3))
    weights = np.zeros(shape, np.float32)
    for place, row in enumerate(rows):
        begin = 0
        for number, index in enumerate(row, 1):
            text = sequences[index]
            end = begin + len(text)
            tokens[place, begin:end] = text
            targets[place, begin : end - 1] = text[1:]
            positions[place, begin:end] = np.arange(len(text))
            segments[place, begin:end] = number
            weights[place, begin : end - 1] = 1.0
            begin = end
    return TokenBatch(tokens, targets, positions, segments, weights)


@dataclass(frozen=True)
class TokenFeed:
    """``size`` rows of ``length`` tokens at once; ``put`` moves a batch to its devices."""

    sequences: Sequences
    size: int
    length: int
    seed: int
    put: Callable[[TokenBatch], TokenBatch] = jax.device_put

    def batches(self, place: dict[str, Any] | None) -> Generator[tuple[TokenBatch, dict[str, Any], int]]:
        """Each batch, the place after it, and how many targets it has. An epoch's last batch is filled from none."""
        epoch, begin = (place["epoch"], place["row"]) if place else (0, 0)
        while True:
            order = np.random.default_rng((self.seed, epoch)).permutation(len(self.sequences))
            rows = rows_of(self.sequences.lengths(), order, self.length)
            while begin < len(rows):
                batch = batch_of(self.sequences, rows[begin : begin + self.size], self.size, self.length)
                begin += self.size
                over = begin >= len(rows)
                after = {"epoch": epoch + over, "row": 0 if over else begin}
                yield self.put(batch), after, int(batch.weights.sum())
            epoch, begin = epoch + 1, 0


def in_order(sequences: Sequences, size: int, length: int) -> Iterator[TokenBatch]:
    """All texts once, on the host, those of like length together."""
    order = np.argsort(sequences.lengths(), kind="stable")
    rows = rows_of(sequences.lengths(), order, length)
    for begin in range(0, len(rows), size):
        yield batch_of(sequences, rows[begin : begin + size], size, length)
