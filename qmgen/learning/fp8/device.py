"""Whether the device at hand has units for a recipe's products."""

from __future__ import annotations

from typing import Final

import jax

from qmgen.learning.fp8.recipe import Recipe

#: what people are told where it has none
NOTE: Final = "FP8 is emulated on this device: its numbers, not its speed"


def emulated(recipe: Recipe) -> bool:
    """Whether FP8 products are emulated here; False for a recipe without FP8.

    Block scaling always is (its products are float32 ones of scaled values). NVIDIA's units, from compute capability
    8.9, have the OCP formats, AMD's MI300 (gfx94) those of the IPU, MI350 (gfx95) and RDNA 4 (gfx12) the OCP's.
    """
    if recipe.kind == "none":
        return False
    if recipe.kind == "block" or jax.default_backend() != "gpu":
        return True
    ipu = recipe.forward.name.endswith("fnuz")
    capability = str(getattr(jax.devices()[0], "compute_capability", "0"))
    if capability.startswith("gfx"):
        return not capability.startswith("gfx94" if ipu else ("gfx95", "gfx12"))
    try:
        return ipu or float(capability) < 8.9
    except ValueError:
        return True
