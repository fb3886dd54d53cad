"""Made-up values of the columns that hold lists and follow from a label, whichever there are."""

from __future__ import annotations

import numpy as np

from qmgen.corpus.columns import COLUMNS


def properties(atoms: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    """By the names of columns, with normally distributed numbers."""
    return {
        column.name: random.normal(size=column.length * (atoms if column.per_atom else 1))
        for column in COLUMNS
        if column.length and column.from_label
    }
