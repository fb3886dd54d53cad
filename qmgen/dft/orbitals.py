"""Orbitals of a Fock matrix in an orthonormal basis, and the density that the lowest of them make.

n orbitals, of which those of padding have no functions: the overlap gets a 1 on their diagonal and the Fock matrix
``PADDING_LEVEL``, so that they come last and mix with none. Leading axes (spin) are carried along. Hartree.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import jax.numpy as jnp
from jax import Array

#: orbital energy of padding, above any real virtual level of a valence basis (Hartree)
PADDING_LEVEL: Final = 1e3


class OverlapPowers(NamedTuple):
    """S^(1/2) and S^(-1/2), both (n, n), the identity on padding (Löwdin, J. Chem. Phys. 18, 365 (1950))."""

    root: Array
    inverse_root: Array


def overlap_powers(overlap: Array, n_real: Any) -> OverlapPowers:
    """Of an overlap (n, n) whose padding is zero, ``n_real`` () orbitals being no padding."""
    padding = jnp.arange(overlap.shape[-1]) >= n_real
    values, vectors = jnp.linalg.eigh(overlap + jnp.diag(padding.astype(overlap.dtype)))
    root = jnp.sqrt(values)
    return OverlapPowers((vectors * root) @ vectors.T, (vectors / root) @ vectors.T)


def in_orthonormal_basis(inverse_root: Array, fock: Array, n_real: Any) -> Array:
    """S^(-1/2) F S^(-1/2) (..., n, n), with the levels of padding."""
    padding = jnp.arange(fock.shape[-1]) >= n_real
    return inverse_root @ (fock + jnp.diag(jnp.where(padding, PADDING_LEVEL, 0.0))) @ inverse_root


def diagonalize(inverse_root: Array, fock: Array, n_real: Any) -> tuple[Array, Array]:
    """Levels (..., n), the lowest first, and orbitals (..., n, n) in columns."""
    levels, vectors = jnp.linalg.eigh(in_orthonormal_basis(inverse_root, fock, n_real))
    return levels, inverse_root @ vectors


def fill(orbitals: Array, n_occupied: Any, electrons: float = 2.0) -> Array:
    """The density (..., n, n) of the first ``n_occupied`` () orbitals, with ``electrons`` in each."""
    occupied = orbitals * (jnp.arange(orbitals.shape[-1]) < n_occupied)
    return electrons * occupied @ occupied.mT
