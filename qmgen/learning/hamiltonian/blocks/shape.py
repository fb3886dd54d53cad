"""Sizes of the network over blocks of atom pairs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True)
class BlocksShape:
    """``width`` invariant features of an atom and of a pair, ``vectors`` equivariant ones of an atom, ``layers``;
    ``s`` and ``p`` shells of the largest atom of the basis set, ``elements`` that have an embedding, ascending."""

    width: int
    vectors: int
    layers: int
    s: int = 2
    p: int = 1
    elements: tuple[int, ...] = (1, 6, 7, 8, 9)

    def of(self, s: int, p: int, elements: tuple[int, ...]) -> BlocksShape:
        """The same size for another basis set and other elements."""
        return replace(self, s=s, p=p, elements=elements)

    @property
    def slots(self) -> int:
        """Places for orbitals of an atom: its s shells, then x, y, z of each p shell."""
        return self.s + 3 * self.p


PRESETS: Final = {
    "blocks-tiny": BlocksShape(48, 12, 2),
    "blocks-small": BlocksShape(96, 24, 3),
    "blocks-base": BlocksShape(192, 48, 4),
}
