"""Semilocal energy and potential with static trip counts: every point of the shape, padding without weight.

Each orbital is a linear form of (1, x, y, z) times a radial sum, so that all rows are one expression. Values on the
asked grid, which is visited three times or so, are made anew at each visit, group of blocks by group: memory does not
grow with the grid. Those on the sketch, which every cycle reads, are kept, in the precision of its weights.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from qmgen.dft.basis import Basis
from qmgen.dft.exchange_correlation import Quadrature
from qmgen.dft.functionals import Functional, exchange_correlation
from qmgen.dft.integrals.shells import shell_orbitals
from qmgen.dft.orbital_values import contraction_length
from qmgen.dft.scf import Problem, Semilocal, without_functional

#: energy, half the potential matrix (n, n), electrons
Terms = tuple[Array, Array, Array]

#: blocks of points that one step of the loop over a grid takes of every molecule
BLOCKS_AT_ONCE = 4
_EXACT = jax.lax.Precision.HIGHEST  # the default of a GPU rounds the factors of a float32 product to 10 bits


class OrbitalRows(NamedTuple):
    """n orbitals of s and p type, in their own order; padding has coefficients 0.

    Attributes:
        atom: (n,) int32.
        form: (n, 4) factors of 1, x, y, z.
        exponents, coefficients: (n, K).
    """

    atom: Any
    form: Any
    exponents: Any
    coefficients: Any


def orbital_rows(numbers: np.ndarray, basis: Basis, n_orbitals: int) -> OrbitalRows:
    """The orbitals of a molecule of ``numbers`` (A,)."""
    depth = contraction_length(basis)
    atom, form = np.zeros(n_orbitals, np.int32), np.zeros((n_orbitals, 4))
    exponents, coefficients = np.ones((n_orbitals, depth)), np.zeros((n_orbitals, depth))
    for owner, shell, orbitals in shell_orbitals(numbers, basis):
        places = iter(orbitals)
        for column, l in enumerate(shell.momenta):
            if l > 1:
                raise ValueError("no orbitals on the grid beyond p")
            for component in range(2 * l + 1):
                row = next(places)
                atom[row], form[row, component + l] = owner, 1.0
                exponents[row, : len(shell.exponents)] = shell.exponents
                coefficients[row, : len(shell.exponents)] = shell.coefficients[:, column]
    return OrbitalRows(atom, form, exponents, coefficients)


def dense_values(rows: OrbitalRows, positions: Array, points: Array, gradient: bool) -> Array:
    """(1 or 4, n, g): values at ``points`` (g, 3) and their x, y, z derivatives.

    phi = Y R(r^2), Y linear: d phi/dx = dY/dx R + x Y S, with S = 2 R' = -2 sum_k a_k c_k exp(-a_k r^2).
    """
    center = positions[jnp.asarray(rows.atom)]
    xyz = [points[None, :, d] - center[:, d, None] for d in range(3)]
    a, c = jnp.asarray(rows.exponents), jnp.asarray(rows.coefficients)
    form = jnp.asarray(rows.form)
    r2 = xyz[0] * xyz[0] + xyz[1] * xyz[1] + xyz[2] * xyz[2]
    radial, slope = jnp.zeros_like(r2), jnp.zeros_like(r2)
    for k in range(a.shape[1]):
        term = c[:, k, None] * jnp.exp(-a[:, k, None] * r2)
        radial, slope = radial + term, slope - 2.0 * a[:, k, None] * term
    y = form[:, 0, None] + sum(form[:, d + 1, None] * xyz[d] for d in range(3))
    parts = [y * radial]
    if gradient:
        parts += [form[:, d + 1, None] * radial + xyz[d] * y * slope for d in range(3)]
    return jnp.stack(parts)


def semilocal_terms(functional: Functional, phi: Array, weights: Array, density: Array) -> Terms:
    """``Terms`` of a group of points; ``phi`` (1 or 4, n, g)."""
    sums = (phi * jnp.matmul(density, phi[0], precision=_EXACT)).sum(axis=1)
    rho, slope = sums[0], 2.0 * sums[1:]
    e, v_rho, v_sigma = exchange_correlation(functional, rho, (slope * slope).sum(axis=0))
    field = jnp.concatenate([(0.5 * weights * v_rho)[None], (2.0 * weights * v_sigma) * slope])
    # or the functional is evaluated again for each orbital that its derivatives are multiplied with
    field, energy = jax.lax.optimization_barrier((field, weights * e))
    # term by term: jaxlib 0.10.2 on a CPU miscompiles a float32 sum over axis 0 that feeds a product (off by 1 Hartree)
    weighted = sum((field[c] * phi[c] for c in range(1, len(phi))), field[0] * phi[0])
    half = jnp.matmul(weighted, phi[0].T, precision=_EXACT)
    return energy.sum(), half, (weights * rho).sum()


def dense_semilocal(functional: Functional, problem: Problem) -> tuple[Semilocal, Semilocal]:
    """``scf.GridFunctions`` for a problem whose ``table`` is ``OrbitalRows``."""
    if not functional.pieces:
        without = without_functional(problem)
        return without, without
    rows: Any = problem.table
    gradient = functional.needs_gradient
    points, weights = _groups(problem.grid)

    def asked(density: Array) -> tuple[Array, Array, Array]:
        def add(total: Terms, group: tuple[Array, Array]) -> tuple[Terms, None]:
            phi = dense_values(rows, problem.positions, group[0], gradient)
            energy, half, electrons = semilocal_terms(functional, phi, group[1], density)
            return (total[0] + energy, total[1] + half, total[2] + electrons), None

        nothing = jnp.zeros(()), jnp.zeros_like(density), jnp.zeros(())
        (energy, half, electrons), _ = jax.lax.scan(add, nothing, (points, weights))
        return energy, half + half.T, electrons

    if problem.coarse is None:
        return asked, asked
    coarse = jnp.asarray(problem.coarse.weights).reshape(-1)
    kept = dense_values(rows, problem.positions, jnp.asarray(problem.coarse.points).reshape(-1, 3), gradient)
    kept = kept.astype(coarse.dtype)

    def sketch(density: Array) -> tuple[Array, Array, Array]:
        energy, half, electrons = semilocal_terms(functional, kept, coarse, density.astype(kept.dtype))
        return energy, (half + half.T).astype(density.dtype), electrons

    return asked, sketch


def _groups(grid: Quadrature) -> tuple[Array, Array]:
    """Points (groups, g, 3) and weights (groups, g), padded to whole groups of blocks."""
    points, weights = jnp.asarray(grid.points), jnp.asarray(grid.weights)
    group = min(BLOCKS_AT_ONCE, len(points))
    missing = -len(points) % group
    points = jnp.pad(points, ((0, missing), (0, 0), (0, 0)))
    weights = jnp.pad(weights, ((0, missing), (0, 0)))
    return points.reshape(-1, group * points.shape[1], 3), weights.reshape(-1, group * weights.shape[1])
