"""What may be done to conformers once they are embedded: relaxed in MMFF94, and pruned by energy or by likeness.

MMFF94: T. A. Halgren, J. Comput. Chem. 17, 490 (1996), as in RDKit: P. Tosco, N. Stiefl, G. Landrum, J. Cheminform. 6,
37 (2014). All functions take RDKit's molecule with hydrogens; conformers go by their ids. Lengths in Angstrom, energies
in kcal/mol.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from qmgen.molecules.embedding import EmbeddingRefused
from qmgen.molecules.entries import quiet_chem
from qmgen.molecules.types import Reason

_VARIANT = "MMFF94"


def check_force_field(mol: Any) -> None:
    """Raises ``EmbeddingRefused`` (``no_force_field``) when MMFF94 has no parameters for some atom of ``mol``.

    No other force field steps in: geometries of two kinds in one corpus are not what was asked for.
    """
    with quiet_chem():
        from rdkit.Chem import rdForceFieldHelpers

        if not rdForceFieldHelpers.MMFFHasAllMoleculeParams(mol):
            raise EmbeddingRefused("MMFF94 has no parameters for this molecule", Reason.NO_FORCE_FIELD)


def relax(mol: Any, steps: int) -> None:
    """Minimise each conformer in MMFF94; what is not at rest after ``steps`` steps stays as it is then."""
    if not mol.GetNumConformers():  # RDKit takes none for a mistake
        return
    with quiet_chem():
        from rdkit.Chem import rdForceFieldHelpers

        rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(mol, numThreads=1, maxIters=steps, mmffVariant=_VARIANT)


def energies(mol: Any) -> dict[int, float]:
    """The MMFF94 energy of each conformer, where it stands."""
    with quiet_chem():
        from rdkit.Chem import rdForceFieldHelpers

        properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(mol, mmffVariant=_VARIANT)
        found: dict[int, float] = {}
        for conformer in mol.GetConformers():
            field = rdForceFieldHelpers.MMFFGetMoleculeForceField(mol, properties, confId=conformer.GetId())
            found[conformer.GetId()] = float(field.CalcEnergy())
        return found


def beyond(energy: Mapping[int, float], window: float) -> set[int]:
    """Conformers more than ``window`` above the lowest. One whose energy is no number is never among them: that its
    geometry is unsound is for a later check to say."""
    finite = [value for value in energy.values() if np.isfinite(value)]
    return {name for name, value in energy.items() if finite and value - min(finite) > window}


def alike(mol: Any, distance: float) -> set[int]:
    """Conformers nearer than ``distance`` to one with a lower id that is kept.

    The measure is the root mean square deviation of the heavy atoms, best over rotations and over the symmetry of the
    graph (RDKit's ``GetBestRMS``); mirror images are not superposed. Whether a conformer is kept depends on earlier
    ones alone. With less than two heavy atoms all conformers are alike.
    """
    ids = sorted(conformer.GetId() for conformer in mol.GetConformers())
    if mol.GetNumHeavyAtoms() < 2:
        return set(ids[1:])
    with quiet_chem() as chem:
        from rdkit.Chem import rdMolAlign

        heavy = chem.RemoveAllHs(mol)
        kept: list[int] = []
        for new in ids:
            if not any(rdMolAlign.GetBestRMS(heavy, heavy, new, old) < distance for old in kept):
                kept.append(new)
    return set(ids) - set(kept)
