"""Errors of predictions, added up batch by batch, beside those of the trivial predictor.

The trivial predictor says the mean of the training rows (of extensive targets with the atoms' references; of vectors
zero), which is what the normalisation takes off. R² is the share of the variance it leaves
that the network explains: the usual R² for targets that are not extensive.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qmgen.learning.data.packed import Packed
from qmgen.learning.targets import Kind, Target


@dataclass
class Tally:
    """Sums of one target so far, in the unit people read. Of a dipole moment an error is the length of the difference;
    of forces, that of each component."""

    target: Target
    count: int = 0
    absolute: float = 0.0
    squared: float = 0.0
    trivial: float = 0.0
    largest: float = -1.0
    worst: dict[str, Any] = field(default_factory=dict)
    by_size: dict[int, list[float]] = field(default_factory=dict)
    _rows: int = 0
    _mean: Any = 0.0
    _spread: float = 0.0

    def add(self, packed: Packed, predicted: np.ndarray, trivial: np.ndarray) -> None:
        """Rows with their labels in ``packed.values``; ``predicted`` and ``trivial`` in the column's unit."""
        if not len(packed):
            return
        target, factor = self.target, self.target.shown[1]
        label = packed.values[target.name]
        difference, plain = (predicted - label) * factor, (label - trivial) * factor
        owner = np.arange(len(packed))
        if target.kind is Kind.DIPOLE:
            errors, before = (np.linalg.norm(x, axis=-1) for x in (difference, plain))
        else:
            errors, before = np.abs(difference).ravel(), np.abs(plain).ravel()
            if target.kind is Kind.FORCES:
                owner = np.repeat(np.repeat(owner, packed.sizes), 3)
        self.count += errors.size
        self.absolute += float(errors.sum())
        self.squared += float(np.sum(difference**2))
        self.trivial += float(before.sum())
        self._add_spread(plain)
        top = int(np.argmax(errors))
        if errors[top] > self.largest:
            row, self.largest = int(owner[top]), float(errors[top])
            smile = str(packed.smiles[row]) if len(packed.smiles) else ""
            ids = {key: int(getattr(packed, key)[row]) for key in ("molecule_id", "conformer_id")}
            self.worst = {**ids, "smile": smile}
        heavy = heavy_atoms(packed)[owner]
        counts, sums = np.bincount(heavy), np.bincount(heavy, errors)
        for size in np.flatnonzero(counts):
            entry = self.by_size.setdefault(int(size), [0, 0.0])
            entry[0] += int(counts[size])
            entry[1] += float(sums[size])

    def _add_spread(self, plain: np.ndarray) -> None:
        """Mean and summed squares about it of what the trivial predictor leaves, joined as Chan, Golub and LeVeque."""
        mean, rows = plain.mean(0), len(plain)
        step, total = mean - self._mean, self._rows + rows
        self._spread += float(np.sum((plain - mean) ** 2) + np.sum(step**2) * self._rows * rows / total)
        self._mean, self._rows = self._mean + step * rows / total, total

    def to_dict(self) -> dict[str, Any]:
        """MAE, RMSE, largest error and where, R², and the trivial predictor's MAE; empty without rows."""
        if not self.count:
            return {"unit": self.target.shown[0], "count": 0}
        return {
            "unit": self.target.shown[0],
            "count": self.count,
            "mae": self.absolute / self.count,
            "rmse": float(np.sqrt(self.squared / self.count)),
            "largest": {"error": self.largest, **self.worst},
            "trivial_mae": self.trivial / self.count,
            "r2": 1.0 - self.squared / self._spread if self._spread > 0 else None,
            "by_heavy_atoms": {n: {"count": c, "mae": s / c} for n, (c, s) in sorted(self.by_size.items())},
        }


def heavy_atoms(packed: Packed) -> np.ndarray:
    """(M,) atoms other than hydrogen."""
    owner = np.repeat(np.arange(len(packed)), packed.sizes)
    return np.bincount(owner[packed.numbers > 1], minlength=len(packed))
