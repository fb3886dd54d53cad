"""Atomic orbitals and their gradients at grid points.

Functions of one shell share exponents, hence exponentials: orbitals are evaluated shell by shell, and stand in the
order of the shells (``OrbitalTable.order``), all of one kind together.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from qmgen.dft.basis import Basis
from qmgen.dft.integrals.shells import functions_of, shell_orbitals
from qmgen.dft.materialise import materialise

#: angular momenta of shells, each of which has a loop of its own
GRID_KINDS: dict[str, tuple[int, ...]] = {"s": (0,), "sp": (0, 1), "p": (1,)}


class ShellTable(NamedTuple):
    """Shells of one kind, padded to m.

    Attributes:
        atom: (m,) int32.
        exponents: (m, K), padded with 1.
        coefficients: (m, columns, K), a column per angular momentum, padded with 0.
        first, count: () int, the row of the first shell's first function, and how many shells there are.
    """

    atom: Any
    exponents: Any
    coefficients: Any
    first: Any
    count: Any


class OrbitalTable(NamedTuple):
    """A table for each of ``GRID_KINDS`` that the basis set has; ``order`` (n,) int32 is the orbital of each row."""

    shells: dict[str, ShellTable]
    order: Any


def contraction_length(basis: Basis) -> int:
    return max(len(s.exponents) for shells in basis.table.values() for s in shells)


def orbital_table(numbers: np.ndarray, basis: Basis, n_orbitals: int) -> OrbitalTable:
    """The shells of a molecule of ``numbers`` (A,), padded so that any mixture of kinds fits in ``n_orbitals``."""
    depth, placed = contraction_length(basis), shell_orbitals(numbers, basis)
    present = {shell.momenta for shells in basis.table.values() for shell in shells}
    if strange := present - set(GRID_KINDS.values()):
        raise ValueError(f"no orbitals on the grid for shells of angular momenta {sorted(strange)}")
    tables: dict[str, ShellTable] = {}
    order: list[int] = []
    for name, kind in GRID_KINDS.items():
        if kind not in present:
            continue
        capacity = -(-n_orbitals // len(functions_of(kind)))
        atom, exponents = np.zeros(capacity, np.int32), np.ones((capacity, depth))
        coefficients, first, count = np.zeros((capacity, len(kind), depth)), len(order), 0
        for owner, shell, orbitals in placed:
            if shell.momenta == kind:
                length = len(shell.exponents)
                atom[count], exponents[count, :length] = owner, shell.exponents
                coefficients[count, :, :length] = shell.coefficients.T
                order += orbitals
                count += 1
        tables[name] = ShellTable(atom, exponents, coefficients, first, count)
    order += range(len(order), n_orbitals)
    return OrbitalTable(tables, np.array(order, np.int32))


def orbital_values(table: OrbitalTable, positions: Array, points: Array, gradient: bool) -> Array:
    """Values at ``points`` (g, 3): (1 or 4, n, g), the value first, then its x, y, z derivatives; rows as ``order``."""
    out = jnp.zeros((1, 4 if gradient else 1, table.order.shape[0], points.shape[0]), points.dtype)
    return fill_values(out, 0, table, positions, points)[0]


def fill_values(out: Array, block: Array | int, table: OrbitalTable, positions: Array, points: Array) -> Array:
    """``out`` (b, 1 or 4, n, g), zero in rows without orbital, with the values at ``points`` (g, 3) in place ``block``.

    phi = Y(x, y, z) R(r^2) about the orbital's atom, Y a polynomial, so that d phi/dx = dY/dx R + x Y S with
    S = 2 R' = -2 sum_k a_k c_k exp(-a_k r^2).
    """
    for name, shells in table.shells.items():
        out = _fill(out, block, GRID_KINDS[name], shells, positions, points)
    return out


def _fill(
    out: Array, block: Array | int, kind: tuple[int, ...], shells: ShellTable, positions: Array, points: Array
) -> Array:
    functions = functions_of(kind)

    def one_shell(i: Array, out: Array) -> Array:
        center = positions[jnp.asarray(shells.atom)[i]]
        xyz = [points[:, d] - center[d] for d in range(3)]
        a, c = jnp.asarray(shells.exponents)[i], jnp.asarray(shells.coefficients)[i]

        def exponentials() -> Array:
            r2 = xyz[0] * xyz[0] + xyz[1] * xyz[1] + xyz[2] * xyz[2]
            return jnp.exp(-a[:, None] * r2)

        terms = materialise(exponentials, a[0] > 0.0)
        radial = [_weighted(c[column], terms) for column in range(len(kind))]
        slope = [_weighted(-2.0 * a * c[column], terms) for column in range(len(kind))]
        first = shells.first + len(functions) * i
        # row by row: a stack of all rows is one scalar loop to XLA (measured: 2.4 times slower)
        for f, (column, powers) in enumerate(functions):
            value = _monomial(powers, xyz, None)
            rows = [value * radial[column]]
            rows += [
                _monomial(powers, xyz, d) * radial[column] + xyz[d] * value * slope[column]
                for d in range(out.shape[1] - 1)
            ]
            for component, row in enumerate(rows):
                out = jax.lax.dynamic_update_slice(out, row[None, None, None], (block, component, first + f, 0))
        return out

    return jax.lax.fori_loop(0, shells.count, one_shell, out)


def _weighted(weights: Array, terms: Array) -> Array:
    """sum_k w_k t_k: (K,), (K, g) -> (g,)."""
    return sum((weights[k] * terms[k] for k in range(1, terms.shape[0])), weights[0] * terms[0])


def _monomial(powers: tuple[int, int, int], xyz: list[Array], derivative: int | None) -> Array:
    """x^i y^j z^k, or its derivative along one direction: (g,)."""
    factor, left = 1, list(powers)
    if derivative is not None:
        factor, left[derivative] = left[derivative], max(left[derivative] - 1, 0)
    value = jnp.full_like(xyz[0], factor)
    for x, n in zip(xyz, left, strict=True):
        for _ in range(n if factor else 0):
            value = value * x
    return value
