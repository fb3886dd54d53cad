"""Atomic orbitals and their gradients at grid points.

phi = Y(x, y, z) R(r^2) about the orbital's atom, Y a polynomial, so that d phi/dx = dY/dx R + x Y S with
S = 2 R' = -2 sum_k a_k c_k exp(-a_k r^2).

Two drivers of one table: ``fill_values`` evaluates shell by shell, whose functions share exponents, hence exponentials;
``dense_values`` evaluates all rows at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from qmgen.dft.backend import materialize
from qmgen.dft.basis import Basis, shell_orbitals
from qmgen.dft.integrals.shells import Powers, ShellClass, cartesian_powers


def _monomials(order: int) -> tuple[Powers, ...]:
    """Powers of x, y, z of the monomials up to a degree, ascending."""
    return tuple(powers for l in range(order + 1) for powers in cartesian_powers(l))


class ShellRun(NamedTuple):
    """The row of the first function of the first shell of a class, and how many shells there are."""

    first: Any
    count: Any


class OrbitalTable(NamedTuple):
    """n orbitals shell by shell, all shells of a class together; padding behind, with coefficients 0.

    Attributes:
        atom: (n,) int32.
        form: (n, monomials) factors in Y of the monomials up to the highest angular momentum of the basis set.
        exponents, coefficients: (n, K), padded with 1 and 0.
        order, row: (n,) int32, the orbital of each row, and the row of each orbital.
        runs: of each kind of shell that the basis set has; each has a loop of its own.
    """

    atom: Any
    form: Any
    exponents: Any
    coefficients: Any
    order: Any
    row: Any
    runs: dict[ShellClass, ShellRun]


def orbital_table(numbers: np.ndarray, basis: Basis, n_orbitals: int) -> OrbitalTable:
    """The orbitals of a molecule of ``numbers`` (A,), padded to ``n_orbitals``."""
    depth = max(len(s.exponents) for shells in basis.table.values() for s in shells)
    placed = shell_orbitals(numbers, basis)
    present = sorted(
        ShellClass(kind, basis.cartesian and max(kind) > 1)
        for kind in {shell.angular_momenta for shells in basis.table.values() for shell in shells}
    )
    monomials = _monomials(max(kind.order for kind in present))
    atom, form = np.zeros(n_orbitals, np.int32), np.zeros((n_orbitals, len(monomials)))
    exponents, coefficients = np.ones((n_orbitals, depth)), np.zeros((n_orbitals, depth))
    order: list[int] = []
    runs = {}
    for kind in present:
        first, count = len(order), 0
        place = [monomials.index(powers) for _, powers in kind.monomials]
        for owner, shell, orbitals in placed:
            if shell.angular_momenta != kind.angular_momenta:
                continue
            for row, (column, factors) in enumerate(zip(kind.columns, kind.transform, strict=True), len(order)):
                atom[row] = owner
                form[row, place] = factors
                exponents[row, : len(shell.exponents)] = shell.exponents
                coefficients[row, : len(shell.exponents)] = shell.coefficients[:, column]
            order += orbitals
            count += 1
        runs[kind] = ShellRun(first, count)
    order += range(len(order), n_orbitals)
    rows = np.argsort(order).astype(np.int32)
    return OrbitalTable(atom, form, exponents, coefficients, np.array(order, np.int32), rows, runs)


def fill_values(out: Array, block: Array | int, table: OrbitalTable, positions: Array, points: Array) -> Array:
    """``out`` (b, 1 or 4, n, g), zero in rows without orbital, with the values at ``points`` (g, 3) in place ``block``:
    the value first, then its x, y, z derivatives; rows as ``order``. Shell by shell."""
    for kind, run in table.runs.items():
        out = _fill_class(out, block, kind, run, table, positions, points)
    return out


def _fill_class(
    out: Array,
    block: Array | int,
    shell_class: ShellClass,
    run: ShellRun,
    table: OrbitalTable,
    positions: Array,
    points: Array,
) -> Array:
    monomials, transform = [powers for _, powers in shell_class.monomials], shell_class.transform
    starts = [shell_class.columns.index(column) for column in range(len(shell_class.angular_momenta))]

    def one_shell(i: Array, out: Array) -> Array:
        first = run.first + shell_class.n_functions * i
        center = positions[jnp.asarray(table.atom)[first]]
        xyz = [points[:, d] - center[d] for d in range(3)]
        a, all_c = jnp.asarray(table.exponents)[first], jnp.asarray(table.coefficients)
        c = [all_c[first + start] for start in starts]

        def exponentials() -> Array:
            r2 = xyz[0] * xyz[0] + xyz[1] * xyz[1] + xyz[2] * xyz[2]
            return jnp.exp(-a[:, None] * r2)

        terms = materialize(exponentials, a[0] > 0.0)
        radial = [_weighted(weights, terms) for weights in c]
        slope = [_weighted(-2.0 * a * weights, terms) for weights in c]
        # row by row: a stack of all rows is one scalar loop to XLA (measured: 2.4 times slower)
        for f, (column, factors) in enumerate(zip(shell_class.columns, transform, strict=True)):
            directions = (None, *range(out.shape[1] - 1))
            y, *dy = (_polynomial(monomials, factors, xyz, direction) for direction in directions)
            for component, row in enumerate(_components(y, dy, xyz, radial[column], slope[column])):
                out = jax.lax.dynamic_update_slice(out, row[None, None, None], (block, component, first + f, 0))
        return out

    return jax.lax.fori_loop(0, run.count, one_shell, out)


def dense_values(table: OrbitalTable, positions: Array, points: Array, gradient: bool) -> Array:
    """(1 or 4, n, g): values at ``points`` (g, 3) and their x, y, z derivatives, rows as the orbitals. All at once."""
    row = jnp.asarray(table.row)
    atom, form, a, c = (jnp.asarray(x)[row] for x in table[:4])
    center = positions[atom]
    xyz = [points[None, :, d] - center[:, d, None] for d in range(3)]
    r2 = xyz[0] * xyz[0] + xyz[1] * xyz[1] + xyz[2] * xyz[2]
    radial, slope = jnp.zeros_like(r2), jnp.zeros_like(r2)
    for k in range(a.shape[1]):
        term = c[:, k, None] * jnp.exp(-a[:, k, None] * r2)
        radial, slope = radial + term, slope - 2.0 * a[:, k, None] * term

    order = next(l for l in range(16) if len(_monomials(l)) == form.shape[1])
    monomials = _monomials(order)

    def polynomial(derivative: int | None) -> Array:
        left = [m for m, powers in enumerate(monomials) if derivative is None or powers[derivative]]
        terms = [form[:, m, None] * _monomial(monomials[m], xyz, derivative) for m in left]
        return sum(terms[1:], terms[0]) if terms else jnp.zeros_like(r2)

    derivatives = [polynomial(d) for d in range(3 if gradient else 0)]
    return jnp.stack(_components(polynomial(None), derivatives, xyz, radial, slope))


def _components(y: Array, dy: Sequence[Array], xyz: Sequence[Array], radial: Array, slope: Array) -> list[Array]:
    """phi = Y R, and d phi/dx = dY/dx R + x Y S for each of ``dy``."""
    return [y * radial, *(d * radial + x * y * slope for d, x in zip(dy, xyz))]


def _weighted(weights: Array, terms: Array) -> Array:
    """sum_k w_k t_k: (K,), (K, g) -> (g,)."""
    return sum((weights[k] * terms[k] for k in range(1, terms.shape[0])), weights[0] * terms[0])


def _polynomial(
    monomials: Sequence[Powers], factors: np.ndarray, xyz: Sequence[Array], derivative: int | None
) -> Array:
    """sum_m f_m x^i y^j z^k, or its derivative along one direction."""
    terms = [
        _monomial(powers, xyz, derivative) if factor == 1.0 else factor * _monomial(powers, xyz, derivative)
        for powers, factor in zip(monomials, factors, strict=True)
        if factor and (derivative is None or powers[derivative])
    ]
    return sum(terms[1:], terms[0]) if terms else jnp.zeros_like(xyz[0])


def _monomial(powers: tuple[int, int, int], xyz: Sequence[Array], derivative: int | None) -> Array:
    """x^i y^j z^k, or its derivative along one direction, in the shape of ``xyz``."""
    factor, left = 1, list(powers)
    if derivative is not None:
        factor, left[derivative] = left[derivative], max(left[derivative] - 1, 0)
    value = jnp.full_like(xyz[0], factor)
    for x, n in zip(xyz, left, strict=True):
        for _ in range(n if factor else 0):
            value = value * x
    return value
