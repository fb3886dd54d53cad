"""Matrices over orbitals as blocks over pairs of atoms, and back.

An atom has ``slots`` places: its s shells, then x, y, z of each p shell. A hydrogen atom leaves most of them empty.
Under a rotation R of the molecule s places stay and each p triple turns by R, so that a block splits into four parts:
ss invariant, sp and ps vectors, pp a tensor of rank two.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from qmgen.learning.hamiltonian.blocks.shape import BlocksShape
from qmgen.learning.hamiltonian.inputs import Inputs

Array = jax.Array


class Layout(NamedTuple):
    """``slot`` (n,) int32, the flat place (atom * slots + place) of each orbital; ``orbital`` (A, slots) int32, the
    orbital in each place; ``filled`` (A, slots) and ``real`` (n,) whether there is one."""

    slot: Any
    orbital: Any
    filled: Any
    real: Any


class Parts(NamedTuple):
    """A matrix by kind of block: ss (A, A, s, s), sp (A, A, s, p, 3), pp (A, A, p, 3, p, 3); ps is sp of the transposed
    matrix, and stands in ``ps`` (A, A, p, 3, s)."""

    ss: Any
    sp: Any
    ps: Any
    pp: Any


def layout_of(shape: BlocksShape, inputs: Inputs) -> Layout:
    """Where the orbitals of a molecule are."""
    n, atoms, slots = inputs.orbital_atom.shape[0], inputs.numbers.shape[0], shape.slots
    order = jnp.arange(n)
    real = inputs.orbital_l >= 0
    same = (inputs.orbital_atom[:, None] == inputs.orbital_atom[None, :]) & real[:, None] & real[None, :]
    before = same & (order[None, :] < order[:, None])
    s_before = jnp.sum(before & (inputs.orbital_l[None, :] == 0), axis=1)
    # the p shells of an atom follow one another, each with its x, y, z together
    p_before = jnp.sum(before & (inputs.orbital_l[None, :] == 1) & (inputs.orbital_m[None, :] == 2), axis=1)
    place = jnp.where(inputs.orbital_l == 0, s_before, shape.s + 3 * p_before + inputs.orbital_m)
    slot = jnp.where(real, inputs.orbital_atom * slots + place, atoms * slots).astype(jnp.int32)
    orbital = jnp.zeros(atoms * slots + 1, jnp.int32).at[slot].set(order.astype(jnp.int32))[:-1]
    filled = jnp.zeros(atoms * slots + 1, bool).at[slot].set(real)[:-1]
    return Layout(slot, orbital.reshape(atoms, slots), filled.reshape(atoms, slots), real)


def blocks_of(layout: Layout, matrix: Array) -> Array:
    """(n, n) -> (A, A, slots, slots), zero in empty places."""
    atoms, slots = layout.orbital.shape
    flat, filled = layout.orbital.reshape(-1), layout.filled.reshape(-1)
    full = jnp.where(filled[:, None] & filled[None, :], matrix[flat][:, flat], 0.0)
    return full.reshape(atoms, slots, atoms, slots).transpose(0, 2, 1, 3)


def matrix_of(layout: Layout, blocks: Array) -> Array:
    """(A, A, slots, slots) -> (n, n), zero on padding."""
    atoms, slots = layout.orbital.shape
    full = blocks.transpose(0, 2, 1, 3).reshape(atoms * slots, atoms * slots)
    slot = jnp.where(layout.real, layout.slot, 0)
    return jnp.where(layout.real[:, None] & layout.real[None, :], full[slot][:, slot], 0.0)


def parts_of(shape: BlocksShape, blocks: Array) -> Parts:
    """(..., slots, slots) by kind."""
    s, p, lead = shape.s, shape.p, blocks.shape[:-2]
    return Parts(
        blocks[..., :s, :s],
        blocks[..., :s, s:].reshape(*lead, s, p, 3),
        blocks[..., s:, :s].reshape(*lead, p, 3, s),
        blocks[..., s:, s:].reshape(*lead, p, 3, p, 3),
    )


def joined(shape: BlocksShape, parts: Parts) -> Array:
    """The inverse of ``parts_of``."""
    s, p, lead = shape.s, shape.p, parts.ss.shape[:-2]
    above = jnp.concatenate([parts.ss, parts.sp.reshape(*lead, s, 3 * p)], axis=-1)
    below = jnp.concatenate([parts.ps.reshape(*lead, 3 * p, s), parts.pp.reshape(*lead, 3 * p, 3 * p)], axis=-1)
    return jnp.concatenate([above, below], axis=-2)
