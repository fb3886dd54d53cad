"""What goes into labelling (``Settings``) and what comes out (``Label``), in atomic units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Settings:
    """How to label: the level of theory, when to stop, and how the work is laid out.

    Each may change the numbers of a row; ``batch_size`` by no more than 1e-10 Ha. Energies in Hartree.
    """

    xc: str = "b3lyp5"
    basis: str = "sto-3g"
    grid_level: int = 1
    precision: str = "float64"
    guess: str = "atoms"
    conv_energy: float = 1e-9
    conv_gradient: float = 1e-6
    max_cycles: int = 50
    batch_size: int | None = None


@dataclass(frozen=True)
class Label:
    """The result for one conformer, in atomic units.

    Energies in Hartree; ``energy_std`` the standard deviation of the last two energies; ``dipole`` (3,) in e Bohr;
    ``charges`` (atoms,) Mulliken, in e; ``orbital_gradient`` as defined in docs/method.md;
    ``n_orbitals`` the number of atomic orbitals; ``precision`` says which path made the numbers.
    """

    energy: float
    homo: float
    lumo: float
    energy_std: float
    dipole: np.ndarray
    charges: np.ndarray
    n_orbitals: int
    converged: bool
    cycles: int
    orbital_gradient: float
    precision: str
