"""The level of theory as it stands in the files: enough to compute the same labels again with another program."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from qmgen.dft.basis import load_basis
from qmgen.dft.functionals import functional
from qmgen.labeling.types import Settings

GRID = "Becke partition, Treutler-Ahlrichs radii, Lebedev angles, NWChem pruning: PySCF's points of this level"


def level_of_theory(settings: Settings) -> dict[str, Any]:
    """Plain values for the metadata. Raises ``UsageError`` on an unknown functional or basis, with the nearest name."""
    chosen = functional(settings.xc)
    basis = load_basis(settings.basis)
    values = asdict(settings)
    for said_otherwise in ("xc", "basis", "batch_size"):
        values.pop(said_otherwise)
    return {
        "method": "closed-shell Kohn-Sham (RKS)",
        "xc": chosen.name,
        "functional": chosen.description,
        "basis": basis.name,
        "basis_checksum": basis.checksum,
        "grid": GRID,
        **values,
    }
