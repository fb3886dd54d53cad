"""Shell classes, and classes of shell pairs.

A ``ShellClass`` is a tuple of angular momenta over common exponents. Orbital basis sets have s, sp, p, d and f shells;
fitting sets go to h. A shell with p alone is one of the class of sp shells where the set has such (``merged_classes``),
without a slot for its s function. Powers, Hermite orders and the sizes of tiles follow from the angular momenta. Which
shells have integrals is known here alone.

Functions are real solid harmonics, or Cartesian where the basis set is defined so, as linear combinations of monomials
x^i y^j z^k over one radial function, in the order and with the norms of PySCF: contraction coefficients are those of an
x^l that has norm one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np

#: the angular momentum of the highest orbitals, and of the highest fitting functions
HIGHEST_ORBITAL: Final = 3
HIGHEST_FITTING: Final = 5
#: letters of the angular momenta
LETTERS: Final = "spdfghi"
#: the angular momenta that there are integrals for, as in "s, p, d and f"
SUPPORTED: Final = f"{', '.join(LETTERS[:HIGHEST_ORBITAL])} and {LETTERS[HIGHEST_ORBITAL]}"
#: primitive pairs of a primitive group, where both shells are s or p: those of minimal sets are contracted
PRIMITIVES: Final = 3
#: contraction layers that a kernel takes at once: with three pairs each, those of two shells of STO-3G
LAYERS: Final = 3
#: shell pairs in a tile of a bra, and the most in one of a ket
BRA_TILE: Final = 32
#: bytes of the Hermite integrals of two tiles in float64: they stay in the second-level cache of a core
TILE_BYTES: Final = 192 * 1024
#: the most function pairs, and shell pairs, of a block of shell pairs: two blocks give 2 MB of integrals at most
_BLOCK_FUNCTIONS: Final = 512
BLOCK_PAIRS: Final = 256

Powers = tuple[int, int, int]


@lru_cache(maxsize=16)
def cartesian_powers(l: int) -> tuple[Powers, ...]:
    """Powers of x, y, z of the monomials of degree ``l``: xx, xy, xz, yy, yz, zz."""
    return tuple((i, j, l - i - j) for i in range(l, -1, -1) for j in range(l - i, -1, -1))


@lru_cache(maxsize=16)
def solid_harmonics(l: int) -> np.ndarray:
    """(2 l + 1, monomials) the real solid harmonics of degree ``l`` by ``cartesian_powers``, of norm one with a radial
    function that gives x^l norm one; x, y, z for l = 1, else m = -l ... l.

    Source: H. B. Schlegel, M. J. Frisch, Int. J. Quantum Chem. 54, 83 (1995), in the form of products of
    Re or Im (x + i y)^m with a polynomial in z and r^2.
    """
    powers = cartesian_powers(l)
    if l == 1:
        return np.eye(3)
    rows = np.zeros((2 * l + 1, len(powers)))
    for row, m in enumerate(range(-l, l + 1)):
        for factor, (i, j, k) in _harmonic_terms(l, m):
            rows[row, powers.index((i, j, k))] += factor
    overlap = np.array([[_monomial_overlap(l, a, b) for b in powers] for a in powers])
    return rows / np.sqrt(np.einsum("ri,ij,rj->r", rows, overlap, rows))[:, None]


def _harmonic_terms(l: int, m: int) -> Iterable[tuple[float, Powers]]:
    """Factors and powers of a solid harmonic, up to one common factor; a monomial may occur several times."""
    size = abs(m)
    for p in range(size + 1):  # of (x + i y)^m: x^(m - p) (i y)^p, odd p for the imaginary part
        if (p % 2 == 1) != (m < 0):
            continue
        plane = math.comb(size, p) * (-1) ** (p // 2)
        for k in range((l - size) // 2 + 1):  # of the polynomial: z^(l - 2k - m) r^(2k)
            height = (
                (-1) ** k
                * math.comb(l, k)
                * math.comb(2 * l - 2 * k, l)
                * math.factorial(l - 2 * k)
                / math.factorial(l - 2 * k - size)
            )
            for a in range(k + 1):
                for b in range(k - a + 1):
                    c = k - a - b
                    count = math.factorial(k) / (math.factorial(a) * math.factorial(b) * math.factorial(c))
                    yield plane * height * count, (size - p + 2 * a, p + 2 * b, l - 2 * k - size + 2 * c)


def _monomial_overlap(l: int, a: Powers, b: Powers) -> float:
    """<x^i y^j z^k | x^i' y^j' z^k'> in units of <x^l | x^l>, over one radial function."""
    sums = [i + j for i, j in zip(a, b)]
    if any(n % 2 for n in sums):
        return 0.0
    return math.prod(_double_factorial(n - 1) for n in sums) / _double_factorial(2 * l - 1)


def _double_factorial(n: int) -> int:
    return math.prod(range(n, 0, -2))


@dataclass(frozen=True, order=True)
class ShellClass:
    """Shells of these angular momenta over common exponents; ``cartesian`` matters from d on."""

    angular_momenta: tuple[int, ...]
    cartesian: bool = False

    @property
    def order(self) -> int:
        """The highest angular momentum."""
        return max(self.angular_momenta)

    @property
    def monomials(self) -> tuple[tuple[int, Powers], ...]:
        """(column of its coefficients, powers of x y z) of each monomial that the functions are made of."""
        return tuple((column, p) for column, l in enumerate(self.angular_momenta) for p in cartesian_powers(l))

    @property
    def columns(self) -> tuple[int, ...]:
        """The column of the coefficients of each function."""
        return tuple(c for c, l in enumerate(self.angular_momenta) for _ in range(function_count(l, self.cartesian)))

    @property
    def n_functions(self) -> int:
        return len(self.columns)

    @property
    def transform(self) -> np.ndarray:
        """(functions, monomials) each function, in the order of the orbitals, as a sum of monomials."""
        return _transform(self)

    @property
    def monomial_functions(self) -> bool:
        """Whether each function is one monomial with the factor one."""
        return self.order < 2


def function_count(l: int, cartesian: bool = False) -> int:
    """Functions of an angular momentum."""
    return (l + 1) * (l + 2) // 2 if cartesian else 2 * l + 1


@lru_cache(maxsize=32)
def _transform(shell_class: ShellClass) -> np.ndarray:
    blocks = []
    for l in shell_class.angular_momenta:
        if shell_class.cartesian and l > 1:
            # PySCF's norm: that of the radial function alone, as if it stood with a spherical harmonic
            blocks.append(math.sqrt(4.0 * math.pi / (2 * l + 1)) * np.eye(len(cartesian_powers(l))))
        else:
            blocks.append(solid_harmonics(l))
    whole = np.zeros((sum(b.shape[0] for b in blocks), sum(b.shape[1] for b in blocks)))
    row = column = 0
    for block in blocks:
        whole[row : row + block.shape[0], column : column + block.shape[1]] = block
        row, column = row + block.shape[0], column + block.shape[1]
    return whole


S: Final = ShellClass((0,))
SP: Final = ShellClass((0, 1))


def merged_classes(kinds: Iterable[tuple[int, ...]], cartesian: bool) -> dict[tuple[int, ...], ShellClass]:
    """The class of each kind of shell (angular momenta) of a basis set. Where a set has sp shells its lone p shells are
    of that class: fewer classes are compiled."""
    kinds = set(kinds)
    shared = SP if SP.angular_momenta in kinds else None
    return {
        kind: shared if kind == (1,) and shared else ShellClass(kind, cartesian and max(kind) > 1) for kind in kinds
    }


class FunctionPairs(NamedTuple):
    """Of each pair of monomials of a class of shell pairs: powers (f, 3), and columns of coefficients (f,)."""

    powers_a: np.ndarray
    powers_b: np.ndarray
    column_a: np.ndarray
    column_b: np.ndarray


class ShellPairClass(NamedTuple):
    """Pairs of a shell of class ``a`` with one of class ``b``, a >= b.

    ``group`` primitive pairs make a primitive group. ``single`` marks pairs of a shell with a constant: the exponent of
    b is zero, so that the center is that of a.
    """

    a: ShellClass
    b: ShellClass
    group: int = PRIMITIVES
    single: bool = False

    @property
    def orders(self) -> tuple[int, int]:
        """The highest angular momentum of either shell."""
        return self.a.order, self.b.order

    @property
    def hermite_order(self) -> int:
        return sum(self.orders)

    @property
    def n_functions(self) -> int:
        """Pairs of functions."""
        return self.a.n_functions * self.b.n_functions

    @property
    def block_pairs(self) -> int:
        """Shell pairs of a block: lists are padded to whole blocks, of one size whatever the molecule."""
        return max(min(BLOCK_PAIRS, _BLOCK_FUNCTIONS // self.n_functions) // BRA_TILE, 1) * BRA_TILE

    @property
    def hermites(self) -> np.ndarray:
        """The places of the Hermite Gaussians that the functions may contain: of a solid harmonic on one center those
        of its own degree alone, since it is the same polynomial of derivatives of a Gaussian."""
        l = self.hermite_order
        count = (l + 1) * (l + 2) * (l + 3) // 6
        if self.single and not self.a.cartesian and len(self.a.angular_momenta) == 1:
            return np.arange(count - (l + 1) * (l + 2) // 2, count)
        return np.arange(count)

    @property
    def monomial_pairs(self) -> FunctionPairs:
        return _monomial_pairs(self)

    @property
    def transform(self) -> np.ndarray | None:
        """(pairs of functions, pairs of monomials); None where both are the same."""
        if self.a.monomial_functions and self.b.monomial_functions:
            return None
        return np.kron(self.a.transform, self.b.transform)


@lru_cache(maxsize=64)
def _monomial_pairs(pair_class: ShellPairClass) -> FunctionPairs:
    pairs = [(i, j) for i in pair_class.a.monomials for j in pair_class.b.monomials]
    return FunctionPairs(
        np.array([i[1] for i, _ in pairs]),
        np.array([j[1] for _, j in pairs]),
        np.array([i[0] for i, _ in pairs]),
        np.array([j[0] for _, j in pairs]),
    )


@lru_cache(maxsize=32)
def pair_classes(shells: tuple[ShellClass, ...]) -> tuple[ShellPairClass, ...]:
    """The classes of pairs of ``shells``, ascending; primitive groups hold several pairs where both are s or p."""
    ascending = sorted(shells)
    return tuple(
        ShellPairClass(a, b, PRIMITIVES if max(a.order, b.order) < 2 else 1)
        for n, a in enumerate(ascending)
        for b in ascending[: n + 1]
    )
