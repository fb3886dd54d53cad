"""Casts and biases, bit for bit against NumPy and ml_dtypes."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import numpy_reference as reference
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmgen.learning.fp8 import E4M3, E4M3_IPU, E5M2, E5M2_IPU, FORMATS, bias_of, cast, dequantize, quantize
from qmgen.learning.fp8.scale import Format, amax, losses, power_of_two

ALL = [E4M3, E5M2, E4M3_IPU, E5M2_IPU]
TINY = float(np.finfo(np.float32).smallest_subnormal)


def same_bits(ours: jax.Array, theirs: np.ndarray) -> None:
    np.testing.assert_array_equal(np.asarray(ours).view(np.uint8), theirs.view(np.uint8))


@pytest.mark.parametrize("format", ALL, ids=lambda format: format.name)
def test_formats_are_those_of_ml_dtypes(format: Format) -> None:
    import ml_dtypes

    assert float(ml_dtypes.finfo(format.dtype).max) == format.largest
    exponent, mantissa = format.bits()
    assert (1 + mantissa / 2**23) * 2.0**exponent == format.largest


@pytest.mark.parametrize("format", ALL, ids=lambda format: format.name)
@pytest.mark.parametrize("margin", [0, 3])
def test_biases_at_every_power_of_two_and_beside_it(format: Format, margin: int) -> None:
    """A floor of log2 in float32 is off for many of these."""
    powers = np.ldexp(np.float32(1), np.arange(-149, 128)).astype(np.float32)
    steps = [powers, np.nextafter(powers, np.float32(0)), np.nextafter(powers, np.float32(np.inf))]
    tops = np.ldexp(np.float32(format.largest), np.arange(-40, 100)).astype(np.float32)
    values = np.concatenate([*steps, tops, np.nextafter(tops, np.float32(0)), np.nextafter(tops, np.float32(np.inf))])
    values = values[np.isfinite(values)]
    wanted = [reference.bias_of(float(value), format.name, margin) for value in values]
    np.testing.assert_array_equal(jax.jit(lambda x: bias_of(x, format, margin))(values), wanted)


@pytest.mark.parametrize("format", ALL, ids=lambda format: format.name)
@pytest.mark.parametrize(
    ("tensor", "bias"),
    [
        ([0.0], 0),
        ([-0.0, 0.0], 0),
        ([np.inf], -31),
        ([1.0, -np.inf], -31),
        ([TINY], 31),
        ([-1e-40, 2e-42], 31),
        ([], 0),
    ],
)
def test_biases_of_tensors_at_the_edge(format: Format, tensor: list[float], bias: int) -> None:
    x = np.array(tensor, np.float32)
    assert int(jax.jit(lambda x: quantize(x, format).bias)(x)) == bias
    assert int(quantize(x, format).bias) == bias


@pytest.mark.parametrize("format", ALL, ids=lambda format: format.name)
@pytest.mark.parametrize("value", [1.0, -3.7, 448.0, 449.0, 1e30, -1e-30, 240.0])
def test_a_single_element_comes_back_to_the_format_s_precision(format: Format, value: float) -> None:
    found = quantize(np.float32([value]), format)
    values, bias = reference.quantize(np.float32([value]), format.name)
    assert int(found.bias) == bias
    same_bits(found.values, values)
    if abs(bias) < 31:  # half of the last of its 4 or 3 significant bits
        assert abs(float(dequantize(found)[0]) / value - 1) <= (2**-4 if "e4m3" in format.name else 2**-3)


@pytest.mark.parametrize("format", ALL, ids=lambda format: format.name)
@pytest.mark.parametrize("spread", [1e-38, 1e-20, 1e-5, 1.0, 3e4, 1e20, 1e38])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_tensors_cast_as_the_reference_does(format: Format, spread: float, dtype: str) -> None:
    most = float(jnp.finfo(dtype).max)
    x = np.clip(np.random.default_rng(7).normal(size=(33, 65)) * spread, -most, most)
    x = jnp.asarray(x, jnp.float32).astype(dtype)
    for margin in (0, 3):
        found = jax.jit(lambda x, margin=margin: quantize(x, format, margin))(x)
        values, bias = reference.quantize(np.asarray(x.astype(jnp.float32)), format.name, margin)
        assert int(found.bias) == bias
        same_bits(found.values, values)


@pytest.mark.parametrize("format", ALL, ids=lambda format: format.name)
def test_every_float32_exponent_and_the_ties_of_rounding(format: Format) -> None:
    mantissas = np.arange(0, 2**23, 2**17, dtype=np.uint32)  # all ties of 3 bits, and between
    bits = (np.arange(1, 255, dtype=np.uint32)[:, None] << 23) | mantissas
    x = np.concatenate([bits, bits + 1, bits | (1 << 31)]).view(np.float32).ravel()
    for bias in (-31, -3, 0, 6, 31):
        found = jax.jit(lambda x, bias=bias: cast(x, jnp.int32(bias), format))(x)
        same_bits(found, reference.quantize(x, format.name, bias=bias)[0])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=8),
    st.integers(-31, 31),
    st.sampled_from(sorted(FORMATS)),
)
def test_finite_numbers_saturate_and_are_never_lost(values: list[float], bias: int, name: str) -> None:
    x = np.array(values, np.float32)
    found = np.asarray(cast(x, jnp.int32(bias), FORMATS[name])).astype(np.float32)
    assert np.all(np.isfinite(found)) and np.all(np.abs(found) <= FORMATS[name].largest)
    same_bits(cast(x, jnp.int32(bias), FORMATS[name]), reference.quantize(x, name, bias=bias)[0])


def test_what_is_not_finite_stays_so() -> None:
    x = np.array([np.inf, -np.inf, np.nan, 1.0], np.float32)
    wide = np.asarray(cast(x, jnp.int32(0), E5M2)).astype(np.float32)
    np.testing.assert_array_equal(wide, x)
    narrow = np.asarray(cast(x, jnp.int32(0), E4M3)).astype(np.float32)  # which has no infinity
    assert np.all(np.isnan(narrow[:3])) and narrow[3] == 1.0
    assert math.isnan(float(amax(x)))


def test_powers_of_two_are_exact() -> None:
    exponents = np.arange(-126, 128)
    np.testing.assert_array_equal(power_of_two(jnp.asarray(exponents)), np.ldexp(np.float32(1), exponents))


def test_shares_that_underflow_and_overflow() -> None:
    x = jnp.array([1e-5, 0.0, 1.0, 500.0, -1e9, 1e-40], jnp.float32)
    values = cast(x, jnp.int32(0), E4M3)
    under, over = losses(x, jnp.int32(0), E4M3, values)
    assert float(under) == pytest.approx(2 / 6)  # 1e-5 and the subnormal one, which programs for CPUs take for zero
    assert float(over) == pytest.approx(2 / 6)


def test_nothing_happens_at_import(bare_environment: dict[str, str]) -> None:
    """The package imports jax, and neither asks for a device nor sets a flag."""
    import subprocess
    import sys

    code = (
        "import qmgen.learning.fp8, jax; from jax._src import xla_bridge as b; "
        "assert not b.backends_are_initialized(); assert not jax.config.jax_enable_x64"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=bare_environment)
