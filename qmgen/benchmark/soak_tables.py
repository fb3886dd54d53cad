"""The result of ``soak.measure`` as a table for the terminal."""

from __future__ import annotations

from typing import Any

from qmgen.benchmark.soak import FLAT_BYTES, FLAT_PART, SETTLED
from qmgen.validation.compare import align


def table(result: dict[str, Any]) -> str:
    """Resident memory of each process over the run, how it grows, and whether that passes for flat."""
    soak, machine = result["soak"], result["machine"]
    lines = [["", "unit", "after 10 %", "50 %", "100 %", "per 1000 rows", "growth", "CPU, cores", "flat"]]
    for name, one in result["processes"].items():
        error = one["bytes_per_1000_rows_error"]
        share = one.get("cpu_share")
        lines.append(
            [name, "MB"]
            + [f"{size / 1e6:.1f}" for size in one["bytes_after"].values()]
            + [f"{one['bytes_per_1000_rows'] / 1e6:+.3f}" + (f" ± {error / 1e6:.3f}" if error is not None else "")]
            + [f"{one['growth_bytes'] / 1e6:+.1f}", "" if share is None else f"{share:.4f}"]
            + ["yes" if one["flat"] else "NO"]
        )
    head = (
        f"{soak['rows']} rows of {soak['molecules']} molecules in {soak['units']} units, grid level "
        f"{soak['grid_level']}, {soak['workers']} workers: {result['seconds']:.0f} s, "
        f"{result['rows_per_second']:.1f} rows/s\n{machine['cpu']}, {machine['usable_cpus']} cores"
    )
    limit = f"growth from {SETTLED:.0%} of the rows to the end below {FLAT_PART:.0%} + {FLAT_BYTES / 1e6:.0f} MB"
    return f"{head}\n\n{align(lines)}\n\n{limit}: {'holds' if result['flat'] else 'DOES NOT HOLD'}"
