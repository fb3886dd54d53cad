"""The result of ``scaling.measure`` as a table for the terminal, and a verdict on what must hold."""

from __future__ import annotations

from typing import Any

from qmgen.benchmark.scaling_plan import OF_PYSCF, OF_WORKERS, PARENT
from qmgen.validation.compare import align


def table(result: dict[str, Any]) -> str:
    """What was measured and where, rates and scalings with their spread over the turns, and what holds."""
    workers, machine = result["scale"]["workers"], result["machine"]
    settings, subjects = result["settings"], result["subjects"]
    sides = [result["qmgen"], result["pyscf"]]
    rates = [[side["conformers_per_second"][str(many)] for side in sides] for many in (1, workers)]
    lines = [
        ["", "unit", "qmgen", "PySCF", "qmgen / PySCF"],
        ["one process", "conf/s", *map(_range, rates[0]), ""],
        [f"{workers} processes", "conf/s", *map(_range, rates[1]), ""],
        ["scaling", "", *[_range(side["scaling"]) for side in sides], _range(result["ratio_of_scalings"])],
        ["the parent", "cores", _range(result["parent_cpu_share"]), "", ""],
    ]
    turns = len(result["parent_cpu_share"]["each"])
    level = f"{settings['xc']}/{settings['basis']}, grid level {settings['grid_level']}"
    return "\n".join(
        [
            f"{subjects['conformers']} molecules ({subjects['heavy_atoms'][0]} to {subjects['heavy_atoms'][1]} heavy "
            f"atoms), {level}; median (lowest to highest) of {turns} turns",
            f"{machine['cpu']}, {machine['usable_cpus']} cores",
            "",
            align(lines),
            "",
            *_verdicts(result, workers),
        ]
    )


def _verdicts(result: dict[str, Any], workers: int) -> list[str]:
    holds = result["holds"]
    return [
        f"scaling of at least {OF_WORKERS * workers:g}, or {OF_PYSCF:g} of PySCF's: {_word(holds['scaling'])}",
        f"the parent under {PARENT:g} of a core in every turn: {_word(holds['parent'])}",
    ]


def _word(holds: bool) -> str:
    return "holds" if holds else "DOES NOT HOLD"


def _range(found: dict[str, Any]) -> str:
    return f"{found['median']:.3g} ({found['min']:.3g} to {found['max']:.3g})"
