"""Exchange-correlation energy and potential matrix on the grid.

With c = D phi at the points of a block: rho = sum phi c, grad rho = 2 sum grad phi c (``density_features``), and

    V_ij = sum_g w_g phi_i [ v_rho/2 phi_j + 2 v_sigma grad rho . grad phi_j ] + transpose

(Pople, Gill, Johnson, Chem. Phys. Lett. 199, 557 (1992)). Blocks have one size. Densities, their features and
potentials have an axis of spins, of length one: functionals are those of closed shells.

Two drivers: ``blockwise`` loops over blocks, and how many a molecule has is data, so that neither compilation nor time
depends on the longest molecule a shape allows for; ``dense`` has static trip counts, every point of the shape, padding
without weight. The orbitals on the coarse grid, which every cycle reads, are kept, in the precision of its weights;
those on the fine grid, which is evaluated three times or so, are made anew each time, group of blocks by group: memory
does not grow with the grid.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from qmgen.dft.backend import Backend
from qmgen.dft.functionals import Functional, exchange_correlation
from qmgen.dft.grid.quadrature import Quadrature
from qmgen.dft.orbital_values import OrbitalTable, dense_values, fill_values

_EXACT = jax.lax.Precision.HIGHEST  # the default of a GPU rounds the factors of a float32 product to 10 bits

#: semilocal energy (Hartree), potential matrix (s, n, n), and the number of electrons on the grid
Terms = tuple[Array, Array, Array]
#: density (s, n, n), symmetric -> ``Terms``
Semilocal = Callable[[Array], Terms]


class GridFunctions(NamedTuple):
    """The semilocal functional on the fine grid and on the coarse one (the fine one where there is none)."""

    fine: Semilocal
    coarse: Semilocal


def grid_functions(
    backend: Backend,
    functional: Functional,
    table: OrbitalTable,
    positions: Array,
    fine: Quadrature,
    coarse: Quadrature | None,
) -> GridFunctions:
    """By the loops of ``backend``, for a functional with semilocal pieces."""
    driver = dense if backend.batched else blockwise
    return driver(backend.fine_blocks, functional, table, positions, fine, coarse)


def density_features(density: Array, phi: Array, halves: bool) -> tuple[Array, Array]:
    """rho (s, g) and its gradient (s, 3 or 0, g) at points where the orbitals are ``phi`` (4 or 1, n, g).

    ``halves`` sums over orbitals by halves: XLA sums along a strided axis one number at a time on a CPU; halves are
    vectorized (measured: 38 against 69 ms).
    """
    x = phi * jnp.matmul(density, phi[0], precision=_EXACT)[:, None]
    while halves and x.shape[2] > 8 and x.shape[2] % 2 == 0:
        middle = x.shape[2] // 2
        x = x[:, :, :middle] + x[:, :, middle:]
    sums = x.sum(axis=2)
    return sums[:, 0], 2.0 * sums[:, 1:]


def _response(functional: Functional, weights: Array, rho: Array, slope: Array) -> tuple[Array, Array]:
    """Energy of each point (..., g), and what the orbitals are multiplied with in V (..., s, 4 or 1, g), from the
    features (..., s, g) and (..., s, 3 or 0, g)."""
    if rho.shape[-2] != 1:
        raise ValueError(f"{rho.shape[-2]} spins: functionals are those of closed shells")
    e, v_rho, v_sigma = exchange_correlation(functional, rho[..., 0, :], (slope * slope).sum(axis=-2)[..., 0, :])
    first = (0.5 * weights * v_rho)[..., None, None, :]
    others = (2.0 * weights * v_sigma)[..., None, None, :] * slope
    return weights * e, jnp.concatenate([first, others], axis=-2)


def _half_potential(field: Array, phi: Array) -> Array:
    """(s, n, n), to which its transpose is added, from ``field`` (s, 4 or 1, g)."""
    # term by term: jaxlib 0.10.2 on a CPU miscompiles a float32 sum over axis 0 that feeds a product (off by 1 Hartree)
    terms = [field[:, c, None, :] * phi[c] for c in range(len(phi))]
    return jnp.matmul(sum(terms[1:], terms[0]), phi[0].T, precision=_EXACT)


def blockwise(
    at_once: int,
    functional: Functional,
    table: OrbitalTable,
    positions: Array,
    fine: Quadrature,
    coarse: Quadrature | None,
) -> GridFunctions:
    """Block by block, in the order of the rows of the table."""
    order, row = jnp.asarray(table.order), jnp.asarray(table.row)

    def on_rows(evaluate: Semilocal, dtype: Any) -> Semilocal:
        """``evaluate`` takes and gives matrices in the order of the rows of the table."""

        def ordered(density: Array) -> Terms:
            energy, potential, electrons = evaluate(density[:, order][:, :, order].astype(dtype))
            return energy, potential[:, row][:, :, row].astype(density.dtype), electrons

        return ordered

    def anew(density: Array) -> Terms:
        return energy_and_potential_anew(functional, table, positions, fine, density, at_once)

    on_fine = on_rows(anew, jnp.asarray(fine.weights).dtype)
    if coarse is None:
        return GridFunctions(on_fine, on_fine)
    dtype = jnp.asarray(coarse.weights).dtype
    kept = values_on_grid(table, positions, coarse, functional.needs_gradient).astype(dtype)
    return GridFunctions(
        on_fine, on_rows(lambda density: energy_and_potential(functional, kept, coarse, density), dtype)
    )


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
    functional: Functional, table: OrbitalTable, positions: Array, grid: Quadrature, density: Array, at_once: int
) -> Terms:
    """``energy_and_potential`` with the orbitals evaluated on the way, ``at_once`` blocks at a time.

    Memory does not grow with the grid, and what is evaluated is read again while it is still in a cache.
    """
    points, weights, size = _padded(grid, at_once)
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


def energy_and_potential(functional: Functional, values: Array, quadrature: Quadrature, density: Array) -> Terms:
    """``Terms`` of the blocks in use, rows in the order of the table.

    Args:
        functional: closed-shell functional.
        values: (b, 1 or 4, n, BLOCK) from ``values_on_grid``.
        quadrature: points and weights.
        density: (s, n, n) density matrix, symmetric.
    """
    weights, n_blocks = quadrature.weights, quadrature.n_blocks

    def collect(block: Array, out: tuple[Array, Array]) -> tuple[Array, Array]:
        rho, slope = density_features(density, values[block], halves=True)
        return out[0].at[block].set(rho), out[1].at[block].set(slope)

    blocks, spins, points = len(weights), len(density), values.shape[3]
    rho = jnp.zeros((blocks, spins, points), density.dtype)
    slope = jnp.zeros((blocks, spins, values.shape[1] - 1, points), density.dtype)
    rho, slope = jax.lax.fori_loop(0, n_blocks, collect, (rho, slope))
    # the functional stands between two loops on purpose: inside one loop XLA fuses it into the product with every
    # orbital and evaluates it n times over (measured: 2.5 times slower)
    energy, field = _response(functional, weights, rho, slope)

    def add(block: Array, potential: Array) -> Array:
        return potential + _half_potential(field[block], values[block])

    half = jax.lax.fori_loop(0, n_blocks, add, jnp.zeros_like(density))
    return energy.sum(), half + half.mT, (weights[:, None] * rho).sum()


def dense(
    at_once: int,
    functional: Functional,
    table: OrbitalTable,
    positions: Array,
    fine: Quadrature,
    coarse: Quadrature | None,
) -> GridFunctions:
    """All rows of the table, and all points of a group of ``at_once`` blocks (or of the coarse grid), in one step."""
    gradient = functional.needs_gradient
    points, weights, size = _padded(fine, at_once)
    groups = points.reshape(-1, size * points.shape[1], 3), weights.reshape(-1, size * weights.shape[1])

    def on_fine(density: Array) -> Terms:
        def add(total: Terms, group: tuple[Array, Array]) -> tuple[Terms, None]:
            phi = dense_values(table, positions, group[0], gradient)
            energy, half, electrons = _dense_terms(functional, phi, group[1], density)
            return (total[0] + energy, total[1] + half, total[2] + electrons), None

        nothing = jnp.zeros(()), jnp.zeros_like(density), jnp.zeros(())
        (energy, half, electrons), _ = jax.lax.scan(add, nothing, groups)
        return energy, half + half.mT, electrons

    if coarse is None:
        return GridFunctions(on_fine, on_fine)
    coarse_weights = jnp.asarray(coarse.weights).reshape(-1)
    kept = dense_values(table, positions, jnp.asarray(coarse.points).reshape(-1, 3), gradient)
    kept = kept.astype(coarse_weights.dtype)

    def on_coarse(density: Array) -> Terms:
        energy, half, electrons = _dense_terms(functional, kept, coarse_weights, density.astype(kept.dtype))
        return energy, (half + half.mT).astype(density.dtype), electrons

    return GridFunctions(on_fine, on_coarse)


def _dense_terms(functional: Functional, phi: Array, weights: Array, density: Array) -> Terms:
    """``Terms`` of a group of points, the potential by half; ``phi`` (1 or 4, n, g)."""
    rho, slope = density_features(density, phi, halves=False)
    # or the functional is evaluated again for each orbital that its derivatives are multiplied with
    energy, field = jax.lax.optimization_barrier(_response(functional, weights, rho, slope))
    return energy.sum(), _half_potential(field, phi), (weights * rho).sum()


def _padded(grid: Quadrature, at_once: int) -> tuple[Array, Array, int]:
    """Points and weights padded to whole groups of blocks, and the blocks of a group."""
    size = min(at_once, len(grid.points))
    missing = -len(grid.points) % size
    points = jnp.pad(jnp.asarray(grid.points), ((0, missing), (0, 0), (0, 0)))
    return points, jnp.pad(jnp.asarray(grid.weights), ((0, missing), (0, 0))), size
