"""The sizes of the network of arXiv 2402.04030, and those that have a name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

#: atomic numbers below this one, and places within an atom below that one, have an embedding
ELEMENTS: Final = 19
PLACES: Final = 16


@dataclass(frozen=True)
class QptShape:
    """All that fixes the shapes of the parameters and what is computed from them.

    Attributes:
        width: features of an orbital; a multiple of ``heads``.
        heads: heads of attention; even, since a matrix is given to two of them.
        layers: blocks of attention and perceptron.
        published: the form of the authors' code, defects included (see ``model``).
        averaged: take the mean over the four right-handed choices of the signs of the axes (see ``frame``).
        remat: compute a layer again in the backward pass instead of keeping what it computed.
    """

    width: int
    heads: int
    layers: int
    published: bool = False
    averaged: bool = False
    remat: bool = False

    def __post_init__(self) -> None:
        if self.published and self.averaged:
            raise ValueError("the published form knows one frame")
        if min(self.width, self.heads, self.layers) < 1:
            raise ValueError("a network has at least one of everything")
        if self.width % self.heads or self.heads % 2:
            raise ValueError(f"{self.heads} heads: an even number that divides the width {self.width} is needed")

    def as_published(self) -> QptShape:
        """The same size in the published form."""
        return replace(self, published=True, averaged=False)


#: the published sizes: about 5, 22, 86, 302 and 708 million parameters
PRESETS: Final = {
    "qpt-tiny": QptShape(width=192, heads=6, layers=12),
    "qpt-small": QptShape(width=384, heads=6, layers=12),
    "qpt-base": QptShape(width=768, heads=12, layers=12),
    "qpt-medium": QptShape(width=1024, heads=16, layers=24),
    "qpt-large": QptShape(width=1280, heads=16, layers=36),
}
