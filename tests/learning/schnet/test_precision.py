"""SchNet with FP8 products."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from qmgen.learning.fp8 import AMAX, by_recipe
from qmgen.learning.schnet.model import PRESETS, atomwise, init


def test_outputs_are_near_those_of_float32(molecules: Any) -> None:
    numbers, positions = molecules([9, 14, 5])
    shape = PRESETS["tiny"]
    params = init(jax.random.key(0), shape)
    params["lin2"]["weight"] = jax.random.normal(jax.random.key(1), params["lin2"]["weight"].shape)  # which begins as 0
    exact, scaled = (
        np.asarray(jax.jit(atomwise, static_argnums=1)(given, shape, numbers, positions))
        for given in (params, by_recipe(params, AMAX))
    )
    # four significant bits in each product, eleven of them one after another
    assert 0 < np.linalg.norm(scaled - exact) < 0.15 * np.linalg.norm(exact)
