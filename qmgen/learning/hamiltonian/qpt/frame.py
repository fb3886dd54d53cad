"""The molecule's own axes, and matrices over orbitals turned into them.

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

from typing import Final

import jax
import jax.numpy as jnp

from qmgen.learning.hamiltonian.inputs import Inputs

Array = jax.Array

#: signs of the axes by which right-handed frames on the same axes differ
TURNS: Final = ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1))


def principal_frame(positions: Array, weights: Array, signed: bool = True) -> tuple[Array, Array]:
    """Centre (3,) and axes (3, 3), one a column, of points (A, 3) with ``weights`` (A,), zero for padding.

    ``signed=False`` leaves the eigenvectors as they come, left-handed ones too, as the published code does.
    """
    total = jnp.maximum(weights.sum(), 1.0)
    centre = (weights @ positions) / total
    off = positions - centre
    covariance = (off * weights[:, None]).T @ off / total
    _, axes = jnp.linalg.eigh(covariance)
    if not signed:
        return centre, axes
    third = weights @ (off @ axes) ** 3
    signs = jnp.where(third < 0, -1.0, 1.0).astype(axes.dtype)
    least = jnp.arange(3) == jnp.argmin(jnp.abs(third))
    handed = jnp.linalg.det(axes * signs)
    return centre, axes * jnp.where(least & (handed < 0), -signs, signs)


def orbital_rotation(inputs: Inputs, axes: Array) -> Array:
    """(n, n) U with M_frame = U^T M U and M = U M_frame U^T: the p orbitals along ``axes`` in terms of those along x, y
    and z. s orbitals stay; rows and columns of padding are zero."""
    atom, momentum, component = inputs.orbital_atom, inputs.orbital_l, inputs.orbital_m
    first = inputs.orbital_place - component  # of the shell
    same = (atom[:, None] == atom[None, :]) & (first[:, None] == first[None, :])
    same &= (momentum >= 0)[:, None] & (momentum[:, None] == momentum[None, :])
    entries = jnp.where((momentum == 1)[:, None], axes[component[:, None], component[None, :]], 1.0)
    return jnp.where(same, entries, 0.0).astype(axes.dtype)
