"""From the words of the settings to how a model computes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import jax
import jax.numpy as jnp

from qmgen.learning.fp8 import NONE, Recipe, on_ipu
from qmgen.learning.lm.network.model import Arithmetic
from qmgen.learning.lm.network.shape import LmShape

if TYPE_CHECKING:  # a borrowed machine has no pydantic
    from qmgen.config.train import TrainLmConfig

#: activations of the precisions without FP8
PLAIN: Final = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}
#: of the loss, where gradients have no scale of their own; a mean over some thousand tokens keeps clear of the largest
LOSS_SCALE: Final = 2.0**15
#: layers, and elements of activations (layers · tokens · (width + heads · positions)), up to which the scan over blocks
#: is written out on a CPU; that takes at most about a GB
UNROLLED: Final = 12
ELEMENTS: Final = 2**24


def arithmetic_of(settings: TrainLmConfig, shape: LmShape) -> Arithmetic:
    """How a training computes, on JAX's default device."""
    dtype = jnp.dtype(activations_of(settings))
    return Arithmetic(recipe_of(settings), dtype, settings.remat, unrolled(shape, settings.batch_size, settings.remat))


def unrolled(shape: LmShape, rows: int, remat: bool = False) -> bool:
    """Whether the scan over blocks is written out: for small models on a CPU, where FP8 is then emulated twice as fast.
    XLA merges what is computed again with the forward pass there: it takes the memory of all blocks at once."""
    elements = shape.layers * rows * shape.context * (shape.width + shape.heads * shape.context)
    small = shape.layers <= UNROLLED and elements <= ELEMENTS
    return small and not remat and jax.default_backend() == "cpu" and jax.device_count() == 1


def activations_of(settings: TrainLmConfig) -> str:
    """The type between the linear layers: as set, by precision, and of FP8 bfloat16 but on a CPU, where it is slow."""
    if settings.activations:
        return settings.activations
    return PLAIN.get(settings.precision, "float32" if jax.default_backend() == "cpu" else "bfloat16")


def loss_scale_of(settings: TrainLmConfig) -> float:
    """By how much gradients are larger within the model: where their scale is not their own they would be lost."""
    scaled = settings.precision in ("f16", "fp8-cscale")
    return settings.loss_scale or (LOSS_SCALE if scaled else 1.0)


def recipe_of(settings: TrainLmConfig) -> Recipe:
    """The recipe of the linear layers."""
    if settings.precision in PLAIN:
        return NONE
    kind = settings.precision.removeprefix("fp8-")
    recipe = Recipe(kind, margin=settings.margin, bias=settings.scale_bias, history=settings.history)
    return on_ipu(recipe) if settings.formats == "ipu" else recipe


def recipe_to_json(recipe: Recipe) -> dict[str, Any]:
    """Plain values, for a file."""
    return {
        "kind": recipe.kind,
        "formats": "ipu" if recipe.forward.name.endswith("fnuz") else "ocp",
        "margin": recipe.margin,
        "bias": recipe.bias,
        "history": recipe.history,
        "block": recipe.block,
    }


def recipe_from_json(found: dict[str, Any]) -> Recipe:
    """The inverse. Raises ``KeyError``, ``TypeError`` or ``ValueError`` for anything else."""
    values = dict(found)
    formats = values.pop("formats")
    if formats not in ("ocp", "ipu"):
        raise ValueError(f"its formats are {str(formats)[:40]}")
    numbers = [value for name, value in values.items() if name != "kind"]
    if not isinstance(values["kind"], str) or not all(type(value) is int for value in numbers):
        raise TypeError("its recipe holds other types")
    recipe = replace(NONE, **values)
    return on_ipu(recipe) if formats == "ipu" else recipe
