"""Made-up values of the columns that hold properties, whichever there are."""

from __future__ import annotations

from typing import Any

import numpy as np

from qmgen.corpus.columns import PROPERTY_COLUMNS


def properties(atoms: int, random: np.random.Generator) -> dict[str, Any]:
    """By the names of columns, with normally distributed numbers."""
    return {column.name: random.normal(size=column.shape(atoms) or None) for column in PROPERTY_COLUMNS}
