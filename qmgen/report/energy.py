"""Figures of trainings by the energy: how the excess falls with time, and what labels would have taken.

>>> draw_run(Path("run"))                      # reads run/result.json and run/metrics.jsonl
>>> draw_comparison(report, Path("compare.png"))
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from qmgen.learning.fp8 import NOTE
from qmgen.report.scaling import OURS, PUBLISHED, TEST, draw_grid, new_figure, read, read_lines, save

FILE_NAME: Final = "excess.png"
#: meV: less is the rounding of an energy
SMALLEST: Final = 1e-6


def draw_run(run: Path) -> Path:
    """The excess energies of a finished run against time, into its ``excess.png``.

    Raises ``QmgenError`` where the run cannot be read, ``UsageError`` where the figure cannot be written.
    """
    result = read(run / "result.json")
    lines = read_lines(run / "metrics.jsonl")
    points = [(line["seconds"], line["validation"]) for line in lines if "validation" in line]
    figure = new_figure(7.2, 4.8)
    axes = figure.subplots()
    baselines = list(result["excess_meV_without_correction"].items())
    for (name, label), (color, marker), (_, baseline) in zip(
        _names(points[0][1]), (OURS, PUBLISHED), baselines, strict=False
    ):
        seconds = [s for s, _ in points]
        axes.plot(seconds, [v[name] for _, v in points], color=color, marker=marker, markersize=4, label=label)
        axes.axhline(baseline, color=color, linestyle=":", linewidth=1, label=f"{label}, without correction")
    _finish(axes, "seconds of training")
    note = f"\n{NOTE}" if result.get("emulated") else ""
    axes.set_title(f"{_level(result)}, {result['model']}, {result['monitored']} geometries held out{note}", fontsize=10)
    return save(figure, run / FILE_NAME)


def draw_comparison(report: dict[str, Any], path: Path) -> Path:
    """Error against total time of both ways; the part before training is shaded. Raises ``UsageError`` where it cannot
    be written."""
    figure = new_figure(7.2, 4.8)
    axes = figure.subplots()
    names = {"energy": ("the energy as the loss", OURS), "labels": ("labels, then training", PUBLISHED)}
    for place, (side, of) in enumerate(report["sides"].items()):
        label, (color, marker) = names[side]
        axes.plot(of["seconds"], of["excess_meV"], color=color, marker=marker, markersize=4, label=label)
        end = of["preparing"] + of["labelling"]
        about = f"{of['preparing']:.0f} s preparing" + (f", {of['labelling']:.0f} s labels" if of["labelling"] else "")
        axes.axvspan(0, end, 0.02 + 0.04 * place, 0.05 + 0.04 * place, color=color, alpha=0.4, label=about)
    first = report["equal_error"][-1]
    axes.axhline(
        first["excess_meV"],
        color=TEST[0],
        linestyle="--",
        linewidth=1,
        label=f"equal error: {first['ratio']:.2f} times",
    )
    _finish(axes, "seconds in all")
    axes.set_title(f"{_level(report)}, {report['model']}, {report['date'][:10]}", fontsize=10)
    return save(figure, path)


def draw_evaluation(report: Any, path: Path) -> Path:
    """How the excess energies of an evaluation are spread: the share of geometries below each.

    Raises ``UsageError`` where it cannot be written.
    """
    figure = new_figure(7.2, 4.8)
    axes = figure.subplots()
    names = [f"{side}, {k} rebuilds" for side in ("network", "no correction") for k in (0, 3)]
    styles = [(OURS[0], "-"), (OURS[0], "--"), (PUBLISHED[0], "-"), (PUBLISHED[0], "--")]
    share = (np.arange(len(report.excess)) + 1) / len(report.excess)
    for column, (name, (color, line)) in enumerate(zip(names, styles, strict=True)):
        found = np.sort(np.maximum(report.excess[:, column], SMALLEST))
        axes.step(found, share, where="post", color=color, linestyle=line, label=name)
    axes.set(xscale="log", xlabel="energy above the converged (meV)", ylabel="share of geometries below")
    draw_grid(axes)
    axes.legend(fontsize=8, frameon=False)
    axes.set_title(f"{_level(report.about)}, {report.molecules} geometries", fontsize=10)
    return save(figure, path, "--figure")


def _finish(axes: Any, label: str) -> None:
    axes.set(yscale="log", xlabel=label, ylabel="mean excess energy (meV)")
    axes.set_xlim(left=0)
    draw_grid(axes)
    axes.legend(fontsize=8, frameon=False)


def _names(values: dict[str, float]) -> list[tuple[str, str]]:
    return [(name, "no rebuild" if name == "excess" else f"{name.rsplit('_', 1)[1]} Fock rebuilds") for name in values]


def _level(of: dict[str, Any]) -> str:
    return f"{of['xc']}/{of['basis']}, grid level {of['grid_level']}"
