"""What an exchange-correlation functional is: weighted pieces, a share of exact exchange, and its derivatives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from qmgen.dft.functionals.variables import DENSITY_THRESHOLD, Variables, variables

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
