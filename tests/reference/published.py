"""Energies printed by other programs than PySCF, each with its source.

Molecules as (symbols, positions in Angstrom); energies in Hartree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Published:
    """One total energy at a level of theory, printed by ``program``."""

    program: str
    source: str
    xc: str
    basis: str
    symbols: tuple[str, ...]
    positions: tuple[tuple[float, float, float], ...]
    energy: float


_WATER_QCHEM: Final = {
    "program": "Q-Chem",
    "source": "outputs of Q-Chem on a fine grid",
    "basis": "6-31g",
    "symbols": ("O", "H", "H"),
    "positions": ((-1.551007, -0.114520, 0.0), (-1.934259, 0.762503, 0.0), (-0.599677, 0.040712, 0.0)),
}

PUBLISHED: Final = (
    Published(xc="b3lyp", energy=-76.3850899091, **_WATER_QCHEM),
    Published(xc="b3lyp5", energy=-76.3479565264, **_WATER_QCHEM),
    Published(xc="pbe", energy=-76.2983301284, **_WATER_QCHEM),
    Published(xc="pbe0", energy=-76.3011288827, **_WATER_QCHEM),
)
