"""Device side: bundles of primitive pairs as Hermite Gaussians.

For every bundle: centres P, exponents p, and the matrix E that turns Hermite Gaussians on P into the products of the
functions of a and b, with contraction coefficients and norms multiplied in.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from qmgen.dft.integrals.hermite import expansion_1d, hermite_indices
from qmgen.dft.integrals.pairs import PANEL, PairClass
from qmgen.dft.integrals.shells import KINDS, functions_of

Array = jax.Array


class PairInput(NamedTuple):
    """What the device needs of a ``PairClass``; every field may carry a leading batch axis."""

    exponents_a: Any
    exponents_b: Any
    coefficients_a: Any
    coefficients_b: Any
    atom_a: Any
    atom_b: Any
    orbital_a: Any
    orbital_b: Any


class PairData(NamedTuple):
    """Hermite form of s bundles of k primitive pairs.

    Attributes:
        center: (s, k, 3) P in Bohr.
        exponent: (s, k) p = a + b.
        expansion: (s, k, hermite, functions) E, including exp(-mu AB^2) and the coefficients.
    """

    center: Array
    exponent: Array
    expansion: Array


def panels(pairs: PairClass) -> list[PairInput]:
    """The lists of a class, cut into panels of one size; at least one."""
    size = PANEL[pairs.kinds]
    fields = [getattr(pairs, name) for name in PairInput._fields]
    return [PairInput(*(f[start : start + size] for f in fields)) for start in range(0, pairs.capacity, size)]


def pair_order(kinds: tuple[int, int]) -> int:
    """The highest Hermite order of a class."""
    return max(KINDS[kinds[0]]) + max(KINDS[kinds[1]])


@partial(jax.jit, static_argnums=0)
def pair_data(kinds: tuple[int, int], pairs: PairInput, positions: Array) -> PairData:
    """Hermite form of ``pairs`` for atoms at ``positions`` (A, 3) Bohr; differentiable in ``positions``."""
    a, b = pairs.exponents_a, pairs.exponents_b
    center_a = positions[pairs.atom_a][:, None, :]
    center_b = positions[pairs.atom_b][:, None, :]
    p = a + b
    center = (a[..., None] * center_a + b[..., None] * center_b) / p[..., None]
    distance2 = ((center_a - center_b) ** 2).sum(axis=-1)
    overlap = jnp.exp(-a * b / p * distance2)
    la, lb = max(KINDS[kinds[0]]), max(KINDS[kinds[1]])
    tables = [
        expansion_1d(la, lb, center[..., d] - center_a[..., d], center[..., d] - center_b[..., d], 0.5 / p)
        for d in range(3)
    ]
    columns = []
    for column_a, powers_a in functions_of(KINDS[kinds[0]]):
        for column_b, powers_b in functions_of(KINDS[kinds[1]]):
            scale = overlap * pairs.coefficients_a[..., column_a] * pairs.coefficients_b[..., column_b]
            rows = []
            for tuv in hermite_indices(la + lb):
                factors = [_entry(tables[d][powers_a[d]][powers_b[d]], tuv[d]) for d in range(3)]
                if any(f is None for f in factors):
                    rows.append(jnp.zeros_like(p))
                else:
                    rows.append(scale * factors[0] * factors[1] * factors[2])
            columns.append(jnp.stack(rows, axis=-1))
    return PairData(center, p, jnp.stack(columns, axis=-1))


def _entry(row: list[Array], t: int) -> Array | None:
    return row[t] if t < len(row) else None
