"""Linear layers in FP8 with dynamic scaling (arXiv 2309.17224): one function, five recipes.

>>> from qmgen.learning.fp8 import AMAX, linear, probe
>>> loss = lambda w, p: (linear(x, w, AMAX, p) ** 2).sum()
>>> dw, seen = jax.grad(loss, argnums=(0, 1))(w, probe(AMAX))     # seen[0]: bias, amax, underflow, overflow of x
"""

from qmgen.learning.fp8.device import NOTE, emulated
from qmgen.learning.fp8.formats import E4M3, E4M3_IPU, E5M2, E5M2_IPU, FORMATS, Format
from qmgen.learning.fp8.linear import By, by_recipe, linear, matmul, weight8
from qmgen.learning.fp8.probe import probe
from qmgen.learning.fp8.recipe import AMAX, BLOCK, DELAYED, KINDS, NONE, Recipe, cscale, on_ipu
from qmgen.learning.fp8.scale import Scaled8, amax, bias_of, cast, dequantise, quantise

__all__ = [
    "AMAX", "BLOCK", "DELAYED", "E4M3", "E4M3_IPU", "E5M2", "E5M2_IPU", "FORMATS", "KINDS", "NONE", "NOTE", "By",
    "Format", "Recipe", "Scaled8", "amax", "bias_of", "by_recipe", "cast", "cscale", "dequantise",
    "emulated", "linear", "matmul", "on_ipu", "probe", "quantise", "weight8",
]  # fmt: skip
