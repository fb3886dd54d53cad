"""Errors against training rows: the figure of scaling, with the fitted law and the curve of QM1B for its shape, and the
figure of transfer, which compares trainings begun with another network and from scratch.

>>> draw_run(Path("run"))          # reads run/scaling.json
>>> draw_transfer_run(Path("run")) # reads run/transfer.json
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Final

import numpy as np

from qmgen import files
from qmgen.documents import LARGEST, table_of
from qmgen.errors import QmgenError, UsageError
from qmgen.learning.fp8 import NOTE

FILE_NAME: Final = "scaling.png"
DATA_NAME: Final = "scaling.json"
#: told apart in common color-vision deficiencies (Okabe and Ito), and by marker
OURS: Final = ("#0072B2", "o")
PUBLISHED: Final = ("#D55E00", "s")
TEST: Final = ("#009E73", "D")


def draw_run(run: Path) -> Path:
    """Draw ``scaling.json`` of ``run`` into its ``scaling.png``. Raises ``QmgenError`` where it cannot be read."""
    return draw(read(run / DATA_NAME), run / FILE_NAME)


def read(path: Path) -> dict[str, Any]:
    """The JSON at ``path``. Raises ``QmgenError`` where it cannot be read."""
    try:
        return table_of(files.read(path, LARGEST), finite=False)
    except (OSError, ValueError) as error:
        raise QmgenError(f"cannot read {path} ({error}): repeat the command, which writes it") from error


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The journal at ``path``, a table a line. Raises ``QmgenError`` where it cannot be read."""
    try:
        return [table_of(line, finite=False) for line in files.read(path, LARGEST).splitlines()]
    except (OSError, ValueError) as error:
        raise QmgenError(f"cannot read {path} ({error})") from error


def draw(result: dict[str, Any], path: Path) -> Path:
    """Write the figure of ``result`` to ``path`` (PNG, or what its suffix says) and return it.

    A panel for each target, both axes logarithmic: every seed faint, the mean with its standard deviation, the law,
    the error of the trivial predictor where it is known; QM1B's published curve beside that of the gap. Raises
    ``UsageError`` when it cannot be written. Uses no display and changes no state of matplotlib.
    """
    targets = result["targets"]
    figure = new_figure(7.2 * len(targets), 5.2)
    for axes, (name, of) in zip(figure.subplots(1, len(targets), squeeze=False)[0], targets.items(), strict=True):
        known = result["published"]
        _panel(axes, name, of, known if known["target"] == name and known["unit"] == of["unit"] else None)
    level = result["level_of_theory"]
    about = "/".join(str(level[key]) for key in ("xc", "basis") if level.get(key)) or "level not stated"
    if level.get("grid_level") is not None:
        about += f", grid level {level['grid_level']}"
    title = f"SchNet {result['preset']} ({result['parameters']:,} parameters), {about}"
    note = f"\n{NOTE}" if result.get("emulated") else ""
    figure.suptitle(f"{title}, {result['date'][:10]}{note}", fontsize=11)
    return save(figure, path)


def new_figure(width: float, height: float) -> Any:
    """An empty figure, in inches. It uses no display and changes no state of matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", dpi=130)
    FigureCanvasAgg(figure)
    return figure


def draw_grid(axes: Any) -> None:
    """Faint lines behind what is drawn."""
    axes.grid(color="0.92")
    axes.set_axisbelow(True)


def save(figure: Any, path: Path, flag: str = "--out") -> Path:
    """Write ``figure``, whole or not at all. Raises ``UsageError`` when it cannot be written."""
    content, kind = io.BytesIO(), path.suffix[1:] or "png"
    try:
        figure.savefig(content, format=kind, metadata={"Software": "qmgen"} if path.suffix == ".png" else None)
        files.write(path.parent, path.name, content.getvalue())
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}; choose another {flag}") from error
    except ValueError as error:  # a suffix that matplotlib does not know
        raise UsageError(f"cannot write {path}: {error}") from error
    return path


def _panel(axes: Any, name: str, of: dict[str, Any], known: dict[str, Any] | None) -> None:
    color, marker = OURS
    points = of["points"]
    rows = np.array([point["rows"] for point in points], float)
    means = np.array([point["mean"] for point in points])
    spread = np.array([point["spread"] or 0.0 for point in points])
    shown = list(means)
    if any(len(point["seeds"]) > 1 for point in points):
        every = np.array([(p["rows"], one["validation_mae"]) for p in points for one in p["seeds"]], float)
        axes.scatter(*every.T, s=22, color=color, alpha=0.3, linewidths=0, zorder=2, label="one seed")
        shown += list(every[:, 1])
    # a bar must not reach zero on a logarithmic axis
    bars = np.stack([np.minimum(spread, 0.9 * means), spread])
    label = "validation, mean" + (" and standard deviation over seeds" if spread.any() else "")
    axes.errorbar(
        rows, means, bars, color=color, marker=marker, markersize=5, linestyle="none", capsize=3, zorder=3, label=label
    )
    tests = [(point["rows"], point["test_mean"]) for point in points if point["test_mean"] is not None]
    if tests:
        axes.plot(
            *zip(*tests, strict=True), color=TEST[0], marker=TEST[1], markersize=8, markerfacecolor="none",
            linestyle="none", zorder=2, label="test, mean",
        )  # fmt: skip
        shown += [error for _, error in tests]
    if of["fit"] is not None:
        _law(axes, of["fit"], rows)
    if of.get("trivial_mae"):
        axes.axhline(of["trivial_mae"], color="0.45", linestyle="--", linewidth=1, label="predicting the mean")
        shown.append(of["trivial_mae"])
    if known is not None:
        theirs = np.array([(point["rows"], point["validation_mae"]) for point in known["points"]], float)
        axes.plot(
            *theirs.T, color=PUBLISHED[0], marker=PUBLISHED[1], markersize=4, linewidth=1, linestyle=":", zorder=1,
            label="QM1B, published (≈): SchNet 9M, other data,\nrows of many conformers; for its shape only",
        )  # fmt: skip
        shown += list(theirs[:, 1])
        rows = np.concatenate([rows, theirs[:, 0]])
    axes.set(xscale="log", yscale="log", xlabel="training rows", ylabel=f"MAE of {title_of(name)} ({of['unit']})")
    axes.set_xlim(rows.min() / 1.6, rows.max() * 1.6)
    ticks(axes.yaxis, float(np.min(shown)), float(np.max(shown)))
    draw_grid(axes)
    axes.legend(loc="lower left" if known is not None else "best", fontsize=8.5, frameon=False)
    if known is not None:  # room below the curves for the legend
        low, high = axes.get_ylim()
        axes.set_ylim(low / (high / low) ** 0.55, high)
        ticks(axes.yaxis, low, high)


def _law(axes: Any, law: dict[str, Any], rows: np.ndarray) -> None:
    x = np.geomspace(rows.min(), rows.max(), 100)
    y = law["factor"] * x ** -law["exponent"] + (law["floor"] or 0.0)
    error = "" if law["exponent_error"] is None else f" ± {law['exponent_error']:.2f}"
    floor = f", floor {law['floor']:.3g}" if law["floor"] else ""
    label = f"fit, exponent {-law['exponent']:.2f}{error}{floor}".replace("-", "\N{MINUS SIGN}")
    axes.plot(x, y, color=OURS[0], linewidth=1.3, zorder=2, label=label)


def title_of(name: str) -> str:
    return {"y": "the gap", "homo": "the HOMO", "lumo": "the LUMO", "dipole": "the dipole"}.get(name, name)


def ticks(axis: Any, low: float, high: float) -> None:
    """Ticks written out: 1, 2, 5 times powers of ten (more within one decade), as far as the data go."""
    from matplotlib.ticker import NullFormatter, NullLocator

    steps = (1, 2, 5) if high > 8 * low else (1, 1.5, 2, 3, 4, 5, 7)
    first, last = int(np.floor(np.log10(low))) - 1, int(np.ceil(np.log10(high))) + 1
    ticks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    kept = [tick for tick in ticks if low / 1.3 <= tick <= high * 1.3]
    axis.set_ticks(kept, [f"{tick:g}" for tick in kept])
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


TRANSFER_FILE: Final = "transfer.png"
TRANSFER_DATA: Final = "transfer.json"


def draw_transfer_run(run: Path) -> Path:
    """Draw ``transfer.json`` of ``run`` into its ``transfer.png``. Raises ``QmgenError`` where it cannot be read."""
    return draw_transfer(read(run / TRANSFER_DATA), run / TRANSFER_FILE)


def draw_transfer(result: dict[str, Any], path: Path) -> Path:
    """Write the figure to ``path`` and return it: for each target the errors (left) and the ratio (right), with QM1B's
    published ratio as a dashed line. Raises ``UsageError`` when it cannot be written."""
    targets = {name: of for name, of in result["targets"].items() if of["points"]}
    figure = new_figure(11, 4.4 * len(targets))
    for (errors, ratios), (name, of) in zip(
        figure.subplots(len(targets), 2, squeeze=False), targets.items(), strict=True
    ):
        _transfer_errors(errors, name, of)
        _ratios(ratios, of, result["published"])
    return save(figure, path)


def _transfer_errors(axes: Any, name: str, of: dict[str, Any]) -> None:
    points = of["points"]
    rows = np.array([point["rows"] for point in points], float)
    shown = []
    for kind, (color, marker), label in (
        ("scratch", PUBLISHED, "from scratch"),
        ("init", OURS, "begun with another network"),
    ):
        every = np.array([(point["rows"], one[kind]) for point in points for one in point["seeds"]], float)
        axes.scatter(*every.T, s=20, color=color, alpha=0.3, linewidths=0, marker=marker)
        axes.plot(rows, [point[kind] for point in points], color=color, marker=marker, markersize=5, label=label)
        shown += list(every[:, 1])
    axes.set(xscale="log", yscale="log", xlabel="training rows")
    axes.set_ylabel(f"validation MAE of {title_of(name)} ({of['unit']})")
    axes.set_xlim(rows.min() / 1.6, rows.max() * 1.6)
    ticks(axes.yaxis, min(shown), max(shown))
    draw_grid(axes)
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
    draw_grid(axes)
    axes.legend(loc="lower left", fontsize=9, frameon=False)
