"""Figures of the comparison of recipes: loss curves with their differences, and the window of FP8-CSCALE."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import Any, Final

from qmgen.learning.fp8 import NOTE
from qmgen.report.scales import lines_of
from qmgen.report.scaling import save

COLORS: Final = {
    "f32": "#000000", "bf16": "#CC79A7", "fp8-amax": "#0072B2", "fp8-delayed": "#E69F00", "fp8-block": "#009E73",
}  # fmt: skip
MARKERS: Final = {"gpt": "o", "llama": "s"}


def draw_comparison(out: Path, report: dict[str, Any]) -> list[Path]:
    """``losses.png`` and, where there is a sweep, ``cscale.png`` in ``out``.

    Raises ``QmgenError`` where a run cannot be read, ``UsageError`` where a figure cannot be written.
    """
    figures = []
    if report["table"]:
        figures.append(_losses(out, report))
    if any(one["biases"] for one in report["sweep"]):
        figures.append(_windows(out, report))
    return figures


def _losses(out: Path, report: dict[str, Any]) -> Path:
    """Training losses of the first seed, and the differences of the held-out ones of all seeds."""
    from matplotlib.figure import Figure

    archs = sorted({row["arch"] for row in report["table"]})
    figure = Figure(figsize=(5.2 * len(archs), 5.4), dpi=150, layout="constrained")
    panels = figure.subplots(2, len(archs), squeeze=False, sharex="col", height_ratios=[2, 1])
    for column, arch in enumerate(archs):
        above, below = panels[0][column], panels[1][column]
        rows = [row for row in report["table"] if row["arch"] == arch]
        for row in rows:
            name, color = row["precision"], COLORS[row["precision"]]
            curves = {seed: _curve(out / f"{arch}/{name}/seed-{seed}") for seed in row["seeds"]}
            first = curves[min(curves)]
            above.plot(*zip(*first["training"].items()), color=color, linewidth=1.2, label=name)
            if name == "f32":
                continue
            for number, (seed, curve) in enumerate(sorted(curves.items())):
                base_run = out / f"{arch}/f32/seed-{seed}"
                if not (base_run / "metrics.jsonl").exists():
                    continue
                base = _curve(base_run)["held out"]
                shared = {
                    step: 100 * (loss / base[step] - 1) for step, loss in curve["held out"].items() if step in base
                }
                if shared:
                    label = name if number == 0 else None
                    below.plot(*zip(*shared.items()), color=color, marker=".", linewidth=0.9, label=label)
        above.axhline(report["ngram"]["loss"], color="gray", linestyle=":", label=f"{report['ngram']['order']}-gram")
        above.set_title(
            f"{arch}, {rows[0]['parameters']:,} parameters, {rows[0]['tokens'] / 1e6:.2g} M tokens", fontsize=10
        )
        above.set_ylabel("training loss, nats a token")
        above.legend(frameon=False, fontsize=8)
        below.axhline(0, color="black", linewidth=0.8)
        for edge in (-0.5, 0.5):
            below.axhline(edge, color="gray", linestyle="--", linewidth=0.7)
        below.set_ylabel("held out, against f32, %")
        below.set_xlabel("step")
    if report["emulated"]:
        figure.suptitle(NOTE, fontsize=8, color="gray")
    return save(figure, out / "losses.png")


def _curve(run: Path) -> dict[str, dict[int, float]]:
    lines = lines_of(run)
    return {
        "training": {line["step"]: line["loss"] for line in lines if "loss" in line},
        "held out": {line["step"]: line["validation"]["loss"] for line in lines if "validation" in line},
    }


def _windows(out: Path, report: dict[str, Any]) -> Path:
    """Next-token accuracy, as a share of f32's, against the one bias, a line for each model."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.8, 4.4), dpi=150, layout="constrained")
    axes = figure.subplots()
    colors = ("#56B4E9", "#0072B2", "#E69F00", "#D55E00", "#009E73", "#CC79A7")
    for one, color in zip(sorted(report["sweep"], key=lambda one: (one["arch"], one["parameters"])), cycle(colors)):
        if one["biases"]:
            label = f"{one['arch']}, {one['parameters'] / 1e6:.2g} M parameters"
            shares = [100 * score for score in one["scores"]]
            axes.plot(one["biases"], shares, color=color, marker=MARKERS[one["arch"]], markersize=5, label=label)
    axes.axhline(99.5, color="gray", linestyle="--", linewidth=0.8, label="99.5 %")
    axes.set_xticks(sorted({bias for one in report["sweep"] for bias in one["biases"]}))
    axes.set_xlabel("the one scale bias of FP8-CSCALE")
    axes.set_ylabel("next-token accuracy, % of f32's")
    axes.legend(frameon=False, fontsize=8)
    if report["emulated"]:
        axes.set_title(NOTE, fontsize=8, color="gray")
    return save(figure, out / "cscale.png")
