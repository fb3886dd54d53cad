"""What every geometry goes through, given or embedded: units, the precision of the corpus, and soundness.

The corpus stores positions as float32 in Bohr, and a label must belong to the stored geometry. So positions are
rounded once, here, to float64 values that float32 holds exactly; everything later computes with those.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from qmgen.constants import BOHR_TO_ANGSTROM
from qmgen.molecules.elements import symbol_of
from qmgen.molecules.types import Reason

#: two atoms nearer than this (Angstrom) are one point, by mistake
COINCIDENCE_ANGSTROM: Final = 0.1
#: the most atoms of a geometry that is read, whatever its file: far beyond what can be labelled, and few enough for
#: checks of all pairs
MOST_ATOMS: Final = 5000
#: no coordinate (Angstrom) of a molecule of that size is larger
LARGEST_COORDINATE: Final = 1e4
_BLOCK: Final = 256


def stored_precision(positions: np.ndarray) -> np.ndarray:
    """Positions (..., 3) in Bohr, rounded to the nearest float32 and returned as float64.

    Values beyond float32 become infinite, and are then refused by ``geometry_problem``.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(positions, dtype=np.float64).astype(np.float32).astype(np.float64)


def bohr_from_angstrom(positions: np.ndarray) -> np.ndarray:
    """Positions (..., 3) in Angstrom, as float64 in Bohr at the precision of the corpus."""
    return stored_precision(np.asarray(positions, dtype=np.float64) / BOHR_TO_ANGSTROM)


def closest_pair(positions: np.ndarray) -> tuple[float, int, int]:
    """Smallest distance among positions (atoms, 3), in their unit, and the two atoms; infinite for one atom.

    Rows are taken in blocks, so that memory stays linear in the number of atoms.
    """
    best, pair = float("inf"), (0, 0)
    for start in range(0, len(positions), _BLOCK):
        rows = positions[start : start + _BLOCK]
        distance = np.linalg.norm(rows[:, None] - positions[None], axis=-1)
        distance[np.arange(len(rows)), np.arange(start, start + len(rows))] = np.inf
        i, j = np.unravel_index(int(np.argmin(distance)), distance.shape)
        if distance[i, j] < best:
            best, pair = float(distance[i, j]), (start + int(i), int(j))
    return best, *sorted(pair)  # type: ignore[return-value]


def size_problem(atoms: int) -> tuple[Reason, str] | None:
    """Why a geometry of so many atoms is not read: more than ``MOST_ATOMS``."""
    if atoms > MOST_ATOMS:
        return Reason.UNREADABLE, f"a geometry of {atoms} atoms; at most {MOST_ATOMS} are read"
    return None


def geometry_problem(numbers: np.ndarray, positions: np.ndarray) -> tuple[Reason, str] | None:
    """Why numbers (atoms,) at positions (atoms, 3) in Bohr cannot be labelled: too many, not finite, beyond
    ``LARGEST_COORDINATE``, or two atoms coincide."""
    if problem := size_problem(len(numbers)):
        return problem
    finite = np.isfinite(positions).all(axis=-1)
    if not finite.all():
        atom = int(np.argmin(finite))
        return Reason.BAD_COORDINATES, f"atom {atom} ({symbol_of(int(numbers[atom]))}) has no finite position"
    far = (np.abs(positions) * BOHR_TO_ANGSTROM > LARGEST_COORDINATE).any(axis=-1)
    if far.any():
        atom = int(np.argmax(far))
        where = f"atom {atom} ({symbol_of(int(numbers[atom]))}) has a coordinate beyond {LARGEST_COORDINATE:g} Angstrom"
        return Reason.BAD_COORDINATES, where
    distance, i, j = closest_pair(positions)
    if distance * BOHR_TO_ANGSTROM < COINCIDENCE_ANGSTROM:
        pair = f"atoms {i} ({symbol_of(int(numbers[i]))}) and {j} ({symbol_of(int(numbers[j]))})"
        return Reason.COINCIDENT_ATOMS, f"{pair} are {distance * BOHR_TO_ANGSTROM:.3f} Angstrom apart"
    return None


def electrons_problem(numbers: np.ndarray, charge: int, multiplicity: int | None = None) -> tuple[Reason, str] | None:
    """Why a molecule is outside closed-shell, neutral work: a net charge, an odd count of electrons, or a
    ``multiplicity`` (None where it is not stated) other than 1."""
    if charge:
        return Reason.NET_CHARGE, f"net charge {charge:+d}; only neutral molecules are labelled"
    if int(np.asarray(numbers, dtype=np.int64).sum()) % 2:
        return Reason.ODD_ELECTRONS, "odd number of electrons; only closed shells are labelled"
    if multiplicity is not None and multiplicity != 1:
        detail = f"multiplicity {multiplicity}: {multiplicity - 1} unpaired electrons; only closed shells are labelled"
        return Reason.ODD_ELECTRONS, detail
    return None
