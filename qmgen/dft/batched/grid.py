"""Grids of a batch: on the host which point of which element's grid, on the device where it is and what it weighs."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from qmgen.dft.exchange_correlation import BLOCK, Quadrature
from qmgen.dft.grid import Level, atomic_grid, partition_weights
from qmgen.dft.prepare import COMMON, WEIGHT_THRESHOLD

#: blocks of every molecule that the partition takes at once
BLOCKS_AT_ONCE = 8


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


def grid_lists(numbers: np.ndarray, level: Level, n_blocks: int) -> GridLists:
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
    """Points (B, b, BLOCK, 3) and partitioned weights, those without consequence set to zero as in ``prepare``."""
    batch, n_blocks, _ = lists.point.shape
    if n_blocks == 0:
        return Quadrature(jnp.zeros((batch, 0, BLOCK, 3)), jnp.zeros((batch, 0, BLOCK)), jnp.zeros(batch, jnp.int32))
    owner = jnp.asarray(lists.owner).astype(jnp.int32)
    offsets, weights = jnp.asarray(lists.offsets)[lists.point], jnp.asarray(lists.weights)[lists.point]
    centers = jax.vmap(lambda x, at: x[at])(positions, owner)
    points = offsets + centers
    group = min(BLOCKS_AT_ONCE, n_blocks)
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
