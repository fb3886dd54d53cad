"""The level of theory: as it stands in the files, and what it can label."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np

from qmgen.labeling.level import level_of
from qmgen.labeling.types import Settings
from qmgen.molecules.elements import symbol_of
from qmgen.molecules.entries import atomic_numbers, check_supported, failure
from qmgen.molecules.types import Failure, Molecule, Reason

GRID = "Becke partition, Treutler-Ahlrichs radii, Lebedev angles, NWChem pruning: PySCF's points of this level"


def level_of_theory(settings: Settings) -> dict[str, Any]:
    """Plain values for the metadata: enough to compute the same labels again with another program.

    Raises ``UsageError`` on an unknown functional, basis, grid level, precision or guess, with the nearest name.
    """
    level = level_of(settings)
    values = asdict(settings)
    for said_otherwise in ("xc", "basis", "batch_size"):
        values.pop(said_otherwise)
    return {
        "method": "closed-shell Kohn-Sham (RKS)",
        "xc": level.functional.name,
        "functional": level.functional.description,
        "basis": level.basis.name,
        "basis_checksum": level.basis.checksum,
        "grid": GRID,
        **values,
    }


def check(entry: Molecule | Failure, settings: Settings) -> Molecule | Failure:
    """The entry, or one failure for all its conformers, before any of them is made, if the basis set will not do."""
    basis = level_of(settings).basis
    checked = check_supported(entry, basis.elements)
    if isinstance(entry, Failure):
        return entry
    numbers = atomic_numbers(entry)
    if isinstance(checked, Failure):
        beyond = sorted(basis.beyond.intersection(numbers.tolist()))
        names = ", ".join(map(symbol_of, beyond))
        detail = f"basis {basis.name} has d or f functions on {names}; only s and p functions are supported so far"
        return replace(checked, detail=detail) if beyond else checked
    if basis.n_orbitals(numbers) > int(np.sum(numbers, dtype=int)) // 2:
        return entry
    place = -1 if entry.positions is None else entry.conformer_id
    detail = f"basis {basis.name} leaves no orbital unoccupied"
    return failure(entry.molecule_id, entry.name, entry.smiles, Reason.NO_VIRTUAL_ORBITAL, detail, place)
