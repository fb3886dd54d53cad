"""The level of theory as it stands in the files: enough to compute the same labels again with another program."""

from __future__ import annotations

import difflib
from dataclasses import asdict
from typing import Any

from qmgen.dft.basis import load_basis
from qmgen.errors import UsageError
from qmgen.labeling.types import Settings

#: functionals by name, with everything spelled out that other programs may understand differently
FUNCTIONALS = {
    "hf": "Hartree-Fock exchange, no correlation",
    "lda": "Slater exchange + VWN5 correlation (lda,vwn)",
    "pbe": "PBE exchange and correlation",
    "pbe0": "0.25 Hartree-Fock + 0.75 PBE exchange, PBE correlation",
    "b3lyp": "0.20 Hartree-Fock + 0.08 Slater + 0.72 B88 exchange, 0.81 LYP + 0.19 VWN-RPA (VWN3) correlation",
    "b3lyp5": "0.20 Hartree-Fock + 0.08 Slater + 0.72 B88 exchange, 0.81 LYP + 0.19 VWN5 correlation",
}


def level_of_theory(settings: Settings) -> dict[str, Any]:
    """Plain values for the metadata. Raises ``UsageError`` on an unknown functional or basis, with the nearest name."""
    if settings.xc not in FUNCTIONALS:
        near = difflib.get_close_matches(settings.xc, FUNCTIONALS, n=1, cutoff=0.4)
        hint = f"did you mean '{near[0]}'?" if near else "choose one of these:"
        raise UsageError(f"unknown functional '{settings.xc}'; {hint} ({', '.join(FUNCTIONALS)})")
    basis = load_basis(settings.basis)
    values = asdict(settings)
    values.pop("batch_size")
    return {
        "method": "closed-shell Kohn-Sham (RKS)",
        "xc": settings.xc,
        "functional": FUNCTIONALS[settings.xc],
        "basis": basis.name,
        "basis_checksum": basis.checksum,
        "grid": f"Becke partition, Treutler-Ahlrichs radii, Lebedev, NWChem pruning, level {settings.grid_level}",
        **{key: value for key, value in values.items() if key not in ("xc", "basis")},
    }
