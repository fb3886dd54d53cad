"""Energy loss against labels, to equal error: what each took in all, generating labels counted.

    total(t) = preparing + labeling + training so far

``preparing`` (integrals, grids, the watched references) is the same work on both sides.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from qmgen import files
from qmgen.documents import LARGEST, table_of
from qmgen.errors import UsageError
from qmgen.learning.training.folder import METRICS, RESULT
from qmgen.tables import aligned

#: an error that is compared at is this multiple of the one before
_STEP: Final = 10.0**0.5


def _result(run: Path) -> dict[str, Any]:
    """What a finished run says of itself. Raises ``OSError`` or ``ValueError``."""
    return table_of(files.read(run / RESULT, LARGEST), finite=False)


def curve_of(run: Path) -> dict[str, Any]:
    """A finished run: its result, and total seconds against the best mean excess so far in meV, (validations,) each.

    Raises ``UsageError`` with one line where the run is not finished.
    """
    try:
        result = _result(run)
        lines = [table_of(line, finite=False) for line in files.read(run / METRICS, LARGEST).splitlines()]
    except (OSError, ValueError) as error:
        raise UsageError(f"{run} is no finished training ({error}): repeat the command that trains it") from error
    points = [(line["seconds"], line["validation"]) for line in lines if "validation" in line]
    before = result["seconds_preparing"] + result["seconds_labelling"]
    kind = "excess" if result["refine"] == 0 else next(name for name in points[0][1] if name.startswith("excess_"))
    errors = np.minimum.accumulate([values[kind] for _, values in points])
    return {
        "run": run.name,
        "loss": result["loss"],
        "preparing": result["seconds_preparing"],
        "labelling": result["seconds_labelling"],
        "training": result["seconds"],
        "seconds": [round(before + seconds, 2) for seconds, _ in points],
        "excess_meV": [float(value) for value in errors],
        "geometries": result["geometries"],
    }


def compare(energy: Path, labels: Path) -> dict[str, Any]:
    """Seconds of both to each error that both reach, and the ratio labels : energy (over 1: without labels is faster).

    Raises ``UsageError`` for runs that are not finished, or not one of each kind at one level on as many geometries.
    """
    sides = {"energy": curve_of(energy), "labels": curve_of(labels)}
    results = [_result(run) for run in (energy, labels)]
    for side, curve in sides.items():
        if curve["loss"] != side:
            raise UsageError(f"{curve['run']} was trained by {curve['loss']}: give a run of `qmgen train {side}`")
    for name in ("xc", "basis", "grid_level", "digest", "model", "refine"):
        if results[0][name] != results[1][name]:
            raise UsageError(
                f"the two runs differ in {name} ({results[0][name]}, {results[1][name]}): train both alike"
            )
    reached = max(curve["excess_meV"][-1] for curve in sides.values())
    begin = min(curve["excess_meV"][0] for curve in sides.values())
    errors = [reached]
    while errors[-1] * _STEP < begin:
        errors.append(errors[-1] * _STEP)
    rows = []
    for error in reversed(errors):
        took = {side: _until(curve, error) for side, curve in sides.items()}
        rows.append({"excess_meV": error, **took, "ratio": took["labels"] / took["energy"]})
    return {
        "sides": sides,
        "equal_error": rows,
        "without_correction_meV": results[0]["excess_meV_without_correction"],
        **{name: results[0][name] for name in ("xc", "basis", "grid_level", "model", "refine", "machine", "date")},
    }


def text(report: dict[str, Any]) -> str:
    """The table for a person."""
    rows = [("excess, meV", "energy loss, s", "labels + training, s", "ratio")]
    rows += [
        (f"{row['excess_meV']:.3g}", f"{row['energy']:.1f}", f"{row['labels']:.1f}", f"{row['ratio']:.2f}")
        for row in report["equal_error"]
    ]
    parts = "\n".join(
        f"{side}: preparing {of['preparing']:.0f} s, labeling {of['labelling']:.0f} s, training {of['training']:.0f} s"
        for side, of in report["sides"].items()
    )
    return f"{aligned(rows, left=())}\n{parts}"


def _until(curve: dict[str, Any], error: float) -> float:
    """Seconds until ``error`` was reached: between validations by a straight line in the logarithm of the error."""
    seconds, errors = curve["seconds"], curve["excess_meV"]
    at = next(k for k, value in enumerate(errors) if value <= error * (1 + 1e-12))
    if at == 0 or errors[at - 1] <= errors[at]:
        return float(seconds[at])
    share = np.log(errors[at - 1] / error) / np.log(errors[at - 1] / errors[at])
    return float(seconds[at - 1] + share * (seconds[at] - seconds[at - 1]))
