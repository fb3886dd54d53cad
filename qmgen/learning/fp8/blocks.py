"""The product of a linear layer with a scale for each block of its tensors.

Activations and gradients are scaled in runs of 1 × 128 along the axis that a product sums over, weights in squares of
128 × 128 (DeepSeek-V3, arXiv 2412.19437, section 3.3). Scales are powers of two, so that a scaled value is the exact
multiple of its 8-bit one and the product of the scaled values, summed in float32, is the sum over blocks of 8-bit
products times their scales. There is no such product among XLA's: the arithmetic is here, not the speed.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from qmgen.learning.fp8 import scale
from qmgen.learning.fp8.formats import Format
from qmgen.learning.fp8.probe import renewed
from qmgen.learning.fp8.recipe import Recipe

Array = jax.Array


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
def block_dot(recipe: Recipe, x: Array, w: Array, probe: Array | None) -> Array:
    """x (..., K) · w (K, N), in the type of ``x``."""
    return _forward(recipe, x, w, probe)[0]


def _forward(recipe: Recipe, x: Array, w: Array, probe: Array | None) -> tuple[Array, Any]:
    x8 = runs(x, -1, recipe.block, recipe.forward)
    w8 = squares(w, recipe.block, recipe.forward)
    rows = _row(x, x8, recipe.forward, 0, probe), _row(w, w8, recipe.forward, 0, probe)
    like = jnp.zeros((0,), x.dtype), jnp.zeros((0,), w.dtype)
    y = jax.lax.dot_general(x8, w8, (((x.ndim - 1,), (0,)), ((), ()))).astype(x.dtype)
    return y, (x8, w8, rows, probe, like)


def _backward(recipe: Recipe, kept: Any, g: Array) -> tuple[Array, Array, Array | None]:
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


block_dot.defvjp(_forward, _backward)
