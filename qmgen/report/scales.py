"""Figures of the scales of a language model: how they are distributed, and how they move.

>>> draw_run(Path("run"))          # reads run/result.json and run/metrics.jsonl; loss.png, scales.png, scale-map.png
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from qmgen.report.scaling import OURS, PUBLISHED, read, read_lines, save

#: tensors of a product, as people call them
TENSORS: Final = {"x": "activations", "w": "weights", "g": "gradients"}
#: when, and the color
TIMES: Final = (("start", "#56B4E9"), ("middle", "#E69F00"), ("end", "#0072B2"), ("in use", "#000000"))


def draw_run(run: Path) -> list[Path]:
    """The figures of a finished run: its losses, and, where it was trained in FP8, its scales.

    Raises ``QmgenError`` where the run cannot be read, ``UsageError`` where a figure cannot be written.
    """
    result, lines = read(run / "result.json"), lines_of(run)
    figures = [_losses(run, result, lines)]
    watched = [line for line in lines if "scales" in line]
    if watched:
        figures.append(_distribution(run, result, watched))
        figures.append(_map(run, result, watched))
    return figures


def lines_of(run: Path) -> list[dict[str, Any]]:
    """The journal of a run. Raises ``QmgenError`` where it cannot be read."""
    return read_lines(run / "metrics.jsonl")


def title_of(result: dict[str, Any]) -> str:
    """What a run is, for the head of a figure."""
    note = ", emulated" if result["emulated"] else ""
    return f"{result['arch']} {result['preset']} ({result['parameters']:,} parameters), {result['precision']}{note}"


def _losses(run: Path, result: dict[str, Any], lines: list[dict[str, Any]]) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), dpi=150, layout="constrained")
    axes = figure.subplots()
    steps = [(line["step"], line["loss"]) for line in lines if "loss" in line]
    held_out = [(line["step"], line["validation"]["loss"]) for line in lines if "validation" in line]
    for points, label, (color, marker) in ((steps, "training", OURS), (held_out, "held out", PUBLISHED)):
        if points:
            axes.plot(*zip(*points, strict=True), color=color, marker=marker, markersize=4, label=label)
    axes.set_xlabel("step")
    axes.set_ylabel("loss, nats a token")
    axes.set_title(title_of(result), fontsize=10)
    axes.legend(frameon=False)
    return save(figure, run / "loss.png")


def _distribution(run: Path, result: dict[str, Any], watched: list[dict[str, Any]]) -> Path:
    """A dot for each linear layer: rows are kinds of layer, columns activations, weights and gradients."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    times = [watched[0]["scales"], watched[len(watched) // 2]["scales"], watched[-1]["scales"]]
    times.append(result.get("scales_in_use") or {})
    kinds = sorted({name.partition(".")[0] for name in watched[0]["scales"]})
    figure = Figure(figsize=(9.6, 1.4 + 0.62 * len(kinds)), dpi=150, layout="constrained")
    panels = figure.subplots(1, len(TENSORS), sharey=True)
    for axes, (tensor, title) in zip(panels, TENSORS.items()):
        for place, ((label, color), scales) in enumerate(zip(TIMES, times)):
            for row, kind in enumerate(kinds):
                biases = scales.get(f"{kind}.{tensor}")
                if biases is None:
                    continue
                values, counts = np.unique(biases, return_counts=True)
                heights = np.full(len(values), row - 0.27 + 0.18 * place)
                named = label if row == 0 else None
                axes.scatter(values, heights, s=14 * counts, color=color, label=named, linewidths=0)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("scale bias (power of two)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(range(len(kinds)), kinds)
    panels[0].invert_yaxis()
    panels[0].legend(frameon=False, fontsize=8, loc="best")
    figure.suptitle(f"{title_of(result)}: scale biases, area by number of layers", fontsize=10)
    return save(figure, run / "scales.png")


def _map(run: Path, result: dict[str, Any], watched: list[dict[str, Any]]) -> Path:
    """Bias by layer (rows, block by block) and step, for each tensor."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    kinds = sorted({name.partition(".")[0] for name in watched[0]["scales"]})
    layers = result["shape"]["layers"]
    names = [f"{block} {kind}" for block in range(layers) for kind in kinds]
    steps = [line["step"] for line in watched]
    figure = Figure(figsize=(11.0, max(3.0, 1.2 + 0.14 * len(names))), dpi=150, layout="constrained")
    for axes, (tensor, title) in zip(figure.subplots(1, len(TENSORS), sharey=True), TENSORS.items()):
        values = np.array(
            [
                [line["scales"][f"{kind}.{tensor}"][block] for line in watched]
                for block in range(layers)
                for kind in kinds
            ]
        )
        edges = np.concatenate([[0], steps])
        image = axes.pcolormesh(edges, np.arange(len(names) + 1), values, cmap="viridis")
        axes.set_yticks(np.arange(len(names)) + 0.5, names, fontsize=6)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("step")
        figure.colorbar(image, ax=axes, label="scale bias", ticks=MaxNLocator(integer=True))
        axes.set_ylim(len(names), 0)
    figure.suptitle(title_of(result), fontsize=10)
    return save(figure, run / "scale-map.png")
