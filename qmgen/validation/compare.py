"""Differences between two sets of labels, their statistics, and the verdict. Pure numpy.

>>> comparison = compare(ours, pyscf, Tolerances())
>>> comparison.passed, comparison.statistics["energy"].maximum

Which quantities there are, their units and tolerances, follows from ``qmgen.corpus.columns``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from qmgen.corpus.columns import CHECKED, ReferenceCheck

PERCENTILES: Final = (50, 90, 99)


@dataclass(frozen=True)
class Tolerances:
    """Largest accepted difference of the total energy (Ha), of orbital energies and gap (Ha), of the dipole (D).

    Those of other columns stand in ``qmgen.corpus.columns``."""

    energy: float = 1e-6
    orbital: float = 1e-5
    dipole: float = 1e-3

    def of(self, name: str) -> float:
        """That of a quantity of ``CHECKED``."""
        tolerance = check_of(name).tolerance
        return float(getattr(self, tolerance)) if isinstance(tolerance, str) else tolerance


DEFAULT: Final = Tolerances()


#: of some rows, by the names of ``CHECKED``: one value per row, each a number or an array, energies in Hartree and all
#: else in the unit of the column
LabelValues = Mapping[str, Sequence[Any]]


def check_of(name: str) -> ReferenceCheck:
    """How the quantity ``name`` of ``CHECKED`` is compared."""
    check = CHECKED[name].check
    assert check is not None  # else it would not stand there
    return check


@dataclass(frozen=True)
class ErrorStatistics:
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
    """Differences (rows,) and their statistics, by quantity. Differences of numbers are ours minus the reference; those
    of lists are not negative (``ReferenceCheck``)."""

    differences: dict[str, np.ndarray]
    statistics: dict[str, ErrorStatistics]

    @property
    def rows(self) -> int:
        return max((len(found) for found in self.differences.values()), default=0)

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
        return {name: _plain(check_of(name).unit, found) for name, found in self.statistics.items()}


def compare(ours: LabelValues, reference: LabelValues, tolerances: Tolerances = DEFAULT) -> Comparison:
    """Compare row by row what both have. Raises ``ValueError`` when the two do not have the same number of rows."""
    differences = {name: _differences(name, ours[name], reference[name]) for name in CHECKED if name in ours}
    return Comparison(differences, {name: summarise(found, tolerances.of(name)) for name, found in differences.items()})


def _differences(name: str, ours: Sequence[Any], reference: Sequence[Any]) -> np.ndarray:
    """(rows,), as ``ReferenceCheck`` says."""
    if len(ours) != len(reference):
        raise ValueError(f"{name}: {len(ours)} rows cannot be compared with {len(reference)}")
    column = CHECKED[name]
    pairs = zip(ours, reference)
    if not column.length:
        found = [one - other for one, other in pairs]
    elif column.per_atom:
        found = [np.abs(np.asarray(one) - other).max() for one, other in pairs]
    else:
        found = [np.linalg.norm(np.asarray(one) - other) for one, other in pairs]
    return np.array(found, dtype=np.float64)


def summarise(differences: np.ndarray, tolerance: float) -> ErrorStatistics:
    """Statistics of the absolute values of ``differences`` (rows,); NaN throughout if there are none."""
    sizes = np.abs(np.asarray(differences, dtype=np.float64))
    if sizes.size == 0:
        nan = float("nan")
        return ErrorStatistics(nan, nan, dict.fromkeys(PERCENTILES, nan), tolerance, 0)
    with np.errstate(invalid="ignore"):  # a percentile next to an infinity
        percentiles = {at: float(np.percentile(sizes, at)) for at in PERCENTILES}
    return ErrorStatistics(
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
    for name, found in comparison.statistics.items():
        numbers = [found.mean, *found.percentiles.values(), found.maximum, found.tolerance]
        verdict = "ok" if found.passed else f"{found.outside} of {comparison.rows} outside"
        lines.append([check_of(name).symbol, check_of(name).unit, *(f"{number:.1e}" for number in numbers), verdict])
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


def _plain(unit: str, found: ErrorStatistics) -> dict[str, Any]:
    return {
        "unit": unit,
        "mean": _finite(found.mean),
        "max": _finite(found.maximum),
        **{f"p{at}": _finite(value) for at, value in found.percentiles.items()},
        "tolerance": found.tolerance,
        "outside": found.outside,
        "passed": found.passed,
    }


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
