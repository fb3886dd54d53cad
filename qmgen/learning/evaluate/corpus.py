"""A network against the labels of a corpus, window by window, beside the errors of the trivial predictor.

The trivial predictor gives the mean of the training rows (of extensive targets with the atoms' references; of vectors
zero), which is what the normalization takes off. R² is the share of the variance it leaves
that the network explains: the usual R² for targets that are not extensive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from qmgen.corpus import SPLITS, Place
from qmgen.errors import UsageError
from qmgen.learning.data.packed import Packed
from qmgen.learning.data.source import RowSource, open_rows
from qmgen.learning.schnet.model import SchnetPredictor
from qmgen.learning.targets import Kind, Target


@dataclass
class ErrorTally:
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


#: rows read and predicted at once
_WINDOW: Final = 16384
#: labels and predictions kept for a figure
_KEPT: Final = 200_000

Rows = Callable[[Packed, dict[str, np.ndarray]], None]


@dataclass
class CorpusReport:
    """``errors`` by target (see ``Tally.to_dict``); ``pairs``: labels and predictions of up to 200,000 rows, each
    (rows, width) in the column's unit; ``notes``: what the reader must know, a line each."""

    split: str
    rows: int
    errors: dict[str, dict[str, Any]]
    not_compared: list[str]
    notes: list[str]
    unseen_elements: int = 0
    pairs: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    targets: tuple[Target, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain values."""
        return {
            "split": self.split, "rows": self.rows, "targets": self.errors, "not_compared": self.not_compared,
            "unseen_elements": self.unseen_elements, "notes": self.notes,
        }  # fmt: skip

    def text(self) -> str:
        """Errors by target, then by heavy atoms."""
        lines = [f"{self.rows:,} rows of {self.split}", f"{'target':8s} {'unit':>13s} {'MAE':>10s} {'trivial':>10s} "
                 f"{'RMSE':>10s} {'largest':>10s} {'R2':>8s}"]  # fmt: skip
        compared = {name: errors for name, errors in self.errors.items() if errors["count"]}
        for name, errors in compared.items():
            share = "-" if errors["r2"] is None else f"{errors['r2']:.4f}"
            numbers = [errors["mae"], errors["trivial_mae"], errors["rmse"], errors["largest"]["error"]]
            cells = " ".join(f"{number:10.4g}" for number in numbers)
            lines.append(f"{name:8s} {errors['unit']:>13s} {cells} {share:>8s}")
        for name, errors in compared.items():
            worst = errors["largest"]
            lines.append(f"largest of {name}: molecule_id {worst['molecule_id']}, conformer_id {worst['conformer_id']} "
                         f"{worst['smile']}")  # fmt: skip
        sizes = sorted({size for errors in compared.values() for size in errors["by_heavy_atoms"]})
        if sizes:
            lines.append("MAE by heavy atoms: " + " ".join(f"{name:>10s}" for name in compared))
            for size in sizes:
                parts = [errors["by_heavy_atoms"].get(size) for errors in compared.values()]
                lines.append(f"{size:19d} " + " ".join(f"{c['mae']:10.4g}" if c else f"{'-':>10s}" for c in parts))
        if self.not_compared:
            lines.append(f"predicted, and not in this corpus: {', '.join(self.not_compared)}")
        return "\n".join(lines)


def evaluate_corpus(
    predictor: SchnetPredictor,
    place: Place,
    split: str | None = None,
    other_level: bool = False,
    limit: int | None = None,
    rows: Rows | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CorpusReport:
    """Predict the rows of a split (test; validation where that is empty; "all") and compare them with their labels.

    ``rows`` gets each window with its predictions, in order; ``progress`` the rows done and to do. Raises
    ``UsageError`` for another level of theory (unless ``other_level``), an empty or unknown split.
    """
    opened = open_rows(place, (), ())
    compared = tuple(t for t in predictor.targets if all(t.column in f.columns for f in opened.footers))
    if not compared and rows is None:
        raise UsageError(_nothing_to_compare(predictor, opened))
    source = replace(opened, targets=compared)
    notes: list[str] = []
    check_level(predictor.metadata.get("level_of_theory") or {}, source, other_level, notes)
    splits = _splits(source, split, notes)
    learned = predictor.metadata.get("rows", "some")
    if predictor.metadata.get("digest") != source.digest:
        notes.append("another corpus than the network's, or it has grown since: whether these molecules were among the "
                     f"{learned} it learned from is not known")  # fmt: skip
    elif "train" in splits:
        notes.append(f"seen in training: the network learned from {learned} of the training rows of this corpus")
    tallies = {target.name: ErrorTally(target) for target in compared}
    kept: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {target.name: [] for target in compared}
    total = min(sum(map(source.count, splits)), limit or 2**62)
    done = unseen = 0
    for name in splits:
        for start in range(0, source.count(name), _WINDOW):
            count = min(_WINDOW, source.count(name) - start, total - done)
            if count <= 0:
                break
            packed = source.read(name, np.arange(start, start + count))
            known = known_rows(packed, predictor)
            unseen += count - len(known)
            if len(known) < count:
                packed = packed.take(known)
            predicted = predictor(packed) if len(packed) else {}
            if len(packed):
                _add(tallies, kept, packed, predicted, predictor, done < _KEPT)
                if rows is not None:
                    rows(packed, predicted)
            done += count
            if progress is not None:
                progress(done, total)
    if unseen:
        notes.append(f"{unseen:,} rows left out: elements that the network was not trained on")
    return CorpusReport(
        "+".join(splits), done - unseen, {n: t.to_dict() for n, t in tallies.items()},
        [t.name for t in predictor.targets if t not in compared], notes, unseen,
        {n: (np.concatenate([a for a, _ in p]), np.concatenate([b for _, b in p])) for n, p in kept.items() if p},
        predictor.targets,
    )  # fmt: skip


def _nothing_to_compare(predictor: SchnetPredictor, source: RowSource) -> str:
    for target in predictor.targets:
        lacking = [footer.name for footer in source.footers if target.column not in footer.columns]
        if len(lacking) < len(source.footers):
            return f"{source.place}/{lacking[0]} has no column {target.column}, and others have: give a whole corpus"
    names = ", ".join(target.column for target in predictor.targets)
    return f"{source.place} has no column {names} to compare with: give another --data, or --out to have predictions"


def _add(
    tallies: Mapping[str, ErrorTally],
    kept: Mapping[str, list[Any]],
    packed: Packed,
    predicted: Mapping[str, np.ndarray],
    predictor: SchnetPredictor,
    keep: bool,
) -> None:
    for name, tally in tallies.items():
        label = packed.values[name]
        trivial = predictor.normalization.restore(name, np.zeros_like(label), packed)
        tally.add(packed, predicted[name], trivial)
        if keep:
            kept[name].append((label, predicted[name]))


def known_rows(packed: Packed, predictor: SchnetPredictor) -> np.ndarray:
    """Places of the molecules all of whose elements the network was trained on."""
    strange = ~np.isin(packed.numbers, np.array(predictor.normalization.elements))
    owner = np.repeat(np.arange(len(packed)), packed.sizes)
    return np.flatnonzero(np.bincount(owner[strange], minlength=len(packed)) == 0)


def check_level(trained: Mapping[str, Any], source: RowSource, allowed: bool, notes: list[str]) -> None:
    """Raises ``UsageError`` that shows the difference, or notes it where it is ``allowed``."""
    here = source.level_of_theory
    keys = sorted(key for key in {*trained, *here} if trained.get(key) != here.get(key))
    if not keys:
        return
    shown = ", ".join(f"{key} {trained.get(key)} against {here.get(key)}" for key in keys)
    if not allowed:
        raise UsageError(
            f"{source.place} is of another level of theory than the network's training rows ({shown}): give "
            "--other-level to compare all the same"
        )
    notes.append(f"another level of theory: {shown}")


def _splits(source: RowSource, split: str | None, notes: list[str]) -> tuple[str, ...]:
    if split == "all":
        return tuple(SPLITS)
    if split is None:
        split = "test"
        if not source.count("test"):
            split = "validation"
            notes.append("the corpus has no test rows: these are the validation rows, by which the network was chosen")
    source.require(split)
    return (split,)
