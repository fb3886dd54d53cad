"""All that training needs from a split: normalisation, padded sizes, batches; in one call, in the one right order."""

from __future__ import annotations

import numpy as np

from qmgen.learning.data.batches import Batches
from qmgen.learning.data.buckets import edges
from qmgen.learning.data.source import RowSource
from qmgen.learning.data.windows import WINDOW_ROWS, Windows
from qmgen.learning.targets.normalisation import Normalisation, fit


def training_batches(
    source: RowSource,
    indices: np.ndarray | None,
    batch_size: int,
    seed: int,
    window_rows: int = WINDOW_ROWS,
    normalisation: Normalisation | None = None,
) -> tuple[Normalisation, Batches]:
    """The normalisation of the selected training rows (or the one given), and batches of them.

    Normalisation and padded sizes come from all rows where they fit in one window, else from the first window of epoch
    0: a quarter of a million rows say what a billion do, and no pass over all of them is needed.
    """
    rows = max(batch_size, window_rows // batch_size * batch_size)
    first = Windows(source, "train", indices, seed, rows).read(0, 0)
    normalisation = normalisation or fit(source.targets, first)
    sizes = edges(np.bincount(first.sizes))
    return normalisation, Batches(source, "train", indices, normalisation, batch_size, sizes, seed, window_rows)
