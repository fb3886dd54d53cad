"""The product of a linear layer in FP8, ``linear(x, w, recipe, probe)``, and its two products backwards.

    y  = x₈ w₈ 2^(−b_x − b_w)          x (..., K), w (K, N), y (..., N)
    dx = g₈ w₈ᵀ 2^(−b_g − b_w)         g (..., N), the gradient of y
    dw = x₈ᵀ g₈ 2^(−b_x − b_g)         summed over the leading axes

Factors are 8-bit, sums float32, the scale is applied to the sum: on a GPU with FP8 units XLA makes each of them one FP8
matrix product, on a CPU it widens the factors, with the same values. x₈ and w₈ are kept for the backward pass, so that
a layer's activations take a byte each. arXiv 2309.17224, algorithm 1, for the per-tensor recipes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from qmgen.learning.fp8 import scale
from qmgen.learning.fp8.scale import FIELDS, NONE, Format, Scaled8, ScalingRecipe, renewed

Array = jax.Array


def _bias(recipe: ScalingRecipe, format: Format, margin: int, largest: Array, probe: Array | None, row: int) -> Array:
    """() int32, the bias of one of the three tensors."""
    if recipe.kind == "cscale":
        return jnp.full((), recipe.bias, jnp.int32)
    if recipe.kind == "delayed" and probe is not None:
        past = jnp.max(probe[row, FIELDS:])
        largest = jnp.where(past > 0, past, largest)  # the first step has no history
    return scale.bias_of(largest, format, margin)


def _tensor(
    recipe: ScalingRecipe, format: Format, margin: int, x: Array, probe: Array | None, row: int
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
def scaled_dot(recipe: ScalingRecipe, x: Array, w: Array, probe: Array | None) -> Array:
    """x (..., K) · w (K, N), in the type of ``x``; a recipe with one scale per tensor."""
    return _scaled_forward(recipe, x, w, probe)[0]


def _scaled_forward(recipe: ScalingRecipe, x: Array, w: Array, probe: Array | None) -> tuple[Array, Any]:
    x8, of_x = _tensor(recipe, recipe.forward, 0, x, probe, 0)
    w8, of_w = _tensor(recipe, recipe.forward, 0, w, probe, 1)
    y = dot8(x8, w8, ((x.ndim - 1,), (0,))).astype(x.dtype)
    like = jnp.zeros((0,), x.dtype), jnp.zeros((0,), w.dtype)  # residuals are arrays: these carry two types
    return y, (x8, w8, of_x, of_w, probe, like)


def _scaled_backward(recipe: ScalingRecipe, kept: Any, g: Array) -> tuple[Array, Array, Array | None]:
    x8, w8, of_x, of_w, probe, like = kept
    g8, of_g = _tensor(recipe, recipe.backward, recipe.margin, g, probe, 2)
    lead = tuple(range(g.ndim - 1))
    dx = dot8(g8, w8, ((g.ndim - 1,), (1,))).astype(like[0].dtype)
    dw = dot8(x8, g8, (lead, lead)).astype(like[1].dtype)
    return dx, dw, None if probe is None else renewed(probe, [of_x, of_w, of_g])


scaled_dot.defvjp(_scaled_forward, _scaled_backward)


def _padded(x: Array, axis: int, block: int) -> Array:
    """``x`` with zeros at the end of ``axis``, to whole blocks."""
    short = -x.shape[axis] % block
    widths = [(0, short if k == axis % x.ndim else 0) for k in range(x.ndim)]
    return jnp.pad(x, widths) if short else x


def runs(x: Array, axis: int, block: int, format: Format, margin: int = 0) -> Array:
    """``x`` rounded with a bias for each ``block`` elements along ``axis``: float32 of its shape."""
    axis %= x.ndim
    wide = _padded(x, axis, block)
    split = wide.reshape(*x.shape[:axis], wide.shape[axis] // block, block, *x.shape[axis + 1 :])
    bias = scale.bias_of(scale.amax(split, axis + 1, keepdims=True), format, margin)
    rounded = scale.cast(split, bias, format).astype(jnp.float32) * scale.power_of_two(-bias)
    return jax.lax.slice_in_dim(rounded.reshape(wide.shape), 0, x.shape[axis], axis=axis)


def squares(w: Array, block: int, format: Format) -> Array:
    """``w`` (K, N) rounded with a bias for each ``block`` × ``block``: float32 (K, N)."""
    wide = _padded(_padded(w, 0, block), 1, block)
    split = wide.reshape(wide.shape[0] // block, block, wide.shape[1] // block, block)
    bias = scale.bias_of(scale.amax(split, (1, 3), keepdims=True), format)
    rounded = scale.cast(split, bias, format).astype(jnp.float32) * scale.power_of_two(-bias)
    return rounded.reshape(wide.shape)[: w.shape[0], : w.shape[1]]


def _row(x: Array, rounded: Array, format: Format, margin: int, probe: Array | None) -> Any:
    """A row of the probe: the lowest bias of all blocks, which is that of the tensor's amax. What it does not clip, no
    block clips: a block's own bias follows its amax, and is at its limit where the tensor's is."""
    if probe is None:
        return None
    largest = scale.amax(x)
    bias = scale.bias_of(largest, format, margin)
    return bias, largest, scale.underflow(x, rounded), scale.overflow(x, bias, format)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def block_dot(recipe: ScalingRecipe, x: Array, w: Array, probe: Array | None) -> Array:
    """x (..., K) · w (K, N), in the type of ``x``, with a scale for each block of both.

    Activations and gradients are scaled in runs of 1 × 128 along the axis that a product sums over, weights in squares
    of 128 × 128 (DeepSeek-V3, arXiv 2412.19437, section 3.3). Scales are powers of two, so that a scaled value is the
    exact multiple of its 8-bit one, and the product of the scaled values, summed in float32, is the sum over blocks of
    8-bit products times their scales. XLA has no such product: the arithmetic is here, not the speed.
    """
    return _block_forward(recipe, x, w, probe)[0]


def _block_forward(recipe: ScalingRecipe, x: Array, w: Array, probe: Array | None) -> tuple[Array, Any]:
    x8 = runs(x, -1, recipe.block, recipe.forward)
    w8 = squares(w, recipe.block, recipe.forward)
    rows = _row(x, x8, recipe.forward, 0, probe), _row(w, w8, recipe.forward, 0, probe)
    like = jnp.zeros((0,), x.dtype), jnp.zeros((0,), w.dtype)
    y = jax.lax.dot_general(x8, w8, (((x.ndim - 1,), (0,)), ((), ()))).astype(x.dtype)
    return y, (x8, w8, rows, probe, like)


def _block_backward(recipe: ScalingRecipe, kept: Any, g: Array) -> tuple[Array, Array, Array | None]:
    x8, w8, (of_x, of_w), probe, like = kept
    g8 = runs(g, -1, recipe.block, recipe.backward, recipe.margin)
    dx = jax.lax.dot_general(g8, w8, (((g.ndim - 1,), (1,)), ((), ()))).astype(like[0].dtype)
    # dw sums over the tokens: runs of tokens, for both
    tokens = x8.reshape(-1, x8.shape[-1]), g.reshape(-1, g.shape[-1])
    x_runs = runs(tokens[0], 0, recipe.block, recipe.forward)
    g_runs = runs(tokens[1], 0, recipe.block, recipe.backward, recipe.margin)
    dw = jax.lax.dot_general(x_runs, g_runs, (((0,), (0,)), ((), ()))).astype(like[1].dtype)
    row = _row(g, g8, recipe.backward, recipe.margin, probe)
    return dx, dw, None if probe is None else renewed(probe, [of_x, of_w, row])


block_dot.defvjp(_block_forward, _block_backward)


@jax.tree_util.register_pytree_node_class
@dataclass(frozen=True)
class By:
    """A weight with the recipe it is multiplied by: a network that multiplies with ``matmul`` takes it as any array."""

    weight: Any
    recipe: ScalingRecipe

    def tree_flatten(self) -> tuple[tuple[Any], ScalingRecipe]:
        return (self.weight,), self.recipe

    @classmethod
    def tree_unflatten(cls, recipe: ScalingRecipe, children: tuple[Any]) -> By:
        return cls(children[0], recipe)


def linear(x: Array, w: Array | Scaled8, recipe: ScalingRecipe = NONE, probe: Array | None = None) -> Array:
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


def _inference(x: Array, w: Scaled8, recipe: ScalingRecipe) -> Array:
    if recipe.kind not in ("amax", "cscale", "delayed"):
        raise ValueError(f"a weight in eight bits takes a recipe of one scale per tensor, not {recipe.kind!r}")
    format = recipe.forward
    bias = jnp.int32(recipe.bias) if recipe.kind == "cscale" else scale.bias_of(scale.amax(x), format)
    x8 = Scaled8(scale.cast(x, bias, format), bias)
    return dot8(x8, w, ((x.ndim - 1,), (0,))).astype(x.dtype)


def weight8(w: Array, recipe: ScalingRecipe) -> Scaled8:
    """``w`` (..., K, N) cast once, each (K, N) with its own bias, or the constant one of ``cscale``."""
    largest = scale.amax(w, (-2, -1))
    bias = scale.bias_of(largest, recipe.forward)
    if recipe.kind == "cscale":
        bias = jnp.full_like(bias, recipe.bias)
    return Scaled8(scale.cast(w, bias[..., None, None], recipe.forward), bias)


def by_recipe(params: Any, recipe: ScalingRecipe) -> Any:
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
