"""Pulay's direct inversion in the iterative subspace, with a history of fixed size.

P. Pulay, Chem. Phys. Lett. 73, 393 (1980); J. Comput. Chem. 3, 556 (1982).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array


class DiisState(NamedTuple):
    """Ring buffers of Fock matrices, errors and densities, all (m, s, n, n), and the number stored so far."""

    focks: Array
    errors: Array
    densities: Array
    stored: Array


def init_diis(space: int, shape: tuple[int, ...], dtype: jnp.dtype) -> DiisState:
    """No history, of at most ``space`` matrices of a ``shape`` (s, n, n)."""
    empty = jnp.zeros((space, *shape), dtype)
    return DiisState(empty, empty, empty, jnp.asarray(0))


def shift(state: DiisState, change: Array, error_of: Callable[[Array, Array], Array]) -> DiisState:
    """The history as it would be had every Fock matrix been larger by ``change``: errors are computed anew.

    ``error_of(fock, density)`` is linear in the Fock matrix; densities do not change.
    """
    focks = state.focks + change
    return state._replace(focks=focks, errors=jax.vmap(error_of)(focks, state.densities))


def extrapolate(state: DiisState, fock: Array, error: Array, density: Array) -> tuple[DiisState, Array]:
    """Store (fock, error, density) and return the combination of stored Fock matrices with the least error.

    The linear system is solved by its eigenvectors, small eigenvalues left out, so that a degenerate history gives a
    poorer step, never a NaN.
    """
    space = state.focks.shape[0]
    slot = state.stored % space
    focks = jax.lax.dynamic_update_index_in_dim(state.focks, fock, slot, 0)
    errors = jax.lax.dynamic_update_index_in_dim(state.errors, error, slot, 0)
    densities = jax.lax.dynamic_update_index_in_dim(state.densities, density, slot, 0)
    state = DiisState(focks, errors, densities, state.stored + 1)
    used = jnp.arange(space) < state.stored
    flat = errors.reshape(space, -1)
    products = flat @ flat.T
    sizes = jnp.where(used, jnp.diagonal(products), 0.0)
    scale = jnp.maximum(sizes[slot], 1e-20 * jnp.max(sizes))
    mask = used[:, None] & used[None, :]
    # in units of the newest error: the border of ones then has a comparable size
    block = jnp.where(mask, products / jnp.maximum(scale, 1e-300), jnp.eye(space, dtype=products.dtype))
    border = used.astype(products.dtype)
    matrix = jnp.block([[jnp.zeros((1, 1), products.dtype), border[None, :]], [border[:, None], block]])
    values, vectors = jnp.linalg.eigh(matrix)
    inverse = jnp.where(jnp.abs(values) > 1e-12, 1.0 / jnp.where(jnp.abs(values) > 1e-12, values, 1.0), 0.0)
    weights = (vectors @ (inverse * vectors[0]))[1:] * border
    weights = weights / jnp.sum(weights)
    return state, jnp.einsum("m,msij->sij", weights, focks)
