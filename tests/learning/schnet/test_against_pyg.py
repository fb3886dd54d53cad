"""With the same weights, the same numbers as PyTorch Geometric's SchNet; and its number of parameters."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from qmgen.learning.schnet.model import PRESETS, SchNetShape, atomwise, init

needs_pyg = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None or importlib.util.find_spec("torch_geometric") is None,
    reason="PyTorch and PyTorch Geometric are not installed (the test extra has them on Python 3.11)",
)


def randomized(shape: SchNetShape, seed: int) -> dict[str, Any]:
    """Fresh parameters with biases and a last layer that are not zero, so that a forgotten one shows."""
    params = init(jax.random.key(seed), shape)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
    moved = [
        leaf if leaf.any() else 0.1 * jax.random.normal(key, leaf.shape, leaf.dtype) for leaf, key in zip(leaves, keys)
    ]
    return jax.tree.unflatten(tree, moved)


def test_the_preset_has_the_published_number_of_parameters() -> None:
    params = jax.eval_shape(lambda: init(jax.random.key(0), PRESETS["schnet-9m"]))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 9_088_513


@needs_pyg
def test_pyg_counts_the_same(of_pyg: Callable[..., Any]) -> None:
    shape = PRESETS["schnet-9m"]
    theirs = of_pyg(init(jax.random.key(0), shape), shape)
    assert sum(p.numel() for p in theirs.parameters()) == 9_088_513


@needs_pyg
@pytest.mark.parametrize(
    ("shape", "sizes", "padded", "spread"),
    [
        (PRESETS["tiny"], [1, 2, 9, 17], 20, 2.2),
        (PRESETS["tiny"], [12, 14], 16, 6.0),  # diagonals of the lattice are beyond the cutoff
        (PRESETS["small"], [25, 18, 3], 25, 2.2),
        (SchNetShape(32, 24, 2, 30, 7.0), [11, 20], 24, 2.5),  # most pairs are beyond the cutoff
        (PRESETS["schnet-9m"], [25, 9, 21], 36, 2.2),
    ],
    ids=["tiny", "tiny-wide", "small", "short-cutoff", "schnet-9m"],
)
def test_output_equals_that_of_pyg(
    shape: SchNetShape,
    sizes: list[int],
    padded: int,
    spread: float,
    molecules: Callable[..., Any],
    of_pyg: Callable[..., Any],
) -> None:
    import torch

    params = randomized(shape, 7)
    numbers, positions = molecules(sizes, 3, padded, spread)
    ours = np.asarray(jax.jit(atomwise, static_argnums=1)(params, shape, numbers, positions)).sum(axis=1)
    there = numbers > 0
    batch = torch.from_numpy(np.nonzero(there)[0])
    with torch.no_grad():
        theirs = of_pyg(params, shape)(
            torch.from_numpy(numbers[there]).long(), torch.from_numpy(positions[there]), batch
        ).numpy()
    assert ours.shape == theirs.shape == (len(sizes), 1)
    each = theirs[:, 0] / np.array(sizes)
    assert np.ptp(each) > 1e-3  # a hundred times the bound: surroundings of atoms are compared, not a constant
    # far below an error of a formula; float32 sums of these lengths differ by a few units in the last place
    assert np.max(np.abs(ours - theirs)) <= 1e-5 * max(1.0, np.max(np.abs(theirs)))
