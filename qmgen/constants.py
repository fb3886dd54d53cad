"""Physical constants, CODATA 2018, in one place (also written into every corpus).

Source: E. Tiesinga, P. J. Mohr, D. B. Newell, B. N. Taylor, Rev. Mod. Phys. 93, 025010 (2021).
PySCF carries an older set: compare with it in Hartree and Bohr, never in eV or Angstrom.
"""

from __future__ import annotations

from typing import Final

CODATA_YEAR: Final = 2018
HARTREE_TO_EV: Final = 27.211386245988
BOHR_TO_ANGSTROM: Final = 0.529177210903
ELEMENTARY_CHARGE_C: Final = 1.602176634e-19
#: one atomic unit of electric dipole moment (e a0) in Debye: 8.4783536255e-30 C m over 1e-21/c C m
AU_TO_DEBYE: Final = 8.4783536255e-30 * 299792458.0 / 1e-21
