"""The product of a linear layer in FP8, and its two products backwards.

    y  = x₈ w₈ 2^(−b_x − b_w)          x (..., K), w (K, N), y (..., N)
    dx = g₈ w₈ᵀ 2^(−b_g − b_w)         g (..., N), the gradient of y
    dw = x₈ᵀ g₈ 2^(−b_x − b_g)         summed over the leading axes

Factors are 8-bit, sums float32, the scale is applied to the sum: on a GPU with FP8 units XLA makes each of them one FP8
matrix product, on a CPU it widens the factors, with the same values. x₈ and w₈ are kept for the backward pass, so that
a layer's activations take a byte each. arXiv 2309.17224, algorithm 1, for the per-tensor recipes.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from qmgen.learning.fp8 import scale
from qmgen.learning.fp8.formats import Format
from qmgen.learning.fp8.probe import FIELDS, renewed
from qmgen.learning.fp8.recipe import Recipe
from qmgen.learning.fp8.scale import Scaled8

Array = jax.Array


def _bias(recipe: Recipe, format: Format, margin: int, largest: Array, probe: Array | None, row: int) -> Array:
    """() int32, the bias of one of the three tensors."""
    if recipe.kind == "cscale":
        return jnp.full((), recipe.bias, jnp.int32)
    if recipe.kind == "delayed" and probe is not None:
        past = jnp.max(probe[row, FIELDS:])
        largest = jnp.where(past > 0, past, largest)  # the first step has no history
    return scale.bias_of(largest, format, margin)


def _tensor(
    recipe: Recipe, format: Format, margin: int, x: Array, probe: Array | None, row: int
) -> tuple[Scaled8, Any]:
    """A tensor in eight bits, and what its row of the probe becomes (nothing where there is no probe)."""
    unread = recipe.kind == "cscale" and probe is None
    largest = jnp.zeros((), jnp.float32) if unread else scale.amax(x)
    bias = _bias(recipe, format, margin, largest, probe, row)
    values = scale.cast(x, bias, format)
    if probe is None:
        return Scaled8(values, bias), None
    return Scaled8(values, bias), (bias, largest, *scale.losses(x, bias, format, values))


def dot8(left: Scaled8, right: Scaled8, contract: tuple[Any, Any]) -> Array:
    """float32: the product over ``contract`` (axes of left, axes of right) of two tensors with one bias each."""
    product = jax.lax.dot_general(left.values, right.values, (contract, ((), ())), preferred_element_type=jnp.float32)
    return product * scale.power_of_two(-(left.bias + right.bias))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def scaled_dot(recipe: Recipe, x: Array, w: Array, probe: Array | None) -> Array:
    """x (..., K) · w (K, N), in the type of ``x``; a recipe with one scale per tensor."""
    return _forward(recipe, x, w, probe)[0]


def _forward(recipe: Recipe, x: Array, w: Array, probe: Array | None) -> tuple[Array, Any]:
    x8, of_x = _tensor(recipe, recipe.forward, 0, x, probe, 0)
    w8, of_w = _tensor(recipe, recipe.forward, 0, w, probe, 1)
    y = dot8(x8, w8, ((x.ndim - 1,), (0,))).astype(x.dtype)
    like = jnp.zeros((0,), x.dtype), jnp.zeros((0,), w.dtype)  # residuals are arrays: these carry two types
    return y, (x8, w8, of_x, of_w, probe, like)


def _backward(recipe: Recipe, kept: Any, g: Array) -> tuple[Array, Array, Array | None]:
    x8, w8, of_x, of_w, probe, like = kept
    g8, of_g = _tensor(recipe, recipe.backward, recipe.margin, g, probe, 2)
    lead = tuple(range(g.ndim - 1))
    dx = dot8(g8, w8, ((g.ndim - 1,), (1,))).astype(like[0].dtype)
    dw = dot8(x8, g8, (lead, lead)).astype(like[1].dtype)
    return dx, dw, None if probe is None else renewed(probe, [of_x, of_w, of_g])


scaled_dot.defvjp(_forward, _backward)
