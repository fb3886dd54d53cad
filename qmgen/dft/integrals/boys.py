"""The Boys function F_m(T) = integral_0^1 u^(2m) exp(-T u^2) du, without branches or table look-ups.

On [0, T_MAX] each order is one polynomial in y = (a - T)/(a + T), fitted at Chebyshev nodes (absolute error below
2e-15 for m <= 8). Beyond T_MAX the asymptotic form is exact to the last bit. Recursions between orders would save a
polynomial for an exponential and a division, and XLA evaluates what two orders share once for each.
Gathers are what XLA does worst on a CPU, hence no table.
"""

from __future__ import annotations

import math
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array

T_MAX = 36.0
_SCALE = 24.0
#: of the polynomials, by precision: the error of the fit is below the rounding of the number
_DEGREES = {"float64": 23, "float32": 11}


def boys(order: int, t: Array) -> list[Array]:
    """F_0 ... F_order at ``t`` >= 0 (any shape)."""
    inside = jnp.minimum(t, T_MAX)
    y = (_SCALE - inside) / (_SCALE + inside)
    root = 1.0 / jnp.sqrt(jnp.maximum(t, T_MAX))
    inverse, asymptotic = root * root, (0.5 * math.sqrt(math.pi)) * root
    result = []
    for m in range(order + 1):
        result.append(jnp.where(t > T_MAX, asymptotic, _horner(m, y)))
        asymptotic = asymptotic * inverse * (m + 0.5)
    return result


def _horner(order: int, y: Array) -> Array:
    coefficients = _polynomial(order, _DEGREES[str(y.dtype)])
    value = jnp.full_like(y, coefficients[-1])
    for c in coefficients[-2::-1]:
        value = value * y + c
    return value


@lru_cache(maxsize=32)
def _polynomial(order: int, degree: int) -> tuple[float, ...]:
    """Monomial coefficients in y, lowest first, of F_order on [0, T_MAX]."""
    y_min = (_SCALE - T_MAX) / (_SCALE + T_MAX)
    middle, half = (1 + y_min) / 2, (1 - y_min) / 2
    n = degree + 1
    angles = np.pi * (2 * np.arange(n) + 1) / (2 * n)
    y = middle + half * np.cos(angles)
    samples = _reference(order, _SCALE * (1 - y) / (1 + y))
    chebyshev = np.array([2.0 / n * math.fsum(samples * np.cos(k * angles)) for k in range(n)])
    chebyshev[0] /= 2
    in_s = np.polynomial.chebyshev.Chebyshev(chebyshev, domain=[y_min, 1.0])
    monomial = in_s.convert(kind=np.polynomial.Polynomial, domain=[-1, 1], window=[-1, 1])
    return tuple(float(c) for c in monomial.coef)


def _reference(order: int, t: np.ndarray) -> np.ndarray:
    """F_order by its convergent series exp(-T) sum_k (2T)^k / ((2m+1)(2m+3)...(2m+2k+1)): all terms positive."""
    term = np.full_like(t, 1.0 / (2 * order + 1))
    total = term.copy()
    for k in range(1, 400):
        term = term * 2 * t / (2 * order + 2 * k + 1)
        total += term
    return np.exp(-t) * total
