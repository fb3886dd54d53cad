"""Predictions for people: tables of errors and of values, and the figure of predictions against labels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from qmgen.errors import UsageError
from qmgen.learning.evaluate.corpus import CorpusReport
from qmgen.learning.evaluate.files import columns, plain_row
from qmgen.learning.evaluate.run import FileReport
from qmgen.learning.targets import Target
from qmgen.report.scaling import save

#: what matplotlib can write that people open
SUFFIXES: Final = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".webp")


def corpus_dict(report: CorpusReport) -> dict[str, Any]:
    """The summary as plain values."""
    return {
        "split": report.split, "rows": report.rows, "targets": report.errors, "not_compared": report.not_compared,
        "unseen_elements": report.unseen_elements, "notes": report.notes,
    }  # fmt: skip


def files_dict(report: FileReport) -> dict[str, Any]:
    """The summary as plain values."""
    refused = sum(report.reasons.values())
    return {"rows": report.rows, "predicted": report.rows - refused, "without": dict(report.reasons)}


def errors_table(report: CorpusReport) -> str:
    """Errors by target, then by heavy atoms."""
    lines = [f"{report.rows:,} rows of {report.split}", f"{'target':8s} {'unit':>13s} {'MAE':>10s} {'trivial':>10s} "
             f"{'RMSE':>10s} {'largest':>10s} {'R2':>8s}"]  # fmt: skip
    compared = {name: found for name, found in report.errors.items() if found["count"]}
    for name, found in compared.items():
        share = "-" if found["r2"] is None else f"{found['r2']:.4f}"
        numbers = [found["mae"], found["trivial_mae"], found["rmse"], found["largest"]["error"]]
        cells = " ".join(f"{number:10.4g}" for number in numbers)
        lines.append(f"{name:8s} {found['unit']:>13s} {cells} {share:>8s}")
    for name, found in compared.items():
        worst = found["largest"]
        lines.append(f"largest of {name}: molecule_id {worst['molecule_id']}, conformer_id {worst['conformer_id']} "
                     f"{worst['smile']}")  # fmt: skip
    sizes = sorted({size for found in compared.values() for size in found["by_heavy_atoms"]})
    if sizes:
        lines.append("MAE by heavy atoms: " + " ".join(f"{name:>10s}" for name in compared))
        for size in sizes:
            parts = [found["by_heavy_atoms"].get(size) for found in compared.values()]
            lines.append(f"{size:19d} " + " ".join(f"{c['mae']:10.4g}" if c else f"{'-':>10s}" for c in parts))
    if report.not_compared:
        lines.append(f"predicted, and not in this corpus: {', '.join(report.not_compared)}")
    return "\n".join(lines)


def rows_table(report: FileReport, targets: Sequence[Target]) -> str:
    """The first rows, for a person."""
    units = columns(targets, per_atom=False)
    lines = ["  ".join(["molecule_id", *(f"{name} ({unit})" for name, unit in units.items()), "name, SMILES"])]
    for row in report.first:
        plain = plain_row(row, targets, per_atom=False)
        cells = ["-" if plain[name] is None else f"{plain[name]:.6g}" for name in units]
        widths = [len(f"{name} ({unit})") for name, unit in units.items()]
        padded = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
        lines.append("  ".join([f"{row.molecule_id:11d}", *padded, f"{row.name} {row.smile}".strip()]))
    if report.rows > len(report.first):
        lines.append(f"and {report.rows - len(report.first):,} more: --out FILE writes all")
    return "\n".join(lines)


def refusals(report: FileReport) -> list[str]:
    """How many molecules have no prediction and why, then the first of them."""
    if not report.reasons:
        return []
    counts = ", ".join(f"{count:,} {reason}" for reason, count in sorted(report.reasons.items()))
    lines = [f"{sum(report.reasons.values()):,} of {report.rows:,} without a prediction: {counts}"]
    return lines + [f"  molecule_id {row.molecule_id} {row.name or row.smile}: {row.reason}" for row in report.refused]


def draw(report: CorpusReport, targets: Sequence[Target], path: Path) -> Path:
    """Write the figure to ``path`` and return it: a panel for each target compared, every component a point.

    Raises ``UsageError`` where it cannot be written or nothing was compared. Changes no state of matplotlib.
    """
    shown = [target for target in targets if target.name in report.pairs]
    if not shown:
        raise UsageError("nothing to draw: the corpus has none of the network's targets")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * len(shown), 4.6), layout="constrained", dpi=130)
    FigureCanvasAgg(figure)
    for axes, target in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        label, predicted = (array.ravel() for array in report.pairs[target.name])
        if len(label) > 2000:
            axes.hexbin(label, predicted, gridsize=80, bins="log", mincnt=1, cmap="viridis", linewidths=0)
        else:
            axes.scatter(label, predicted, s=12, color="#0072B2", alpha=0.6, linewidths=0)
        ends = np.array([min(label.min(), predicted.min()), max(label.max(), predicted.max())])
        axes.plot(ends, ends, color="0.4", linewidth=1)
        found = report.errors[target.name]
        axes.set_title(f"{target.name}: MAE {found['mae']:.4g} {found['unit']}", fontsize=10)
        axes.set(xlabel=f"label ({target.unit})", ylabel=f"prediction ({target.unit})")
    return save(figure, path, "--figure")


def check(path: Path) -> None:
    """Raises ``UsageError`` for a place where ``draw`` could not write, before there is anything to draw."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"cannot draw {path}: --figure takes {' '.join(SUFFIXES)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir() or not os.access(path.parent, os.W_OK):
            raise OSError("it is a directory" if path.is_dir() else f"{path.parent} is not writable")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}; choose another --figure") from error
