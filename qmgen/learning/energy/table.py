"""The result of a training as a few lines for a person."""

from __future__ import annotations

from typing import Any

from qmgen.learning.fp8 import NOTE


def text(result: dict[str, Any]) -> str:
    """Excess energies with and without the correction, and what they took."""
    rows = [
        (
            refine.removeprefix("refine_"),
            f"{result['excess_meV_without_correction'][refine]:.4g}",
            f"{result['excess_meV'][refine]:.4g}",
            f"{result['excess_meV_largest'][refine]:.4g}",
            f"{result['times_lower'][refine]:.4g}",
        )
        for refine in result["excess_meV"]
    ]
    head = ("rebuilds", "without correction", "with it", "largest", "times lower")
    widths = [max(len(row[k]) for row in [head, *rows]) for k in range(len(head))]
    table = "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in [head, *rows])
    labelled = f", labels {result['seconds_labelling']:.0f} s" if result["loss"] == "labels" else ""
    lower = f"; {result['lower_solutions']} references were lowered" if result["lower_solutions"] else ""
    moved = f", {result['augmented']} of them moved by forces," if result.get("augmented") else ""
    skipped = sum(result["skipped"].values())
    return (
        f"excess energy in meV over {result['monitored']} converged references (held out){lower}\n{table}\n"
        f"{result['model']}, {result['parameters']:,} parameters, {result['steps']} steps on {result['geometries']} "
        f"geometries{moved} ({skipped} skipped) in {result['seconds']:.0f} s{labelled}, "
        f"preparing {result['seconds_preparing']:.0f} s" + (f"\n{NOTE}" if result.get("emulated") else "")
    )
