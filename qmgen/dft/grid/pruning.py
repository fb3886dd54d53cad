"""Which sphere each radius gets: NWChem's pruning, as in PySCF.

Radii in units of the Bragg radius fall into five regions; the two inmost have small spheres, the fourth (bonds) the
full one, the third and fifth the next smaller. Boundaries: P. M. W. Gill, B. G. Johnson, J. A. Pople,
Chem. Phys. Lett. 209, 506 (1993).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from qmgen.dft.grid.angular import ORDERS
from qmgen.dft.grid.elements import bragg_radius

_BOUNDARIES: Final = {
    1: (0.25, 0.5, 1.0, 4.5),
    2: (0.1667, 0.5, 0.9, 3.5),
    3: (0.1, 0.4, 0.8, 2.5),
}


def nwchem_orders(number: int, radii: np.ndarray, order: int) -> np.ndarray:
    """Lebedev order at each radius.

    Args:
        number: atomic number.
        radii: (n,) in Bohr.
        order: the largest sphere's order, at least 11.

    Returns:
        (n,) int, orders.
    """
    if order == 11:
        by_region = (11, 13, 13, 13, 11)
    else:
        smaller = ORDERS[ORDERS.index(order) - 1]
        by_region = (11, 15, smaller, order, smaller)
    row = 1 if number <= 2 else 2 if number <= 10 else 3
    region = np.searchsorted(_BOUNDARIES[row], radii / bragg_radius(number), side="left")
    return np.asarray(by_region)[region]


#: upper bounds of the regions of the sketch, in units of the Bragg radius, and their spheres: what is not a bond is
#: nearly spherical. Half the points of one sphere at every radius, the same number of visits (docs/performance.md)
_SKETCH_BOUNDARIES: Final = (0.5, 0.9, 3.5)
_SKETCH_ORDERS: Final = (5, 7, 99, 5)


def sketch_orders(number: int, radii: np.ndarray, order: int) -> np.ndarray:
    """Lebedev order at each radius (n,) in Bohr of our own coarse grid; ``order`` is the largest sphere's."""
    region = np.searchsorted(_SKETCH_BOUNDARIES, radii / bragg_radius(number), side="left")
    return np.minimum(np.asarray(_SKETCH_ORDERS)[region], order)
