"""The 8-bit floating-point formats, and how a linear layer chooses its scales.

name       sign.exponent.mantissa  largest   of
e4m3fn     1.4.3                   448       OCP, NVIDIA, AMD from MI350; no infinity, one NaN
e5m2       1.5.2                   57344     OCP
e4m3fnuz   1.4.3, bias 8           240       Graphcore IPU, AMD MI300; no infinity, no negative zero
e5m2fnuz   1.5.2, bias 16          57344     the same

Micikevicius et al., arXiv 2209.05433; Noune et al., arXiv 2206.02915 (the IPU's).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class Format:
    """``largest`` is its largest finite value; ``dtype`` NumPy's and JAX's type of it."""

    name: str
    dtype: Any
    largest: float

    def bits(self) -> tuple[int, int]:
        """Exponent and mantissa of ``largest`` as a float32: largest = (1 + mantissa 2^−23) 2^exponent."""
        fraction, exponent = math.frexp(self.largest)
        return exponent - 1, int((2.0 * fraction - 1.0) * 2**23)


E4M3: Final = Format("e4m3fn", jnp.float8_e4m3fn, 448.0)
E5M2: Final = Format("e5m2", jnp.float8_e5m2, 57344.0)
E4M3_IPU: Final = Format("e4m3fnuz", jnp.float8_e4m3fnuz, 240.0)
E5M2_IPU: Final = Format("e5m2fnuz", jnp.float8_e5m2fnuz, 57344.0)
FORMATS: Final = {format.name: format for format in (E4M3, E5M2, E4M3_IPU, E5M2_IPU)}


#: of a history or a block
LARGEST: Final = 2**16
KINDS: Final = ("none", "amax", "cscale", "delayed", "block")


@dataclass(frozen=True)
class ScalingRecipe:
    """Static settings of the products of a linear layer.

    none     no FP8: the product in the type of its input
    amax     per tensor, from the tensor at hand (FP8-AMAX, arXiv 2309.17224)
    cscale   one constant bias for every weight, activation and gradient (FP8-CSCALE, the same)
    delayed  per tensor, from the largest amax of the last steps (as NVIDIA's Transformer Engine does)
    block    1 × 128 of activations and gradients, 128 × 128 of weights (DeepSeek-V3, arXiv 2412.19437)

    Attributes:
        kind: one of these.
        forward: format of activations and weights.
        backward: format of gradients.
        margin: by how much the bias of gradients is lowered.
        bias: the constant of ``cscale``.
        history: steps that ``delayed`` looks back.
        block: side of a block.

    Raises ``ValueError`` for an unknown kind, a history or block below 1, or a bias or margin out of [−31, 31].
    """

    kind: str = "amax"
    forward: Format = E4M3
    backward: Format = E5M2
    margin: int = 3
    bias: int = 0
    history: int = 16
    block: int = 128

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no recipe is called {self.kind!r}: there are {', '.join(KINDS)}")
        if max(self.history, self.block) > LARGEST:
            raise ValueError(f"history and block are at most {LARGEST}")
        if self.history < 1 or self.block < 1 or abs(self.bias) > 31 or abs(self.margin) > 31:
            raise ValueError("history and block must be at least 1, bias and margin within -31 and 31")


NONE: Final = ScalingRecipe("none")
AMAX: Final = ScalingRecipe("amax")
DELAYED: Final = ScalingRecipe("delayed")
BLOCK: Final = ScalingRecipe("block")


def cscale(bias: int) -> ScalingRecipe:
    """FP8-CSCALE with this bias."""
    return ScalingRecipe("cscale", bias=bias)


def on_ipu(recipe: ScalingRecipe) -> ScalingRecipe:
    """The same with the IPU's formats, of which the first ends at 240."""
    return ScalingRecipe(recipe.kind, E4M3_IPU, E5M2_IPU, recipe.margin, recipe.bias, recipe.history, recipe.block)


#: what people are told where it has none
NOTE: Final = "FP8 is emulated on this device: its numbers, not its speed"


def emulated(recipe: ScalingRecipe) -> bool:
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
