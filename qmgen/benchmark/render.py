"""The result of a benchmark as a table: for the terminal, and as Markdown for the docs."""

from __future__ import annotations

from typing import Any

from qmgen.validation.compare import align

Lines = list[list[str]]


def table(result: dict[str, Any]) -> str:
    """For the terminal: what was measured, where, the table, and the verdict in words."""
    return "\n".join([_head(result), _machine(result), "", align(_lines(result)), "", *_tail(result)])


def markdown(result: dict[str, Any]) -> str:
    """The same as Markdown, with date, machine and command: to be pasted into docs/performance.md."""
    head, *body = _lines(result)
    rows = [" | ".join(line) for line in [head, ["---", "---", *["---:"] * (len(head) - 3), "---"], *body]]
    return "\n".join(
        [
            f"{_head(result)}. {result['date'][:10]}, {_machine(result)}.",
            "",
            *(f"| {row} |" for row in rows),
            "",
            *_tail(result),
            "",
            f"`{result['command']}`",
            "",
        ]
    )


def _head(result: dict[str, Any]) -> str:
    settings, subjects = result["settings"], result["subjects"]
    low, high = subjects["heavy_atoms"]
    size = f"{low}" if low == high else f"{low} to {high}"
    return (
        f"{subjects['conformers']} conformers of {subjects['molecules']} molecules ({size} heavy atoms), "
        f"{settings['xc']}/{settings['basis']}, grid level {settings['grid_level']}"
    )


def _machine(result: dict[str, Any]) -> str:
    machine, versions = result["machine"], result["versions"]
    names = ("python", "qmgen", "jax", "pyscf")
    programs = ", ".join(f"{name} {versions[name]}" for name in names if versions.get(name))
    return f"{machine['cpu']}, {machine['usable_cpus']} cores; {programs}"


def _lines(result: dict[str, Any]) -> Lines:
    ours, theirs, ratio = result["sides"]["qmgen"], result["sides"]["pyscf"], result["ratio"]
    warm = [side["warm"]["conformers_per_second"] for side in (ours, theirs)]
    peaks = [side["peak_memory_bytes"] for side in (ours, theirs)]
    lines = [["", "unit", "qmgen", "PySCF", "qmgen / PySCF"], ["processes", ""] + _both(ours, theirs, "workers") + [""]]
    lines.append(
        ["cold, first pass", "conf/s"]
        + [_number(side["cold"]["conformers_per_second"]) for side in (ours, theirs)]
        + [_number(ratio["cold"])]
    )
    lines.append(["warm, median", "conf/s"] + [_number(found["median"]) for found in warm] + [_spread(ratio["warm"])])
    lines.append(["warm, lowest to highest", "conf/s"] + [_range(found) for found in warm] + [""])
    lines.append(
        ["warm, per process", "conf/s"]
        + [_number(side["warm"]["conformers_per_second_per_process"]) for side in (ours, theirs)]
        + [""]
    )
    for label, key in (("peak memory, largest process", "largest_process"), ("peak memory, all", "all_processes")):
        lines.append([label, "GB"] + [f"{found[key] / 1e9:.2f}" for found in peaks] + [""])
    return lines


def _tail(result: dict[str, Any]) -> list[str]:
    agreement, total = result["agreement"], result["subjects"]["conformers"]
    sides = result["sides"]
    found = agreement["max_abs_energy_difference_hartree"]
    lines = [
        f"agreement: largest |ΔE| {found:.1e} Ha over {agreement['compared']} conformers"
        if found is not None
        else "agreement: no conformer was labelled by both"
    ]
    if (whole := result.get("generate")) is not None:
        first = whole["seconds_to_first_row"]
        wait = "" if first is None else f", first row after {first:.1f} s"
        lines.append(
            f"whole `qmgen generate` with a warm cache: {_number(whole['conformers_per_second'])} conf/s{wait} "
            "(starting processes, embedding and writing files included)"
        )
    for side, name in (("qmgen", "qmgen"), ("pyscf", "PySCF")):
        if sides[side]["labelled"] < total:
            lines.append(f"{name} labelled only {sides[side]['labelled']} of {total}")
    return lines


def _both(ours: dict[str, Any], theirs: dict[str, Any], key: str) -> list[str]:
    return [str(ours[key]), str(theirs[key])]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _range(found: dict[str, Any]) -> str:
    return f"{_number(found['min'])} to {_number(found['max'])}"


def _spread(found: dict[str, Any] | None) -> str:
    return "-" if found is None else f"{_number(found['median'])} ({_range(found)})"
