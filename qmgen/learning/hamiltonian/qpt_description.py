"""What the network of arXiv 2402.04030 is given: the molecule's own axes, positions and physical matrices in them.

The axes:

    C = sum_a w_a (r_a - c)(r_a - c)^T,      c = sum_a w_a r_a / sum_a w_a,      C e_k = lambda_k e_k

in ascending order of lambda. An eigenvector has no sign; ours follows from the third moments

    t_k = sum_a w_a (e_k . (r_a - c))^3 >= 0

with w the nuclear charges, and if the axes then are left-handed, the one of least |t_k| is turned round: its sign is
the least certain, and a molecule must not be confused with its mirror image.

What that does not settle:
- Two moments vanish: the signs are what the eigensolver gave, made right-handed. Where this comes of a twofold axis
  (water with equal bonds) the choices differ by a rotation that maps the molecule onto itself, and so do the answers:
  the energy that follows is the same, but such an answer need not have the molecule's symmetry. Where they vanish by
  accident, the frame jumps as the geometry passes through. The mean over the four right-handed choices of sign
  (``TURNS``), at four times the cost, has neither fault and needs no rule.
- Two lambdas coincide (symmetric tops, linear molecules, methane): the axes of that plane or space are the
  eigensolver's. They depend on the orientation, and nearly equal ones on small changes of the geometry. Nothing is
  infinite, but the answer does not turn with the molecule there.
Frames are made once for a geometry and never differentiated: derivatives of eigenvectors are infinite in such cases.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular

from qmgen.dft.orbitals import overlap_powers
from qmgen.learning.hamiltonian.inputs import Inputs

#: atomic numbers below this one, and places within an atom below that one, have an embedding
ELEMENTS: Final = 19
PLACES: Final = 16


@dataclass(frozen=True)
class QptShape:
    """All that fixes the shapes of the parameters and what is computed from them.

    Attributes:
        width: features of an orbital; a multiple of ``heads``.
        heads: heads of attention; even, since a matrix is given to two of them.
        layers: blocks of attention and perceptron.
        published: the form of the authors' code, defects included (see ``model``).
        averaged: take the mean over the four right-handed choices of the signs of the axes (see ``frame``).
        remat: compute a layer again in the backward pass instead of keeping what it computed.
    """

    width: int
    heads: int
    layers: int
    published: bool = False
    averaged: bool = False
    remat: bool = False

    def __post_init__(self) -> None:
        if self.published and self.averaged:
            raise ValueError("the published form knows one frame")
        if min(self.width, self.heads, self.layers) < 1:
            raise ValueError("a network has at least one of everything")
        if self.width % self.heads or self.heads % 2:
            raise ValueError(f"{self.heads} heads: an even number that divides the width {self.width} is needed")

    def as_published(self) -> QptShape:
        """The same size in the published form."""
        return replace(self, published=True, averaged=False)


#: the published sizes: about 5, 22, 86, 302 and 708 million parameters
QPT_PRESETS: Final = {
    "qpt-tiny": QptShape(width=192, heads=6, layers=12),
    "qpt-small": QptShape(width=384, heads=6, layers=12),
    "qpt-base": QptShape(width=768, heads=12, layers=12),
    "qpt-medium": QptShape(width=1024, heads=16, layers=24),
    "qpt-large": QptShape(width=1280, heads=16, layers=36),
}


Array = jax.Array

#: signs of the axes by which right-handed frames on the same axes differ
TURNS: Final = ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1))


def principal_frame(positions: Array, weights: Array, signed: bool = True) -> tuple[Array, Array]:
    """Center (3,) and axes (3, 3), one a column, of points (A, 3) with ``weights`` (A,), zero for padding.

    ``signed=False`` leaves the eigenvectors as they come, left-handed ones too, as the published code does.
    """
    total = jnp.maximum(weights.sum(), 1.0)
    center = (weights @ positions) / total
    off = positions - center
    covariance = (off * weights[:, None]).T @ off / total
    _, axes = jnp.linalg.eigh(covariance)
    if not signed:
        return center, axes
    third = weights @ (off @ axes) ** 3
    signs = jnp.where(third < 0, -1.0, 1.0).astype(axes.dtype)
    least = jnp.arange(3) == jnp.argmin(jnp.abs(third))
    handed = jnp.linalg.det(axes * signs)
    return center, axes * jnp.where(least & (handed < 0), -signs, signs)


def orbital_rotation(inputs: Inputs, axes: Array) -> Array:
    """(n, n) U with M_frame = U^T M U and M = U M_frame U^T: the p orbitals along ``axes`` in terms of those along x, y
    and z. s orbitals stay; rows and columns of padding are zero."""
    atom, momentum, component = inputs.orbital_atom, inputs.orbital_l, inputs.orbital_m
    first = inputs.orbital_place - component  # of the shell
    same = (atom[:, None] == atom[None, :]) & (first[:, None] == first[None, :])
    same &= (momentum >= 0)[:, None] & (momentum[:, None] == momentum[None, :])
    entries = jnp.where((momentum == 1)[:, None], axes[component[:, None], component[None, :]], 1.0)
    return jnp.where(same, entries, 0.0).astype(axes.dtype)


WAVES: Final = 20
#: the longest wave, Bohr
LONGEST: Final = 20.0
COUNT: Final = 3 + 2 * 3 * WAVES


def position_features(positions: Array, published: bool = False) -> Array:
    """(n, 3) in the frame -> (n, COUNT) in the same type.

    A position as 123 numbers: x, y and z in the molecule's frame, and sines and cosines of them of 20 wavelengths.

        r_k,   cos(2 pi f r_k / 20),   sin(2 pi f r_k / 20),      f = 1 ... 20;  r in Bohr

    from 20 Bohr down to 1. The published code has f = 0 ... 19: three of its numbers are 1 and three are 0 everywhere.
    """
    first = 0 if published else 1
    steps = jnp.arange(first, first + WAVES, dtype=positions.dtype) * (2.0 * math.pi / LONGEST)
    angles = (positions[:, None, :] * steps[:, None]).reshape(len(positions), 3 * WAVES)
    return jnp.concatenate([positions, jnp.cos(angles), jnp.sin(angles)], axis=1)


MATRICES: Final = 7
#: numbers of pairs of places, not matrices over orbitals: they do not turn with the axes
SCALARS: Final = np.arange(MATRICES) == 1


def matrices_of(inputs: Inputs, places: Array, rotation: Array, published: bool = False) -> Array:
    """(MATRICES, n, n), zero on padding, from positions ``places`` (n, 3) and the rotation of the orbitals (n, n).

    Physical matrices as biases of attention, each divided by its largest absolute value.

        0  core Hamiltonian                    4  two-electron part of the initial density
        1  dot products of positions           5  its semilocal potential
        2  core Hamiltonian, orthogonalized    6  its Hamiltonian
        3  initial density

    Orthogonalized is S^-1/2 h S^-1/2. The published form has L^-1 h L^-T with S = L L^T, which depends on the order of
    the orbitals: the same molecule with its atoms listed otherwise would be another.
    """
    real = inputs.orbital_l >= 0
    kind = inputs.core.dtype
    turn = rotation.astype(kind)

    def turned(matrix: Array) -> Array:
        return turn.T @ matrix @ turn

    core = turned(inputs.core)
    overlap = turned(inputs.overlap)
    if published:
        padded = overlap + jnp.diag((~real).astype(kind))
        half = solve_triangular(jnp.linalg.cholesky(padded), jnp.eye(len(real), dtype=kind), lower=True)
    else:
        half = overlap_powers(overlap, real.sum()).inverse_root
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
    """(layers, heads) int32: which matrix a head is given, ``MATRICES`` for none.

    A matrix goes to two heads. Few heads cannot take all seven at once: the next layer goes on where this one ended,
    with no bias as the eighth of the round. In the published form, as we read it, every layer has the first and the
    rest none.
    """
    pairs = shape.heads // 2
    pair, layer = np.arange(pairs), np.arange(shape.layers)[:, None]
    if shape.published:
        given = np.broadcast_to(np.minimum(pair, MATRICES), (shape.layers, pairs))
    else:
        given = (layer * pairs + pair) % (MATRICES + 1)
    return np.repeat(given, 2, axis=1).astype(np.int32)
