"""How a linear layer chooses its scales.

none     no FP8: the product in the type of its input
amax     per tensor, from the tensor at hand (FP8-AMAX, arXiv 2309.17224)
cscale   one constant bias for every weight, activation and gradient (FP8-CSCALE, the same)
delayed  per tensor, from the largest amax of the last steps (as NVIDIA's Transformer Engine does)
block    1 × 128 of activations and gradients, 128 × 128 of weights (DeepSeek-V3, arXiv 2412.19437)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from qmgen.learning.fp8.formats import E4M3, E4M3_IPU, E5M2, E5M2_IPU, Format

#: of a history or a block
LARGEST: Final = 2**16
KINDS: Final = ("none", "amax", "cscale", "delayed", "block")


@dataclass(frozen=True)
class Recipe:
    """Static settings of the products of a linear layer.

    Attributes:
        kind: one of ``KINDS``.
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


NONE: Final = Recipe("none")
AMAX: Final = Recipe("amax")
DELAYED: Final = Recipe("delayed")
BLOCK: Final = Recipe("block")


def cscale(bias: int) -> Recipe:
    """FP8-CSCALE with this bias."""
    return Recipe("cscale", bias=bias)


def on_ipu(recipe: Recipe) -> Recipe:
    """The same with the IPU's formats, of which the first ends at 240."""
    return Recipe(recipe.kind, E4M3_IPU, E5M2_IPU, recipe.margin, recipe.bias, recipe.history, recipe.block)
