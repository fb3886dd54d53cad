"""Radial quadrature of Treutler and Ahlrichs: Chebyshev points of the second kind under their map M4.

    r(x) = xi / ln 2 * (1 + x)^0.6 * ln(2 / (1 - x)),    x_i = cos(i pi / (n + 1)),  i = 1..n

Source: O. Treutler, R. Ahlrichs, J. Chem. Phys. 102, 346 (1995), eqs. (19), (25); exponent 0.6.
"""

from __future__ import annotations

import numpy as np


def treutler_ahlrichs(count: int, scaling: float) -> tuple[np.ndarray, np.ndarray]:
    """Radii and weights of the radial integral of f(r) dr from 0 to infinity.

    Args:
        count: number of radii n.
        scaling: xi in Bohr.

    Returns:
        radii (n,) in Bohr, ascending, and weights (n,) in Bohr; the weights do not hold the factor 4 pi r^2.
    """
    step = np.pi / (count + 1)
    angle = step * np.arange(count, 0, -1)
    x = np.cos(angle)
    scale = scaling / np.log(2.0) * (1.0 + x) ** 0.6
    logarithm = np.log((1.0 - x) / 2.0)
    radii = -scale * logarithm
    weights = step * np.sin(angle) * scale * (1.0 / (1.0 - x) - 0.6 * logarithm / (1.0 + x))
    return radii, weights
