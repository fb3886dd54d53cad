"""Random orders that are the same on every machine, and with every version of NumPy: a run that was stopped goes on
elsewhere as if it had not been."""

from __future__ import annotations

import numpy as np


def shuffled(count: int, *seed: int) -> np.ndarray:
    """(count,) int64, 0 .. count - 1 in the order that belongs to these numbers (not negative)."""
    # sorting the generator's own bits: NumPy promises those, but not what its shuffle does with them
    bits = np.random.PCG64(np.random.SeedSequence(seed)).random_raw(count)
    return np.argsort(bits, kind="stable").astype(np.int64)
