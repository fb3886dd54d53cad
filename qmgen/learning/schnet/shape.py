"""The sizes of a SchNet, and those that have a name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True)
class SchNetShape:
    """Widths and depth of the network; all that fixes the shapes of its parameters and of what it computes.

    Attributes:
        hidden: features of an atom.
        filters: features of a pair, and of an atom inside an interaction.
        interactions: number of interaction blocks.
        gaussians: Gaussians on [0, ``cutoff``] that describe a distance.
        cutoff: Bohr; atoms further apart do not see each other.
        outputs: numbers that come out for each atom.
        elements: rows of the embedding: atomic numbers below this one are known; row 0 is that of padding.
    """

    hidden: int
    filters: int
    interactions: int
    gaussians: int
    cutoff: float
    outputs: int = 1
    elements: int = 100

    def with_outputs(self, outputs: int) -> SchNetShape:
        """The same with another number of outputs."""
        return replace(self, outputs=outputs)


#: ``schnet-9m`` is QM1B's (arXiv 2311.01135): 9 088 513 parameters. The others are for few rows and few cores.
PRESETS: Final = {
    "schnet-9m": SchNetShape(hidden=1024, filters=256, interactions=5, gaussians=200, cutoff=15.0),
    "small": SchNetShape(hidden=128, filters=128, interactions=4, gaussians=64, cutoff=15.0),
    "tiny": SchNetShape(hidden=64, filters=64, interactions=3, gaussians=48, cutoff=15.0),
}
