"""Device side: bundles of primitive pairs as Hermite Gaussians.

For every bundle: centres P, exponents p, and the matrix E that turns Hermite Gaussians on P into the products of the
functions of a and b, with contraction coefficients and norms multiplied in.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from qmgen.dft.integrals.hermite import dense_expansion, hermite_indices
from qmgen.dft.integrals.pairs import LAYERS, PANEL, PairClass
from qmgen.dft.integrals.shells import KINDS, functions_of


class PairInput(NamedTuple):
    """What the device needs of one panel of a ``PairClass``, up to ``LAYERS`` layers of it.

    Shapes as there: exponents (l, s, k), coefficients (l, s, k, momenta), atoms (s,), orbitals (s, functions).
    """

    exponents_a: Any
    exponents_b: Any
    coefficients_a: Any
    coefficients_b: Any
    atom_a: Any
    atom_b: Any
    orbital_a: Any
    orbital_b: Any


class PairData(NamedTuple):
    """Hermite form of l layers of s bundles of k primitive pairs.

    Attributes:
        center: (l, s, k, 3) P in Bohr.
        exponent: (l, s, k) p = a + b.
        expansion: (l, s, k, hermite, functions) E, including exp(-mu AB^2) and the coefficients.
    """

    center: Array
    exponent: Array
    expansion: Array


class Panel(NamedTuple):
    """One panel of a class in one group of layers: its input, its bounds (l, s), and the place of its first pair."""

    pairs: PairInput
    bound: np.ndarray
    first: int


def panels(pairs: PairClass) -> list[Panel]:
    """The lists of a class, cut into panels of ``PANEL`` shell pairs and ``LAYERS`` layers; at least one.

    Where no pair has a bundle in a group of layers, that group is left out, but for the first.
    """
    size, out = PANEL[pairs.kinds], []
    for start in range(0, pairs.capacity, size):
        here = slice(start, start + size)
        for low in range(0, len(pairs.bound), LAYERS):
            deep = slice(low, low + LAYERS)
            bound = pairs.bound[deep, here]
            if low and not bound.any():
                continue
            fields = [getattr(pairs, name) for name in PairInput._fields]
            cut = [f[deep, here] if f.ndim >= 3 else f[here] for f in fields]
            out.append(Panel(PairInput(*cut), bound, start))
    return out


def pair_order(kinds: tuple[int, int]) -> int:
    """The highest Hermite order of a class."""
    return max(KINDS[kinds[0]]) + max(KINDS[kinds[1]])


@partial(jax.jit, static_argnums=0)
def pair_data(kinds: tuple[int, int], pairs: PairInput, positions: Array) -> PairData:
    """Hermite form of ``pairs`` for atoms at ``positions`` (A, 3) Bohr; differentiable in ``positions``."""
    a, b = pairs.exponents_a, pairs.exponents_b
    center_a = positions[pairs.atom_a][:, None, :]  # (s, 1, 3)
    center_b = positions[pairs.atom_b][:, None, :]
    p = a + b
    center = (a[..., None] * center_a + b[..., None] * center_b) / p[..., None]
    distance2 = ((center_a - center_b) ** 2).sum(axis=-1)
    overlap = jnp.exp(-a * b / p * distance2)
    la, lb = max(KINDS[kinds[0]]), max(KINDS[kinds[1]])
    tables = [
        dense_expansion(la, lb, center[..., d] - center_a[..., d], center[..., d] - center_b[..., d], 0.5 / p)
        for d in range(3)
    ]
    powers_a, powers_b, column_a, column_b = function_pairs(kinds)
    tuv = np.array(hermite_indices(la + lb))
    # (hermite, functions, l, s, k): few gathers and products, which compile faster than one expression per element
    factors = [table[powers_a[None, :, d], powers_b[None, :, d], tuv[:, None, d]] for d, table in enumerate(tables)]
    coefficients = pairs.coefficients_a[..., column_a] * pairs.coefficients_b[..., column_b] * overlap[..., None]
    expansion = jnp.moveaxis(factors[0] * factors[1] * factors[2], (0, 1), (-2, -1)) * coefficients[..., None, :]
    return PairData(center, p, expansion)


def function_pairs(kinds: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """For each pair of functions of a class: powers (f, 3) of a and of b, and their columns (f,) of coefficients."""
    pairs = [(i, j) for i in functions_of(KINDS[kinds[0]]) for j in functions_of(KINDS[kinds[1]])]
    return (
        np.array([i[1] for i, _ in pairs]),
        np.array([j[1] for _, j in pairs]),
        np.array([i[0] for i, _ in pairs]),
        np.array([j[0] for _, j in pairs]),
    )


@lru_cache(maxsize=32)
def supports(kinds: tuple[int, int]) -> tuple[tuple[int, ...], ...]:
    """For each pair of functions of a class, the places of the Hermite Gaussians that it may contain.

    E_t^(ij) vanishes for t > i + j along each direction; for ``SP SP`` that leaves 46 of 160 products.
    """
    powers_a, powers_b, _, _ = function_pairs(kinds)
    tuv = np.array(hermite_indices(pair_order(kinds)))
    inside = (tuv[None] <= (powers_a + powers_b)[:, None]).all(axis=-1)
    return tuple(tuple(int(t) for t in np.flatnonzero(row)) for row in inside)


@lru_cache(maxsize=32)
def support_table(kinds: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """``supports`` as a rectangle: places (terms, functions), and whether there is a term (terms, functions)."""
    rows = supports(kinds)
    places = np.zeros((max(map(len, rows)), len(rows)), dtype=np.int64)
    present = np.zeros(places.shape)
    for f, row in enumerate(rows):
        places[: len(row), f], present[: len(row), f] = row, 1.0
    return places, present
