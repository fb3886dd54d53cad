"""A model on several devices: batches shared out (data parallel), linear layers cut up (tensor parallel).

>>> mesh = mesh_of(data=2, tensor=4)
>>> params = placed(params, mesh)              # XLA puts in what devices must tell one another

Weights that begin a branch are cut by their outputs, those that end one by their inputs (Shoeybi et al.,
arXiv 1909.08053), so that a branch takes one sum over devices. A tensor's amax is taken over all devices, hence the
same scales and, but for the order of sums, the same numbers on any number of them.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from qmgen.errors import UsageError
from qmgen.learning.lm.model import LmShape

ENDS = ("out", "down")


def divides(shape: LmShape, tensor: int) -> bool:
    """Whether ``tensor`` devices can share each layer."""
    return not (shape.heads % tensor or shape.kv_heads % tensor or shape.inner % tensor)


def check_layout(data: int, tensor: int, shape: LmShape, batch: int, sharded: bool = False) -> None:
    """Raises ``UsageError`` where the devices do not divide the heads, the batch, or the width."""
    if not divides(shape, tensor):
        raise UsageError(
            f"--tensor-parallel {tensor} must divide {shape.heads} heads, {shape.kv_heads} of keys and values, and "
            f"{shape.inner} inner features"
        )
    if batch % data:
        raise UsageError(f"--data-parallel {data} must divide the batch of {batch} rows")
    if sharded and shape.width % data:
        raise UsageError(f"--fully-sharded: --data-parallel {data} must divide the width of {shape.width}")


def mesh_of(data: int | None, tensor: int, shape: LmShape, batch: int, sharded: bool = False) -> Mesh | None:
    """The devices as (data, tensor); None for a single one. ``data`` None takes as many as there are and divide the
    batch and, where weights are ``sharded``, the width.

    Raises ``UsageError`` where there are too few, or they do not divide the heads, the batch, or the width.
    """
    there = jax.device_count()
    if tensor > there:
        raise UsageError(f"--tensor-parallel {tensor} needs as many devices, and here are {there}")
    check_layout(1, tensor, shape, batch)
    if data is None:
        parts = range(1, there // tensor + 1)
        data = max(part for part in parts if batch % part == 0 and not (sharded and shape.width % part))
    if data * tensor > there:
        raise UsageError(f"--data-parallel {data} times {tensor} needs as many devices, and here are {there}")
    check_layout(data, tensor, shape, batch, sharded)
    if data * tensor == 1:
        return None
    return Mesh(np.array(jax.devices()[: data * tensor]).reshape(data, tensor), ("data", "tensor"))


def spec_of(path: Any, sharded: bool = False) -> PartitionSpec:
    """Which axes of a parameter are cut, by its place in {"weights", "probes"}; with ``sharded`` linear weights are cut
    over the data parallel devices too, along the other axis (Rajbhandari et al., arXiv 1910.02054)."""
    names = [str(getattr(key, "key", key)) for key in path]
    if "blocks" not in names or len(names) < 4 or names[0] != "weights" or names[-2].startswith("norm"):
        return PartitionSpec()
    layer, kind = names[-2:]
    other = "data" if sharded else None
    if kind == "weight":
        return PartitionSpec(None, "tensor", other) if layer in ENDS else PartitionSpec(None, other, "tensor")
    return PartitionSpec() if layer in ENDS else PartitionSpec(None, "tensor")


def placed(params: Any, mesh: Mesh | None, sharded: bool = False) -> Any:
    """``params`` ({"weights", "probes"}) on the devices of ``mesh``."""
    if mesh is None:
        return params
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: jax.device_put(leaf, NamedSharding(mesh, spec_of(path, sharded))), params
    )


def batch_put(mesh: Mesh | None) -> Any:
    """What moves a batch to the devices: its rows shared out."""
    if mesh is None:
        return jax.device_put
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    return lambda batch: jax.device_put(batch, sharding)
