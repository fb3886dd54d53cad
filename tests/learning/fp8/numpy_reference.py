"""The scaled casts and products in NumPy and ml_dtypes, written from the formulas of arXiv 2309.17224."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np

DTYPES = {
    "e4m3fn": (ml_dtypes.float8_e4m3fn, 448.0),
    "e5m2": (ml_dtypes.float8_e5m2, 57344.0),
    "e4m3fnuz": (ml_dtypes.float8_e4m3fnuz, 240.0),
    "e5m2fnuz": (ml_dtypes.float8_e5m2fnuz, 57344.0),
}


def bias_of(amax: float, name: str, margin: int = 0) -> int:
    """clip(floor(log2(largest / amax)) − margin, −31, 31) in exact arithmetic; 0 for amax = 0."""
    largest = DTYPES[name][1]
    if amax == 0:
        return 0
    if math.isnan(amax) or math.isinf(amax):
        return -31
    top, top_exponent = math.frexp(largest)
    low, low_exponent = math.frexp(amax)
    floor = top_exponent - low_exponent - (1 if top < low else 0)
    return max(-31, min(31, floor - margin))


def quantize(x: np.ndarray, name: str, margin: int = 0, bias: int | None = None) -> tuple[np.ndarray, int]:
    """The 8-bit values of a tensor and its bias: the given one, or that of its amax."""
    dtype, largest = DTYPES[name]
    if bias is None:
        bias = bias_of(float(np.max(np.abs(x.astype(np.float64)), initial=0.0)), name, margin)
    scaled = np.ldexp(x.astype(np.float64), bias)  # exact: a float32 times a power of two
    return np.clip(scaled, -largest, largest).astype(np.float32).astype(dtype), bias


def product(left: tuple[np.ndarray, int], right: tuple[np.ndarray, int]) -> tuple[np.ndarray, np.ndarray]:
    """The product of two scaled tensors in float64, and Σ|x w| in the same unit."""
    x, w = (np.ldexp(values.astype(np.float64), -bias) for values, bias in (left, right))
    return x @ w, np.abs(x) @ np.abs(w)
