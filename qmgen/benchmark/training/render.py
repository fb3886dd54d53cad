"""The table of a measurement, for people."""

from __future__ import annotations

from typing import Any


def table(result: dict[str, Any]) -> str:
    """Molecules a second of both sides, their ratio with its range, and the rate of operations."""
    lines = [
        "| preset | batch | qmgen, molecules/s | PyG, molecules/s | ratio | ratio of CPU time | GFLOP/s of qmgen |",
        "|---|---|---|---|---|---|---|",
    ]
    for entry in result["entries"]:
        own = entry["qmgen"]
        molecules = entry["batch_size"] * result["settings"]["batches"]
        speed = sum(entry["gflop"].values()) / molecules * own["molecules_per_second"]
        theirs = f"{entry['pyg']['molecules_per_second']:.0f}" if "pyg" in entry else "missing"
        lines.append(
            f"| {entry['preset']} | {entry['batch_size']} | {own['molecules_per_second']:.0f} | {theirs} "
            f"| {_ratio(entry.get('ratio'))} | {_ratio(entry.get('cpu_ratio'))} | {speed:.0f} |"
        )
    if result["missing"]:
        lines.append(f"\nPyG: {result['missing']}")
    return "\n".join(lines)


def _ratio(found: dict[str, float] | None) -> str:
    return f"{found['median']:.2f} ({found['lowest']:.2f}–{found['highest']:.2f})" if found else ""
