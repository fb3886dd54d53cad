"""What does not change in training: blocks of the physical matrices, invariants of each pair, and their statistics.

Matrices: S, core Hamiltonian, two-electron part, semilocal potential, density of spherical atoms D, and the density D1
that follows from the initial Hamiltonian, as D1 and as S (D1 - D) S: how charge moves, which is what the field then
answers to.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from qmgen.learning.hamiltonian.blocks.layout import Layout, Parts, blocks_of, joined, layout_of, parts_of
from qmgen.learning.hamiltonian.blocks.shape import BlocksShape
from qmgen.learning.hamiltonian.inputs import Inputs

Array = jax.Array

MATRICES: Final = 7
#: radial functions of the distance, and the largest distance they resolve (Bohr)
RADIAL: Final = 24
FARTHEST: Final = 16.0
#: orbital energy that keeps padding unoccupied (Hartree)
_SHELF: Final = 1e3


class Description(NamedTuple):
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
    layout: Layout
    direction: Any
    radial: Any
    envelope: Any
    matrices: Any
    invariants: Any
    vectors: Any


class Statistics(NamedTuple):
    """Mean and inverse spread of the invariants by pair of elements, (2, E, E, features): on the diagonal of the atoms
    and off it; of elements that were not seen together those over all pairs."""

    mean: Any
    scale: Any


def describe(shape: BlocksShape, inputs: Inputs) -> Description:
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
    centres = jnp.linspace(1.0, FARTHEST, RADIAL)
    width = centres[1] - centres[0]
    radial = jnp.where(alone[..., None], 0.0, jnp.exp(-(((distance[..., None] - centres) / width) ** 2)))
    fade = 0.5 * (1.0 + jnp.cos(jnp.pi * jnp.minimum(distance / FARTHEST, 1.0)))
    envelope = jnp.where(same, 1.0, fade) * there[:, None] * there[None, :]
    parts = parts_of(shape, blocks)
    found = Description(
        inputs.numbers,
        layout,
        direction,
        radial,
        envelope,
        _bounded(shape, blocks),
        _invariants(parts, direction),
        _own_vectors(parts),
    )
    return jax.tree.map(lambda x: x.astype(jnp.float32) if jnp.issubdtype(x.dtype, jnp.floating) else x, found)


def statistics_of(shape: BlocksShape, descriptions: list[Description]) -> Statistics:
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
    return Statistics(
        np.where(seen, mean, anyone[0]).astype(np.float32), np.where(seen, scale, anyone[1]).astype(np.float32)
    )


def normalised(shape: BlocksShape, statistics: Statistics, one: Description) -> Description:
    """``one`` with its invariants centred and scaled, and none beyond six spreads."""
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
    real = inputs.orbital_l >= 0
    padding = jnp.diag((~real).astype(inputs.overlap.dtype))
    values, vectors = jnp.linalg.eigh(inputs.overlap + padding)
    root = (vectors / jnp.sqrt(values)) @ vectors.T
    _, orbitals = jnp.linalg.eigh(root @ (inputs.initial + _SHELF * padding) @ root)
    occupied = (root @ orbitals) * (jnp.arange(real.shape[0]) < inputs.numbers.sum() // 2)
    return 2.0 * occupied @ occupied.T


def _bounded(shape: BlocksShape, blocks: Array) -> Array:
    """Each block of two shells divided by 1 + its norm, which no rotation changes."""
    parts = parts_of(shape, blocks)

    def scaled(x: Array, axes: tuple[int, ...]) -> Array:
        return x / (1.0 + jnp.sqrt((x * x).sum(axes, keepdims=True)))

    bounded = Parts(scaled(parts.ss, ()), scaled(parts.sp, (-1,)), scaled(parts.ps, (-2,)), scaled(parts.pp, (-3, -1)))
    return joined(shape, bounded)


def _invariants(parts: Parts, direction: Array) -> Array:
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


def _own_vectors(parts: Parts) -> Array:
    """(A, 3, features): the vectors in each atom's own blocks."""
    own = jnp.einsum("maaijx->maijx", parts.sp)
    m, atoms, s, p, _ = own.shape
    return own.transpose(1, 4, 0, 2, 3).reshape(atoms, 3, m * s * p)
