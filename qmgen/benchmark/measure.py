"""``run``: qmgen and PySCF on the same molecules at the same level, in one run, in turns.

All processes of both sides are started first, and wait while the other side works. The first pass of each is the cold
one: qmgen compiles into an empty cache, PySCF has done a water. Then come the warm passes in turns, the first place
alternating, in the same processes; the ratio is taken within each turn, and its median is the result.
"""

from __future__ import annotations

import shlex
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmgen.benchmark.crew import Crew, Pass
from qmgen.benchmark.sides import CONV_TOL, Energies, Setup
from qmgen.benchmark.subjects import Subjects, shares, singles, subjects
from qmgen.benchmark.whole import whole
from qmgen.errors import UsageError
from qmgen.labeling.types import Settings
from qmgen.machine import granted_cpus, machine, usable_cores, versions
from qmgen.pipeline.cores import Claims
from qmgen.pipeline.pool import default_layout
from qmgen.pipeline.stages import Stages

if TYPE_CHECKING:
    from qmgen.config.models import BenchConfig

SCHEMA_VERSION = 1


def run(config: BenchConfig, *, stages: Stages | None = None, progress: bool = True) -> dict[str, Any]:
    """Measure, and return plain JSON values (``qmgen.benchmark.table`` prints them); written to ``config.out`` if set.

    Raises ``UsageError`` for a level or source that will not do, ``QmgenError`` when a process died.
    """
    stages = stages or Stages()
    settings = Settings(xc=config.xc, basis=config.basis, grid_level=config.grid_level)
    theory = stages.load("theory")(settings)  # refuses unknown names before any work
    settings = replace(settings, xc=theory["xc"], basis=theory["basis"])  # PySCF's side knows no aliases
    chosen = subjects(config.molecules, config.count, config.conformers, config.seed, stages)
    with tempfile.TemporaryDirectory(prefix="qmgen-bench-") as folder:
        setup = Setup(settings, Path(folder) / "xla", stages)
        with Claims() as claims:
            ours, theirs = _sides(setup, chosen, config.workers, claims)
            with ours.crew, theirs.crew:
                _measure(ours, theirs, config.repeats, progress)
        generated = whole(Path(folder), setup, chosen.molecules, config.conformers, config.seed, config.workers)
    result = {
        "schema_version": SCHEMA_VERSION,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "machine": machine(),
        "versions": versions(),
        "settings": asdict(settings),
        "pyscf_settings": {"conv_tol": CONV_TOL, "threads": 1, "else": "PySCF's defaults"},
        "subjects": chosen.about() | {"seed": config.seed, "conformers_per_molecule": config.conformers},
        "sides": {"qmgen": ours.summary(), "pyscf": theirs.summary()},
        "generate": generated,
        "ratio": _ratio(ours, theirs),
        "agreement": _agreement(ours.energies, theirs.energies),
    }
    if config.out is not None:
        _write(result, Path(config.out))
    return result


@dataclass
class Side:
    """One of the two: its processes, its tasks, and the passes it has made."""

    name: str
    crew: Crew
    tasks: list[Any]
    passes: list[Pass] = field(default_factory=list)

    def go(self) -> None:
        self.passes.append(self.crew.work(self.tasks))

    @property
    def energies(self) -> Energies:
        """Those of the last pass, Hartree."""
        return {key: energy for share in self.passes[-1].results for key, energy in share.items()}

    def rate(self, number: int) -> float:
        """Converged conformers per second of a pass."""
        found = self.passes[number]
        return sum(map(len, found.results)) / found.seconds

    def summary(self) -> dict[str, Any]:
        warm = [self.rate(number) for number in range(1, len(self.passes))]
        peaks = self.passes[-1].peak_memory
        workers = min(self.crew.count, len(self.tasks))
        return {
            "workers": workers,
            "start_seconds": round(self.crew.start_seconds, 3),
            "labelled": len(self.energies),
            "cold": {"seconds": round(self.passes[0].seconds, 4), "conformers_per_second": self.rate(0)},
            "warm": {
                "seconds": [round(found.seconds, 4) for found in self.passes[1:]],
                "conformers_per_second": _spread(warm),
                "conformers_per_second_per_process": statistics.median(warm) / workers,
            },
            "peak_memory_bytes": {"largest_process": max(peaks), "all_processes": sum(peaks)},
        }


def _sides(setup: Setup, chosen: Subjects, workers: int | None, claims: Claims) -> tuple[Side, Side]:
    """qmgen in the layout of ``generate`` (on an accelerator one process), PySCF with a process per core granted; both
    on the same cores, since they take turns."""
    geometries = chosen.conformers
    count, pinned = default_layout(workers, len(geometries))
    many = min(workers or granted_cpus(), len(geometries))
    places = claims.take(usable_cores(), max(count, many))
    crew = Crew("qmgen.benchmark.sides:Qmgen", setup, count, places if pinned else ())
    ours = Side("qmgen", crew, shares(geometries, count))
    theirs = Side("PySCF", Crew("qmgen.benchmark.sides:PySCF", setup, many, places), singles(geometries))
    return ours, theirs


def _measure(ours: Side, theirs: Side, repeats: int, progress: bool) -> None:
    tell = _teller(2 + 2 * repeats, progress)
    for repeat in range(repeats + 1):
        for side in (ours, theirs) if repeat % 2 == 0 else (theirs, ours):
            tell(f"{side.name}, {'cold' if repeat == 0 else f'warm {repeat} of {repeats}'}")
            side.go()
    tell("")


def _teller(total: int, progress: bool) -> Callable[[str], None]:
    """Says on standard error, if that is a terminal, which pass is running."""
    from tqdm import tqdm

    bar = tqdm(total=total, unit="pass", file=sys.stderr, disable=None if progress else True)
    started = False

    def tell(what: str) -> None:
        nonlocal started
        bar.update(int(started))
        started = True
        if what:
            bar.set_description(what)
        else:
            bar.close()

    return tell


def _ratio(ours: Side, theirs: Side) -> dict[str, Any]:
    """qmgen's rate over PySCF's, within each turn."""
    turns = [
        ours.rate(number) / theirs.rate(number) if theirs.rate(number) else None for number in range(len(ours.passes))
    ]
    warm = [ratio for ratio in turns[1:] if ratio is not None]
    return {"cold": turns[0], "warm": _spread(warm) if warm else None}


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


def _write(result: dict[str, Any], path: Path) -> None:
    import json

    target = path if path.suffix == ".json" else path / "bench.json"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror or error}; choose another --out") from error
