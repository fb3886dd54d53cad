"""Differences between two sets of labels, their statistics, and the verdict. Pure numpy.

>>> comparison = compare(ours, pyscf, Tolerances())
>>> comparison.passed, comparison.statistics["energy"].maximum

Which quantities there are, their units and tolerances, follows from ``qmgen.corpus.columns``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from qmgen.corpus.columns import CHECKED, ReferenceCheck
from qmgen.dft.level import LevelOfTheory
from qmgen.tables import aligned

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
        return max((len(values) for values in self.differences.values()), default=0)

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
        return {name: _json_statistics(check_of(name).unit, statistics) for name, statistics in self.statistics.items()}


def compare(ours: LabelValues, reference: LabelValues, tolerances: Tolerances = DEFAULT) -> Comparison:
    """Compare row by row what both have. Raises ``ValueError`` when the two do not have the same number of rows."""
    differences = {name: _differences(name, ours[name], reference[name]) for name in CHECKED if name in ours}
    return Comparison(
        differences, {name: summarize(values, tolerances.of(name)) for name, values in differences.items()}
    )


def _differences(name: str, ours: Sequence[Any], reference: Sequence[Any]) -> np.ndarray:
    """(rows,), as ``ReferenceCheck`` says."""
    if len(ours) != len(reference):
        raise ValueError(f"{name}: {len(ours)} rows cannot be compared with {len(reference)}")
    column = CHECKED[name]
    pairs = zip(ours, reference)
    if not column.length:
        differences = [one - other for one, other in pairs]
    elif column.per_atom:
        differences = [np.abs(np.asarray(one) - other).max() for one, other in pairs]
    else:
        differences = [np.linalg.norm(np.asarray(one) - other) for one, other in pairs]
    return np.array(differences, dtype=np.float64)


def summarize(differences: np.ndarray, tolerance: float) -> ErrorStatistics:
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
    for name, statistics in comparison.statistics.items():
        numbers = [statistics.mean, *statistics.percentiles.values(), statistics.maximum, statistics.tolerance]
        verdict = "ok" if statistics.passed else f"{statistics.outside} of {comparison.rows} outside"
        lines.append([check_of(name).symbol, check_of(name).unit, *(f"{number:.1e}" for number in numbers), verdict])
    return aligned(lines, left=(0, 1, -1))


def _json_statistics(unit: str, statistics: ErrorStatistics) -> dict[str, Any]:
    return {
        "unit": unit,
        "mean": _finite(statistics.mean),
        "max": _finite(statistics.maximum),
        **{f"p{at}": _finite(value) for at, value in statistics.percentiles.items()},
        "tolerance": statistics.tolerance,
        "outside": statistics.outside,
        "passed": statistics.passed,
    }


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


SCHEMA_VERSION = 1


@dataclass(frozen=True)
class ComparedRow:
    """One row that was recomputed. ``seconds`` PySCF took; ``guess`` its solution was reached from; ``restarted``:
    ours was lower than PySCF's first solution, so other starts were tried."""

    molecule_id: int
    conformer_id: int
    smiles: str
    atoms: int
    n_orbitals: int
    guess: str
    restarted: bool
    seconds: float


@dataclass(frozen=True)
class RowWithoutReference:
    """A sampled row for which PySCF gave no reference, and why."""

    molecule_id: int
    conformer_id: int
    detail: str


@dataclass(frozen=True)
class ValidationReport:
    """``ours`` and ``reference`` belong to ``rows``, in the order of (molecule_id, conformer_id).

    ``corpus_rows`` counts all rows of the corpus, ``not_converged`` those left out because they say so themselves;
    ``below`` rows lay below PySCF's first solution; ``restarted`` of them were tried from other starts, and ``lowered``
    of these PySCF then reached or went below.
    """

    directory: str
    level: LevelOfTheory
    tolerances: Tolerances
    sample: int
    seed: int
    corpus_rows: int
    not_converged: int
    rows: tuple[ComparedRow, ...]
    failed: tuple[RowWithoutReference, ...]
    ours: LabelValues
    reference: LabelValues
    below: int
    lowered: int
    comparison: Comparison
    provenance: dict[str, Any]

    @property
    def passed(self) -> bool:
        """Whether every compared row is within every tolerance (and there was one)."""
        return self.comparison.passed

    @property
    def restarted(self) -> int:
        return sum(row.restarted for row in self.rows)

    def table(self) -> str:
        """The error table with a line above on what was compared and a verdict below."""
        program = f"PySCF {self.provenance.get('pyscf', '')}".strip()
        head = f"{len(self.rows)} of {self.corpus_rows} rows against {program}, {self.level}"
        lines = [head, "", table(self.comparison), ""]
        if self.not_converged:
            lines.append(f"left out: {self.not_converged} rows of the corpus that are marked as not converged")
        if self.below:
            lines.append(
                f"below: {self.below} rows lay below PySCF's first solution; "
                f"PySCF was restarted for {self.restarted} of them and reached {self.lowered}"
            )
        lines += [
            f"no reference: molecule {failed.molecule_id}, conformer {failed.conformer_id}: {failed.detail}"
            for failed in self.failed
        ]
        for index in self.worst():
            row = self.rows[index]
            errors = ", ".join(
                f"{check_of(name).symbol} {abs(statistics[index]):.1e} {check_of(name).unit}"
                for name, statistics in self.comparison.differences.items()
            )
            lines.append(f"outside: molecule {row.molecule_id}, conformer {row.conformer_id} {row.smiles}: {errors}")
        lines.append("passed: every row is within tolerance" if self.passed else "FAILED: out of tolerance")
        return "\n".join(lines)

    def worst(self, most: int = 10) -> list[int]:
        """Indices of at most ``most`` rows out of tolerance, largest energy difference first."""
        outside = np.flatnonzero(self.comparison.outside)
        sizes = np.abs(self.comparison.differences["energy"][outside])
        return [int(index) for index in outside[np.argsort(-np.nan_to_num(sizes, nan=np.inf), kind="stable")][:most]]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values. Energies in Hartree, all else in the units of the columns."""
        return {
            "schema_version": SCHEMA_VERSION,
            "passed": self.passed,
            "directory": self.directory,
            "level_of_theory": self.level.about(),
            "tolerances": asdict(self.tolerances),
            "sample": self.sample,
            "seed": self.seed,
            "rows": {
                "corpus": self.corpus_rows,
                "compared": len(self.rows),
                "not_converged": self.not_converged,
                "no_reference": len(self.failed),
                "below": self.below,
                "restarted": self.restarted,
                "lowered": self.lowered,
            },
            "statistics": self.comparison.to_dict(),
            "failed": [asdict(failed) for failed in self.failed],
            "compared": [self._compared(index) for index in range(len(self.rows))],
            "provenance": self.provenance,
        }

    def to_json(self) -> str:
        """The text of ``validation.json``."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def _compared(self, index: int) -> dict[str, Any]:
        plain = asdict(self.rows[index])
        for name, values in (("qmgen", self.ours), ("pyscf", self.reference)):
            plain[name] = {quantity: _json_value(numbers[index]) for quantity, numbers in values.items()}
        return plain


def _json_value(value: Any) -> float | list[float | None] | None:
    """A number or an array as JSON; None for what is not finite."""
    if np.ndim(value):
        return [float(one) if np.isfinite(one) else None for one in value]
    return float(value) if np.isfinite(value) else None
