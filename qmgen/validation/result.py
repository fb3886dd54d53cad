"""What a validation found: for the terminal (``table``), for programs (``to_json``), for the figure (``ours``...)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from qmgen.validation import compare
from qmgen.validation.oracle import Level

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Row:
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
class Failed:
    """A sampled row for which PySCF gave no reference, and why."""

    molecule_id: int
    conformer_id: int
    detail: str


@dataclass(frozen=True)
class Report:
    """``ours`` and ``reference`` belong to ``rows``, in the order of (molecule_id, conformer_id).

    ``corpus_rows`` counts all rows of the corpus, ``not_converged`` those left out because they say so themselves;
    ``below`` rows lay below PySCF's first solution; ``restarted`` of them were tried from other starts, and ``lowered``
    of these PySCF then reached or went below.
    """

    directory: str
    level: Level
    tolerances: compare.Tolerances
    sample: int
    seed: int
    corpus_rows: int
    not_converged: int
    rows: tuple[Row, ...]
    failed: tuple[Failed, ...]
    ours: compare.LabelValues
    reference: compare.LabelValues
    below: int
    lowered: int
    comparison: compare.Comparison
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
        lines = [head, "", compare.table(self.comparison), ""]
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
                f"{compare.check_of(name).symbol} {abs(found[index]):.1e} {compare.check_of(name).unit}"
                for name, found in self.comparison.differences.items()
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
            "level_of_theory": asdict(self.level),
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
            plain[name] = {quantity: _plain(found[index]) for quantity, found in values.items()}
        return plain


def _plain(value: Any) -> float | list[float | None] | None:
    """A number or an array as JSON; None for what is not finite."""
    if np.ndim(value):
        return [float(one) if np.isfinite(one) else None for one in value]
    return float(value) if np.isfinite(value) else None
