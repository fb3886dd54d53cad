"""What leaves this room: molecules, conformers, and the failures of either.

``Molecule`` is one entry of a source; ``Conformer`` one geometry, ready to be labeled; ``Failure`` stands
for every entry that became no row, with a reason from a closed list; ``Pruned`` counts geometries left out on purpose.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np


class Reason(StrEnum):
    """Why a molecule or conformer has no label (the ``reason`` column of the failures files).

    ``MACHINE_TROUBLE``: its process was killed, stood still or had too little memory, which may be the machine's doing:
    the same command tries it again.
    """

    UNREADABLE = "unreadable"
    UNSUPPORTED_ELEMENT = "unsupported_element"
    NET_CHARGE = "net_charge"
    ODD_ELECTRONS = "odd_electrons"
    MIXTURE = "mixture"
    EMBEDDING_FAILED = "embedding_failed"
    EMBEDDING_TIMEOUT = "embedding_timeout"
    EMBEDDING_CRASHED = "embedding_crashed"
    NO_FORCE_FIELD = "no_force_field"
    COINCIDENT_ATOMS = "coincident_atoms"
    BAD_COORDINATES = "bad_coordinates"
    SMILES_MISMATCH = "smiles_mismatch"
    NO_VIRTUAL_ORBITAL = "no_virtual_orbital"
    NOT_CONVERGED = "not_converged"
    OUT_OF_MEMORY = "out_of_memory"
    INTERNAL_ERROR = "internal_error"
    WORKER_CRASHED = "worker_crashed"
    MACHINE_TROUBLE = "machine_trouble"


@dataclass(frozen=True)
class Molecule:
    """One entry of a source.

    ``molecule_id`` is its 0-based place in the source (in a whole enumeration, work unit and place in it), ``smiles``
    canonical, without isotopes and atom-map numbers (empty for a bare geometry).
    ``numbers`` (atoms,) uint8 and ``positions`` (atoms, 3) float64 in Bohr are set when the source gave a geometry.
    ``charge`` is the net charge as far as the source states one. ``conformer_id`` belongs to a given geometry, where
    the source numbers several of one molecule. ``mapped_smiles`` holds the bonds of a given geometry, where the source
    states them: a SMILES with all hydrogens whose atom map number k is atom k of ``numbers``, counted from 1.
    ``kept`` are the values of the columns that were asked for, as text.
    """

    molecule_id: int
    name: str
    smiles: str
    numbers: np.ndarray | None = None
    positions: np.ndarray | None = None
    charge: int = 0
    conformer_id: int = 0
    mapped_smiles: str = ""
    kept: tuple[str, ...] = ()


@dataclass(frozen=True)
class Conformer:
    """One geometry to label: ``numbers`` (atoms,) uint8, ``positions`` (atoms, 3) float64 in Bohr.

    Positions are representable in float32: the corpus stores them so, and a label must belong to the stored geometry.
    Where stereoisomers are enumerated, ``smiles`` is the isomer's, and ``family`` the one without stereo marks, which
    all isomers of a molecule share; else ``family`` is empty. ``mapped_smiles`` is the SMILES of this geometry with all
    hydrogens, whose atom map number k is atom k of ``numbers``, counted from 1; empty where no bonds are known.
    """

    molecule_id: int
    conformer_id: int
    name: str
    smiles: str
    numbers: np.ndarray
    positions: np.ndarray
    family: str = ""
    mapped_smiles: str = ""


@dataclass(frozen=True)
class Pruned:
    """``count`` conformers of a molecule that were made and, as the settings demand, left out: nothing failed."""

    molecule_id: int
    count: int


@dataclass(frozen=True)
class Failure:
    """An entry without a label. ``conformer_id`` is -1 when it concerns the whole molecule."""

    molecule_id: int
    conformer_id: int
    name: str
    smiles: str
    reason: Reason
    detail: str


class EntryRefused(ValueError):
    """An entry is not used, for a ``reason`` and with words for its failure."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def one_line(text: object, limit: int = 200) -> str:
    """Text for a message: one line, at most ``limit`` characters."""
    flat = " ".join(str(text).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def failure(molecule_id: int, name: str, smiles: str, reason: Reason, detail: str, conformer_id: int = -1) -> Failure:
    return Failure(molecule_id, conformer_id, name, smiles, reason, one_line(detail))


def refused(head: Molecule, reason: Reason, detail: str) -> Failure:
    """The failure of a geometry; ``head`` has its ids, its name and its SMILES."""
    return failure(head.molecule_id, head.name, head.smiles, reason, detail, head.conformer_id)
