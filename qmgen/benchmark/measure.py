"""``run``: qmgen and PySCF on the same molecules, at one grid level after another, in one run.

At each level all processes of both engines are started first, and wait while the other engine works. qmgen begins with
a cold pass, into an empty cache; PySCF compiles nothing and has done a water, so that its first pass counts like any
other. Then come the warm passes in turns, the first place alternating, in the same processes; the ratio is taken within
each turn, and its median is the result. After them come the wait for a first label and the whole of ``generate``.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qmgen.benchmark.engines import (
    CONV_TOL,
    Energies,
    EngineProcesses,
    Setup,
    Subjects,
    TimedPass,
    shares,
    singles,
    subjects,
)
from qmgen.files import write_json
from qmgen.labeling.types import Settings
from qmgen.machine import granted_cpus, provenance, usable_cores
from qmgen.molecules.types import Conformer, Molecule
from qmgen.pipeline.layout import CoreLocks, layout
from qmgen.pipeline.stages import Stages
from qmgen.progress import ProgressLine
from qmgen.runtime import environment

if TYPE_CHECKING:
    from qmgen.config.corpus import BenchConfig


Teller = Callable[[str], None]
#: 2: ``levels``, a list, holds what was said of one level at the top; ``first_label``; no cold pass of PySCF
BENCH_SCHEMA = 2


def run(config: BenchConfig, *, stages: Stages | None = None, progress: bool = True) -> dict[str, Any]:
    """Measure, and return plain JSON values (``render.table`` prints them); written to ``config.out`` if set.

    Raises ``UsageError`` for a level or source that will not do, ``QmgenError`` when a process died.
    """
    stages = stages or Stages()
    wanted = [_without_aliases(_settings(config, level), stages) for level in config.grid_levels]
    chosen = subjects(config.molecules, config.count, config.conformers, config.seed, stages)
    about = provenance()
    levels = []
    line = ProgressLine("bench", "measurement", len(wanted) * passes(config.repeats), quiet=not progress)

    def tell(what: str) -> None:
        """``what`` is begun, and what came before is done."""
        line.advance(int(bool(line.note)))
        line.note = what
        line.show(now=True)

    for settings in wanted:
        with tempfile.TemporaryDirectory(prefix="qmgen-bench-") as folder:
            setup = Setup(settings, Path(folder) / "xla", stages)  # a level of its own is cold at its start
            levels.append(measure_level(setup, chosen, config, Path(folder), _prefixed(tell, settings)))
    line.advance(1)
    line.close()
    result = {
        "schema_version": BENCH_SCHEMA,
        **about,
        "pyscf_settings": {"conv_tol": CONV_TOL, "threads": 1, "else": "PySCF's defaults"},
        "subjects": chosen.about() | {"seed": config.seed, "conformers_per_molecule": config.conformers},
        "levels": levels,
    }
    if config.out is not None:
        out = Path(config.out)
        write_json(result, out if out.suffix == ".json" else out / "bench.json", "--out")
    return result


def _settings(config: BenchConfig, grid_level: int) -> Settings:
    names = {name: getattr(config, name) for name in ("xc", "basis", "jk", "auxbasis", "cartesian")}
    return Settings(**names, grid_level=grid_level)


def _without_aliases(settings: Settings, stages: Stages) -> Settings:
    """The level by names that PySCF has too. Raises ``UsageError`` for unknown names."""
    theory = stages.theory(settings)
    more = {name: theory[name] for name in ("jk", "auxbasis", "cartesian") if name in theory}
    return replace(settings, xc=theory["xc"], basis=theory["basis"], **more)


def _prefixed(tell: Teller, settings: Settings) -> Teller:
    return lambda what: tell(f"level {settings.grid_level}: {what}")


#: seconds, of a shape that was compiled nowhere yet and of one that was
TARGETS: Final = {"empty_cache": 60.0, "filled_cache": 10.0}


def first_label(
    setup: Setup, conformer: Conformer, cores: tuple[int, ...], cache: Path, tell: Teller
) -> dict[str, Any]:
    """Seconds from starting one process to its first label of ``conformer``, as plain values.

    First with ``cache`` as a folder that is empty, then by another process with what the first one left there.
    ``start_seconds`` is the process and its imports, ``label_seconds`` all the rest: compilation or loading what was
    compiled, and the label. ``seconds`` is their sum, None where no label came of it.
    """
    setup = replace(setup, cache=cache)
    times: dict[str, Any] = {
        "conformer": [conformer.molecule_id, conformer.conformer_id],
        "atoms": len(conformer.numbers),
        "heavy_atoms": int(np.sum(conformer.numbers > 1)),
        "targets_seconds": TARGETS,
    }
    for state in TARGETS:
        tell(f"first label, {state.replace('_', ' ')}")
        with EngineProcesses("qmgen.benchmark.engines:Qmgen", setup, 1, cores[:1]) as processes:
            done = processes.work([[conformer]])
        labeled = bool(done.results[0])
        times[state] = {
            "seconds": round(processes.start_seconds + done.seconds, 3) if labeled else None,
            "start_seconds": round(processes.start_seconds, 3),
            "label_seconds": round(done.seconds, 3),
        }
    return times


def whole(
    folder: Path, setup: Setup, molecules: Sequence[Molecule], conformers: int, seed: int, workers: int | None
) -> dict[str, Any] | None:
    """Seconds and conformers per second of one ``generate`` with a filled compilation cache, into ``folder``.

    ``seconds_to_first_row`` is what a user waits on a second run. None where a molecule has no SMILES: its geometry
    cannot be embedded again. Raises as ``generate`` does.
    """
    from qmgen.config import GenerateConfig
    from qmgen.pipeline.run import generate

    if not all(molecule.smiles and molecule.positions is None for molecule in molecules):
        return None
    source = folder / "molecules.smi"
    source.write_text("".join(f"{molecule.smiles}\n" for molecule in molecules), encoding="utf-8")
    level = setup.settings
    config = GenerateConfig(
        molecules=[str(source)],
        out=folder / "corpus",
        conformers=conformers,
        seed=seed,
        workers=workers,
        xc=level.xc,
        basis=level.basis,
        jk=level.jk,
        auxbasis=level.auxbasis,
        cartesian=level.cartesian,
        grid_level=level.grid_level,
    )
    begin = perf_counter()
    with environment({"JAX_COMPILATION_CACHE_DIR": str(setup.cache)}):
        summary = generate(config, stages=setup.stages, quiet=True)
    seconds = perf_counter() - begin
    return {
        "seconds": round(seconds, 3),
        "rows": summary.rows,
        "conformers_per_second": summary.rows / seconds,
        "seconds_to_first_row": summary.seconds_to_first_row,
        "compile_seconds": summary.compile_seconds,
        "workers": summary.workers,
        "units": summary.units,
    }


@dataclass
class EngineRuns:
    """One of the two: its processes, its tasks, and the passes it has made; only qmgen makes a ``cold`` one."""

    name: str
    processes: EngineProcesses
    tasks: list[Any]
    cold: TimedPass | None = None
    warm: list[TimedPass] = field(default_factory=list)

    def go_cold(self) -> None:
        self.cold = self.processes.work(self.tasks)

    def go(self) -> None:
        self.warm.append(self.processes.work(self.tasks))

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
        workers = min(self.processes.count, len(self.tasks))
        return {
            "workers": workers,
            "start_seconds": round(self.processes.start_seconds, 3),
            "labelled": len(self.energies),
            "cold": None
            if self.cold is None
            else {"seconds": round(self.cold.seconds, 4), "conformers_per_second": _rate(self.cold)},
            "warm": {
                "seconds": [round(timed.seconds, 4) for timed in self.warm],
                "conformers_per_second": _spread(self.rates),
                "conformers_per_second_per_process": statistics.median(self.rates) / workers,
            },
            "peak_memory_bytes": {"largest_process": max(peaks), "all_processes": sum(peaks)},
        }


def passes(repeats: int) -> int:
    """How often ``measure`` says what it is at, for a level."""
    return 1 + 2 * repeats + len(TARGETS) + 1


def measure_level(setup: Setup, chosen: Subjects, config: BenchConfig, folder: Path, tell: Teller) -> dict[str, Any]:
    """Everything about one level, as plain values. ``folder`` is empty, and for scratch.

    Raises ``QmgenError`` when a process died.
    """
    with CoreLocks() as claims:
        ours, theirs = _sides(setup, chosen, config.workers, claims)
        with ours.processes, theirs.processes:
            _take_turns(ours, theirs, config.repeats, tell)
        # the largest is first: of all shapes here none takes longer
        largest = singles(chosen.conformers)[0][0]
        first = first_label(setup, largest, ours.processes.cores, folder / "first-label", tell)
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


def _sides(setup: Setup, chosen: Subjects, workers: int | None, claims: CoreLocks) -> tuple[EngineRuns, EngineRuns]:
    """qmgen in the layout of ``generate`` (on an accelerator one process), PySCF with a process per core granted; both
    on the same cores, since they take turns."""
    geometries = chosen.conformers
    ours_at = layout(workers, None, len(geometries))
    count, one_thread = len(ours_at), any(place.one_thread for place in ours_at)
    many = min(workers or granted_cpus(), len(geometries))
    places = claims.take(usable_cores(), max(count, many))
    ours = EngineProcesses("qmgen.benchmark.engines:Qmgen", setup, count, places if one_thread else ())
    theirs = EngineProcesses("qmgen.benchmark.engines:PySCF", setup, many, places)
    return EngineRuns("qmgen", ours, shares(geometries, count)), EngineRuns("PySCF", theirs, singles(geometries))


def _take_turns(ours: EngineRuns, theirs: EngineRuns, repeats: int, tell: Teller) -> None:
    tell(f"{ours.name}, cold")
    ours.go_cold()
    for repeat in range(repeats):
        for side in (theirs, ours) if repeat % 2 == 0 else (ours, theirs):
            tell(f"{side.name}, warm {repeat + 1} of {repeats}")
            side.go()


def _rate(timed: TimedPass) -> float:
    return sum(map(len, timed.results)) / timed.seconds


def _ratio(ours: EngineRuns, theirs: EngineRuns) -> dict[str, Any]:
    """qmgen's rate over PySCF's: warm within each turn, cold over PySCF's median. None where PySCF labeled nothing."""
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
