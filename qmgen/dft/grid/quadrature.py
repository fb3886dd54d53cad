"""Grids of molecules: points, and the weights that the partition among atoms leaves them.

The host lists which points of the elements' grids stand about which atom (``grid_lists``); ``placed`` puts them there
and ``weighted`` divides space among the atoms. Two drivers: ``quadrature`` takes one molecule chunk by chunk and leaves
out points without weight; ``quadratures`` takes a batch at once on the device, where such points stay as padding.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from qmgen.dft.backend import Backend
from qmgen.dft.grid.atomic import GridLevel, atomic_grid, points_count
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


class GridLists(NamedTuple):
    """b blocks of points of each of B molecules (of one molecule without the leading axis).

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
    """For atoms ``numbers`` (B, A), padding 0, atom by atom; ``n_blocks`` of the shape, 0 for no grid at all."""
    elements = tuple(sorted({*np.unique(numbers).tolist(), *COMMON} - {0})) if n_blocks else ()
    offsets, weights, ranges = _element_points(elements, level)
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


@lru_cache(maxsize=32)
def _element_points(
    elements: tuple[int, ...], level: GridLevel
) -> tuple[np.ndarray, np.ndarray, dict[int, np.ndarray]]:
    """``offsets`` and ``weights`` of ``GridLists``, and which of them belong to each element."""
    grids = [atomic_grid(z, level) for z in elements]
    ends = np.cumsum([0, *(len(grid.weights) for grid in grids)])
    ranges = {z: np.arange(*ends[i : i + 2], dtype=np.int32) for i, z in enumerate(elements)}
    offsets = np.concatenate([*(grid.points for grid in grids), np.zeros((1, 3))])
    weights = np.concatenate([*(grid.weights for grid in grids), np.zeros(1)])
    offsets.setflags(write=False)
    weights.setflags(write=False)
    return offsets, weights, ranges


def placed(lists: GridLists, positions: Any) -> tuple[Any, Any, Any]:
    """Points (b, BLOCK, 3) in Bohr of one molecule with atoms at ``positions`` (A, 3), the atom that each belongs to,
    and its weight before the partition; on the host or on the device."""
    owner = lists.owner.astype(np.int32)
    return lists.offsets[lists.point] + positions[owner], owner, lists.weights[lists.point]


def weighted(points: Array, owner: Array, atomic: Array, positions: Array, adjust: Array, real: Array) -> Array:
    """Weights (g,) of ``placed`` points (g, 3) after ``partition_weights``; zero for those without consequence."""
    fractions = partition_weights(points, owner, positions, adjust, real)
    # a place without atoms has points without weight, whose fraction is no number
    weights = jnp.where(atomic != 0.0, atomic * fractions, 0.0)
    # Lebedev rules of 74 and 266 points have negative ones
    return jnp.where(jnp.abs(weights) > WEIGHT_THRESHOLD, weights, 0.0)


def quadrature(
    backend: Backend, numbers: np.ndarray, positions: np.ndarray, adjust: np.ndarray, level: GridLevel, n_blocks: int
) -> Quadrature:
    """The grid of one molecule in ``n_blocks`` blocks: ``numbers`` (A,), ``positions`` (A, 3) in Bohr with padding,
    ``adjust`` (A, A) from ``size_adjustments``."""
    at_once = backend.partition_blocks
    chunks = -(-points_count(numbers, level) // (at_once * BLOCK)) if n_blocks else 0
    lists = grid_lists(numbers[None], level, chunks * at_once)
    points, owner, atomic = placed(lists._replace(point=lists.point[0], owner=lists.owner[0]), positions)
    weights = np.zeros(points.shape[:2])
    for first in range(0, len(points), at_once):
        here = slice(first, first + at_once)
        weights[here] = _weighted_chunk(points[here], owner[here], atomic[here], positions, adjust, numbers > 0)
    keep = weights != 0.0
    used = int(keep.sum())
    out_points, out_weights = np.zeros((n_blocks * BLOCK, 3)), np.zeros(n_blocks * BLOCK)
    out_points[:used], out_weights[:used] = points[keep], weights[keep]
    return Quadrature(out_points.reshape(-1, BLOCK, 3), out_weights.reshape(-1, BLOCK), -(-used // BLOCK))


@jax.jit
def _weighted_chunk(points: Array, owner: Array, atomic: Array, positions: Array, adjust: Array, real: Array) -> Array:
    """``weighted`` block by block: (b, BLOCK)."""
    return jax.lax.map(lambda x: weighted(x[0], x[1], x[2], positions, adjust, real), (points, owner, atomic))


def quadratures(backend: Backend, lists: GridLists, numbers: Array, positions: Array, adjust: Array) -> Quadrature:
    """Grids of a batch: points (B, b, BLOCK, 3), weights (B, b, BLOCK)."""
    batch, n_blocks, _ = lists.point.shape
    if n_blocks == 0:
        return Quadrature(jnp.zeros((batch, 0, BLOCK, 3)), jnp.zeros((batch, 0, BLOCK)), jnp.zeros(batch, jnp.int32))
    lists = jax.tree.map(jnp.asarray, lists)
    points, owner, atomic = jax.vmap(placed, (GridLists(None, None, 0, 0), 0))(lists, positions)
    group = min(backend.partition_blocks, n_blocks)
    n_groups = -(-n_blocks // group)

    def grouped(x: Array) -> Array:
        padded = jnp.pad(x, ((0, 0), (0, n_groups * group - n_blocks)) + ((0, 0),) * (x.ndim - 2))
        return jnp.moveaxis(padded.reshape(batch, n_groups, group * BLOCK, *x.shape[3:]), 1, 0)

    weights = jax.lax.map(
        lambda x: jax.vmap(weighted)(x[0], x[1], x[2], positions, adjust, numbers > 0),
        (grouped(points), grouped(owner), grouped(atomic)),
    )
    weights = jnp.moveaxis(weights, 0, 1).reshape(batch, n_groups * group, BLOCK)[:, :n_blocks]
    return Quadrature(points, weights, jnp.full(batch, n_blocks, jnp.int32))
