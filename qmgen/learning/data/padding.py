"""From packed rows to a padded batch, by NumPy alone: no loop over molecules."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from qmgen.learning.batch import Batch
from qmgen.learning.data.packed import Packed, per_atom


def padded(packed: Packed, values: Mapping[str, np.ndarray], rows: np.ndarray, size: int, atoms: int) -> Batch:
    """The molecules ``rows`` of ``packed``, filled up with dummies to ``size``, in arrays for ``atoms`` atoms each.

    ``values``: of all molecules of ``packed``, normalised, float32. Dummies are zero and of weight 0.
    """
    places = packed.atoms_of(rows)
    mask = np.zeros((size, atoms), bool)
    mask[: len(rows)] = np.arange(atoms) < packed.sizes[rows][:, None]
    numbers = np.zeros((size, atoms), np.int32)
    numbers[mask] = packed.numbers[places]
    positions = np.zeros((size, atoms, 3), np.float32)
    positions[mask] = packed.positions[places]
    filled: dict[str, np.ndarray] = {}
    for name, array in values.items():
        if per_atom(name):
            filled[name] = np.zeros((size, atoms, array.shape[1]), np.float32)
            filled[name][mask] = array[places]
        else:
            filled[name] = np.zeros((size, array.shape[1]), np.float32)
            filled[name][: len(rows)] = array[rows]
    weights = np.zeros(size, np.float32)
    weights[: len(rows)] = 1.0
    return Batch(numbers, positions, filled, weights)
