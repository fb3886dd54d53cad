"""Batches without an end for ``training.loop``: epoch after epoch, prepared while the device computes."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from qmgen.learning.batch import Batch
from qmgen.learning.data.batches import Batches, Position
from qmgen.learning.data.prefetch import prefetch


@dataclass(frozen=True)
class RowFeed:
    """The training rows as ``training.loop.Feed``."""

    rows: Batches

    def batches(self, place: dict[str, Any] | None) -> Generator[tuple[Batch, dict[str, Any], int]]:
        """Each batch, the place after it, and how many molecules of it are no dummies."""
        with closing(prefetch(self._counted(place))) as ready:
            yield from ready

    def _counted(self, place: dict[str, Any] | None) -> Generator[tuple[Batch, dict[str, Any], int]]:
        position = Position(**place) if place else Position()
        while True:
            epoch = position.epoch
            for batch, after in self.rows.epoch_batches(epoch, position):
                position = after
                yield batch, asdict(after), int(np.count_nonzero(batch.weights))
            if position.epoch == epoch:
                position = Position(epoch + 1)
