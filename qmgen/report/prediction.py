"""The figure of predictions against labels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import numpy as np

from qmgen.errors import UsageError
from qmgen.learning.evaluate.corpus import CorpusReport
from qmgen.report.scaling import save

#: what matplotlib can write that people open
SUFFIXES: Final = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".webp")


def draw(report: CorpusReport, path: Path) -> Path:
    """Write the figure to ``path`` and return it: a panel for each target compared, every component a point.

    Raises ``UsageError`` where it cannot be written or nothing was compared. Changes no state of matplotlib.
    """
    shown = [target for target in report.targets if target.name in report.pairs]
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
