"""A position as 123 numbers: x, y and z in the molecule's frame, and sines and cosines of them of 20 wavelengths.

    r_k,   cos(2 pi f r_k / 20),   sin(2 pi f r_k / 20),      f = 1 ... 20;  r in Bohr

from 20 Bohr down to 1. The published code has f = 0 ... 19: three of its numbers are 1 and three are 0 everywhere.
"""

from __future__ import annotations

import math
from typing import Final

import jax
import jax.numpy as jnp

Array = jax.Array

WAVES: Final = 20
#: the longest wave, Bohr
LONGEST: Final = 20.0
COUNT: Final = 3 + 2 * 3 * WAVES


def position_features(positions: Array, published: bool = False) -> Array:
    """(n, 3) in the frame -> (n, COUNT) in the same type."""
    first = 0 if published else 1
    steps = jnp.arange(first, first + WAVES, dtype=positions.dtype) * (2.0 * math.pi / LONGEST)
    angles = (positions[:, None, :] * steps[:, None]).reshape(len(positions), 3 * WAVES)
    return jnp.concatenate([positions, jnp.cos(angles), jnp.sin(angles)], axis=1)
