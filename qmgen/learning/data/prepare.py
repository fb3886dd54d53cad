"""All that training needs from a split: normalisation, padded sizes, batches; in one call, in the one right order."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from qmgen.learning.data.batches import Batches
from qmgen.learning.data.buckets import edges
from qmgen.learning.data.packed import Packed, concatenate
from qmgen.learning.data.source import RowSource
from qmgen.learning.data.windows import WINDOW_ROWS, Windows
from qmgen.learning.targets import Target
from qmgen.learning.targets.normalisation import Normalisation, fit

#: rows of an element that the first window lacks which are added to those that references are fitted to
_RARE_ROWS: Final = 64


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
    0: a quarter of a million rows say what a billion do. References of atoms need every element: where they are wanted,
    one pass over all rows adds some of each element that the first window lacks.
    """
    rows = max(batch_size, window_rows // batch_size * batch_size)
    windows = Windows(source, "train", indices, seed, rows)
    first = windows.read(0, 0)
    if normalisation is None:
        extensive = any(target.extensive for target in source.targets)
        normalisation = fit(source.targets, _with_rare_elements(windows, first) if extensive else first)
    sizes = edges(np.bincount(first.sizes))
    known = of_any_element(normalisation, source.targets)
    return normalisation, Batches(source, "train", indices, known, batch_size, sizes, seed, window_rows)


def of_any_element(normalisation: Normalisation, targets: tuple[Target, ...]) -> Normalisation:
    """``normalisation`` for rows with any element, but where references of atoms are needed: what few rows, or the
    first window, do not hold must neither end a training nor leave molecules out of its errors."""
    if any(target.extensive for target in targets):
        return normalisation
    return replace(normalisation, elements=tuple(range(1, 100)))


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
