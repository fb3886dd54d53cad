"""Exchange-correlation energy and potential matrix on the grid, block by block.

With c = D phi for a block of points: rho = sum phi c, grad rho = 2 sum grad phi c, and

    V_ij = sum_g w_g phi_i [ v_rho/2 phi_j + 2 v_sigma grad rho . grad phi_j ] + transpose

(Pople, Gill, Johnson, Chem. Phys. Lett. 199, 557 (1992)). Blocks have one size; how many a molecule has is data, so
neither compilation nor time depends on the longest molecule a shape allows for.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from qmgen.dft.functionals import Functional, exchange_correlation
from qmgen.dft.orbital_values import OrbitalTable, fill_values

_EXACT = jax.lax.Precision.HIGHEST  # the default of a GPU rounds the factors of a float32 product to 10 bits

#: points per block: 4 values of 64 orbitals in float64 are then 2 MB, about the second-level cache of a core
BLOCK = 1024
#: blocks of the asked grid whose orbitals are in memory at a time: 8 MB for 64 orbitals, whose integrals are 35 MB; two
#: to eight take about the same time
BLOCKS_AT_ONCE = 4


class Quadrature(NamedTuple):
    """Points (b, BLOCK, 3) in Bohr, weights (b, BLOCK) in Bohr^3, zero for padding, and how many blocks are in use."""

    points: Any
    weights: Any
    n_blocks: Any


def values_on_grid(table: OrbitalTable, positions: Array, grid: Quadrature, gradient: bool) -> Array:
    """Orbital values (b, 1 or 4, n, BLOCK); zero where a block is not in use."""
    points = jnp.asarray(grid.points)
    empty = _no_values(len(points), table, gradient, points)
    return _fill_blocks(empty, table, positions, points, jnp.asarray(grid.n_blocks))


def _no_values(blocks: int, table: OrbitalTable, gradient: bool, points: Array) -> Array:
    return jnp.zeros((blocks, 4 if gradient else 1, table.order.shape[0], points.shape[1]), points.dtype)


def _fill_blocks(values: Array, table: OrbitalTable, positions: Array, points: Array, count: Array) -> Array:
    """``values`` with its first ``count`` blocks at ``points`` (b, BLOCK, 3)."""
    return jax.lax.fori_loop(0, count, lambda i, out: fill_values(out, i, table, positions, points[i]), values)


def energy_and_potential_anew(
    functional: Functional, table: OrbitalTable, positions: Array, grid: Quadrature, density: Array
) -> tuple[Array, Array, Array]:
    """``energy_and_potential`` with the orbitals evaluated on the way, ``BLOCKS_AT_ONCE`` blocks at a time.

    Memory does not grow with the grid, and what is evaluated is read again while it is still in a cache.
    """
    size = min(BLOCKS_AT_ONCE, len(grid.points))
    missing = -len(grid.points) % size
    points = jnp.pad(jnp.asarray(grid.points), ((0, missing), (0, 0), (0, 0)))
    weights = jnp.pad(jnp.asarray(grid.weights), ((0, missing), (0, 0)))
    n_blocks = jnp.asarray(grid.n_blocks)

    def add(group: Array, state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        values, energy, potential, electrons = state
        first = group * size
        here = jax.lax.dynamic_slice_in_dim(points, first, size), jax.lax.dynamic_slice_in_dim(weights, first, size)
        part = Quadrature(*here, jnp.minimum(n_blocks - first, size))
        values = _fill_blocks(values, table, positions, part.points, part.n_blocks)
        terms = energy_and_potential(functional, values, part, density)
        return values, energy + terms[0], potential + terms[1], electrons + terms[2]

    zero = jnp.zeros((), density.dtype)
    nothing = _no_values(size, table, functional.needs_gradient, points), zero, jnp.zeros_like(density), zero
    _, *total = jax.lax.fori_loop(0, (n_blocks + size - 1) // size, add, nothing)
    energy, potential, electrons = total
    return energy, potential, electrons


def energy_and_potential(
    functional: Functional, values: Array, quadrature: Quadrature, density: Array
) -> tuple[Array, Array, Array]:
    """Semilocal energy (Hartree), potential matrix (n, n), and the number of electrons on the grid.

    Args:
        functional: closed-shell functional.
        values: (b, 1 or 4, n, BLOCK) from ``values_on_grid``.
        quadrature: points and weights.
        density: (n, n) total density matrix, symmetric.
    """
    n, weights, n_blocks = density.shape[0], quadrature.weights, quadrature.n_blocks
    components = values.shape[1]

    def collect(block: Array, out: Array) -> Array:
        phi = values[block]
        return out.at[block].set(_sum_orbitals(phi * jnp.matmul(density, phi[0], precision=_EXACT)))

    empty = jnp.zeros((len(weights), components, values.shape[3]), density.dtype)
    sums = jax.lax.fori_loop(0, n_blocks, collect, empty)
    # the functional stands between two loops on purpose: inside one loop XLA fuses it into the product with every
    # orbital and evaluates it n times over (measured: 2.5 times slower)
    rho, slope = sums[:, 0], 2.0 * sums[:, 1:]
    e, v_rho, v_sigma = exchange_correlation(functional, rho, (slope * slope).sum(axis=1))
    field = jnp.concatenate([(0.5 * weights * v_rho)[:, None], (2.0 * weights * v_sigma)[:, None] * slope], axis=1)

    def add(block: Array, potential: Array) -> Array:
        phi, f = values[block], field[block]
        half = sum((f[c] * phi[c] for c in range(1, components)), f[0] * phi[0])
        return potential + jnp.matmul(half, phi[0].T, precision=_EXACT)

    half = jax.lax.fori_loop(0, n_blocks, add, jnp.zeros((n, n), density.dtype))
    return (weights * e).sum(), half + half.T, (weights * rho).sum()


def _sum_orbitals(x: Array) -> Array:
    """Sum over the second axis by halves: (c, n, g) -> (c, g).

    XLA sums along a strided axis one number at a time on a CPU; halves are vectorised (measured: 38 against 69 ms).
    """
    while x.shape[1] > 8 and x.shape[1] % 2 == 0:
        middle = x.shape[1] // 2
        x = x[:, :middle] + x[:, middle:]
    return x.sum(axis=1)
