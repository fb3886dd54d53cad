"""Atomic orbitals and their gradients at grid points."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from qmgen.dft.basis import Basis
from qmgen.dft.integrals.hermite import hermite_indices
from qmgen.dft.integrals.shells import KINDS, functions_of, shell_tables

Array = jax.Array

#: enough for the highest momentum among the kinds of shells
MONOMIALS = hermite_indices(max(max(kind) for kind in KINDS))


class OrbitalTable(NamedTuple):
    """One row per orbital; rows of padding have zero coefficients.

    Attributes:
        atom: (n,) int32.
        angular: (n, M) coefficients over the monomials x^i y^j z^k of ``MONOMIALS``.
        exponents, coefficients: (n, K), padded with exponent 1 and coefficient 0.
    """

    atom: Any
    angular: Any
    exponents: Any
    coefficients: Any


def contraction_length(basis: Basis) -> int:
    return max(len(s.exponents) for shells in basis.table.values() for s in shells)


def orbital_table(numbers: np.ndarray, basis: Basis, n_orbitals: int) -> OrbitalTable:
    """The orbitals of a molecule as flat tables of ``n_orbitals`` rows."""
    depth = contraction_length(basis)
    atom = np.zeros(n_orbitals, dtype=np.int32)
    angular = np.zeros((n_orbitals, len(MONOMIALS)))
    exponents, coefficients = np.ones((n_orbitals, depth)), np.zeros((n_orbitals, depth))
    for kind, table in zip(KINDS, shell_tables(numbers, basis), strict=True):
        ends = np.searchsorted(table.shell, np.arange(len(table.atom) + 1))
        for f, (column, xyz) in enumerate(functions_of(kind)):
            for shell, row in enumerate(table.orbitals[:, f]):
                if row < 0:
                    continue
                cut = slice(ends[shell], ends[shell + 1])
                length = ends[shell + 1] - ends[shell]
                atom[row] = table.atom[shell]
                angular[row, MONOMIALS.index(xyz)] = 1.0
                exponents[row, :length] = table.exponents[cut]
                coefficients[row, :length] = table.coefficients[cut, column]
    return OrbitalTable(atom, angular, exponents, coefficients)


def orbital_values(table: OrbitalTable, positions: Array, points: Array, gradient: bool) -> Array:
    """Values at ``points`` (g, 3): (1 or 4, n, g), the value first, then its x, y, z derivatives.

    phi = Y(x, y, z) R(r^2) about the orbital's atom, Y a polynomial, so that d phi/dx = dY/dx R + x Y S with
    S = 2 R' = -2 sum_k a_k c_k exp(-a_k r^2).
    """
    centers = positions[table.atom]
    xyz = [points[None, :, d] - centers[:, d, None] for d in range(3)]
    r2 = xyz[0] * xyz[0] + xyz[1] * xyz[1] + xyz[2] * xyz[2]

    def add_primitive(k: Array, sums: tuple[Array, Array]) -> tuple[Array, Array]:
        a, c = (jax.lax.dynamic_index_in_dim(x, k, 1) for x in (table.exponents, table.coefficients))
        term = c * jnp.exp(-a * r2)
        return sums[0] + term, sums[1] - 2.0 * a * term

    nothing = jnp.zeros_like(r2)
    radial, slope = jax.lax.fori_loop(0, table.exponents.shape[1], add_primitive, (nothing, nothing))
    polynomial = _polynomial(table.angular, xyz, None)
    rows = [polynomial * radial]
    if gradient:
        rows += [_polynomial(table.angular, xyz, d) * radial + xyz[d] * polynomial * slope for d in range(3)]
    return jnp.stack(rows)


def _polynomial(coefficients: Array, xyz: list[Array], derivative: int | None) -> Array:
    """sum_m c_m x^i y^j z^k, or its derivative along one direction: (n, g)."""
    total = jnp.zeros_like(xyz[0])
    for m, powers in enumerate(MONOMIALS):
        factor, left = 1, list(powers)
        if derivative is not None:
            factor, left[derivative] = left[derivative], left[derivative] - 1
        if factor:
            term = factor * coefficients[:, m, None]
            for x, n in zip(xyz, left, strict=True):
                for _ in range(n):
                    term = term * x
            total = total + term
    return total
