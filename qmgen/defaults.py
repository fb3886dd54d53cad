"""Defaults and choices of settings that more than one room needs: the commands, the labeling, the conformers, the SCF.

Other defaults of settings stand in ``qmgen.config`` alone.
"""

from __future__ import annotations

from typing import Final, Literal

#: RDKit and NumPy take seeds up to here alike.
LARGEST_SEED: Final = 2**31 - 1

XC: Final = "b3lyp5"
BASIS: Final = "sto-3g"
GRID_LEVEL: Final = 1
#: integrals of J and K: four-index ones, density fitting, or by the basis set
JkChoice = Literal["auto", "exact", "df"]
JK: Final = "auto"
#: convergence thresholds of the SCF in Hartree: change of the energy between two cycles, orbital gradient
CONV_ENERGY: Final = 1e-9
CONV_GRADIENT: Final = 1e-6
MAX_CYCLES: Final = 50

#: first guesses of the self-consistent field that need no network
PLAIN_GUESSES: Final = ("atoms", "core")
GUESS: Final = "atoms"

Precision = Literal["float64"]
PRECISION: Final = "float64"

Embedder = Literal["etkdg3", "qm1b"]
EMBED: Final = "etkdg3"
Relaxation = Literal["none", "mmff"]
RELAX: Final = "none"
RELAX_STEPS: Final = 1000
Stereo = Literal["as-given", "enumerate"]
STEREO: Final = "as-given"
MAX_STEREO_ISOMERS: Final = 32
