"""How much more several processes do than one: the labeling of ``qmgen generate``, and PySCF, in one run.

>>> result = measure(Scale(), tell=print)
>>> result["qmgen"]["scaling"]["median"], result["parent_cpu_share"]["max"]

Each turn measures four things, the next turn in the opposite order: qmgen by one worker and by ``workers``, PySCF by
one process and by as many. A process works at the same list of molecules again and again until the others are done with
theirs too, so that none is measured alone. Scaling is the ratio within a turn.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

from qmgen.benchmark.engines import CONV_TOL, EngineProcesses, PySCF, Setup, Subjects, subjects
from qmgen.corpus.plan import Unit
from qmgen.errors import QmgenError
from qmgen.labeling.types import Settings
from qmgen.machine import provenance, usable_cores
from qmgen.molecules.types import Conformer
from qmgen.pipeline.job import LabelJob, canonical, job_of
from qmgen.pipeline.layout import WorkerPlace
from qmgen.pipeline.pool import Pool
from qmgen.pipeline.source import UnitInput, open_source
from qmgen.pipeline.stages import Stages
from qmgen.pipeline.unit import UnitResult
from qmgen.tables import aligned

#: what must hold: this much of ``workers``, or of PySCF's scaling in the same run; and the parent, in cores
OF_WORKERS: Final = 0.9
OF_PYSCF: Final = 0.95
PARENT: Final = 0.05


@dataclass(frozen=True)
class Scale:
    """What to measure: ``count`` molecules of ``molecules`` (none: of the list that ships) at ``grid_level``, by
    ``workers`` processes against one, each ``passes`` times a turn, in ``turns`` turns."""

    molecules: tuple[str, ...] = ()
    count: int = 8
    grid_level: int = 1
    workers: int = 2
    passes: int = 2
    turns: int = 3
    seed: int = 0


SCHEMA_VERSION: Final = 1
#: more units than any run here does
_UNITS: Final = 10_000


@dataclass(frozen=True)
class Ours:
    """One pool: conformers per second of all its workers, the parent's CPU seconds per second of theirs, and the cores
    that they were pinned to (None: to none)."""

    rate: float
    parent: float
    cores: list[int | None]


class TimedPySCF(PySCF):
    """PySCF's side, which tells how long it took: all processes at once, and each for itself."""

    def __call__(self, conformers: list[Conformer]) -> Any:
        begin = time.perf_counter()
        energies = super().__call__(conformers)
        return len(energies), time.perf_counter() - begin


def measure(scale: Scale, tell: Callable[[str], None], stages: Stages | None = None) -> dict[str, Any]:
    """Plain JSON values. Raises ``UsageError`` on a source that will not do, ``QmgenError`` when a process died."""
    stages = stages or Stages()
    about = provenance()
    chosen = subjects(scale.molecules, scale.count, 1, scale.seed, stages)
    settings = Settings(grid_level=scale.grid_level)
    ours: dict[int, list[Ours]] = {1: [], scale.workers: []}
    theirs: dict[int, list[float]] = {1: [], scale.workers: []}
    with tempfile.TemporaryDirectory(prefix="qmgen-scaling-") as folder:
        setup = Setup(settings, Path(folder), stages)
        cores = usable_cores()
        groups = {many: EngineProcesses(f"{__name__}:TimedPySCF", setup, many, cores[:many]) for many in theirs}
        with groups[1], groups[scale.workers]:
            for turn in range(scale.turns):
                order = [(side, many) for side in ("qmgen", "PySCF") for many in ours]
                for side, many in order if turn % 2 == 0 else order[::-1]:
                    tell(f"turn {turn + 1} of {scale.turns}: {side}, {many} process{'es' if many > 1 else ''}")
                    if side == "qmgen":
                        place = Path(folder) / f"{turn}-{many}"
                        ours[many].append(_ours(scale, chosen, many, place, stages))
                    else:
                        theirs[many].append(_theirs(groups[many], chosen))
    return {
        "schema_version": SCHEMA_VERSION,
        **about,
        "scale": asdict(scale) | {"molecules": chosen.about()["source"]},
        "settings": {"xc": settings.xc, "basis": settings.basis, "grid_level": settings.grid_level},
        "pyscf_settings": {"conv_tol": CONV_TOL, "threads": 1},
        "subjects": chosen.about(),
        **_summary(scale.workers, ours, theirs),
    }


def _ours(scale: Scale, chosen: Subjects, many: int, folder: Path, stages: Stages) -> Ours:
    """The pool of ``qmgen generate`` on units that are all alike: ``many`` workers, each warmed by its first one."""
    folder.mkdir()
    watch = _Watch(warm=many, wanted=many * (1 + scale.passes))
    with Pool(_job(scale, chosen, folder, stages), (WorkerPlace(one_thread=True),) * many, on_done=watch.done) as pool:
        pool.run(_works(chosen), watch.enough)
        about = [worker.about for worker in [*pool.gone, *pool.workers]]
    timed = watch.timed
    if not timed or not timed[0].rows:
        raise QmgenError("no molecule of the draw got a label: choose others")
    rate = many * sum(one.rows for one in timed) / sum(one.seconds for one in timed)
    return Ours(rate, watch.parent_share, [one.get("core") for one in about])


class _Watch:
    """Hears of finished units; the first ``warm`` of them have compiled, traced and loaded."""

    def __init__(self, warm: int, wanted: int) -> None:
        self._warm, self._wanted = warm, wanted
        self._count = 0
        self._begin = (0.0, 0.0)
        self.timed: list[UnitResult] = []
        self.parent_share = 0.0

    def done(self, result: UnitResult) -> None:
        now = (time.perf_counter(), time.process_time())
        self._count += 1
        if result.index >= self._warm and self._count <= self._wanted:
            self.timed.append(result)
        if self._count == self._warm:
            self._begin = now
        elif self._count == self._wanted:
            self.parent_share = (now[1] - self._begin[1]) / (now[0] - self._begin[0])

    def enough(self) -> bool:
        """Whether all is measured; what is in hand then only kept the others company."""
        return self._count >= self._wanted


def _works(chosen: Subjects) -> Iterator[UnitInput]:
    size = len(chosen.molecules)
    for index in count():
        yield UnitInput(Unit(index, _UNITS, index * size, (index + 1) * size), list(chosen.molecules), 0)


def _job(scale: Scale, chosen: Subjects, folder: Path, stages: Stages) -> LabelJob:
    from qmgen.config import GenerateConfig

    config = GenerateConfig(
        molecules=chosen.source, out=folder / "corpus", grid_level=scale.grid_level, seed=scale.seed
    )
    config, theory, _ = canonical(config, stages)
    with open_source(config.molecules, None, stages) as source:
        job = job_of(config, theory, source, stages)
    (folder / "corpus").mkdir()
    return job


def _theirs(processes: EngineProcesses, chosen: Subjects) -> float:
    """Conformers per second of a processes in which every process does all conformers at once."""
    done = processes.work([list(chosen.conformers)] * processes.count)
    return sum(labeled / seconds for labeled, seconds in done.results)


def _summary(workers: int, ours: dict[int, list[Ours]], theirs: dict[int, list[float]]) -> dict[str, Any]:
    rates = {many: [one.rate for one in found] for many, found in ours.items()}
    scalings = [_ratios(side[workers], side[1]) for side in (rates, theirs)]
    parent = [one.parent for one in ours[workers]]
    ratio = _spread(_ratios(*scalings))
    qmgen = _side(rates, scalings[0])
    return {
        "qmgen": qmgen | {"cores": {str(many): [one.cores for one in found] for many, found in ours.items()}},
        "pyscf": _side(theirs, scalings[1]),
        "ratio_of_scalings": ratio,
        "parent_cpu_share": _spread(parent),
        "holds": {
            "scaling": qmgen["scaling"]["median"] >= OF_WORKERS * workers or ratio["median"] >= OF_PYSCF,
            "parent": max(parent) < PARENT,
        },
    }


def _side(rates: dict[int, list[float]], scalings: list[float]) -> dict[str, Any]:
    return {
        "conformers_per_second": {str(many): _spread(found) for many, found in rates.items()},
        "scaling": _spread(scalings),
    }


def _ratios(above: list[float], below: list[float]) -> list[float]:
    return [a / b for a, b in zip(above, below, strict=True)]


def _spread(values: list[float]) -> dict[str, Any]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "each": values}


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
            aligned(lines, left=(0, 1, -1)),
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
