"""What probes hold, as plain values: the scale bias of every tensor of every linear layer, step by step.

A line of the journal has, by name of the layer and tensor (``qkv.x``), the biases of all blocks, and the largest shares
that underflow and overflow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from qmgen.learning.fp8.probe import BIAS, OVERFLOW, TENSORS, UNDERFLOW
from qmgen.learning.lm.texts.packing import TokenBatch
from qmgen.learning.lm.training.task import LmTask

Params = dict[str, Any]


def described(probes: Params) -> dict[str, Any]:
    """``scales`` by layer and tensor: a list of biases over blocks; ``underflow`` and ``overflow``: the largest shares
    by tensor."""
    arrays = {name: np.asarray(value) for name, value in sorted(probes.items())}
    scales = {
        f"{name}.{tensor}": array[:, row, BIAS].astype(int).tolist()
        for name, array in arrays.items()
        for row, tensor in enumerate(TENSORS)
    }
    shares: dict[str, Any] = {}
    for field, place in (("underflow", UNDERFLOW), ("overflow", OVERFLOW)):
        shares[field] = {
            tensor: round(max(float(array[:, row, place].max()) for array in arrays.values()), 6)
            for row, tensor in enumerate(TENSORS)
        }
    return {"scales": scales, **shares}


def watches(step: int, every: int) -> bool:
    """Whether the scales of a step (from 1) are looked at: of the first, and of each ``every``-th."""
    return step == 1 or step % every == 0


def watched(every: int) -> Callable[[Params, int], dict[str, Any]]:
    """For ``training.loop``: the scales of the steps that were watched."""

    def watch(parameters: Params, step: int) -> dict[str, Any]:
        return described(parameters["probes"]) if watches(step, every) else {}

    return watch


def in_use(task: LmTask, parameters: Params, batch: TokenBatch) -> dict[str, Any]:
    """The scales of activations and weights when the model is used on ``batch``, from one backward pass of a watched
    product: by layer and tensor, as ``described``; there are no gradients to scale."""
    probes = jax.grad(lambda probes: task.loss({**parameters, "probes": probes}, batch))(parameters["probes"])
    scales = described(probes)["scales"]
    return {name: biases for name, biases in scales.items() if not name.endswith(".g")}
