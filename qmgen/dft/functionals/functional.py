"""The variables all closed-shell functionals here are written in, computed once and shared.

With rho the density and sigma = |grad rho|^2, every piece depends on rho, u = rho^(-1/3) and, for gradient-corrected
ones, on the dimensionless y = sigma / rho^(8/3) alone. So one cube root serves them all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

#: below this density (1/Bohr^3) everything is zero; libxc cuts at 1e-15 to 1e-11 as well
DENSITY_THRESHOLD: Final = {"float64": 1e-14, "float32": 1e-8}
#: y is held below this, so that no power of it overflows, nor its second derivatives; a density that falls off as
#: exp(-2 alpha r) has y = 4 alpha^2 rho^(-2/3), at the threshold 1e10 (float64) or 1e6 (float32)
GRADIENT_CEILING: Final = {"float64": 1e25, "float32": 1e9}

#: Wigner-Seitz radius r_s = _RS * rho^(-1/3)
_RS: Final = float(np.cbrt(3.0 / (4.0 * np.pi)))


@dataclass(frozen=True)
class Variables:
    """Arrays of one shape, all positive (``gradient`` may be zero).

    Attributes:
        rho: density, 1/Bohr^3.
        inverse_root: rho^(-1/3), Bohr.
        gradient: y = sigma / rho^(8/3), dimensionless.
    """

    rho: Array
    inverse_root: Array
    gradient: Array

    @property
    def seitz(self) -> Array:
        """r_s, Bohr."""
        return _RS * self.inverse_root


def variables(rho: Array, sigma: Array | None) -> Variables:
    """From rho (at or above the threshold) and sigma, same shape; ``sigma=None`` for functionals without a gradient."""
    inverse_root = _inverse_cube_root(rho)
    if sigma is None:
        return Variables(rho, inverse_root, jnp.zeros_like(rho))
    fourth = (inverse_root * inverse_root) ** 2
    ceiling = GRADIENT_CEILING[rho.dtype.name]
    # divided in two steps: rho^(-8/3) alone times sigma may pass through numbers float32 cannot hold
    gradient = (jnp.where(sigma < 0.0, 0.0, sigma) * fourth) * fourth
    return Variables(rho, inverse_root, jnp.where(gradient < ceiling, gradient, ceiling))


@jax.custom_jvp
def _inverse_cube_root(rho: Array) -> Array:
    """rho^(-1/3) to the last bit or two: exp and log (on a CPU twice as fast as cbrt), then one step of Newton."""
    root = jnp.exp(jnp.log(rho) * (-1.0 / 3.0))
    return root + root * (1.0 - rho * root * root * root) / 3.0


@_inverse_cube_root.defjvp
def _inverse_cube_root_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (rho,), (change,) = primals, tangents
    root = _inverse_cube_root(rho)
    return root, root / rho * change * (-1.0 / 3.0)


Piece = Callable[[Variables], Array]


@dataclass(frozen=True)
class Functional:
    """A closed-shell exchange-correlation functional; hashable, so it can be a static argument.

    Attributes:
        name: canonical name.
        description: one sentence, with the variant of VWN spelled out.
        exact_exchange: coefficient of Hartree-Fock exchange.
        needs_gradient: whether ``sigma`` matters.
        pieces: (coefficient, energy per volume) of each semilocal part.
    """

    name: str
    description: str
    exact_exchange: float
    needs_gradient: bool
    pieces: tuple[tuple[float, Piece], ...]

    def energy_density(self, rho: Array, sigma: Array) -> Array:
        """Semilocal energy per volume, elementwise.

        Exactly zero, with zero derivatives, where rho is below the threshold of its precision (see ``variables``);
        finite, with finite first and second derivatives, for any finite input.

        Args:
            rho: total density, 1/Bohr^3.
            sigma: |grad rho|^2 of the total density, 1/Bohr^8, same shape; ignored unless ``needs_gradient``.

        Returns:
            Hartree/Bohr^3, same shape.
        """
        if not self.pieces:
            return jnp.zeros_like(rho)
        dense = rho > DENSITY_THRESHOLD[rho.dtype.name]
        # the inner where keeps powers of zero out of the derivatives, the outer one sets the value
        safe_rho = jnp.where(dense, rho, 1.0)
        safe_sigma = jnp.where(dense, sigma, 0.0) if self.needs_gradient else None
        v = variables(safe_rho, safe_sigma)
        return jnp.where(dense, sum(coefficient * piece(v) for coefficient, piece in self.pieces), 0.0)


def exchange_correlation(functional: Functional, rho: Array, sigma: Array) -> tuple[Array, Array, Array]:
    """Energy per volume and its derivatives with respect to rho and sigma; arguments as ``energy_density``'s.

    Elementwise, so one pull-back of ones gives all derivatives.
    """
    energy, pull_back = jax.vjp(functional.energy_density, rho, sigma)
    by_rho, by_sigma = pull_back(jnp.ones_like(energy))
    return energy, by_rho, by_sigma
