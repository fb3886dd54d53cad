"""Langevin dynamics of one molecule in a given force field: positions as they are at a temperature.

The integrator is BAOAB: kick, drift, friction and noise (exact), drift, kick. In a harmonic well its positions have
exactly the variance k_B T / k at any stable step; velocities are colder by (1 - ω² dt² / 4) in a vibration ω.

References:
B. Leimkuhler, C. Matthews, Appl. Math. Res. eXpress 2013, 34 (2013).

Units here: Angstrom, femtosecond, atomic mass unit (Dalton), kcal/mol (that of a calorie of 4.184 J), Kelvin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

#: the molar gas constant of CODATA 2018, 8.31446261815324 J/(mol K), in kcal/(mol K)
BOLTZMANN: Final = 8.31446261815324 / 4184.0
#: 1 kcal/mol/Angstrom over 1 Dalton is 4184 J/mol / (1e-10 m · 1e-3 kg/mol) = 4.184e16 m/s², in Angstrom/fs²
ACCELERATION: Final = 4184.0 / 1e7
#: a vibration of X-H takes about nine femtoseconds
TIME_STEP: Final = 0.5
FRICTION: Final = 0.02

#: flat coordinates (3 N,) to the flat derivatives of the energy, kcal/mol/Angstrom
Gradient = Callable[[list[float]], Sequence[float]]


class LangevinState(NamedTuple):
    """``positions`` and ``velocities`` (N, 3), Angstrom and Angstrom/fs."""

    positions: np.ndarray
    velocities: np.ndarray


def kinetic_energy(velocities: np.ndarray, masses: np.ndarray) -> float:
    """kcal/mol, of velocities (N, 3) and masses (N,)."""
    return float(0.5 * (masses[:, None] * velocities**2).sum() / ACCELERATION)


def dynamics(
    gradient: Gradient,
    positions: np.ndarray,
    masses: np.ndarray,
    temperature: float,
    random: np.random.Generator,
    stride: int,
    time_step: float = TIME_STEP,
    friction: float = FRICTION,
) -> Iterator[LangevinState]:
    """The state after every ``stride`` steps, without end, from ``positions`` (N, 3) and velocities of Maxwell's.

    The motion of the center of mass is not taken out. What runs away gives numbers that are not finite, no exception.
    """
    weights = np.repeat(np.asarray(masses, dtype=np.float64), 3)
    thermal = np.sqrt(BOLTZMANN * temperature * ACCELERATION / weights)
    kick = 0.5 * time_step * ACCELERATION / weights
    drift = 0.5 * time_step
    kept = np.exp(-friction * time_step)
    noise = np.sqrt(1.0 - kept**2) * thermal
    x = np.array(positions, dtype=np.float64).ravel()
    v = thermal * random.standard_normal(len(x))
    shove = -kick * np.asarray(gradient(x.tolist()))
    while True:
        with np.errstate(over="ignore", invalid="ignore"):
            for push in noise * random.standard_normal((stride, len(x))):
                v += shove
                x += drift * v
                v *= kept
                v += push
                x += drift * v
                shove = -kick * np.asarray(gradient(x.tolist()))
                v += shove
        yield LangevinState(x.reshape(-1, 3).copy(), v.reshape(-1, 3).copy())
