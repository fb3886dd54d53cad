"""The level of theory of a run, looked up once."""

from __future__ import annotations

from dataclasses import dataclass

from qmgen.defaults import PLAIN_GUESSES
from qmgen.dft.basis import Basis, load_basis
from qmgen.dft.functionals import Functional, functional
from qmgen.dft.grid import LEVELS
from qmgen.errors import UsageError
from qmgen.labeling.types import Settings, is_network

PRECISIONS = ("float64",)


@dataclass(frozen=True)
class Level:
    """Functional, basis set and grid level."""

    functional: Functional
    basis: Basis
    grid_level: int


def level_of(settings: Settings) -> Level:
    """Raises ``UsageError`` for a name that does not exist, with the nearest one that does."""
    if settings.precision not in PRECISIONS:
        raise UsageError(f"unknown precision '{settings.precision}'; known: {', '.join(PRECISIONS)}")
    if settings.guess not in PLAIN_GUESSES and not is_network(settings.guess):
        raise UsageError(f"unknown guess '{settings.guess}'; known: {', '.join(PLAIN_GUESSES)}")
    if settings.grid_level not in LEVELS:
        raise UsageError(f"grid level {settings.grid_level} does not exist; choose 0 to {max(LEVELS)}")
    return Level(functional(settings.xc), load_basis(settings.basis), settings.grid_level)
