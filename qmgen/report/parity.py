"""Figures of values against references: qmgen against PySCF with every error against its tolerance, and the
predictions of a network against labels.

>>> report = validate(directory)
>>> parity.draw(report, directory / "validation.png")
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qmgen.constants import HARTREE_TO_EV
from qmgen.corpus.columns import CHECKED
from qmgen.errors import UsageError
from qmgen.report.scaling import draw_grid, new_figure, save
from qmgen.validation.compare import ValidationReport, check_of

if TYPE_CHECKING:
    from qmgen.learning.evaluate.corpus import CorpusReport

FILE_NAME: Final = "validation.png"
#: one color per quantity, told apart in common color-vision deficiencies (Okabe and Ito) and by marker
STYLES: Final = {
    "energy": ("#0072B2", "o"),
    "homo": ("#E69F00", "^"),
    "lumo": ("#009E73", "v"),
    "gap": ("#CC79A7", "s"),
    "dipole": ("#D55E00", "D"),
}
#: and for quantities without a style of their own
OTHER_STYLES: Final = (("#56B4E9", "P"), ("#000000", "X"), ("#F0E442", "*"))
#: errors of exactly zero are drawn here, at the bottom of the logarithmic axes
FLOOR: Final = 1e-14


def draw(report: ValidationReport, path: Path) -> Path:
    """Write the figure of ``report`` to ``path`` (PNG, or what its suffix says) and return it.

    Above: gap (eV) and dipole (Debye) of qmgen against PySCF's; below: |error| of every quantity against the number of
    atomic orbitals, and its distribution; dashed lines are the tolerances. Raises ``UsageError`` when it cannot be
    written. Uses no display and changes no state of matplotlib.
    """
    figure = new_figure(10, 8.4)
    (gap, dipole), (size, spread) = figure.subplots(2, 2)
    ours, theirs = report.ours, report.reference
    gaps = [HARTREE_TO_EV * np.array(values["gap"]) for values in (theirs, ours)]
    _parity(gap, gaps[0], gaps[1], "gap", "eV", "gap")
    moments = [np.linalg.norm(values["dipole"], axis=-1) for values in (theirs, ours)]
    _parity(dipole, moments[0], moments[1], "dipole moment", "D", "dipole")
    _against_size(size, report)
    _distribution(spread, report)
    handles, labels = spread.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4), fontsize=9, frameon=False)
    verdict = "all within tolerance" if report.passed else "OUT OF TOLERANCE"
    program = f"PySCF {report.provenance.get('pyscf', '')}".strip()
    figure.suptitle(f"{_counted(len(report.rows))}, {report.level}: qmgen against {program}, {verdict}", fontsize=12)
    return save(figure, path, "place with --out")


def _parity(axes: Any, theirs: np.ndarray, ours: np.ndarray, name: str, unit: str, style: str) -> None:
    color, marker = STYLES[style]
    ends = np.array([min(theirs.min(), ours.min()), max(theirs.max(), ours.max())])
    margin = max(0.05 * float(ends[1] - ends[0]), 0.05)
    ends += (-margin, margin)
    axes.plot(ends, ends, color="0.6", linewidth=1, zorder=1)
    axes.scatter(theirs, ours, s=26, color=color, marker=marker, alpha=0.75, linewidths=0, zorder=2)
    axes.set(xlim=ends, ylim=ends, xlabel=f"PySCF {name} ({unit})", ylabel=f"qmgen {name} ({unit})", aspect="equal")
    worst = np.max(np.abs(ours - theirs))
    axes.text(0.04, 0.95, f"largest difference {worst:.1e} {unit}", transform=axes.transAxes, va="top", fontsize=9)
    draw_grid(axes)


def _against_size(axes: Any, report: ValidationReport) -> None:
    orbitals = np.array([row.n_orbitals for row in report.rows])
    for name in report.comparison.differences:
        color, marker = _style(name)
        axes.scatter(
            orbitals,
            _errors(report, name),
            s=18,
            color=color,
            marker=marker,
            alpha=0.7,
            linewidths=0,
            label=_label(name),
        )
    _tolerances(axes.axhline, report)
    axes.set(yscale="log", xlabel="atomic orbitals", ylabel="|qmgen - PySCF|", ylim=_limits(report))
    axes.margins(x=0.08)
    axes.xaxis.get_major_locator().set_params(integer=True)
    draw_grid(axes)


def _distribution(axes: Any, report: ValidationReport) -> None:
    """Cumulative, because it needs no bins: the share of rows whose error is at most x."""
    for name in report.comparison.differences:
        color, marker = _style(name)
        errors = np.sort(_errors(report, name))
        share = np.arange(1, len(errors) + 1) / len(errors)
        axes.step(
            np.concatenate([errors[:1], errors]), 100 * np.concatenate([[0], share]), where="post", color=color,
            marker=marker, markersize=3.5, linewidth=1.2, label=_label(name),
        )  # fmt: skip
    _tolerances(axes.axvline, report)
    axes.plot([], [], color="0.4", linestyle="--", linewidth=1, label="tolerance of that color")
    axes.set(xscale="log", xlabel="|qmgen - PySCF|", ylabel="rows with at most this error (%)")
    axes.set(xlim=_limits(report), ylim=(-3, 103))
    draw_grid(axes)


def _tolerances(line: Any, report: ValidationReport) -> None:
    for name, found in report.comparison.statistics.items():
        line(found.tolerance, color=_style(name)[0], linestyle="--", linewidth=1, zorder=1)


def _style(name: str) -> tuple[str, str]:
    """Color and marker of a quantity."""
    return STYLES.get(name) or OTHER_STYLES[(list(CHECKED).index(name) - len(STYLES)) % len(OTHER_STYLES)]


def _label(name: str) -> str:
    return f"{check_of(name).symbol} ({check_of(name).unit})"


def _counted(rows: int) -> str:
    return f"{rows} row" if rows == 1 else f"{rows} rows"


def _errors(report: ValidationReport, name: str) -> np.ndarray:
    """|difference| (rows,), no smaller than the floor; what is not a number stands at the top."""
    errors = np.abs(report.comparison.differences[name])
    return np.clip(np.nan_to_num(errors, nan=1.0, posinf=1.0), FLOOR, None)


def _limits(report: ValidationReport) -> tuple[float, float]:
    """Whole decades around all errors and all tolerances."""
    errors = np.concatenate([_errors(report, name) for name in report.comparison.differences])
    values = [errors.min(), errors.max(), *(found.tolerance for found in report.comparison.statistics.values())]
    return float(10 ** np.floor(np.log10(min(values)) - 0.05)), float(10 ** np.ceil(np.log10(max(values)) + 0.3))


#: what matplotlib can write that people open
SUFFIXES: Final = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".webp")


def draw_predictions(report: CorpusReport, path: Path) -> Path:
    """Write the figure to ``path`` and return it: a panel for each target compared, every component a point.

    Raises ``UsageError`` where it cannot be written or nothing was compared. Changes no state of matplotlib.
    """
    shown = [target for target in report.targets if target.name in report.pairs]
    if not shown:
        raise UsageError("nothing to draw: the corpus has none of the network's targets")
    figure = new_figure(4.6 * len(shown), 4.6)
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


def refuse_figure_path(path: Path) -> None:
    """Raise ``UsageError`` where ``draw_predictions`` could not write, before there is anything to draw."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"cannot draw {path}: --figure takes {' '.join(SUFFIXES)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir() or not os.access(path.parent, os.W_OK):
            raise OSError("it is a directory" if path.is_dir() else f"{path.parent} is not writable")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}; choose another --figure") from error
