"""What a learned first guess saves in cycles: each geometry labelled twice, as `qmgen generate` labels it, from
spherical atoms and from the network's density.

One definition: ``Label.cycles``, the column ``cycles`` of a corpus. It counts the steps of all attempts, those on the
sketch of the grid too, and ``LEARNED_CYCLES`` for the Fock matrix that the network reads, which is that of the sketch.
"""

from __future__ import annotations

from dataclasses import dataclass

from qmgen.labeling.stream import label
from qmgen.labeling.types import Guess, Settings, Tally
from qmgen.learning.energy.geometries import Geometry
from qmgen.molecules.types import Conformer, Failure


@dataclass(frozen=True)
class Counted:
    """Of one geometry: ``cycles`` from ``atoms`` and from the ``network``; seconds of the self-consistent field from
    either, ``scf_atoms`` and ``scf_network``, and of the network itself, ``guess``."""

    atoms: int
    network: int
    scf_atoms: float
    scf_network: float
    guess: float


def count_cycles(geometry: Geometry, settings: Settings, guess: Guess) -> Counted | None:
    """Both counts at the level of ``settings``; None where either side has no label."""
    atoms = _labelled(geometry, settings, None)
    network = _labelled(geometry, settings, guess)
    if atoms is None or network is None:
        return None
    return Counted(atoms[0], network[0], atoms[1]["field"], network[1]["field"], network[1]["guess"])


def _labelled(geometry: Geometry, settings: Settings, guess: Guess | None) -> tuple[int, dict[str, float]] | None:
    """Cycles, and wall seconds by station of ``Tally``."""
    one = Conformer(0, 0, geometry.name, geometry.smiles, geometry.numbers, geometry.positions)
    tally = Tally()
    for found in label([one], settings, guess=guess, tally=tally):
        if not isinstance(found, Failure):
            return found[1].cycles, tally.seconds
    return None
