"""Correlation of the uniform electron gas: S. H. Vosko, L. Wilk, M. Nusair, Can. J. Phys. 58, 1200 (1980), eq. (4.4).

With x = sqrt(r_s), X(x) = x^2 + b x + c, Q = sqrt(4 c - b^2):

    eps = A { ln(x^2/X) + (2b/Q) atan(Q/(2x+b)) - (b x0/X(x0)) [ ln((x-x0)^2/X) + (2(b+2x0)/Q) atan(Q/(2x+b)) ] }

Two fits of the paramagnetic state are in use: to the quantum Monte Carlo data of Ceperley and Alder ("VWN5", after
the paper's formula V), and to the random-phase approximation ("VWN-RPA"; "VWN3" in the B3LYP of Gaussian).
"""

from __future__ import annotations

from math import sqrt
from typing import Final, NamedTuple

import jax.numpy as jnp
from jax import Array

from qmgen.dft.functionals.variables import Variables


class _Fit(NamedTuple):
    a: float
    b: float
    c: float
    x0: float


#: A is (1 - ln 2)/pi^2 to the six digits the paper prints (in Rydberg: 0.0621814)
_MONTE_CARLO: Final = _Fit(0.0310907, 3.72744, 12.9352, -0.10498)
_RANDOM_PHASE: Final = _Fit(0.0310907, 13.0720, 42.7198, -0.409286)


def vwn5(v: Variables) -> Array:
    """Energy per volume, Hartree/Bohr^3, of the fit to quantum Monte Carlo."""
    return _vwn(v, _MONTE_CARLO)


def vwn_rpa(v: Variables) -> Array:
    """Energy per volume, Hartree/Bohr^3, of the fit to the random-phase approximation."""
    return _vwn(v, _RANDOM_PHASE)


def _vwn(v: Variables, fit: _Fit) -> Array:
    a, b, c, x0 = fit
    q = sqrt(4.0 * c - b * b)
    share = b * x0 / (x0 * x0 + b * x0 + c)
    rs = v.seitz
    x = jnp.sqrt(rs)
    inverse_poly = 1.0 / (rs + b * x + c)
    shifted = x - x0
    angle = jnp.arctan(q / (2.0 * x + b))
    eps = (
        jnp.log(rs * inverse_poly)
        - share * jnp.log(shifted * shifted * inverse_poly)
        + (2.0 / q) * (b - share * (b + 2.0 * x0)) * angle
    )
    return a * v.rho * eps
