"""Batches of tokens for ``training.loop``: epoch after epoch in a seeded order, prepared while the device computes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from qmgen.learning.data.prefetch import prefetch
from qmgen.learning.lm.texts.packing import TokenBatch, batch_of, rows_of
from qmgen.learning.lm.texts.reading import Sequences


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
        with closing(prefetch(self._from(place or {"epoch": 0, "row": 0}))) as ready:
            yield from ready

    def _from(self, place: dict[str, Any]) -> Generator[tuple[TokenBatch, dict[str, Any], int]]:
        epoch, begin = place["epoch"], place["row"]
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
