"""Physical matrices as biases of attention, each divided by its largest absolute value.

    0  core Hamiltonian                    4  two-electron part of the initial density
    1  dot products of positions           5  its semilocal potential
    2  core Hamiltonian, orthogonalised    6  its Hamiltonian
    3  initial density

Orthogonalised is S^-1/2 h S^-1/2. The published form has L^-1 h L^-T with S = L L^T, which depends on the order of the
orbitals: the same molecule with its atoms listed otherwise would be another.

A matrix goes to two heads. Few heads cannot take all seven at once: the next layer goes on where this one ended, with
no bias as the eighth of the round. In the published form, as we read it, every layer has the first and the rest none.
"""

from __future__ import annotations

from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular

from qmgen.learning.hamiltonian.inputs import Inputs
from qmgen.learning.hamiltonian.qpt.shape import QptShape

Array = jax.Array

MATRICES: Final = 7
#: numbers of pairs of places, not matrices over orbitals: they do not turn with the axes
SCALARS: Final = np.arange(MATRICES) == 1


def matrices_of(inputs: Inputs, places: Array, rotation: Array, published: bool = False) -> Array:
    """(MATRICES, n, n), zero on padding, from positions ``places`` (n, 3) and the rotation of the orbitals (n, n)."""
    real = inputs.orbital_l >= 0
    kind = inputs.core.dtype
    turn = rotation.astype(kind)

    def turned(matrix: Array) -> Array:
        return turn.T @ matrix @ turn

    core = turned(inputs.core)
    overlap = turned(inputs.overlap) + jnp.diag((~real).astype(kind))
    if published:
        half = solve_triangular(jnp.linalg.cholesky(overlap), jnp.eye(len(real), dtype=kind), lower=True)
    else:
        values, vectors = jnp.linalg.eigh(overlap)
        half = (vectors / jnp.sqrt(values)) @ vectors.T
    several = [
        core,
        (places @ places.T).astype(kind),
        half @ core @ half.T,
        turned(inputs.density),
        turned(inputs.two_electron),
        turned(inputs.exchange_correlation),
        turned(inputs.initial),
    ]
    stacked = jnp.stack(several) * (real[:, None] & real[None, :])
    largest = jnp.abs(stacked).max(axis=(1, 2), keepdims=True)
    # Hartree-Fock has no semilocal potential, and a single atom no extent
    return stacked / jnp.where(largest > 0, largest, 1.0)


def assignment(shape: QptShape) -> np.ndarray:
    """(layers, heads) int32: which matrix a head is given, ``MATRICES`` for none."""
    pairs = shape.heads // 2
    pair, layer = np.arange(pairs), np.arange(shape.layers)[:, None]
    if shape.published:
        given = np.broadcast_to(np.minimum(pair, MATRICES), (shape.layers, pairs))
    else:
        given = (layer * pairs + pair) % (MATRICES + 1)
    return np.repeat(given, 2, axis=1).astype(np.int32)
