"""Becke's partition of space among atoms, with Treutler's size adjustment, for one block of points.

For a point at distances r_a from the nuclei, and nuclei at distances R_ab,

    mu = (r_a - r_b) / R_ab,    nu = mu + a_ab (1 - mu^2),    f(x) = (3 x - x^3) / 2
    P_a = prod_b [1 - f(f(f(nu)))] / 2,    w = P_owner / sum_a P_a

Sources: A. D. Becke, J. Chem. Phys. 88, 2547 (1988), eqs. (11), (19)-(22), appendix; O. Treutler, R. Ahlrichs,
J. Chem. Phys. 102, 346 (1995), eq. (4).

Padding is exact: a pair with a padded atom (and an atom with itself) has 1/R_ab and a_ab set to zero, hence contributes
the factor 1/2 to every P_a, and powers of two cancel in the quotient without rounding.

One scan over b, all a and all points of the block at once: the kernel is then bound by arithmetic, not by memory, and
compiles in the same time for any number of atoms. Timings, also of other forms: docs/performance.md.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array


def partition_weights(points: Array, owner: Array, positions: Array, adjust: Array, atom_mask: Array) -> Array:
    """Fraction of each point that belongs to its own atom.

    Differentiable in ``points`` and ``positions``; finite, with finite gradients, wherever padded atoms sit, and for
    points on a nucleus too.

    Args:
        points: (n, 3) in Bohr; one block, about 1000 to 4000 points.
        owner: (n,) int, the index of each point's atom. For padding points any index of a real atom.
        positions: (A, 3) in Bohr.
        adjust: (A, A) from ``size_adjustments``.
        atom_mask: (A,) bool, False for padding.

    Returns:
        (n,) in [0, 1].
    """
    inverse, adjust = _pair_constants(positions, adjust, atom_mask)
    distances = _distances(points, positions)

    def times_one_atom(cells: Array, atom: tuple[Array, Array, Array]) -> tuple[Array, None]:
        r_b, inverse_b, adjust_b = atom
        mu = (distances - r_b[None, :]) * inverse_b[:, None]
        return cells * (0.5 - _half_step(mu + adjust_b[:, None] * (1.0 - mu * mu))), None

    # checkpoint: the backward pass recomputes each factor from (A, n) arrays instead of storing a dozen (A, A, n) ones,
    # which is 13 times as fast; the forward pass is the same
    step = jax.checkpoint(times_one_atom, prevent_cse=False)
    cells, _ = jax.lax.scan(step, jnp.ones_like(distances), (distances, inverse.T, adjust.T))
    cells = jnp.where(atom_mask[:, None], cells, 0.0)
    return jnp.take_along_axis(cells, owner[None, :], axis=0)[0] / jnp.sum(cells, axis=0)


def _half_step(nu: Array) -> Array:
    """f(f(f(nu))) / 2: from -1/2 at nucleus a to 1/2 at nucleus b, flat at both."""
    for _ in range(2):
        nu = nu * (1.5 - 0.5 * nu * nu)
    return nu * (0.75 - 0.25 * nu * nu)


def _pair_constants(positions: Array, adjust: Array, atom_mask: Array) -> tuple[Array, Array]:
    """1/R_ab and a_ab, (A, A) each, zero for padded atoms and on the diagonal."""
    difference = positions[:, None, :] - positions[None, :, :]
    squared = jnp.sum(difference * difference, axis=-1)
    paired = atom_mask[:, None] & atom_mask[None, :] & (squared > 0.0)
    inverse = jnp.where(paired, jax.lax.rsqrt(jnp.where(paired, squared, 1.0)), 0.0)
    return inverse, jnp.where(paired, adjust, 0.0)


def _distances(points: Array, positions: Array) -> Array:
    """(A, n) distances in Bohr; zero, with zero gradient, for a point on a nucleus."""
    squared = sum((points[None, :, x] - positions[:, x, None]) ** 2 for x in range(3))
    apart = squared > 0.0
    return jnp.where(apart, jnp.sqrt(jnp.where(apart, squared, 1.0)), 0.0)
