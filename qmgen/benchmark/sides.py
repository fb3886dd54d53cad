"""The two sides of the benchmark, as a process of a ``Crew`` runs them.

Both take the same conformers and answer with energies in Hartree, by (molecule_id, conformer_id); what got no
converged label has none.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from qmgen.labeling.types import Settings
from qmgen.molecules.types import Conformer, Failure
from qmgen.pipeline.stages import Stages
from qmgen.validation.oracle import Level, mean_field

CONV_TOL: Final = 1e-9
#: water, in Bohr: warms PySCF's libraries before anything is timed
WATER: Final = Conformer(
    -1, 0, "water", "O", np.array([8, 1, 1], dtype=np.uint8),
    np.array([[0.0, 0.0, 0.22], [0.0, 1.43, -0.89], [0.0, -1.43, -0.89]]),
)  # fmt: skip

Energies = dict[tuple[int, int], float]


@dataclass(frozen=True)
class Setup:
    """What a process needs before its first task. ``cache`` is where qmgen's compiled programs go."""

    settings: Settings
    cache: Path
    stages: Stages

    @property
    def level(self) -> Level:
        return Level(self.settings.xc, self.settings.basis, self.settings.grid_level)


class Qmgen:
    """The labelling of ``qmgen generate``: the same switches, the same function, default settings."""

    def __init__(self, setup: Setup) -> None:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(setup.cache)
        if jax := sys.modules.get("jax"):  # imported already: it has read the environment
            jax.config.update("jax_compilation_cache_dir", str(setup.cache))
        setup.stages.load("prepare")()
        self._label = setup.stages.load("label")
        self._settings = setup.settings

    def __call__(self, conformers: list[Conformer]) -> Energies:
        """Energies of a share of the conformers, labelled together."""
        energies: Energies = {}
        for result in self._label(iter(conformers), self._settings):
            if not isinstance(result, Failure) and result[1].converged:
                conformer, label = result
                energies[conformer.molecule_id, conformer.conformer_id] = float(label.energy)
        return energies


class PySCF:
    """PySCF's defaults with ``conv_tol`` 1e-9: RKS, integrals in memory, one molecule after another."""

    def __init__(self, setup: Setup) -> None:
        from pyscf import lib

        lib.num_threads(1)
        self._level = setup.level
        self([WATER])

    def __call__(self, conformers: list[Conformer]) -> Energies:
        """Energies of the conformers, one at a time."""
        energies: Energies = {}
        for conformer in conformers:
            mf = mean_field(conformer.numbers, conformer.positions, self._level, conv_tol=CONV_TOL)
            mf.kernel()
            if mf.converged:
                energies[conformer.molecule_id, conformer.conformer_id] = float(mf.e_tot)
        return energies
