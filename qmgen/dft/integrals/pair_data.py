"""Device side: primitive groups as Hermite Gaussians.

For every group: centers P, exponents p, and the matrix E that turns Hermite Gaussians on P into the products of the
functions of a and b, with contraction coefficients and norms multiplied in.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from qmgen.dft.integrals.hermite import dense_expansion, hermite_indices
from qmgen.dft.integrals.shell_pairs import PairInput
from qmgen.dft.integrals.shells import ShellPairClass


class PairData(NamedTuple):
    """Hermite form of l layers of s groups of k primitive pairs.

    Attributes:
        center: (l, s, k, 3) P in Bohr.
        exponent: (l, s, k) p = a + b.
        expansion: (l, s, k, hermite, functions) E, including exp(-mu AB^2) and the coefficients.
    """

    center: Array
    exponent: Array
    expansion: Array


def batched_pair_data(
    classes: tuple[ShellPairClass, ...], pairs: tuple[PairInput, ...], positions: Array
) -> tuple[PairData, ...]:
    """``pair_data`` of each class, with a leading axis; ``positions`` (B, A, 3) in Bohr."""
    every = zip(classes, pairs, strict=True)
    return tuple(jax.vmap(partial(pair_data, pair_class))(p, positions) for pair_class, p in every)


@partial(jax.jit, static_argnums=0)
def pair_data(pair_class: ShellPairClass, pairs: PairInput, positions: Array) -> PairData:
    """Hermite form of ``pairs`` for atoms at ``positions`` (A, 3) Bohr; differentiable in ``positions``."""
    a, b = pairs.exponents_a, pairs.exponents_b
    center_a = positions[pairs.atom_a][:, None, :]  # (s, 1, 3)
    center_b = positions[pairs.atom_b][:, None, :]
    p = a + b
    center = (a[..., None] * center_a + b[..., None] * center_b) / p[..., None]
    distance2 = ((center_a - center_b) ** 2).sum(axis=-1)
    overlap = jnp.exp(-a * b / p * distance2)
    la, lb = pair_class.orders
    tables = [
        dense_expansion(la, lb, center[..., d] - center_a[..., d], center[..., d] - center_b[..., d], 0.5 / p)
        for d in range(3)
    ]
    powers_a, powers_b, column_a, column_b = pair_class.monomial_pairs
    tuv = np.array(hermite_indices(la + lb))
    # (hermite, functions, l, s, k): few gathers and products, which compile faster than one expression per element
    factors = [table[powers_a[None, :, d], powers_b[None, :, d], tuv[:, None, d]] for d, table in enumerate(tables)]
    coefficients = pairs.coefficients_a[..., column_a] * pairs.coefficients_b[..., column_b] * overlap[..., None]
    expansion = jnp.moveaxis(factors[0] * factors[1] * factors[2], (0, 1), (-2, -1)) * coefficients[..., None, :]
    if (transform := pair_class.transform) is not None:
        expansion = expansion @ transform.T
    return PairData(center, p, expansion)


@lru_cache(maxsize=32)
def supports(pair_class: ShellPairClass) -> tuple[tuple[int, ...], ...]:
    """For each pair of functions of a class, the places of the Hermite Gaussians that it may contain.

    E_t^(ij) vanishes for t > i + j along each direction; for ``SP SP`` that leaves 46 of 160 products.
    """
    powers_a, powers_b, _, _ = pair_class.monomial_pairs
    tuv = np.array(hermite_indices(pair_class.hermite_order))
    inside = (tuv[None] <= (powers_a + powers_b)[:, None]).all(axis=-1)
    if (transform := pair_class.transform) is not None:
        inside = (np.abs(transform) > 0).astype(int) @ inside > 0
    return tuple(tuple(int(t) for t in np.flatnonzero(row)) for row in inside)


@lru_cache(maxsize=32)
def support_table(pair_class: ShellPairClass) -> tuple[np.ndarray, np.ndarray]:
    """``supports`` as a rectangle: places (terms, functions), and whether there is a term (terms, functions)."""
    rows = supports(pair_class)
    places = np.zeros((max(map(len, rows)), len(rows)), dtype=np.int64)
    present = np.zeros(places.shape)
    for f, row in enumerate(rows):
        places[: len(row), f], present[: len(row), f] = row, 1.0
    return places, present
