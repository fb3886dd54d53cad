"""What the network of blocks sees of a molecule: blocks of the physical matrices, and invariants of each pair of atoms.

The description does not change in training. An atom has ``slots`` places: its s shells, then x, y, z of each p shell.
A hydrogen atom leaves most of them empty. Under a rotation R of the molecule s places stay and each p triple turns by
R, so that a block splits into four parts: ss invariant, sp and ps vectors, pp a tensor of rank two.

Matrices: S, core Hamiltonian, two-electron part, semilocal potential, density of spherical atoms D, and the density D1
that follows from the initial Hamiltonian, as D1 and as S (D1 - D) S: the change of the charge in one step of the SCF.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from qmgen.dft.electrons import doubly_occupied
from qmgen.dft.orbitals import diagonalize, fill, overlap_powers
from qmgen.learning.hamiltonian import Inputs

Array = jax.Array


@dataclass(frozen=True)
class BlocksShape:
    """``width`` invariant features of an atom and of a pair, ``vectors`` equivariant ones of an atom, ``layers``;
    ``s`` and ``p`` shells of the largest atom of the basis set, ``elements`` that have an embedding, ascending."""

    width: int
    vectors: int
    layers: int
    s: int = 2
    p: int = 1
    elements: tuple[int, ...] = (1, 6, 7, 8, 9)

    def of(self, s: int, p: int, elements: tuple[int, ...]) -> BlocksShape:
        """The same size for another basis set and other elements."""
        return replace(self, s=s, p=p, elements=elements)

    @property
    def slots(self) -> int:
        """Places for orbitals of an atom: its s shells, then x, y, z of each p shell."""
        return self.s + 3 * self.p


class OrbitalSlots(NamedTuple):
    """``slot`` (n,) int32, the flat place (atom * slots + place) of each orbital; ``orbital`` (A, slots) int32, the
    orbital in each place; ``filled`` (A, slots) and ``real`` (n,) whether there is one."""

    slot: Any
    orbital: Any
    filled: Any
    real: Any


class BlockParts(NamedTuple):
    """A matrix by kind of block: ss (A, A, s, s), sp (A, A, s, p, 3), pp (A, A, p, 3, p, 3); ps is sp of the transposed
    matrix, and stands in ``ps`` (A, A, p, 3, s)."""

    ss: Any
    sp: Any
    ps: Any
    pp: Any


def layout_of(shape: BlocksShape, inputs: Inputs) -> OrbitalSlots:
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
    return OrbitalSlots(slot, orbital.reshape(atoms, slots), filled.reshape(atoms, slots), real)


def blocks_of(layout: OrbitalSlots, matrix: Array) -> Array:
    """(n, n) -> (A, A, slots, slots), zero in empty places."""
    atoms, slots = layout.orbital.shape
    flat, filled = layout.orbital.reshape(-1), layout.filled.reshape(-1)
    full = jnp.where(filled[:, None] & filled[None, :], matrix[flat][:, flat], 0.0)
    return full.reshape(atoms, slots, atoms, slots).transpose(0, 2, 1, 3)


def matrix_of(layout: OrbitalSlots, blocks: Array) -> Array:
    """(A, A, slots, slots) -> (n, n), zero on padding."""
    atoms, slots = layout.orbital.shape
    full = blocks.transpose(0, 2, 1, 3).reshape(atoms * slots, atoms * slots)
    slot = jnp.where(layout.real, layout.slot, 0)
    return jnp.where(layout.real[:, None] & layout.real[None, :], full[slot][:, slot], 0.0)


def parts_of(shape: BlocksShape, blocks: Array) -> BlockParts:
    """(..., slots, slots) by kind."""
    s, p, lead = shape.s, shape.p, blocks.shape[:-2]
    return BlockParts(
        blocks[..., :s, :s],
        blocks[..., :s, s:].reshape(*lead, s, p, 3),
        blocks[..., s:, :s].reshape(*lead, p, 3, s),
        blocks[..., s:, s:].reshape(*lead, p, 3, p, 3),
    )


def joined(shape: BlocksShape, parts: BlockParts) -> Array:
    """The inverse of ``parts_of``."""
    s, p, lead = shape.s, shape.p, parts.ss.shape[:-2]
    above = jnp.concatenate([parts.ss, parts.sp.reshape(*lead, s, 3 * p)], axis=-1)
    below = jnp.concatenate([parts.ps.reshape(*lead, 3 * p, s), parts.pp.reshape(*lead, 3 * p, 3 * p)], axis=-1)
    return jnp.concatenate([above, below], axis=-2)


MATRICES: Final = 7
#: radial functions of the distance, and the largest distance they resolve (Bohr)
RADIAL: Final = 24
FARTHEST: Final = 16.0


class BlocksDescription(NamedTuple):
    """One molecule; A atoms, float32.

    Attributes:
        numbers: (A,) int32; layout: where its orbitals are.
        direction: (A, A, 3) unit vectors from the first atom to the second, zero on the diagonal.
        radial: (A, A, RADIAL); envelope: (A, A), from 1 to 0 at ``FARTHEST``, 1 on the diagonal, 0 for padding.
        matrices: (MATRICES, A, A, slots, slots), each shell's block divided by 1 + its norm.
        invariants: (A, A, features).
        vectors: (A, 3, features) of each atom's own blocks.
    """

    numbers: Any
    layout: OrbitalSlots
    direction: Any
    radial: Any
    envelope: Any
    matrices: Any
    invariants: Any
    vectors: Any


class InvariantStatistics(NamedTuple):
    """Mean and inverse spread of the invariants by pair of elements, (2, E, E, features): on the diagonal of the atoms
    and off it; of elements that were not seen together those over all pairs."""

    mean: Any
    scale: Any


def describe_blocks(shape: BlocksShape, inputs: Inputs) -> BlocksDescription:
    """Pure; takes matrices in float64 and gives float32."""
    layout = layout_of(shape, inputs)
    first = _density(inputs)
    overlap = inputs.overlap
    moved = overlap @ (first - inputs.density) @ overlap
    every = [overlap, inputs.core, inputs.two_electron, inputs.exchange_correlation, inputs.density, first, moved]
    blocks = jnp.stack([blocks_of(layout, matrix) for matrix in every])
    there = inputs.numbers > 0
    off = inputs.positions[None, :, :] - inputs.positions[:, None, :]
    same = jnp.eye(len(inputs.numbers), dtype=bool)
    alone = same | ~there[:, None] | ~there[None, :]  # padding has no place, and no direction
    distance = jnp.sqrt(jnp.where(alone, 1.0, (off * off).sum(-1)))
    direction = jnp.where(alone[..., None], 0.0, off / distance[..., None])
    centers = jnp.linspace(1.0, FARTHEST, RADIAL)
    width = centers[1] - centers[0]
    radial = jnp.where(alone[..., None], 0.0, jnp.exp(-(((distance[..., None] - centers) / width) ** 2)))
    fade = 0.5 * (1.0 + jnp.cos(jnp.pi * jnp.minimum(distance / FARTHEST, 1.0)))
    envelope = jnp.where(same, 1.0, fade) * there[:, None] * there[None, :]
    parts = parts_of(shape, blocks)
    description = BlocksDescription(
        inputs.numbers,
        layout,
        direction,
        radial,
        envelope,
        _bounded(shape, blocks),
        _invariants(parts, direction),
        _own_vectors(parts),
    )
    return jax.tree.map(lambda x: x.astype(jnp.float32) if jnp.issubdtype(x.dtype, jnp.floating) else x, description)


def statistics_of(shape: BlocksShape, descriptions: list[BlocksDescription]) -> InvariantStatistics:
    """Of a training set; numpy, float32."""
    elements, features = len(shape.elements), descriptions[0].invariants.shape[-1]
    count = np.zeros((2, elements, elements, 1))
    total, square = np.zeros((2, 2, elements, elements, features))
    for one in descriptions:
        numbers = np.asarray(one.numbers)
        (atoms,) = np.nonzero(numbers)
        kind = np.searchsorted(shape.elements, numbers[atoms])
        values = np.asarray(one.invariants, np.float64)[np.ix_(atoms, atoms)]
        a, b = np.meshgrid(kind, kind, indexing="ij")
        off = 1 - np.eye(len(atoms), dtype=int)
        np.add.at(count, (off, a, b), 1.0)
        np.add.at(total, (off, a, b), values)
        np.add.at(square, (off, a, b), values**2)
    mean, scale = _moments(count, total, square)
    anyone = _moments(*(x.sum(axis=(1, 2), keepdims=True) for x in (count, total, square)))
    seen = count > 3
    return InvariantStatistics(
        np.where(seen, mean, anyone[0]).astype(np.float32), np.where(seen, scale, anyone[1]).astype(np.float32)
    )


def normalized(shape: BlocksShape, statistics: InvariantStatistics, one: BlocksDescription) -> BlocksDescription:
    """``one`` with its invariants centered and scaled, and none beyond six spreads."""
    elements = jnp.asarray(shape.elements)
    kind = jnp.clip(jnp.searchsorted(elements, one.numbers), 0, len(shape.elements) - 1)
    off = 1 - jnp.eye(len(one.numbers), dtype=jnp.int32)
    mean = jnp.asarray(statistics.mean)[off, kind[:, None], kind[None, :]]
    scale = jnp.asarray(statistics.scale)[off, kind[:, None], kind[None, :]]
    return one._replace(invariants=6.0 * jnp.tanh((one.invariants - mean) * scale / 6.0))


def _moments(count: np.ndarray, total: np.ndarray, square: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = total / np.maximum(count, 1.0)
    spread = np.sqrt(np.maximum(square / np.maximum(count, 1.0) - mean**2, 0.0))
    # what does not vary tells nothing: its rounding must not be blown up
    return mean, np.where(spread > 1e-5 * (1.0 + np.abs(mean)), 1.0 / np.maximum(spread, 1e-12), 0.0)


def _density(inputs: Inputs) -> Array:
    """(n, n) of the lowest orbitals of the initial Hamiltonian."""
    n_real = (inputs.orbital_l >= 0).sum()
    _, orbitals = diagonalize(overlap_powers(inputs.overlap, n_real).inverse_root, inputs.initial, n_real)
    return fill(orbitals, doubly_occupied(inputs.numbers))


def _bounded(shape: BlocksShape, blocks: Array) -> Array:
    """Each block of two shells divided by 1 + its norm, which no rotation changes."""
    parts = parts_of(shape, blocks)

    def scaled(x: Array, axes: tuple[int, ...]) -> Array:
        return x / (1.0 + jnp.sqrt((x * x).sum(axes, keepdims=True)))

    bounded = BlockParts(
        scaled(parts.ss, ()), scaled(parts.sp, (-1,)), scaled(parts.ps, (-2,)), scaled(parts.pp, (-3, -1))
    )
    return joined(shape, bounded)


def _invariants(parts: BlockParts, direction: Array) -> Array:
    """(A, A, features): what no rotation changes, of the blocks (MATRICES, A, A, ...) of each pair."""
    along_sp = jnp.einsum("mabijx,abx->mabij", parts.sp, direction)
    along_ps = jnp.einsum("mabixj,abx->mabij", parts.ps, direction)
    along_pp = jnp.einsum("mabixjy,abx,aby->mabij", parts.pp, direction, direction)
    trace = jnp.einsum("mabixjx->mabij", parts.pp)
    # on the diagonal there is no direction: lengths instead
    same = jnp.eye(direction.shape[0], dtype=bool)[None, :, :, None, None]
    length_sp = jnp.sqrt((parts.sp**2).sum(-1) + 1e-12)
    middle = trace[..., None, :, None] / 3.0 * jnp.eye(3)[:, None, :]
    tensor = jnp.sqrt(((parts.pp - middle) ** 2).sum((-3, -1)) + 1e-12)
    every = [
        parts.ss,
        jnp.where(same, length_sp, along_sp),
        jnp.where(same, length_sp.swapaxes(-1, -2), along_ps),
        jnp.where(same, tensor, along_pp),
        trace,
    ]
    flat = [x.reshape(*x.shape[:3], -1) for x in every]
    return jnp.concatenate(flat, axis=-1).transpose(1, 2, 0, 3).reshape(*direction.shape[:2], -1)


def _own_vectors(parts: BlockParts) -> Array:
    """(A, 3, features): the vectors in each atom's own blocks."""
    own = jnp.einsum("maaijx->maijx", parts.sp)
    m, atoms, s, p, _ = own.shape
    return own.transpose(1, 4, 0, 2, 3).reshape(atoms, 3, m * s * p)
