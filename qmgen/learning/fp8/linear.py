"""The one function of a linear layer: ``linear(x, w, recipe, probe)``.

>>> y = linear(x, w, AMAX)                                         # x (..., K), w (K, N)
>>> gradients = jax.grad(loss, argnums=(0, 1))(w, probe(AMAX))     # of w, and all scales
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from qmgen.learning.fp8 import scale
from qmgen.learning.fp8.blocks import block_dot
from qmgen.learning.fp8.product import dot8, scaled_dot
from qmgen.learning.fp8.recipe import NONE, Recipe
from qmgen.learning.fp8.scale import Scaled8

Array = jax.Array


@jax.tree_util.register_pytree_node_class
@dataclass(frozen=True)
class By:
    """A weight with the recipe it is multiplied by: a network that multiplies with ``matmul`` takes it as any array."""

    weight: Any
    recipe: Recipe

    def tree_flatten(self) -> tuple[tuple[Any], Recipe]:
        return (self.weight,), self.recipe

    @classmethod
    def tree_unflatten(cls, recipe: Recipe, children: tuple[Any]) -> By:
        return cls(children[0], recipe)


def linear(x: Array, w: Array | Scaled8, recipe: Recipe = NONE, probe: Array | None = None) -> Array:
    """x (..., K) times w (K, N), as ``recipe`` says, in the type of ``x``.

    A float32 ``w`` is the master weight: with ``none`` it is taken in the type of ``x``. A ``Scaled8`` is a weight that
    was cast once (``weight8``): of it no gradient is taken, and activations are scaled as the recipe says, ``delayed``
    from the tensor at hand.

    Raises ``ValueError`` for a ``Scaled8`` without a recipe of one scale per tensor.
    """
    if isinstance(w, Scaled8):
        return _inference(x, w, recipe)
    if recipe.kind == "none":
        # flat: of more axes XLA's programs for CPUs transpose dw at three times the product's own cost
        flat = jnp.matmul(x.reshape(-1, x.shape[-1]), w.astype(x.dtype), preferred_element_type=jnp.float32)
        return flat.reshape(*x.shape[:-1], w.shape[-1]).astype(x.dtype)
    product = block_dot if recipe.kind == "block" else scaled_dot
    return product(recipe, x, w, probe)


def _inference(x: Array, w: Scaled8, recipe: Recipe) -> Array:
    if recipe.kind not in ("amax", "cscale", "delayed"):
        raise ValueError(f"a weight in eight bits takes a recipe of one scale per tensor, not {recipe.kind!r}")
    format = recipe.forward
    bias = jnp.int32(recipe.bias) if recipe.kind == "cscale" else scale.bias_of(scale.amax(x), format)
    x8 = Scaled8(scale.cast(x, bias, format), bias)
    return dot8(x8, w, ((x.ndim - 1,), (0,))).astype(x.dtype)


def weight8(w: Array, recipe: Recipe) -> Scaled8:
    """``w`` (..., K, N) cast once, each (K, N) with its own bias, or the constant one of ``cscale``."""
    largest = scale.amax(w, (-2, -1))
    bias = scale.bias_of(largest, recipe.forward)
    if recipe.kind == "cscale":
        bias = jnp.full_like(bias, recipe.bias)
    return Scaled8(scale.cast(w, bias[..., None, None], recipe.forward), bias)


def by_recipe(params: Any, recipe: Recipe) -> Any:
    """``params`` with every matrix called ``weight`` as a ``By``; as they are for ``none``."""
    if recipe.kind == "none":
        return params

    def one(path: Any, leaf: Any) -> Any:
        name = getattr(path[-1], "key", None) if path else None
        return By(leaf, recipe) if name == "weight" and leaf.ndim == 2 else leaf

    return jax.tree_util.tree_map_with_path(one, params)


def matmul(x: Array, w: Array | By) -> Array:
    """x (..., K) times w (K, N): a plain array as NumPy does, a ``By`` as its recipe says."""
    return linear(x, w.weight, w.recipe) if isinstance(w, By) else x @ w


__all__ = ["By", "by_recipe", "linear", "matmul", "weight8"]
