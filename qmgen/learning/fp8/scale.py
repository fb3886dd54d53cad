"""The 8-bit floating-point formats, the recipes by which a linear layer chooses its scales, and tensors in eight bits.

name       sign.exponent.mantissa  largest   of
e4m3fn     1.4.3                   448       OCP, NVIDIA, AMD from MI350; no infinity, one NaN
e5m2       1.5.2                   57344     OCP
e4m3fnuz   1.4.3, bias 8           240       Graphcore IPU, AMD MI300; no infinity, no negative zero
e5m2fnuz   1.5.2, bias 16          57344     the same

Micikevicius et al., arXiv 2209.05433; Noune et al., arXiv 2206.02915 (the IPU's).

A tensor in eight bits: x ≈ values · 2^(−bias), the bias from the largest absolute value.

    bias = clip(⌊log₂(largest / amax)⌋ − margin, −31, 31)        values = cast(clip(x · 2^bias, −largest, largest))

All of it is exact: the floor compares exponents and mantissas (log₂ in float32 errs at powers of two), 2^bias is built
from its bits, and the cast is one rounding to nearest, ties to even. Inputs of another type are taken in float32 first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class Format:
    """``largest`` is its largest finite value; ``dtype`` NumPy's and JAX's type of it."""

    name: str
    dtype: Any
    largest: float

    def bits(self) -> tuple[int, int]:
        """Exponent and mantissa of ``largest`` as a float32: largest = (1 + mantissa 2^−23) 2^exponent."""
        fraction, exponent = math.frexp(self.largest)
        return exponent - 1, int((2.0 * fraction - 1.0) * 2**23)


E4M3: Final = Format("e4m3fn", jnp.float8_e4m3fn, 448.0)
E5M2: Final = Format("e5m2", jnp.float8_e5m2, 57344.0)
E4M3_IPU: Final = Format("e4m3fnuz", jnp.float8_e4m3fnuz, 240.0)
E5M2_IPU: Final = Format("e5m2fnuz", jnp.float8_e5m2fnuz, 57344.0)
FORMATS: Final = {format.name: format for format in (E4M3, E5M2, E4M3_IPU, E5M2_IPU)}


#: of a history or a block
LARGEST: Final = 2**16
KINDS: Final = ("none", "amax", "cscale", "delayed", "block")


@dataclass(frozen=True)
class ScalingRecipe:
    """Static settings of the products of a linear layer.

    none     no FP8: the product in the type of its input
    amax     per tensor, from the tensor at hand (FP8-AMAX, arXiv 2309.17224)
    cscale   one constant bias for every weight, activation and gradient (FP8-CSCALE, the same)
    delayed  per tensor, from the largest amax of the last steps (as NVIDIA's Transformer Engine does)
    block    1 × 128 of activations and gradients, 128 × 128 of weights (DeepSeek-V3, arXiv 2412.19437)

    Attributes:
        kind: one of these.
        forward: format of activations and weights.
        backward: format of gradients.
        margin: by how much the bias of gradients is lowered.
        bias: the constant of ``cscale``.
        history: steps that ``delayed`` looks back.
        block: side of a block.

    Raises ``ValueError`` for an unknown kind, a history or block below 1, or a bias or margin out of [−31, 31].
    """

    kind: str = "amax"
    forward: Format = E4M3
    backward: Format = E5M2
    margin: int = 3
    bias: int = 0
    history: int = 16
    block: int = 128

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no recipe is called {self.kind!r}: there are {', '.join(KINDS)}")
        if max(self.history, self.block) > LARGEST:
            raise ValueError(f"history and block are at most {LARGEST}")
        if self.history < 1 or self.block < 1 or abs(self.bias) > 31 or abs(self.margin) > 31:
            raise ValueError("history and block must be at least 1, bias and margin within -31 and 31")


NONE: Final = ScalingRecipe("none")
AMAX: Final = ScalingRecipe("amax")
DELAYED: Final = ScalingRecipe("delayed")
BLOCK: Final = ScalingRecipe("block")


def cscale(bias: int) -> ScalingRecipe:
    """FP8-CSCALE with this bias."""
    return ScalingRecipe("cscale", bias=bias)


def on_ipu(recipe: ScalingRecipe) -> ScalingRecipe:
    """The same with the IPU's formats, of which the first ends at 240."""
    return ScalingRecipe(recipe.kind, E4M3_IPU, E5M2_IPU, recipe.margin, recipe.bias, recipe.history, recipe.block)


#: what people are told where it has none
NOTE: Final = "FP8 is emulated on this device: its numbers, not its speed"


def emulated(recipe: ScalingRecipe) -> bool:
    """Whether FP8 products are emulated here; False for a recipe without FP8.

    Block scaling always is (its products are float32 ones of scaled values). NVIDIA's units, from compute capability
    8.9, have the OCP formats, AMD's MI300 (gfx94) those of the IPU, MI350 (gfx95) and RDNA 4 (gfx12) the OCP's.
    """
    if recipe.kind == "none":
        return False
    if recipe.kind == "block" or jax.default_backend() != "gpu":
        return True
    ipu = recipe.forward.name.endswith("fnuz")
    capability = str(getattr(jax.devices()[0], "compute_capability", "0"))
    if capability.startswith("gfx"):
        return not capability.startswith("gfx94" if ipu else ("gfx95", "gfx12"))
    try:
        return ipu or float(capability) < 8.9
    except ValueError:
        return True


Array = jax.Array

#: the biases there are: the IPU has six bits for them
LIMIT: Final = 31


class Scaled8(NamedTuple):
    """``values`` of an 8-bit type, ``bias`` int32 of shape () or, of stacked tensors, one for each."""

    values: Any
    bias: Any


def amax(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    """The largest absolute value, float32; NaN where there is one. No other rounding than that to float32."""
    wide = jnp.abs(x).astype(jnp.float32)

    def plain(wide: Array) -> Array:
        return jnp.max(wide, axis=axis, keepdims=keepdims, initial=0.0)

    def with_subnormals(wide: Array) -> Array:
        # XLA's programs for CPUs take subnormal numbers for zero; their bits, as integers, have the same order
        result = plain(wide)
        return jax.lax.cond(jnp.all(result > 0), lambda _: result, by_bits, wide)

    def by_bits(wide: Array) -> Array:
        largest = jnp.max(bits(wide), axis=axis, keepdims=keepdims, initial=0)
        return jax.lax.bitcast_convert_type(largest, jnp.float32)

    return jax.lax.platform_dependent(wide, cpu=with_subnormals, default=plain)


def bits(x: Array) -> Array:
    """The bits of |x|, int32."""
    return jax.lax.bitcast_convert_type(x.astype(jnp.float32), jnp.int32) & 0x7FFFFFFF


def bias_of(largest_value: Array, format: Format, margin: int = 0) -> Array:
    """The bias, int32, for tensors whose amax is ``largest_value`` (any shape, float32).

    0 for amax = 0, where every bias is as good; 31 for subnormal ones, −31 for infinity and NaN.
    """
    pattern = jax.lax.bitcast_convert_type(largest_value.astype(jnp.float32), jnp.int32)
    exponent, mantissa = format.bits()
    floor = exponent - ((pattern >> 23) - 127) - (mantissa < (pattern & 0x7FFFFF)).astype(jnp.int32)
    return jnp.where(pattern == 0, 0, jnp.clip(floor - margin, -LIMIT, LIMIT))


def power_of_two(exponent: Array) -> Array:
    """2^exponent, float32 and exact, for integers in [−126, 127]."""
    pattern = (jnp.asarray(exponent, jnp.int32) + jnp.int32(127)) << 23
    return jax.lax.bitcast_convert_type(pattern, jnp.float32)


def cast(x: Array, bias: Array, format: Format) -> Array:
    """x · 2^bias in ``format``: finite values too large become the largest; what is not finite stays so (NaN where the
    format has no infinity). ``bias`` broadcasts against ``x``."""
    scaled = x.astype(jnp.float32) * power_of_two(bias)
    bounded = jnp.clip(scaled, -format.largest, format.largest)
    return jnp.where(jnp.isfinite(x), bounded, scaled).astype(format.dtype)


def quantize(x: Array, format: Format, margin: int = 0) -> Scaled8:
    """``x`` in ``format``, with the bias of the tensor at hand."""
    bias = bias_of(amax(x), format, margin)
    return Scaled8(cast(x, bias, format), bias)


def dequantize(tensor: Scaled8) -> Array:
    """float32 again. The bias broadcasts against the leading axes."""
    bias = jnp.asarray(tensor.bias)
    scale = power_of_two(-bias).reshape(bias.shape + (1,) * (tensor.values.ndim - bias.ndim))
    return tensor.values.astype(jnp.float32) * scale


def losses(x: Array, bias: Array, format: Format, values: Array) -> tuple[Array, Array]:
    """The shares of elements that underflow (become 0, and were not) and that overflow (were clipped), float32."""
    return underflow(x, values), overflow(x, bias, format)


def underflow(x: Array, values: Array) -> Array:
    """The share of elements that became 0, and were not; float32."""
    lost = (values.astype(jnp.float32) == 0) & (bits(x) != 0)
    return jnp.sum(lost.astype(jnp.float32)) / jnp.float32(max(x.size, 1))


def overflow(x: Array, bias: Array, format: Format) -> Array:
    """The share of elements that were clipped; float32."""
    clipped = jnp.abs(x.astype(jnp.float32) * power_of_two(bias)) > format.largest
    return jnp.sum(clipped.astype(jnp.float32)) / jnp.float32(max(x.size, 1))


BIAS: Final = 0
AMAX_FIELD: Final = 1
UNDERFLOW: Final = 2
OVERFLOW: Final = 3
FIELDS: Final = 4
TENSORS: Final = ("x", "w", "g")


def probe(recipe: ScalingRecipe, *stacked: int) -> Array:
    """A probe at the beginning, or ``stacked`` of them along leading axes.

    A probe is an argument of a product, float32 of shape (3, FIELDS + history); its rows are x, w and the gradient of
    y. The recipe ``delayed`` alone reads its value (the history); its "gradient" is its next value:

        fields   bias, amax, share that underflows, share that overflows
        history  the last amax values, newest first

    So one ``jax.grad`` returns the gradients of the weights and all scales, under jit, scan, remat and sharding,
    without callbacks and without state. A training that puts the gradient in the place of the probe keeps a history.
    A probe belongs to one product: the gradients of two uses would be added.
    """
    history = recipe.history if recipe.kind == "delayed" else 0
    return jnp.zeros((*stacked, len(TENSORS), FIELDS + history), jnp.float32)


def renewed(old: Array, rows: list[tuple[Array, Array, Array, Array]]) -> Array:
    """The next value of a probe: ``rows`` of x, w, g are (bias, amax, underflow, overflow)."""
    fields = jnp.stack([jnp.stack([jnp.asarray(field, jnp.float32) for field in row]) for row in rows])
    if old.shape[-1] == FIELDS:
        return fields
    history = jnp.concatenate([fields[:, AMAX_FIELD : AMAX_FIELD + 1], old[:, FIELDS:-1]], axis=-1)
    return jnp.concatenate([fields, history], axis=-1)
