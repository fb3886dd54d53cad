"""Becke's gradient-corrected exchange, Slater's part included: A. D. Becke, Phys. Rev. A 38, 3098 (1988), eq. (8).

For each spin, with X = |grad rho_s| / rho_s^(4/3) and beta = 0.0042,

    e_s = -C rho_s^(4/3) - beta rho_s^(4/3) X^2 / (1 + 6 beta X asinh X)

and for a closed shell X^2 = 2^(2/3) y.
"""

from __future__ import annotations

from typing import Final

import jax.numpy as jnp
from jax import Array

from qmgen.dft.functionals.slater import SLATER
from qmgen.dft.functionals.variables import Variables

_BETA: Final = 0.0042
#: X^2 below which X asinh X is summed as a series; six terms leave 1e-19 there
_SERIES_BELOW: Final = 1e-3
_SERIES: Final = (1.0, -1.0 / 6.0, 3.0 / 40.0, -5.0 / 112.0, 35.0 / 1152.0, -63.0 / 2816.0)


def becke88(v: Variables) -> Array:
    """Energy per volume, Hartree/Bohr^3."""
    squared = 2.0 ** (2.0 / 3.0) * v.gradient
    per_root = SLATER + 2.0 ** (-1.0 / 3.0) * _BETA * squared / (1.0 + 6.0 * _BETA * _x_asinh_x(squared))
    return -v.rho / v.inverse_root * per_root


def _x_asinh_x(squared: Array) -> Array:
    """X asinh X as a smooth function of X^2 >= 0: derivatives of any order are finite at zero."""
    small = squared < _SERIES_BELOW
    safe = jnp.where(small, 1.0, squared)
    x = jnp.sqrt(safe)
    near = jnp.where(small, squared, 0.0)
    series = jnp.full_like(near, _SERIES[-1])
    for term in _SERIES[-2::-1]:
        series = series * near + term
    return jnp.where(small, near * series, x * jnp.log(x + jnp.sqrt(1.0 + safe)))
