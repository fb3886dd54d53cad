"""The functional of J. P. Perdew, K. Burke, M. Ernzerhof, Phys. Rev. Lett. 77, 3865 (1996), closed shell.

Exchange, eqs. (10), (14), with s^2 = y / (4 (3 pi^2)^(2/3)):

    e = e_Slater F(s),  F = 1 + kappa - kappa / (1 + mu s^2 / kappa)

Correlation, eqs. (3), (7), (8), with q = A t^2 and t^2 = pi y / (16 (3 pi^2)^(1/3) u), u = rho^(-1/3):

    e = rho { eps + gamma ln[ 1 + (beta/gamma) t^2 (1 + q) / (1 + q + q^2) ] }
    A = (beta/gamma) / (exp(-eps/gamma) - 1)

where eps is the uniform gas of J. P. Perdew, Y. Wang, Phys. Rev. B 45, 13244 (1992), eq. (10), with the leading
constant to the digits PBE's authors use (libxc: lda_c_pw_mod). beta has the digits of the authors' code; mu = beta
pi^2 / 3.
"""

from __future__ import annotations

from math import log, pi
from typing import Final

import jax.numpy as jnp
from jax import Array

from qmgen.dft.functionals.slater import SLATER
from qmgen.dft.functionals.variables import Variables

_KAPPA: Final = 0.804
_BETA: Final = 0.06672455060314922
_MU: Final = _BETA * pi * pi / 3.0
_GAMMA: Final = (1.0 - log(2.0)) / (pi * pi)
#: s^2 = _S2 * y
_S2: Final = 0.25 * (3.0 * pi * pi) ** (-2.0 / 3.0)
#: t^2 = _T2 * y / u
_T2: Final = pi / 16.0 * (3.0 * pi * pi) ** (-1.0 / 3.0)

_PW_A: Final = 0.0310907
_PW_ALPHA: Final = 0.21370
_PW_BETA: Final = (7.5957, 3.5876, 1.6382, 0.49294)


def pbe_exchange(v: Variables) -> Array:
    """Energy per volume, Hartree/Bohr^3."""
    reduced = (_MU * _S2 / _KAPPA) * v.gradient
    return -SLATER * v.rho / v.inverse_root * (1.0 + _KAPPA * (reduced / (1.0 + reduced)))


def pbe_correlation(v: Variables) -> Array:
    """Energy per volume, Hartree/Bohr^3."""
    eps = _uniform_gas(v.seitz)
    amplitude = (_BETA / _GAMMA) / jnp.expm1(eps * (-1.0 / _GAMMA))
    t2 = _T2 * v.gradient / v.inverse_root
    q = amplitude * t2
    # (1 + q) / (1 + q + q^2), written so that q^2 is never formed
    quotient = 1.0 / (1.0 + q * (q / (1.0 + q)))
    return v.rho * (eps + _GAMMA * jnp.log1p((_BETA / _GAMMA) * t2 * quotient))


def _uniform_gas(rs: Array) -> Array:
    """Correlation energy per electron of the unpolarised gas, Hartree."""
    b1, b2, b3, b4 = _PW_BETA
    x = jnp.sqrt(rs)
    series = x * (b1 + x * (b2 + x * (b3 + x * b4)))
    return -2.0 * _PW_A * (1.0 + _PW_ALPHA * rs) * jnp.log1p(1.0 / (2.0 * _PW_A * series))
