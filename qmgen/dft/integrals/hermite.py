"""Hermite Gaussians: the Boys function, index tables, expansion coefficients E, and the Coulomb recursion R.

A product of two Gaussians on centers A and B is a sum of Hermite Gaussians on P = (aA + bB)/p,
with coefficients E_t^{ij} per direction (McMurchie & Davidson, J. Comput. Phys. 26, 218 (1978);
Helgaker, Joergensen, Olsen, "Molecular Electronic-Structure Theory", sections 9.2 and 9.9).
Everything here is written for any angular momentum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache, partial

import jax.numpy as jnp
import numpy as np
from jax import Array

from qmgen.dft.backend import materialize

#: the highest order whose recursion is one expression for each index: beyond, compiling takes longer than it saves
_UNROLLED = 4
T_MAX = 36.0
#: beyond this the orders follow upward from F_0: their error falls with the order, as they do
_T_UPWARD = 12.0
_SCALE = 24.0
#: of the polynomials, by precision: the error of the fit is below the rounding of the number
_DEGREES = {"float64": 23, "float32": 11}


def boys(order: int, t: Array) -> list[Array]:
    """F_m(T) = integral_0^1 u^(2m) exp(-T u^2) du for m = 0 ... ``order`` at ``t`` >= 0 (any shape).

    On [0, T_MAX] each order is one polynomial in y = (a - T)/(a + T), fitted at Chebyshev nodes (absolute error below
    2e-15 for m <= 8). Beyond T_MAX the asymptotic form is exact to the last bit. Recursions between orders would save
    a polynomial for an exponential and a division, and XLA evaluates what two orders share once for each.
    Gathers are what XLA does worst on a CPU, hence neither branches nor a table.
    """
    inside = jnp.minimum(t, T_MAX)
    y = (_SCALE - inside) / (_SCALE + inside)
    root = 1.0 / jnp.sqrt(jnp.maximum(t, T_MAX))
    inverse, asymptotic = root * root, (0.5 * math.sqrt(math.pi)) * root
    result = []
    for m in range(order + 1):
        result.append(jnp.where(t > T_MAX, asymptotic, _horner(m, y)))
        asymptotic = asymptotic * inverse * (m + 0.5)
    return result


def boys_upward(order: int, t: Array) -> Array:
    """(order + 1, ...) the same for high orders, to which a polynomial gives too few digits at large T: the relative
    error of F_12(36) = 2e-12 would be 1e-4. There F_(m+1) = ((2m + 1) F_m - exp(-T)) / (2T) is stable."""
    low = jnp.minimum(t, T_MAX)
    y = (_SCALE - low) / (_SCALE + low)
    table = np.array([_polynomial(m, _DEGREES[str(y.dtype)]) for m in range(order + 1)], y.dtype)
    table = table.reshape(*table.shape, *[1] * t.ndim)
    small = jnp.broadcast_to(table[:, -1], (order + 1, *t.shape))
    for k in range(table.shape[1] - 2, -1, -1):
        small = small * y + table[:, k]
    half_over_t = 0.5 / jnp.maximum(t, _T_UPWARD)
    decay = jnp.exp(-jnp.maximum(t, _T_UPWARD))
    rows = [jnp.where(t > T_MAX, 0.5 * math.sqrt(math.pi) * jnp.sqrt(2.0 * half_over_t), small[0])]
    for m in range(order):
        rows.append(((2 * m + 1) * rows[m] - decay) * half_over_t)
    return jnp.where(t > _T_UPWARD, jnp.stack(rows), small)


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


@lru_cache(maxsize=32)
def hermite_indices(order: int) -> tuple[tuple[int, int, int], ...]:
    """All (t, u, v) with t+u+v <= order, by total order, so that a lower order is a prefix of a higher one."""
    return tuple((t, u, n - t - u) for n in range(order + 1) for t in range(n, -1, -1) for u in range(n - t, -1, -1))


def hermite_count(order: int) -> int:
    return (order + 1) * (order + 2) * (order + 3) // 6


def expansion_1d(la: int, lb: int, pa: Array, pb: Array, half_over_p: Array) -> list[list[list[Array]]]:
    """E_t^{ij} for i <= la, j <= lb along one direction, without the factor exp(-mu AB^2).

    ``pa`` = P - A, ``pb`` = P - B and ``half_over_p`` = 1/(2p) have one common shape, which the coefficients get too.
    Returns e[i][j][t], t <= i + j.
    """
    one = jnp.ones_like(half_over_p)
    table: list[list[list[Array]]] = [[[] for _ in range(lb + 1)] for _ in range(la + 1)]
    for i in range(la + 1):
        for j in range(lb + 1):
            if i == 0 and j == 0:
                table[i][j] = [one]
                continue
            previous, shift = (table[i - 1][j], pa) if i > 0 else (table[i][j - 1], pb)
            table[i][j] = [_raise(previous, t, shift, half_over_p) for t in range(i + j + 1)]
    return table


def overlaps_1d(la: int, lb: int, pa: Array, pb: Array, p: Array) -> Array:
    """(la + 1, lb + 1, *shape) integrals of x_A^i x_B^j exp(-p x_P^2) along one direction, arguments as above.

    S_(i+1)j = PA S_ij + (i S_(i-1)j + j S_i(j-1)) / (2p); source: Helgaker et al., eqs. 9.3.8 and 9.3.9.
    """
    half = 0.5 / p
    table = [[jnp.sqrt(np.pi / p)] for _ in range(la + 1)]
    for i in range(la):
        table[i + 1][0] = pa * table[i][0] + (i * half * table[i - 1][0] if i else 0.0)
    for j in range(lb):
        for i in range(la + 1):
            below = pb * table[i][j] + (j * half * table[i][j - 1] if j else 0.0)
            table[i].append(below + (i * half * table[i - 1][j] if i else 0.0))
    return jnp.stack([entry for row in table for entry in row]).reshape(la + 1, lb + 1, *p.shape)


def _raise(previous: list[Array], t: int, shift: Array, half_over_p: Array) -> Array:
    terms = []
    if t >= 1:
        terms.append(half_over_p * previous[t - 1])
    if t < len(previous):
        terms.append(shift * previous[t])
    if t + 1 < len(previous):
        terms.append((t + 1) * previous[t + 1])
    return sum(terms[1:], terms[0])


def dense_expansion(la: int, lb: int, pa: Array, pb: Array, half_over_p: Array) -> Array:
    """The same coefficients as one array (la + 1, lb + 1, la + lb + 1, *shape), zeros included."""
    zero = jnp.zeros_like(half_over_p)
    table = expansion_1d(la, lb, pa, pb, half_over_p)
    entries = [
        zero if t >= len(row) or row[t] is None else row[t]
        for line in table
        for row in line
        for t in range(la + lb + 1)
    ]
    return jnp.stack(entries).reshape(la + 1, lb + 1, la + lb + 1, *half_over_p.shape)


def coulomb_recursion(order: int, alpha: Array, x: Array, y: Array, z: Array, scale: Array) -> list[Array]:
    """R_{tuv} = d^t/dx^t d^u/dy^u d^v/dz^v of scale * F_0(alpha r^2), for all indices of ``hermite_indices(order)``.

    All arguments have one common shape or broadcast to it. Source: Helgaker et al., eqs. 9.9.13 and 9.9.18-20.
    """

    def diagonal() -> tuple[Array, ...]:
        values, factor, terms = boys(order, alpha * (x * x + y * y + z * z)), scale, []
        for value in values:
            terms.append(factor * value)
            factor = factor * (-2.0 * alpha)
        return tuple(terms)

    if order > _UNROLLED:
        return _by_degree(order, alpha, x, y, z, scale)
    # every R needs several of these, which cost more than all that follows
    positive = (alpha.reshape(-1)[0] > -1.0) if order else None
    terms = diagonal() if positive is None else materialize(diagonal, positive)
    level: list[dict[tuple[int, int, int], Array]] = [{(0, 0, 0): term} for term in terms]
    for total in range(1, order + 1):
        for n in range(order - total + 1):
            above = level[n + 1]
            for tuv in hermite_indices(total)[hermite_count(total - 1) :]:
                level[n][tuv] = _step(above, tuv, (x, y, z))
    return [level[0][tuv] for tuv in hermite_indices(order)]


def _by_degree(order: int, alpha: Array, x: Array, y: Array, z: Array, scale: Array) -> list[Array]:
    """The same, all indices of one degree at once, each degree written to memory: for high orders as fast, and compiled
    in a fraction of the time.

    In the order of ``hermite_indices`` the indices of a degree are those of the degree below with t raised, then those
    of them that have t = 0 with u raised, then the last one with v raised: no gathers.
    """
    x, y, z = jnp.broadcast_arrays(x, y, z)
    positive = alpha.reshape(-1)[0] > -1.0

    def diagonal() -> Array:
        factors = [jnp.broadcast_to(scale, x.shape)]
        for _ in range(order):
            factors.append(factors[-1] * (-2.0 * alpha))
        return boys_upward(order, alpha * (x * x + y * y + z * z)) * jnp.stack(factors)

    below = materialize(diagonal, positive)[:, None]
    before, result = below, [below[0]]
    for degree in range(1, order + 1):
        following = materialize(partial(_raised, degree, (x, y, z), below, before), positive)
        before, below = below, following
        result.append(below[0])
    return list(jnp.concatenate(result))


def _raised(degree: int, xyz: Sequence[Array], below: Array, before: Array) -> Array:
    """(auxiliary orders, indices, ...) of ``degree`` from those of the two degrees below."""
    x, y, z = xyz
    up = below[1:]
    new = jnp.concatenate([x * up, y * up[:, -degree:], z * up[:, -1:]], axis=1)
    if degree == 1:
        return new

    def column(numbers: list[int]) -> np.ndarray:
        return np.array(numbers, x.dtype).reshape(1, -1, *[1] * x.ndim)

    tuv, down = hermite_indices(degree)[hermite_count(degree - 1) :], before[1:-1]
    raised_t = down * column([t - 1 for t, _, _ in tuv if t > 1])
    raised_u = down[:, 1 - degree :] * column([u - 1 for t, u, _ in tuv if t == 0 and u > 1])
    nothing = jnp.zeros_like(up[:, :1])
    between = jnp.broadcast_to(nothing, (len(up), degree, *x.shape))
    return new + jnp.concatenate([raised_t, between, raised_u, nothing, (degree - 1) * down[:, -1:]], axis=1)


def _step(above: dict[tuple[int, int, int], Array], tuv: tuple[int, int, int], xyz: Sequence[Array]) -> Array:
    # lower the largest index first: fewest terms with the factor t
    axis = max(range(3), key=lambda d: tuv[d])
    one_less = tuple(n - (d == axis) for d, n in enumerate(tuv))
    value = xyz[axis] * above[one_less]  # type: ignore[index]
    if tuv[axis] >= 2:
        two_less = tuple(n - 2 * (d == axis) for d, n in enumerate(tuv))
        value = value + (tuv[axis] - 1) * above[two_less]  # type: ignore[index]
    return value
