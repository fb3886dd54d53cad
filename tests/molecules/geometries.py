"""Water as arrays and as frames of ``.xyz``, and methane as arrays, for the tests of the readers."""

from __future__ import annotations

import numpy as np

from qmgen.constants import BOHR_TO_ANGSTROM
from qmgen.molecules.types import Molecule

WATER = np.array([[0.0, 0.0, 0.117], [0.0, 0.757, -0.469], [0.0, -0.757, -0.469]])
SYMBOLS = ("O", "H", "H")
ROWS = [f"{x:.3f} {y:.3f} {z:.3f}" for x, y, z in WATER]
#: methane, in Angstrom
METHANE = (
    1.09
    * np.array([[0.0, 0, 0], [1, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]])
    / np.sqrt([[1], [3], [3], [3], [3]])
)
Z = [6, 1, 1, 1, 1]
#: its positions (5, 3) in Bohr
BOHR = METHANE / BOHR_TO_ANGSTROM


def frame(comment: str, lines: list[str], count: str | None = None) -> str:
    return "\n".join([count or str(len(lines)), comment, *lines]) + "\n"


def water(comment: str = "", before: str = "", after: str = "", count: str | None = None) -> str:
    """Water with further columns ``before`` and ``after`` its positions; ``{i}`` is the place of the atom."""
    lines = [
        f"{s} {before.format(i=i)} {row} {after.format(i=i)}"
        for i, (s, row) in enumerate(zip(SYMBOLS, ROWS, strict=True))
    ]
    return frame(comment, lines, count)


def in_angstrom(molecule) -> np.ndarray:
    assert isinstance(molecule, Molecule), molecule
    return molecule.positions * BOHR_TO_ANGSTROM


def assert_water(entry) -> None:
    assert np.abs(in_angstrom(entry) - WATER).max() < 1e-6 and entry.numbers.tolist() == [8, 1, 1]
