"""Differences between two sets of labels, their statistics, and the verdict. Pure numpy.

>>> comparison = compare(ours, pyscf, Tolerances())
>>> comparison.passed, comparison.statistics["energy"].maximum

Energies are in Hartree, dipoles in Debye; the dipole's difference is the norm of the difference of the two vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

PERCENTILES: Final = (50, 90, 99)


@dataclass(frozen=True)
class Tolerances:
    """Largest accepted difference of the total energy (Ha), of orbital energies and gap (Ha), of the dipole (D)."""

    energy: float = 1e-6
    orbital: float = 1e-5
    dipole: float = 1e-3


DEFAULT: Final = Tolerances()


@dataclass(frozen=True)
class Quantity:
    """One line of the table: its ``unit`` and which of the ``Tolerances`` it must meet."""

    name: str
    label: str
    unit: str
    tolerance: str


QUANTITIES: Final = (
    Quantity("energy", "|ΔE|", "Ha", "energy"),
    Quantity("homo", "|ΔHOMO|", "Ha", "orbital"),
    Quantity("lumo", "|ΔLUMO|", "Ha", "orbital"),
    Quantity("gap", "|Δgap|", "Ha", "orbital"),
    Quantity("dipole", "|Δdipole|", "D", "dipole"),
)


@dataclass(frozen=True)
class Values:
    """Labels of some rows: ``energy``, ``homo``, ``lumo`` (rows,) in Hartree, ``dipole`` (rows, 3) in Debye."""

    energy: np.ndarray
    homo: np.ndarray
    lumo: np.ndarray
    dipole: np.ndarray

    def __post_init__(self) -> None:
        rows = np.shape(self.energy)
        shapes = (np.shape(self.homo), np.shape(self.lumo), np.shape(self.dipole))
        if len(rows) != 1 or shapes != (rows, rows, (*rows, 3)):
            raise ValueError(f"energy {rows}, homo, lumo and dipole {shapes} do not belong to the same rows")

    @property
    def gap(self) -> np.ndarray:
        """lumo - homo, (rows,) in Hartree."""
        return self.lumo - self.homo


@dataclass(frozen=True)
class Statistics:
    """Mean, maximum and percentiles of the absolute differences of one quantity, and whether all are within tolerance.

    A difference that is not a number makes the maximum one, and is out of tolerance.
    """

    mean: float
    maximum: float
    percentiles: dict[int, float]
    tolerance: float
    outside: int

    @property
    def passed(self) -> bool:
        return self.outside == 0


@dataclass(frozen=True)
class Comparison:
    """Signed differences (ours minus the reference, (rows,); for the dipole their norm) and statistics, by quantity."""

    differences: dict[str, np.ndarray]
    statistics: dict[str, Statistics]

    @property
    def rows(self) -> int:
        return len(self.differences["energy"])

    @property
    def passed(self) -> bool:
        """Whether there was something to compare and all of it is within tolerance."""
        return self.rows > 0 and all(statistics.passed for statistics in self.statistics.values())

    @property
    def outside(self) -> np.ndarray:
        """(rows,) bool: rows with any quantity out of tolerance."""
        flags = [~(np.abs(self.differences[q]) <= s.tolerance) for q, s in self.statistics.items()]
        return np.any(flags, axis=0)

    def to_dict(self) -> dict[str, Any]:
        """The statistics as plain JSON values; numbers that are not finite become None."""
        return {quantity.name: _plain(quantity, self.statistics[quantity.name]) for quantity in QUANTITIES}


def compare(ours: Values, reference: Values, tolerances: Tolerances = DEFAULT) -> Comparison:
    """Compare row by row. Raises ``ValueError`` when the two do not have the same number of rows."""
    if len(ours.energy) != len(reference.energy):
        raise ValueError(f"{len(ours.energy)} rows cannot be compared with {len(reference.energy)}")
    differences = {
        "energy": ours.energy - reference.energy,
        "homo": ours.homo - reference.homo,
        "lumo": ours.lumo - reference.lumo,
        "gap": ours.gap - reference.gap,
        "dipole": np.linalg.norm(ours.dipole - reference.dipole, axis=-1),
    }
    limits = asdict(tolerances)
    statistics = {q.name: summarise(differences[q.name], limits[q.tolerance]) for q in QUANTITIES}
    return Comparison(differences, statistics)


def summarise(differences: np.ndarray, tolerance: float) -> Statistics:
    """Statistics of the absolute values of ``differences`` (rows,); NaN throughout if there are none."""
    sizes = np.abs(np.asarray(differences, dtype=np.float64))
    if sizes.size == 0:
        nan = float("nan")
        return Statistics(nan, nan, dict.fromkeys(PERCENTILES, nan), tolerance, 0)
    with np.errstate(invalid="ignore"):  # a percentile next to an infinity
        percentiles = {at: float(np.percentile(sizes, at)) for at in PERCENTILES}
    return Statistics(
        mean=float(np.mean(sizes)),
        maximum=float(np.max(sizes)),
        percentiles=percentiles,
        tolerance=tolerance,
        outside=int(np.sum(~(sizes <= tolerance))),
    )


def table(comparison: Comparison) -> str:
    """The error table for a terminal: one line per quantity, no trailing newline."""
    head = ["", "unit", "mean", *(f"{at} %" for at in PERCENTILES), "max", "tolerance", ""]
    lines = [head]
    for quantity in QUANTITIES:
        found = comparison.statistics[quantity.name]
        numbers = [found.mean, *found.percentiles.values(), found.maximum, found.tolerance]
        verdict = "ok" if found.passed else f"{found.outside} of {comparison.rows} outside"
        lines.append([quantity.label, quantity.unit, *(f"{number:.1e}" for number in numbers), verdict])
    return align(lines)


def align(lines: Sequence[Sequence[str]]) -> str:
    """Columns padded to equal width: the first two and the last to the left, all else to the right."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    left = {0, 1, len(widths) - 1}
    padded = (
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
    return "\n".join(padded)


def _plain(quantity: Quantity, found: Statistics) -> dict[str, Any]:
    return {
        "unit": quantity.unit,
        "mean": _finite(found.mean),
        "max": _finite(found.maximum),
        **{f"p{at}": _finite(value) for at, value in found.percentiles.items()},
        "tolerance": found.tolerance,
        "outside": found.outside,
        "passed": found.passed,
    }


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
