"""Shell classes, and classes of shell pairs.

A ``ShellClass`` is a tuple of angular momenta over common exponents. Two cover s and p: (0,) and (0, 1); a shell with p
alone is one of the second without a slot for its s function. Powers, Hermite orders and the sizes of tiles follow from
the angular momenta. Which shells have integrals is known here alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np

#: powers of x, y, z of the functions of an angular momentum, in the order of the orbitals; real solid harmonics are
#: monomials as far as p, so that no transformation from Cartesian functions is needed
_POWERS: Final = {0: ((0, 0, 0),), 1: ((1, 0, 0), (0, 1, 0), (0, 0, 1))}
#: primitive pairs of a primitive group
PRIMITIVES: Final = 3
#: contraction layers that a kernel takes at once: nine primitive pairs, those of two shells of STO-3G
LAYERS: Final = 3
#: shell pairs in a tile of a bra, and the most in one of a ket
BRA_TILE: Final = 32
#: bytes of the Hermite integrals of two tiles in float64: they stay in the second-level cache of a core
TILE_BYTES: Final = 192 * 1024
#: the most function pairs, and shell pairs, of a block of shell pairs: two blocks give 2 MB of integrals at most
_BLOCK_FUNCTIONS: Final = 512
BLOCK_PAIRS: Final = 256


@dataclass(frozen=True)
class ShellClass:
    """Shells of these angular momenta over common exponents."""

    angular_momenta: tuple[int, ...]

    @property
    def order(self) -> int:
        """The highest angular momentum."""
        return max(self.angular_momenta)

    @property
    def functions(self) -> tuple[tuple[int, tuple[int, int, int]], ...]:
        """(column of its coefficients, powers of x y z) of each function, in the order of the orbitals."""
        return tuple((column, powers) for column, l in enumerate(self.angular_momenta) for powers in _POWERS[l])


SHELL_CLASSES: Final = (ShellClass((0,)), ShellClass((0, 1)))
#: the angular momenta that there are integrals for, as in "s and p"
SUPPORTED: Final = " and ".join("spdfghi"[l] for l in sorted({l for c in SHELL_CLASSES for l in c.angular_momenta}))


def class_of(angular_momenta: tuple[int, ...]) -> int | None:
    """The place in ``SHELL_CLASSES`` of the first class that has all of these; None where there are no integrals."""
    fitting = (place for place, c in enumerate(SHELL_CLASSES) if set(angular_momenta) <= set(c.angular_momenta))
    return next(fitting, None)


class FunctionPairs(NamedTuple):
    """Of each pair of functions of a class of shell pairs: powers (f, 3), and columns of coefficients (f,)."""

    powers_a: np.ndarray
    powers_b: np.ndarray
    column_a: np.ndarray
    column_b: np.ndarray


class ShellPairClass(NamedTuple):
    """Pairs of a shell of class ``a`` with one of class ``b``: places in ``SHELL_CLASSES``, a >= b."""

    a: int
    b: int

    @property
    def orders(self) -> tuple[int, int]:
        """The highest angular momentum of either shell."""
        return SHELL_CLASSES[self.a].order, SHELL_CLASSES[self.b].order

    @property
    def hermite_order(self) -> int:
        return sum(self.orders)

    @property
    def n_functions(self) -> int:
        """Pairs of functions."""
        return len(SHELL_CLASSES[self.a].functions) * len(SHELL_CLASSES[self.b].functions)

    @property
    def block_pairs(self) -> int:
        """Shell pairs of a block: lists are padded to whole blocks, of one size whatever the molecule."""
        return max(min(BLOCK_PAIRS, _BLOCK_FUNCTIONS // self.n_functions) // BRA_TILE, 1) * BRA_TILE

    @property
    def function_pairs(self) -> FunctionPairs:
        return _function_pairs(self)


@lru_cache(maxsize=32)
def _function_pairs(pair_class: ShellPairClass) -> FunctionPairs:
    a, b = (SHELL_CLASSES[place].functions for place in pair_class)
    pairs = [(i, j) for i in a for j in b]
    return FunctionPairs(
        np.array([i[1] for i, _ in pairs]),
        np.array([j[1] for _, j in pairs]),
        np.array([i[0] for i, _ in pairs]),
        np.array([j[0] for _, j in pairs]),
    )


#: the classes of shell pairs, ascending in cost
PAIR_CLASSES: Final = tuple(ShellPairClass(a, b) for a in range(len(SHELL_CLASSES)) for b in range(a + 1))
