"""Grids of molecules: points, and the weights that the partition among atoms leaves them.

Two drivers: ``quadrature`` makes that of one molecule chunk by chunk and leaves out points without weight;
``grid_lists`` (host) and ``quadratures`` (device) make those of a batch at once, where such points stay as padding.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from qmgen.dft.backend import current
from qmgen.dft.grid.atomic import GridLevel, atomic_grid, size_adjustments
from qmgen.dft.grid.partition import partition_weights

#: points per block: 4 values of 64 orbitals in float64 are then 2 MB, about the second-level cache of a core
BLOCK: Final = 1024
#: elements whose grids every shape and batch allows for
COMMON: Final = (1, 6, 7, 8, 9)
#: points with less weight (Bohr^3) add under 1e-11 Ha in all, even beside a nucleus (density 1e3, 1e4 such points)
WEIGHT_THRESHOLD: Final = 1e-18


class Quadrature(NamedTuple):
    """Points (b, BLOCK, 3) in Bohr, weights (b, BLOCK) in Bohr^3, zero for padding, and how many blocks are in use."""

    points: Any
    weights: Any
    n_blocks: Any


def molecular_grid(
    numbers: np.ndarray, positions: np.ndarray, level: GridLevel
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All atoms' grids, one after the other.

    Args:
        numbers: (A,) atomic numbers; 0 is padding and gets no points.
        positions: (A, 3) in Bohr.
        level: 0 to 5, or ``COARSE``.

    Returns:
        points (G, 3) float64 in Bohr, owner (G,) int32 (the index of the atom each point belongs to), and
        atomic_weights (G,) float64 in Bohr^3, still to be multiplied with ``partition_weights``.
    """
    real = [a for a, z in enumerate(numbers) if z]
    grids = [atomic_grid(int(numbers[a]), level) for a in real]
    if not grids:
        return np.zeros((0, 3)), np.zeros(0, np.int32), np.zeros(0)
    points = np.concatenate([grid.points + np.asarray(positions[a], np.float64) for a, grid in zip(real, grids)])
    owner = np.repeat(np.asarray(real, np.int32), [len(grid.weights) for grid in grids])
    return points, owner, np.concatenate([grid.weights for grid in grids])


def quadrature(numbers: np.ndarray, positions: np.ndarray, n_atoms: int, n_blocks: int, level: GridLevel) -> Quadrature:
    """The grid of one molecule in ``n_blocks`` blocks, its atoms padded to ``n_atoms``; Bohr."""
    points, owner, atomic = molecular_grid(numbers, positions, level)
    a, chunk = len(numbers), current().partition_blocks * BLOCK
    centers, adjust, real = np.zeros((n_atoms, 3)), np.zeros((n_atoms, n_atoms)), np.arange(n_atoms) < a
    centers[:a], adjust[:a, :a] = positions, size_adjustments(numbers)
    size = -(-len(points) // chunk) * chunk
    padded, owners = np.zeros((size, 3)), np.zeros(size, dtype=np.int32)
    padded[: len(points)], owners[: len(points)] = points, owner
    fractions = [
        _partition_chunk(padded[c : c + chunk], owners[c : c + chunk], centers, adjust, real)
        for c in range(0, size, chunk)
    ]
    weights = np.concatenate([np.asarray(f) for f in fractions])[: len(points)] * atomic
    keep = np.abs(weights) > WEIGHT_THRESHOLD  # Lebedev rules of 74 and 266 points have negative ones
    points, weights = points[keep], weights[keep]
    out_points, out_weights = np.zeros((n_blocks * BLOCK, 3)), np.zeros(n_blocks * BLOCK)
    out_points[: len(points)], out_weights[: len(points)] = points, weights
    used = -(-len(points) // BLOCK)
    return Quadrature(out_points.reshape(-1, BLOCK, 3), out_weights.reshape(-1, BLOCK), used)


@jax.jit
def _partition_chunk(points: Array, owner: Array, positions: Array, adjust: Array, mask: Array) -> Array:
    one_block = partial(partition_weights, positions=positions, adjust=adjust, atom_mask=mask)
    fractions = jax.lax.map(lambda x: one_block(x[0], x[1]), (points.reshape(-1, BLOCK, 3), owner.reshape(-1, BLOCK)))
    return fractions.reshape(-1)


class GridLists(NamedTuple):
    """b blocks of points of each of B molecules.

    Attributes:
        offsets, weights: (t, 3) in Bohr and (t,) in Bohr^3: the grids of all elements about the origin, and one point
            without weight.
        point: (B, b, BLOCK) int32, which of these.
        owner: (B, b, BLOCK) int16, the atom it is about.
    """

    offsets: Any
    weights: Any
    point: Any
    owner: Any


def grid_lists(numbers: np.ndarray, level: GridLevel, n_blocks: int) -> GridLists:
    """For atoms ``numbers`` (B, A), padding 0; ``n_blocks`` of the shape, 0 for no grid at all."""
    elements = sorted({*np.unique(numbers).tolist(), *COMMON} - {0}) if n_blocks else []
    grids = [atomic_grid(z, level) for z in elements]
    lengths = [len(g.weights) for g in grids]
    ranges = dict(zip(elements, np.split(np.arange(sum(lengths)), np.cumsum(lengths)[:-1]) if grids else []))
    offsets = np.concatenate([*(g.points for g in grids), np.zeros((1, 3))])
    weights = np.concatenate([*(g.weights for g in grids), np.zeros(1)])
    point = np.full((len(numbers), n_blocks * BLOCK), len(weights) - 1, np.int32)
    owner = np.zeros(point.shape, np.int16)
    for m, of_molecule in enumerate(numbers if n_blocks else []):
        at = 0
        for atom, z in enumerate(of_molecule):
            if z:
                here = ranges[int(z)]
                point[m, at : at + len(here)], owner[m, at : at + len(here)] = here, atom
                at += len(here)
    shape = (len(numbers), n_blocks, BLOCK)
    return GridLists(offsets, weights, point.reshape(shape), owner.reshape(shape))


def quadratures(lists: GridLists, numbers: Array, positions: Array, adjust: Array) -> Quadrature:
    """Points (B, b, BLOCK, 3) and partitioned weights, those without consequence set to zero."""
    batch, n_blocks, _ = lists.point.shape
    if n_blocks == 0:
        return Quadrature(jnp.zeros((batch, 0, BLOCK, 3)), jnp.zeros((batch, 0, BLOCK)), jnp.zeros(batch, jnp.int32))
    owner = jnp.asarray(lists.owner).astype(jnp.int32)
    offsets, weights = jnp.asarray(lists.offsets)[lists.point], jnp.asarray(lists.weights)[lists.point]
    centers = jax.vmap(lambda x, at: x[at])(positions, owner)
    points = offsets + centers
    group = min(current().partition_blocks, n_blocks)
    n_groups = -(-n_blocks // group)

    def grouped(x: Array) -> Array:
        padded = jnp.pad(x, ((0, 0), (0, n_groups * group - n_blocks)) + ((0, 0),) * (x.ndim - 2))
        return jnp.moveaxis(padded.reshape(batch, n_groups, group * BLOCK, *x.shape[3:]), 1, 0)

    fractions = jax.lax.map(
        lambda x: jax.vmap(partition_weights)(x[0], x[1], positions, adjust, numbers > 0),
        (grouped(points), grouped(owner)),
    )
    fractions = jnp.moveaxis(fractions, 0, 1).reshape(batch, n_groups * group, BLOCK)[:, :n_blocks]
    # a place without atoms has points without weight, whose fraction is no number
    weights = jnp.where(weights != 0.0, weights * fractions, 0.0)
    weights = jnp.where(jnp.abs(weights) > WEIGHT_THRESHOLD, weights, 0.0)
    return Quadrature(points, weights, jnp.full(batch, n_blocks, jnp.int32))
