"""Atomic orbitals and their gradients at grid points."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from qmgen.dft.basis import Basis
from qmgen.dft.integrals.shells import KINDS, functions_of, shell_tables

Array = jax.Array


class OrbitalTable(NamedTuple):
    """One row per orbital; rows of padding have zero coefficients.

    Attributes:
        atom: (n,) int32; powers: (n, 3) int32 of x, y, z.
        exponents, coefficients: (n, K), padded with exponent 1 and coefficient 0.
    """

    atom: Any
    powers: Any
    exponents: Any
    coefficients: Any


def contraction_length(basis: Basis) -> int:
    return max(len(s.exponents) for shells in basis.table.values() for s in shells)


def orbital_table(numbers: np.ndarray, basis: Basis, n_orbitals: int) -> OrbitalTable:
    """The orbitals of a molecule as flat tables of ``n_orbitals`` rows."""
    depth = contraction_length(basis)
    atom = np.zeros(n_orbitals, dtype=np.int32)
    powers = np.zeros((n_orbitals, 3), dtype=np.int32)
    exponents, coefficients = np.ones((n_orbitals, depth)), np.zeros((n_orbitals, depth))
    for kind, table in zip(KINDS, shell_tables(numbers, basis), strict=True):
        ends = np.searchsorted(table.shell, np.arange(len(table.atom) + 1))
        for f, (column, xyz) in enumerate(functions_of(kind)):
            for shell, row in enumerate(table.orbitals[:, f]):
                if row < 0:
                    continue
                cut = slice(ends[shell], ends[shell + 1])
                length = ends[shell + 1] - ends[shell]
                atom[row], powers[row] = table.atom[shell], xyz
                exponents[row, :length] = table.exponents[cut]
                coefficients[row, :length] = table.coefficients[cut, column]
    return OrbitalTable(atom, powers, exponents, coefficients)


def orbital_values(table: OrbitalTable, positions: Array, points: Array, gradient: bool) -> Array:
    """Values at ``points`` (g, 3): (1 or 4, n, g), the value first, then its x, y, z derivatives.

    phi = x^i y^j z^k R(r^2) about the orbital's atom, so that d phi = d(x^i y^j z^k) R + 2 x (x^i y^j z^k) R'.
    """
    delta = points.T[None] - positions[table.atom][:, :, None]  # (n, 3, g)
    r2 = (delta * delta).sum(axis=1)
    radial, slope = jnp.zeros_like(r2), jnp.zeros_like(r2)
    for k in range(table.exponents.shape[1]):
        a = table.exponents[:, k, None]
        term = table.coefficients[:, k, None] * jnp.exp(-a * r2)
        radial, slope = radial + term, slope - 2.0 * a * term
    monomials = [_power(delta[:, d], table.powers[:, d, None]) for d in range(3)]
    angular = monomials[0] * monomials[1] * monomials[2]
    rows = [angular * radial]
    if gradient:
        for d in range(3):
            others = monomials[(d + 1) % 3] * monomials[(d + 2) % 3]
            inner = _power_derivative(delta[:, d], table.powers[:, d, None]) * others
            rows.append(inner * radial + delta[:, d] * angular * slope)
    return jnp.stack(rows)


def _power(x: Array, n: Array) -> Array:
    """x^n for n = 0, 1, 2 as data."""
    return jnp.where(n == 0, 1.0, jnp.where(n == 1, x, x * x))


def _power_derivative(x: Array, n: Array) -> Array:
    return jnp.where(n == 0, 0.0, jnp.where(n == 1, 1.0, 2.0 * x))
