"""The figure of growth: seconds per conformer against orbitals, batch size and row, with peak memory beside them.

>>> result = benchmarks.growth.measure(FULL, repeats=3, seed=0, tell=print)
>>> growth.draw(result, Path("growth.png"))
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.growth import exponent
from qmgen.errors import UsageError

#: told apart in common color-vision deficiencies (Okabe and Ito), and by marker
SECONDS: Final = ("#0072B2", "o")
MEMORY: Final = ("#D55E00", "s")


def draw(result: dict[str, Any], path: Path) -> Path:
    """Write the figure of ``result`` to ``path`` (PNG, or what its suffix says) and return it.

    Left: CPU seconds against atomic orbitals, both logarithmic, with the fitted power law; middle: against the batch
    size, with the peak of memory (GB) above what was resident before; right: against the row, with the peak of the
    whole process, which would show what piles up. Raises ``UsageError`` when it cannot be written. Uses no display and
    changes no state of matplotlib.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(14, 4.6), layout=ConstrainedLayoutEngine(wspace=0.06), dpi=130)
    FigureCanvasAgg(figure)
    size, batch, rows = figure.subplots(1, 3)
    _size(size, result["by_size"])
    _batch(batch, result["by_batch"])
    _rows(rows, result["by_rows"])
    level = result["settings"]
    figure.suptitle(
        f"{level['xc']}/{level['basis']}, grid level {level['grid_level']}, one core of {result['machine']['cpu']}, "
        f"{result['date'][:10]}",
        fontsize=12,
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Software": "qmgen"} if path.suffix == ".png" else None)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}; choose another place") from error
    except ValueError as error:  # a suffix that matplotlib does not know
        raise UsageError(f"cannot write {path}: {error}") from error
    return path


def _size(axes: Any, found: dict[str, Any]) -> None:
    orbitals = np.array([point["orbitals"] for point in found["points"]], float)
    seconds = np.array([point["cpu_seconds"] for point in found["points"]])
    color, marker = SECONDS
    axes.scatter(orbitals, seconds, s=30, color=color, marker=marker, alpha=0.7, linewidths=0, label="one molecule")
    ends = np.array([orbitals.min(), orbitals.max()])
    fit = found["fit"]
    law = f"fit, exponent {exponent(fit)}"
    axes.plot(ends, fit["factor"] * ends ** fit["exponent"], color="0.35", linewidth=1.2, zorder=1, label=law)
    axes.set(xscale="log", yscale="log", xlabel="atomic orbitals", ylabel="CPU time per conformer (s)")
    _plain_ticks(axes.xaxis, ends[0], ends[1])
    _plain_ticks(axes.yaxis, seconds.min(), seconds.max())
    axes.set_title("size of the molecule", fontsize=11)
    axes.legend(loc="upper left", fontsize=9, frameon=False)
    _grid(axes)


def _batch(axes: Any, found: dict[str, Any]) -> None:
    sizes = [point["batch_size"] for point in found["points"]]
    axes.set_xscale("log", base=2)
    # at rest the process holds all that was compiled in it, which says nothing of a batch
    memory = [point["peak_bytes"] - (point["resting_bytes"] or 0) for point in found["points"]]
    _both(axes, sizes, found["points"], memory, "peak memory above that at rest (GB)")
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set_xlabel("conformers in a batch")
    axes.set_title(f"batch size, {found['smiles']}", fontsize=11)


def _rows(axes: Any, found: dict[str, Any]) -> None:
    last = [point["first_row"] + point["rows"] - 1 for point in found["points"]]
    _both(axes, last, found["points"], [p["peak_bytes"] for p in found["points"]], "peak memory of the process (GB)")
    axes.set_xlim(left=0)
    axes.set_xlabel("rows so far")
    axes.set_title(f"rows of one stream, {found['smiles']}", fontsize=11)


def _both(axes: Any, x: list[int], points: list[dict[str, Any]], memory: list[int], title: str) -> None:
    """Seconds on the left axis and memory on the right one, both from zero: what is flat should look flat.

    Of rows, each point is the mean since the one before.
    """
    seconds = np.array([point["cpu_seconds"] for point in points])
    for side, (color, marker), y, name in (
        (axes, SECONDS, seconds, "CPU time per conformer (s)"),
        (axes.twinx(), MEMORY, np.array(memory) / 1e9, title),
    ):
        side.plot(x, y, color=color, marker=marker, markersize=5, linewidth=1.2)
        side.set_ylim(0, 1.2 * float(y.max()))
        side.set_ylabel(name, color=color)
        side.tick_params(axis="y", colors=color)
    _grid(axes)


def _plain_ticks(axis: Any, low: float, high: float) -> None:
    """Ticks of a logarithmic axis, written out: 1, 1.5, 2, 3, 4, 6, 8 times powers of ten, as far as the data go."""
    from matplotlib.ticker import NullFormatter, NullLocator

    steps = [step * 10.0**power for power in range(-4, 5) for step in (1, 1.5, 2, 3, 4, 6, 8)]
    ticks = [tick for tick in steps if low / 1.15 <= tick <= high * 1.15]
    axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def _grid(axes: Any) -> None:
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
