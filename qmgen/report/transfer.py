"""The figure of transfer: errors of trainings begun with another network and from scratch, and their ratio.

>>> draw_run(Path("run"))          # reads run/transfer.json
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from qmgen.report.scaling import OURS, PUBLISHED, read, save, ticks, title_of

FILE_NAME: Final = "transfer.png"
DATA_NAME: Final = "transfer.json"


def draw_run(run: Path) -> Path:
    """Draw ``transfer.json`` of ``run`` into its ``transfer.png``. Raises ``QmgenError`` where it cannot be read."""
    return draw(read(run / DATA_NAME), run / FILE_NAME)


def draw(result: dict[str, Any], path: Path) -> Path:
    """Write the figure to ``path`` and return it: for each target the errors (left) and the ratio (right), with QM1B's
    published ratio as a dashed line. Raises ``UsageError`` when it cannot be written."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    targets = {name: of for name, of in result["targets"].items() if of["points"]}
    figure = Figure(figsize=(11, 4.4 * len(targets)), layout="constrained", dpi=130)
    FigureCanvasAgg(figure)
    for (errors, ratios), (name, of) in zip(
        figure.subplots(len(targets), 2, squeeze=False), targets.items(), strict=True
    ):
        _errors(errors, name, of)
        _ratios(ratios, of, result["published"])
    return save(figure, path)


def _errors(axes: Any, name: str, of: dict[str, Any]) -> None:
    points = of["points"]
    rows = np.array([point["rows"] for point in points], float)
    shown = []
    for kind, (colour, marker), label in (
        ("scratch", PUBLISHED, "from scratch"),
        ("init", OURS, "begun with another network"),
    ):
        every = np.array([(point["rows"], one[kind]) for point in points for one in point["seeds"]], float)
        axes.scatter(*every.T, s=20, color=colour, alpha=0.3, linewidths=0, marker=marker)
        axes.plot(rows, [point[kind] for point in points], color=colour, marker=marker, markersize=5, label=label)
        shown += list(every[:, 1])
    axes.set(xscale="log", yscale="log", xlabel="training rows")
    axes.set_ylabel(f"validation MAE of {title_of(name)} ({of['unit']})")
    axes.set_xlim(rows.min() / 1.6, rows.max() * 1.6)
    ticks(axes.yaxis, min(shown), max(shown))
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.legend(fontsize=9, frameon=False)


def _ratios(axes: Any, of: dict[str, Any], known: dict[str, Any]) -> None:
    points = of["points"]
    rows = [point["rows"] for point in points]
    spread = [point["ratio_spread"] or 0.0 for point in points]
    axes.errorbar(rows, [p["ratio"] for p in points], spread, color=OURS[0], marker="o", markersize=5, capsize=3)
    axes.axhline(1, color="0.6", linewidth=1)
    label = f"QM1B on QM9, published: {known['scratch']} to {known['init']} meV"
    axes.axhline(known["ratio"], color="0.3", linestyle="--", linewidth=1, label=label)
    axes.set(xscale="log", xlabel="training rows", ylabel="MAE, ratio to training from scratch")
    axes.set_xlim(min(rows) / 1.6, max(rows) * 1.6)
    axes.set_ylim(0, max(1.1, 1.15 * max(p["ratio"] + s for p, s in zip(points, spread, strict=True))))
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.legend(loc="lower left", fontsize=9, frameon=False)
