"""One grid level: both sides on the same conformers, in turns; then the first label, and the whole of ``generate``.

All processes of both sides are started first, and wait while the other side works. qmgen begins with a cold pass, into
an empty cache; PySCF compiles nothing and has done a water, so that its first pass counts like any other. Then come the
warm passes in turns, the first place alternating, in the same processes; the ratio is taken within each turn, and its
median is the result.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmgen.benchmark.crew import Crew, Pass
from qmgen.benchmark.first_label import TARGETS, first_label
from qmgen.benchmark.sides import Energies, Setup
from qmgen.benchmark.subjects import Subjects, shares, singles
from qmgen.benchmark.whole import whole
from qmgen.machine import granted_cpus, usable_cores
from qmgen.pipeline.cores import Claims
from qmgen.pipeline.layout import layout

if TYPE_CHECKING:
    from qmgen.config.corpus import BenchConfig

Teller = Callable[[str], None]


@dataclass
class Side:
    """One of the two: its processes, its tasks, and the passes it has made; only qmgen makes a ``cold`` one."""

    name: str
    crew: Crew
    tasks: list[Any]
    cold: Pass | None = None
    warm: list[Pass] = field(default_factory=list)

    def go_cold(self) -> None:
        self.cold = self.crew.work(self.tasks)

    def go(self) -> None:
        self.warm.append(self.crew.work(self.tasks))

    @property
    def energies(self) -> Energies:
        """Those of the last pass, Hartree."""
        return {key: energy for share in self.warm[-1].results for key, energy in share.items()}

    @property
    def rates(self) -> list[float]:
        """Converged conformers per second of each warm pass."""
        return [_rate(one) for one in self.warm]

    def summary(self) -> dict[str, Any]:
        peaks = self.warm[-1].peak_memory
        workers = min(self.crew.count, len(self.tasks))
        return {
            "workers": workers,
            "start_seconds": round(self.crew.start_seconds, 3),
            "labelled": len(self.energies),
            "cold": None
            if self.cold is None
            else {"seconds": round(self.cold.seconds, 4), "conformers_per_second": _rate(self.cold)},
            "warm": {
                "seconds": [round(found.seconds, 4) for found in self.warm],
                "conformers_per_second": _spread(self.rates),
                "conformers_per_second_per_process": statistics.median(self.rates) / workers,
            },
            "peak_memory_bytes": {"largest_process": max(peaks), "all_processes": sum(peaks)},
        }


def passes(repeats: int) -> int:
    """How often ``measure`` says what it is at, for a level."""
    return 1 + 2 * repeats + len(TARGETS) + 1


def measure(setup: Setup, chosen: Subjects, config: BenchConfig, folder: Path, tell: Teller) -> dict[str, Any]:
    """Everything about one level, as plain values. ``folder`` is empty, and for scratch.

    Raises ``QmgenError`` when a process died.
    """
    with Claims() as claims:
        ours, theirs = _sides(setup, chosen, config.workers, claims)
        with ours.crew, theirs.crew:
            _take_turns(ours, theirs, config.repeats, tell)
        # the largest is first: of all shapes here none takes longer
        largest = singles(chosen.conformers)[0][0]
        first = first_label(setup, largest, ours.crew.cores, folder / "first-label", tell)
    tell("generate")
    generated = whole(folder, setup, chosen.molecules, config.conformers, config.seed, config.workers)
    return {
        "settings": asdict(setup.settings),
        "sides": {"qmgen": ours.summary(), "pyscf": theirs.summary()},
        "generate": generated,
        "first_label": first,
        "ratio": _ratio(ours, theirs),
        "agreement": _agreement(ours.energies, theirs.energies),
    }


def _sides(setup: Setup, chosen: Subjects, workers: int | None, claims: Claims) -> tuple[Side, Side]:
    """qmgen in the layout of ``generate`` (on an accelerator one process), PySCF with a process per core granted; both
    on the same cores, since they take turns."""
    geometries = chosen.conformers
    ours_at = layout(workers, None, len(geometries))
    count, pinned = len(ours_at.places), ours_at.cores
    many = min(workers or granted_cpus(), len(geometries))
    places = claims.take(usable_cores(), max(count, many))
    crew = Crew("qmgen.benchmark.sides:Qmgen", setup, count, places if pinned else ())
    ours = Side("qmgen", crew, shares(geometries, count))
    theirs = Side("PySCF", Crew("qmgen.benchmark.sides:PySCF", setup, many, places), singles(geometries))
    return ours, theirs


def _take_turns(ours: Side, theirs: Side, repeats: int, tell: Teller) -> None:
    tell(f"{ours.name}, cold")
    ours.go_cold()
    for repeat in range(repeats):
        for side in (theirs, ours) if repeat % 2 == 0 else (ours, theirs):
            tell(f"{side.name}, warm {repeat + 1} of {repeats}")
            side.go()


def _rate(found: Pass) -> float:
    return sum(map(len, found.results)) / found.seconds


def _ratio(ours: Side, theirs: Side) -> dict[str, Any]:
    """qmgen's rate over PySCF's: warm within each turn, cold over PySCF's median. None where PySCF labelled nothing."""
    turns = [our / their for our, their in zip(ours.rates, theirs.rates, strict=True) if their]
    usual = statistics.median(theirs.rates)
    cold = _rate(ours.cold) / usual if ours.cold is not None and usual else None
    return {"cold": cold, "warm": _spread(turns) if turns else None}


def _spread(values: list[float]) -> dict[str, Any]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "each": values}


def _agreement(ours: Energies, theirs: Energies) -> dict[str, Any]:
    common = ours.keys() & theirs.keys()
    differences = sorted((abs(ours[key] - theirs[key]), key) for key in common)
    return {
        "compared": len(common),
        "only_one_side": len(ours.keys() ^ theirs.keys()),
        "max_abs_energy_difference_hartree": differences[-1][0] if differences else None,
        "worst": list(differences[-1][1]) if differences else None,
    }
