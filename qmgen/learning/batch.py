"""What a network is given: geometries of one padded size, and the values it should predict.

>>> batch = Batch(numbers, positions, {"y": values}, weights)      # 112 molecules of at most 24 atoms
>>> loss = task.loss(parameters, batch)                            # a pytree: jit, grad and device_put take it whole
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax

#: a NumPy array on the host, a JAX array on the device
Array = Any


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Batch:
    """B molecules of at most n atoms.

    Attributes:
        numbers: (B, n) int32, atomic numbers; 0 where there is no atom.
        positions: (B, n, 3) float32, Bohr; 0 where there is no atom.
        values: by name of the target, in normalised units (``targets.Normalisation``): (B, 1) for a scalar, (B, 3) for
            the dipole moment, (B, n, 3) for forces. Empty where there is nothing to learn from.
        weights: (B,) float32, 1 for a molecule and 0 for a dummy that fills the batch.
    """

    numbers: Array
    positions: Array
    values: dict[str, Array]
    weights: Array
