"""Rows and failures from conformers and labels; ``qmgen.corpus.columns`` says what of a label is in a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from qmgen.constants import AU_TO_DEBYE, BOHR_TO_ANGSTROM, CODATA_YEAR, ELEMENTARY_CHARGE_C, HARTREE_TO_EV
from qmgen.corpus.columns import values_of
from qmgen.labeling.types import Label
from qmgen.molecules.connectivity import spin_hint
from qmgen.molecules.geometry import symbol_of
from qmgen.molecules.types import Conformer, Failure, Molecule, Reason

#: what the eV, Debye and Angstrom of a corpus mean (part of its metadata)
CONSTANTS: dict[str, float | int] = {
    "codata": CODATA_YEAR,
    "hartree_in_ev": HARTREE_TO_EV,
    "bohr_in_angstrom": BOHR_TO_ANGSTROM,
    "au_in_debye": AU_TO_DEBYE,
    "elementary_charge_in_coulomb": ELEMENTARY_CHARGE_C,
}


def symbols(numbers: np.ndarray) -> list[str]:
    """Element symbols of atomic ``numbers`` (atoms,)."""
    return [symbol_of(int(z)) for z in numbers]


def row(
    conformer: Conformer, label: Label, molecule: Molecule | None = None, kept: Sequence[str] = ()
) -> dict[str, Any]:
    """The row of a labeled conformer of ``molecule``, in the units of the corpus; ``kept`` are the columns that hold
    what was kept of its source.

    Raises ``ValueError`` if the positions would change when stored as float32: the label would belong to another
    geometry than the one that is stored.
    """
    positions = conformer.positions.astype(np.float32)
    if not np.array_equal(positions.astype(np.float64), conformer.positions):
        raise ValueError(f"molecule {conformer.molecule_id}: positions are not representable in float32")
    return {
        "smile": conformer.smiles,
        "atoms": "".join(symbols(conformer.numbers)),
        "z": conformer.numbers.astype(np.uint8),
        "pos": positions.reshape(-1),
        "molecule_id": conformer.molecule_id,
        "conformer_id": conformer.conformer_id,
        "name": conformer.name,
        "mapped_smiles": conformer.mapped_smiles,
        "spin_hint": spin_hint(conformer.numbers, conformer.positions),
        **values_of(label),
        **dict(zip_longest(kept, (molecule.kept if molecule is not None else ())[: len(kept)], fillvalue="")),
    }


def failure_row(failure: Failure) -> dict[str, Any]:
    """The row of the failures file."""
    return {
        "molecule_id": failure.molecule_id,
        "conformer_id": failure.conformer_id,
        "name": failure.name,
        "smile": failure.smiles,
        "reason": str(failure.reason),
        "detail": failure.detail,
    }


def failure_of_row(row: Mapping[str, Any]) -> Failure:
    """The inverse of ``failure_row``. Raises ``KeyError`` or ``ValueError`` for what is no such row."""
    place = (row["molecule_id"], row["conformer_id"], row["name"], row["smile"])
    return Failure(*place, Reason(row["reason"]), row["detail"])


def not_finite(conformer: Conformer, label: Label) -> Failure | None:
    """A failure where the label holds a number that is not finite: such a thing never becomes a row."""
    scalars = (label.energy, label.homo, label.lumo, label.energy_std, label.orbital_gradient)
    if np.all(np.isfinite(scalars)) and all(np.all(np.isfinite(values)) for values in label.properties.values()):
        return None
    return Failure(
        conformer.molecule_id,
        conformer.conformer_id,
        conformer.name,
        conformer.smiles,
        Reason.NOT_CONVERGED,
        "the label holds a number that is not finite",
    )
