"""The result of a benchmark as tables, one a level and one of all: for the terminal, and as Markdown for the docs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from qmgen import tables

Lines = list[list[str]]
#: columns of text
LEFT = (0, 1, -1)


def table(result: dict[str, Any]) -> str:
    """For the terminal: what was measured, where, a table for each level, and one of the ratios."""
    return "\n".join(
        [f"{_head(result)}\n{_machine(result)}", *_sections(result, partial(tables.aligned, left=LEFT), "")]
    )


def markdown(result: dict[str, Any]) -> str:
    """The same as Markdown, with date, machine and command: to be pasted into docs/performance.md."""
    head = f"{_head(result)}. {result['date'][:10]}, {_machine(result)}."
    return "\n".join(
        [head, *_sections(result, partial(tables.markdown, left=LEFT), "- "), "", f"`{result['command']}`", ""]
    )


def _sections(result: dict[str, Any], form: Callable[[Lines], str], bullet: str) -> list[str]:
    lines = []
    for level in result["levels"]:
        settings, total = level["settings"], result["subjects"]["conformers"]
        fitted = f", density fitting in {settings['auxbasis']}" if settings.get("jk") == "df" else ""
        name = f"{settings['xc']}/{settings['basis']}{fitted}, grid level {settings['grid_level']}"
        lines += [
            "",
            f"{name}:",
            "",
            form(_level(level)),
            "",
            *(bullet + line for line in _remarks(level, total)),
        ]
    return [*lines, "", "Warm, median (lowest to highest):", "", form(_summary(result["levels"]))]


def _head(result: dict[str, Any]) -> str:
    subjects = result["subjects"]
    low, high = subjects["heavy_atoms"]
    size = f"{low}" if low == high else f"{low} to {high}"
    return f"{subjects['conformers']} conformers of {subjects['molecules']} molecules ({size} heavy atoms)"


def _machine(result: dict[str, Any]) -> str:
    machine, versions = result["machine"], result["versions"]
    names = ("python", "qmgen", "jax", "pyscf")
    programs = ", ".join(f"{name} {versions[name]}" for name in names if versions.get(name))
    return f"{machine['cpu']}, {machine['usable_cpus']} cores; {programs}"


def _summary(levels: list[dict[str, Any]]) -> Lines:
    """What is claimed, a row a level."""
    lines = [["grid level", "unit", "qmgen", "PySCF", "largest difference, Ha", "qmgen / PySCF"]]
    for level in levels:
        rates = [level["sides"][side]["warm"]["conformers_per_second"] for side in ("qmgen", "pyscf")]
        difference = level["agreement"]["max_abs_energy_difference_hartree"]
        lines.append(
            [str(level["settings"]["grid_level"]), "conf/s"]
            + [_number(rate["median"]) for rate in rates]
            + ["-" if difference is None else f"{difference:.1e}", _spread(level["ratio"]["warm"])]
        )
    return lines


def _level(level: dict[str, Any]) -> Lines:
    ours, theirs, ratio = level["sides"]["qmgen"], level["sides"]["pyscf"], level["ratio"]
    warm = [side["warm"]["conformers_per_second"] for side in (ours, theirs)]
    each = [_number(side["warm"]["conformers_per_second_per_process"]) for side in (ours, theirs)]
    peaks = [side["peak_memory_bytes"] for side in (ours, theirs)]
    first = level["first_label"]
    return [
        ["", "unit", "qmgen", "PySCF", "qmgen / PySCF"],
        ["processes", "", str(ours["workers"]), str(theirs["workers"]), ""],
        ["cold, first pass", "conf/s", _number(ours["cold"]["conformers_per_second"]), "", _number(ratio["cold"])],
        ["warm, median", "conf/s", *[_number(figures["median"]) for figures in warm], _spread(ratio["warm"])],
        ["warm, lowest to highest", "conf/s", *[_range(figures) for figures in warm], ""],
        ["warm, per process", "conf/s", *each, ""],
        ["first label, empty cache", "s", _seconds(first["empty_cache"]["seconds"]), "", ""],
        ["first label, filled cache", "s", _seconds(first["filled_cache"]["seconds"]), "", ""],
        ["peak memory, largest process", "GB", *[f"{figures['largest_process'] / 1e9:.2f}" for figures in peaks], ""],
        ["peak memory, all", "GB", *[f"{figures['all_processes'] / 1e9:.2f}" for figures in peaks], ""],
    ]


def _remarks(level: dict[str, Any], total: int) -> list[str]:
    agreement, sides = level["agreement"], level["sides"]
    difference = agreement["max_abs_energy_difference_hartree"]
    lines = [
        f"agreement: largest |ΔE| {difference:.1e} Ha over {agreement['compared']} conformers"
        if difference is not None
        else "agreement: no conformer was labeled by both",
        *_first(level["first_label"]),
    ]
    if (whole := level["generate"]) is not None:
        first = whole["seconds_to_first_row"]
        wait = "" if first is None else f", first row after {first:.1f} s"
        lines.append(
            f"whole `qmgen generate` with a warm cache: {_number(whole['conformers_per_second'])} conf/s{wait} "
            "(starting processes, embedding and writing files included)"
        )
    for side, name in (("qmgen", "qmgen"), ("pyscf", "PySCF")):
        if sides[side]["labelled"] < total:
            lines.append(f"{name} labeled only {sides[side]['labelled']} of {total}")
    return lines


def _first(first: dict[str, Any]) -> list[str]:
    """What the wait for the first label is made of, and what it should be at most."""
    size = f"{first['heavy_atoms']} heavy atoms of {first['atoms']}"
    lines = []
    for state, limit in first["targets_seconds"].items():
        start, rest = first[state]["start_seconds"], first[state]["label_seconds"]
        lines.append(
            f"first label of a new process ({size}), {state.replace('_', ' ')}: process and imports {start:.1f} s, "
            f"the rest {rest:.1f} s (target {limit:g} s in all)"
        )
    return lines


def _seconds(value: float | None) -> str:
    return "no label" if value is None else f"{value:.1f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _range(figures: dict[str, Any]) -> str:
    return f"{_number(figures['min'])} to {_number(figures['max'])}"


def _spread(figures: dict[str, Any] | None) -> str:
    return "-" if figures is None else f"{_number(figures['median'])} ({_range(figures)})"
