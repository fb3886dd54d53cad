"""Exchange-correlation functionals for closed shells, written as energy densities and differentiated by JAX.

b3lyp = functional("b3lyp5")
energy, by_rho, by_sigma = exchange_correlation(b3lyp, rho, sigma)
"""

from qmgen.dft.functionals.functional import Functional, exchange_correlation
from qmgen.dft.functionals.registry import FUNCTIONAL_NAMES, functional

__all__ = ["FUNCTIONAL_NAMES", "Functional", "exchange_correlation", "functional"]
