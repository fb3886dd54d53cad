"""Energies per volume of the semilocal parts of the functionals, one function each, for a closed shell.

Each takes ``Variables``: the density rho, u = rho^(-1/3) and y = |grad rho|^2 / rho^(8/3); each returns Hartree/Bohr^3.
"""

from __future__ import annotations

from math import log, pi, sqrt
from typing import Final, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from qmgen.dft.functionals.functional import Variables

#: e = -SLATER * rho^(4/3), closed shell
SLATER: Final = 0.75 * float(np.cbrt(3.0 / np.pi))


def slater(v: Variables) -> Array:
    """Exchange of the uniform electron gas: e = -(3/4) (3/pi)^(1/3) rho^(4/3).

    P. A. M. Dirac (1930); J. C. Slater, Phys. Rev. 81, 385 (1951).
    """
    return -SLATER * v.rho / v.inverse_root


_BECKE_BETA: Final = 0.0042
#: X^2 below which X asinh X is summed as a series; six terms leave 1e-19 there
_SERIES_BELOW: Final = 1e-3
_SERIES: Final = (1.0, -1.0 / 6.0, 3.0 / 40.0, -5.0 / 112.0, 35.0 / 1152.0, -63.0 / 2816.0)


def becke88(v: Variables) -> Array:
    """Becke's gradient-corrected exchange, Slater's part included. For each spin, with X = |grad rho_s| / rho_s^(4/3):

        e_s = -C rho_s^(4/3) - beta rho_s^(4/3) X^2 / (1 + 6 beta X asinh X),    beta = 0.0042

    and for a closed shell X^2 = 2^(2/3) y. A. D. Becke, Phys. Rev. A 38, 3098 (1988), eq. (8).
    """
    squared = 2.0 ** (2.0 / 3.0) * v.gradient
    per_root = SLATER + 2.0 ** (-1.0 / 3.0) * _BECKE_BETA * squared / (1.0 + 6.0 * _BECKE_BETA * _x_asinh_x(squared))
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


_LYP_A: Final = 0.04918
_LYP_B: Final = 0.132
_LYP_C: Final = 0.2533
_LYP_D: Final = 0.349
_LYP_KINETIC: Final = 0.3 * (3.0 * pi * pi) ** (2.0 / 3.0)


def lyp(v: Variables) -> Array:
    """Correlation of Lee, Yang and Parr, without second derivatives of the density.

        e = -a rho / (1 + d u) { 1 + b exp(-c u) [ C - y (3 + 7 delta) / 72 ] }

    with delta = c u + d u / (1 + d u), C = (3/10) (3 pi^2)^(2/3). C. Lee, W. Yang, R. G. Parr, Phys. Rev. B 37, 785
    (1988), in the form of B. Miehlich, A. Savin, H. Stoll, H. Preuss, Chem. Phys. Lett. 157, 200 (1989), eq. (2).
    """
    u = v.inverse_root
    damped = 1.0 / (1.0 + _LYP_D * u)
    delta = u * (_LYP_C + _LYP_D * damped)
    bracket = _LYP_KINETIC - v.gradient * (3.0 + 7.0 * delta) / 72.0
    return -_LYP_A * v.rho * damped * (1.0 + _LYP_B * jnp.exp(-_LYP_C * u) * bracket)


class VwnFit(NamedTuple):
    a: float
    b: float
    c: float
    x0: float


#: A is (1 - ln 2)/pi^2 to the six digits the paper prints (in Rydberg: 0.0621814)
_VWN_MONTE_CARLO: Final = VwnFit(0.0310907, 3.72744, 12.9352, -0.10498)
_VWN_RANDOM_PHASE: Final = VwnFit(0.0310907, 13.0720, 42.7198, -0.409286)


def vwn5(v: Variables) -> Array:
    """Correlation of the uniform gas, fitted to the quantum Monte Carlo data of Ceperley and Alder (formula V)."""
    return _vwn(v, _VWN_MONTE_CARLO)


def vwn_rpa(v: Variables) -> Array:
    """Correlation of the uniform gas, fitted to the random-phase approximation ("VWN3" in the B3LYP of Gaussian)."""
    return _vwn(v, _VWN_RANDOM_PHASE)


def _vwn(v: Variables, fit: VwnFit) -> Array:
    """A fit of the paramagnetic state, with x = sqrt(r_s), X(x) = x^2 + b x + c, Q = sqrt(4 c - b^2):

        eps = A { ln(x^2/X) + (2b/Q) atan(Q/(2x+b)) - (b x0/X(x0)) [ ln((x-x0)^2/X) + (2(b+2x0)/Q) atan(Q/(2x+b)) ] }

    S. H. Vosko, L. Wilk, M. Nusair, Can. J. Phys. 58, 1200 (1980), eq. (4.4).
    """
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


#: beta has the digits of the authors' code; mu = beta pi^2 / 3
_PBE_KAPPA: Final = 0.804
_PBE_BETA: Final = 0.06672455060314922
_PBE_MU: Final = _PBE_BETA * pi * pi / 3.0
_PBE_GAMMA: Final = (1.0 - log(2.0)) / (pi * pi)
#: s^2 = _PBE_S2 * y
_PBE_S2: Final = 0.25 * (3.0 * pi * pi) ** (-2.0 / 3.0)
#: t^2 = _PBE_T2 * y / u
_PBE_T2: Final = pi / 16.0 * (3.0 * pi * pi) ** (-1.0 / 3.0)

_PW_A: Final = 0.0310907
_PW_ALPHA: Final = 0.21370
_PW_BETA: Final = (7.5957, 3.5876, 1.6382, 0.49294)


def pbe_exchange(v: Variables) -> Array:
    """e = e_Slater F(s),  F = 1 + kappa - kappa / (1 + mu s^2 / kappa),  s^2 = y / (4 (3 pi^2)^(2/3)).

    J. P. Perdew, K. Burke, M. Ernzerhof, Phys. Rev. Lett. 77, 3865 (1996), eqs. (10), (14).
    """
    reduced = (_PBE_MU * _PBE_S2 / _PBE_KAPPA) * v.gradient
    return -SLATER * v.rho / v.inverse_root * (1.0 + _PBE_KAPPA * (reduced / (1.0 + reduced)))


def pbe_correlation(v: Variables) -> Array:
    """With q = A t^2 and t^2 = pi y / (16 (3 pi^2)^(1/3) u):

        e = rho { eps + gamma ln[ 1 + (beta/gamma) t^2 (1 + q) / (1 + q + q^2) ] }
        A = (beta/gamma) / (exp(-eps/gamma) - 1)

    J. P. Perdew, K. Burke, M. Ernzerhof, Phys. Rev. Lett. 77, 3865 (1996), eqs. (3), (7), (8).
    """
    eps = _uniform_gas(v.seitz)
    amplitude = (_PBE_BETA / _PBE_GAMMA) / jnp.expm1(eps * (-1.0 / _PBE_GAMMA))
    t2 = _PBE_T2 * v.gradient / v.inverse_root
    q = amplitude * t2
    # (1 + q) / (1 + q + q^2), written so that q^2 is never formed
    quotient = 1.0 / (1.0 + q * (q / (1.0 + q)))
    return v.rho * (eps + _PBE_GAMMA * jnp.log1p((_PBE_BETA / _PBE_GAMMA) * t2 * quotient))


def _uniform_gas(rs: Array) -> Array:
    """Correlation energy per electron of the unpolarized gas, Hartree: J. P. Perdew, Y. Wang, Phys. Rev. B 45, 13244
    (1992), eq. (10), with the leading constant to the digits PBE's authors use (libxc: lda_c_pw_mod).
    """
    b1, b2, b3, b4 = _PW_BETA
    x = jnp.sqrt(rs)
    series = x * (b1 + x * (b2 + x * (b3 + x * b4)))
    return -2.0 * _PW_A * (1.0 + _PW_ALPHA * rs) * jnp.log1p(1.0 / (2.0 * _PW_A * series))
