"""What goes into labeling (``Settings``, a ``Guess``) and what comes out (``Label``, ``LabelCosts``); atomic units."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from qmgen import defaults

if TYPE_CHECKING:
    from qmgen.dft.scf import Problem

#: what one molecule may bring to light in its preparation, or in the guess of its density
ERRORS: Final = (ValueError, ArithmeticError, IndexError, np.linalg.LinAlgError)
#: cycles that a learned guess costs before the first of the self-consistent field: what its network sees of a molecule
#: is the Fock matrix of the atoms' density, which is one Fock build
LEARNED_CYCLES: Final = 1
_NETWORK: Final = "network:"


def network_guess(checksum: str) -> str:
    """``Settings.guess`` of a network with this SHA-256: what it is, wherever it lies."""
    return _NETWORK + checksum


def is_network(guess: str) -> bool:
    """Whether ``Settings.guess`` names a network."""
    return guess.startswith(_NETWORK)


class Guess(Protocol):
    """First densities for molecules: of each ``dft.scf.Problem`` (n orbitals, padded), whose atoms are ``numbers``
    (A,), a float64 (n, n) with the trace of its electrons, padding zero.

    A density may depend on its own problem alone, to the last bit, or rows would depend on their neighbors. On a CPU
    problems come one by one; where a batch is prepared together they are a ``stream.Slices``, whose ``stacked`` holds
    all places of the batch, those of dummies among them. A density that is not finite, and any of ``ERRORS``, makes the
    molecule begin from its atoms.
    """

    def __call__(self, problems: Sequence[Problem], numbers: Sequence[np.ndarray]) -> list[np.ndarray]: ...


@dataclass
class LabelCosts:
    """What labels took: wall seconds by station (``prepare``: integrals and grids; ``guess``: the learned one, its
    compilation included; ``field``: first attempts); and first attempts that began with a learned density
    (``guessed``), or should have and could not (``fallbacks``)."""

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("prepare", "guess", "field"), 0.0))
    guessed: int = 0
    fallbacks: int = 0

    @contextmanager
    def during(self, station: str) -> Iterator[None]:
        """Adds the time of what is done within."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[station] += time.perf_counter() - begin


@dataclass(frozen=True)
class Settings:
    """How to label: the level of theory, when to stop, and how the work is laid out. ``jk`` is one of
    ``defaults.JkChoice``.

    Each may change the numbers of a row; ``batch_size`` by no more than 1e-10 Ha. Energies in Hartree. ``guess`` is one
    of ``defaults.PLAIN_GUESSES``, or names a network (``network_guess``), which then has to be there too.
    """

    xc: str = defaults.XC
    basis: str = defaults.BASIS
    grid_level: int = defaults.GRID_LEVEL
    precision: str = defaults.PRECISION
    guess: str = defaults.GUESS
    conv_energy: float = defaults.CONV_ENERGY
    conv_gradient: float = defaults.CONV_GRADIENT
    max_cycles: int = defaults.MAX_CYCLES
    batch_size: int | None = None
    jk: defaults.JkChoice = defaults.JK
    auxbasis: str | None = None
    cartesian: bool = False


@dataclass(frozen=True)
class Label:
    """The result for one conformer, in atomic units.

    Energies in Hartree; ``energy_std`` the standard deviation of the last two energies; ``properties`` those of
    ``qmgen.dft.properties.PROPERTIES`` by name; ``orbital_gradient`` as defined in docs/method.md;
    ``n_orbitals`` the number of atomic orbitals; ``cycles`` of all attempts, and ``LEARNED_CYCLES`` where the first
    began with a learned density; ``precision`` says which path made the numbers.
    """

    energy: float
    homo: float
    lumo: float
    energy_std: float
    properties: Mapping[str, np.ndarray]
    n_orbitals: int
    converged: bool
    cycles: int
    orbital_gradient: float
    precision: str
