"""Exchange of the uniform electron gas: P. A. M. Dirac (1930), J. C. Slater, Phys. Rev. 81, 385 (1951).

e = -(3/4) (3/pi)^(1/3) rho^(4/3)
"""

from __future__ import annotations

from typing import Final

import numpy as np
from jax import Array

from qmgen.dft.functionals.variables import Variables

#: e = -SLATER * rho^(4/3), closed shell
SLATER: Final = 0.75 * float(np.cbrt(3.0 / np.pi))


def slater(v: Variables) -> Array:
    """Energy per volume, Hartree/Bohr^3."""
    return -SLATER * v.rho / v.inverse_root
