"""Linear layers in FP8 with dynamic scaling (arXiv 2309.17224): one function, five recipes.

>>> from qmgen.learning.fp8 import AMAX, linear, probe
>>> loss = lambda w, p: (linear(x, w, AMAX, p) ** 2).sum()
>>> dw, seen = jax.grad(loss, argnums=(0, 1))(w, probe(AMAX))     # seen[0]: bias, amax, underflow, overflow of x
"""

from qmgen.learning.fp8.product import By, by_recipe, linear, matmul, weight8
from qmgen.learning.fp8.scale import (
    AMAX,
    BLOCK,
    DELAYED,
    E4M3,
    E4M3_IPU,
    E5M2,
    E5M2_IPU,
    FORMATS,
    KINDS,
    NONE,
    NOTE,
    Format,
    Scaled8,
    ScalingRecipe,
    amax,
    bias_of,
    cast,
    cscale,
    dequantize,
    emulated,
    on_ipu,
    probe,
    quantize,
)

__all__ = [
    "AMAX", "BLOCK", "DELAYED", "E4M3", "E4M3_IPU", "E5M2", "E5M2_IPU", "FORMATS", "KINDS", "NONE", "NOTE", "By",
    "Format", "Scaled8", "ScalingRecipe", "amax", "bias_of", "by_recipe", "cast", "cscale", "dequantize",
    "emulated", "linear", "matmul", "on_ipu", "probe", "quantize", "weight8",
]  # fmt: skip
