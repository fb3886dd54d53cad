"""Correlation of Lee, Yang and Parr, Phys. Rev. B 37, 785 (1988), without second derivatives of the density.

The form of B. Miehlich, A. Savin, H. Stoll, H. Preuss, Chem. Phys. Lett. 157, 200 (1989), eq. (2), for a closed shell;
with u = rho^(-1/3), delta = c u + d u / (1 + d u), C = (3/10) (3 pi^2)^(2/3) it comes down to

    e = -a rho / (1 + d u) { 1 + b exp(-c u) [ C - y (3 + 7 delta) / 72 ] }
"""

from __future__ import annotations

from math import pi
from typing import Final

import jax.numpy as jnp
from jax import Array

from qmgen.dft.functionals.variables import Variables

_A: Final = 0.04918
_B: Final = 0.132
_C: Final = 0.2533
_D: Final = 0.349
_KINETIC: Final = 0.3 * (3.0 * pi * pi) ** (2.0 / 3.0)


def lyp(v: Variables) -> Array:
    """Energy per volume, Hartree/Bohr^3."""
    u = v.inverse_root
    damped = 1.0 / (1.0 + _D * u)
    delta = u * (_C + _D * damped)
    bracket = _KINETIC - v.gradient * (3.0 + 7.0 * delta) / 72.0
    return -_A * v.rho * damped * (1.0 + _B * jnp.exp(-_C * u) * bracket)
