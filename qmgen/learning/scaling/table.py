"""A scaling curve as a table for the shell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qmgen.learning.fp8 import NOTE
from qmgen.learning.scaling.collect import points


def text(cells: Sequence[dict[str, Any]], elsewhere: Sequence[str], report: dict[str, Any] | None) -> str:
    """MAE by rows (mean and spread over seeds) for each target, then law, estimate and gain, then what is missing."""
    lines: list[str] = []
    if cells:
        for name, of in cells[0]["targets"].items():
            lines += _target(name, of["unit"], points(cells, name))
            if report is not None:
                lines += _law(report["targets"][name])
    if report is not None and report["transfer"] is not None:
        lines += _gain(report["transfer"])
    if any(cell.get("emulated") for cell in cells):
        lines.append(NOTE)
    if elsewhere:
        lines += ["not finished yet; whoever finishes last writes the report:", *(f"  {one}" for one in elsewhere)]
    return "\n".join(lines)


def _target(name: str, unit: str, curve: list[dict[str, Any]]) -> list[str]:
    title = f"{name}: validation MAE, {unit}"
    lines = [f"{'rows':>10}  {title:>36}  {'test':>8}  {'best/steps':>16}  {'seconds':>8}"]
    for point in curve:
        spread = "" if point["spread"] is None else f" ± {point['spread']:.3g}"
        count = f" ({len(point['seeds'])} seeds)" if len(point["seeds"]) > 1 else ""
        test = "" if point["test_mean"] is None else f"{point['test_mean']:.4g}"
        last = max(point["seeds"], key=lambda one: int(one["best_step"] or 0))
        steps = f"{last['best_step']}/{last['steps']}"
        seconds = sum(one["seconds"] or 0 for one in point["seeds"])
        error = f"{point['mean']:.4g}{spread}{count}"
        lines.append(f"{point['rows']:>10}  {error:>36}  {test:>8}  {steps:>16}  {seconds:>8.0f}")
    return lines


def _rough(of: dict[str, Any]) -> list[str]:
    """The warning about errors on few molecules, where there is one."""
    return [of["validation_note"]] if of.get("validation_note") else []


def _law(of: dict[str, Any]) -> list[str]:
    if of["fit"] is None:
        return [*_rough(of), of["fit_note"]]
    law = of["fit"]
    error = "" if law["exponent_error"] is None else f" ± {law['exponent_error']:.2f}"
    floor = f" + {law['floor']:.3g}" if law["floor"] else ""
    lines = [*_rough(of), f"MAE = {law['factor']:.3g} n^-b{floor}, b = {law['exponent']:.2f}{error} ({of['fit_note']})"]
    found = of["estimate"]
    if found is None:
        return lines
    if found["rows"] is None:
        return [*lines, f"for {found['target_error']:g} {of['unit']}: {found['note']}"]
    interval = ""
    if found["interval"] is not None:
        low, high = found["interval"]
        interval = f" (95 %: {low:.2g} to {'any number' if high is None else f'{high:.2g}'})"
    wanted = f"for {found['target_error']:g} {of['unit']}"
    lines.append(f"{wanted}: {found['rows']:.2g} training rows{interval}; {found['note']}")
    made = found["generating"]
    here = made["here"]
    if here is not None:
        speed = f"{here['rows_per_second']:.3g} rows/s ({here['device']})"
        lines.append(f"  to generate: {here['hours']:.3g} hours at this corpus's {speed}")
    lines.append(f"  {made['qm1b']['hours']:.3g} IPU-hours at QM1B's {made['qm1b']['rows_per_second']} rows/s")
    return lines


def _gain(found: dict[str, Any]) -> list[str]:
    lines = ["begun with --init against from scratch:"]
    for name, of in found["targets"].items():
        for point in of["points"]:
            spread = "" if point["ratio_spread"] is None else f" ± {point['ratio_spread']:.2f}"
            lines.append(
                f"{point['rows']:>10}  {name}: {point['init']:.4g} against {point['scratch']:.4g} {of['unit']}, "
                f"ratio {point['ratio']:.2f}{spread}"
            )
    known = found["published"]
    lines.append(f"  (QM1B, published, on QM9: {known['scratch']} to {known['init']} meV, ratio {known['ratio']:.2f})")
    return lines
