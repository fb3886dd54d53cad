"""The shipped list of molecules and PySCF's values for it.

    conformers = molecules()                              # 337 geometries, by scripts/draw_reference_molecules
    main = values("pyscf_b3lyp5_sto3g")                   # by scripts/make_reference_values
    main.reference(row=12, column=main.columns.index(1))  # molecule 12 at grid level 1, or None: not computed

Energies in Hartree, dipole moments in e Bohr.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from qmgen.dft.level import LevelOfTheory
from qmgen.molecules.types import Conformer
from qmgen.validation.oracle import Reference, own_density, solve_lower

HERE = Path(__file__).resolve().parent

#: Hartree, Hartree, Debye: far below what models of these properties resolve, well above the thresholds of the SCF
ENERGY_LIMIT, ORBITAL_LIMIT, DIPOLE_LIMIT = 1e-7, 1e-6, 1e-4


@lru_cache(maxsize=1)
def molecules() -> tuple[Conformer, ...]:
    """The list in its order; ``molecule_id`` is the row of the values."""
    lines = [line.split("\t") for line in (HERE / "molecules.tsv").read_text("utf-8").splitlines()[1:]]
    with np.load(HERE / "geometries.npz") as archive:
        numbers, positions, offsets = archive["numbers"], archive["positions"], archive["offsets"]
    return tuple(
        Conformer(row, 0, name, smiles, numbers[a:b], positions[a:b])
        for row, ((_, name, smiles, *_), (a, b)) in enumerate(zip(lines, pairwise(offsets), strict=True))
    )


@dataclass(frozen=True)
class Values:
    """One file of PySCF's values; ``arrays`` are (rows, columns, ...), NaN where nothing was computed yet."""

    arrays: dict[str, np.ndarray]
    columns: list

    def reference(self, row: int, column: int) -> Reference | None:
        """PySCF's converged solution of a row at a column; None if there is none."""
        at = (row, column)
        if not (np.isfinite(self.arrays["energy"][at]) and self.arrays["converged"][at]):
            return None
        energy, homo, lumo = (float(self.arrays[name][at]) for name in ("energy", "homo", "lumo"))
        dipole, cycles = self.arrays["dipole"][at], int(self.arrays["cycles"][at])
        known = {"energy": energy, "homo": homo, "lumo": lumo, "gap": lumo - homo, "dipole": dipole}
        return Reference(energy, homo, lumo, dipole, known, cycles, converged=True, guess="", seconds=0.0)


@lru_cache(maxsize=2)
def values(name: str) -> Values:
    """``pyscf_b3lyp5_sto3g``: rows are molecules, columns grid levels. ``pyscf_other_levels``: rows are pairs
    (functional, basis) at grid level 1, columns indices of molecules.

    Raises:
        FileNotFoundError: no such file.
    """
    with np.load(HERE / f"{name}.npz") as archive:
        arrays = {key: archive[key] for key in archive.files}
    return Values(arrays, [int(i) for i in arrays["levels" if "levels" in arrays else "index"]])


def lower_reference(conformer: Conformer, level: LevelOfTheory, first: Reference, energy: float) -> Reference:
    """What PySCF finds from our density, where our ``energy`` is lower than that of ``first``.

    ``solve_lower`` goes on to other guesses until it is as low as ``energy``, within its own convergence.
    """
    density = own_density(conformer.numbers, conformer.positions, level)
    target = energy + 1e-8  # a tenth of the limit: then the two are the same solution
    return solve_lower(conformer.numbers, conformer.positions, level, first, target=target, density=density)
