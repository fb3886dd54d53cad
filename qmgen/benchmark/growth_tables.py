"""What ``qmgen.benchmark.growth`` found as Markdown tables, which read well enough in a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def tables(result: dict[str, Any]) -> str:
    """Seconds per conformer by size, batch and rows; and the memory of a conformer in flight by part, in MB."""
    size, batch, rows = result["by_size"], result["by_batch"], result["by_rows"]
    facts, level = result["machine"], result["settings"]
    parts = [
        f"{level['xc']}/{level['basis']}, grid level {level['grid_level']}; CPU seconds per conformer, one core of "
        f"{facts['cpu']}; {result['date'][:10]}",
        _table(
            ["molecule", "orbitals", "padded", "CPU s"],
            ([p["smiles"], p["orbitals"], p["padded_orbitals"], _seconds(p)] for p in size["points"]),
        ),
        f"seconds grow as orbitals to the power {exponent(size['fit'])}",
        "Memory of one conformer in flight, computed by part and measured (MB; peak of the process above what was "
        "resident before):",
        _memory("orbitals (padded)", ([_padded(p), p] for p in _largest(size["points"]))),
        f"Batches of {batch['smiles']}, {batch['orbitals']} orbitals:",
        _table(["batch size", "CPU s"], ([p["batch_size"], _seconds(p)] for p in batch["points"])),
        _memory("batch size", ([p["batch_size"], p] for p in batch["points"])),
        f"Rows of {rows['smiles']}, one stream:",
        _table(
            ["rows", "CPU s", "peak memory of the process, MB"],
            ([f"{p['first_row']} to {p['first_row'] + p['rows'] - 1}", _seconds(p), _mb(p["peak_bytes"])]
             for p in rows["points"]),
        ),
    ]  # fmt: skip
    if result["compile_seconds_while_timed"] > 0:
        parts.append(f"NOT WARM: {result['compile_seconds_while_timed']:.2f} s of these times were compilation")
    return "\n\n".join(parts)


def exponent(fit: dict[str, Any]) -> str:
    """The exponent of a fit with its standard error: ``2.84 ± 0.05``."""
    error = "" if fit["exponent_error"] is None else f" ± {fit['exponent_error']:.2f}"
    return f"{fit['exponent']:.2f}{error}"


def _memory(title: str, lines: Iterable[list[Any]]) -> str:
    """One row for each (name, point)."""
    found = []
    names: list[str] = []
    for name, point in lines:
        parts = point["memory_by_part_bytes"]
        names = list(parts)
        resting = point["resting_bytes"]
        measured = "-" if resting is None else _mb(point["peak_bytes"] - resting)
        found.append([name, *map(_mb, parts.values()), _mb(sum(parts.values())), measured, _mb(point["peak_bytes"])])
    return _table([title, *names, "sum", "measured", "peak of the process"], found)


def _largest(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each shape the molecule with the highest peak."""
    by_shape: dict[Any, dict[str, Any]] = {}
    for point in sorted(points, key=lambda p: p["peak_bytes"]):
        by_shape[_padded(point)] = point
    return sorted(by_shape.values(), key=lambda p: p["orbitals"])


def _padded(point: dict[str, Any]) -> str:
    return f"{point['orbitals']} ({point['padded_orbitals']})"


def _seconds(point: dict[str, Any]) -> str:
    return f"{point['cpu_seconds']:.3f}"


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f}"


def _table(head: list[str], lines: Iterable[list[Any]]) -> str:
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in [head, rule, *lines])
