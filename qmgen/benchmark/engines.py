"""What is measured, and by which engines: a seeded draw from a source of molecules, embedded once, the same for qmgen
and for PySCF, as ``EngineProcesses`` run them.

Both engines take the same conformers and answer with energies in Hartree, by (molecule_id, conformer_id); what got no
converged label has none.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import numpy as np

import qmgen
from qmgen.dft.level import LevelOfTheory
from qmgen.errors import UsageError
from qmgen.labeling.level import resolved_level
from qmgen.labeling.types import Settings
from qmgen.machine import peak_memory
from qmgen.molecules.types import Conformer, Failure, Molecule
from qmgen.pipeline.source import open_source
from qmgen.pipeline.stages import Stages
from qmgen.processes import ProcessGroup
from qmgen.runtime import labeling_environment
from qmgen.validation.oracle import mean_field

CONV_TOL: Final = 1e-9
#: water, in Bohr: warms PySCF's libraries before anything is timed
WATER: Final = Conformer(
    -1, 0, "water", "O", np.array([8, 1, 1], dtype=np.uint8),
    np.array([[0.0, 0.0, 0.22], [0.0, 1.43, -0.89], [0.0, -1.43, -0.89]]),
)  # fmt: skip

Energies = dict[tuple[int, int], float]


@dataclass(frozen=True)
class Setup:
    """What a process needs before its first task. ``cache`` is where qmgen's compiled programs go."""

    settings: Settings
    cache: Path
    stages: Stages

    @property
    def level(self) -> LevelOfTheory:
        return resolved_level(self.settings)


class Qmgen:
    """The labeling of ``qmgen generate``: the same switches, the same function, default settings."""

    def __init__(self, setup: Setup) -> None:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(setup.cache)
        if jax := sys.modules.get("jax"):  # imported already: it has read the environment
            jax.config.update("jax_compilation_cache_dir", str(setup.cache))
        setup.stages.prepare()
        self._label = setup.stages.label
        self._settings = setup.settings

    def __call__(self, conformers: list[Conformer]) -> Energies:
        """Energies of a share of the conformers, labeled together."""
        energies: Energies = {}
        for result in self._label(iter(conformers), self._settings):
            if not isinstance(result, Failure) and result[1].converged:
                conformer, label = result
                energies[conformer.molecule_id, conformer.conformer_id] = float(label.energy)
        return energies


class PySCF:
    """PySCF's defaults with ``conv_tol`` 1e-9: RKS, integrals in memory, one molecule after another; with density
    fitting in the same fitting set where qmgen has it."""

    def __init__(self, setup: Setup) -> None:
        from pyscf import lib

        lib.num_threads(1)
        self._level = setup.level
        self([WATER])

    def __call__(self, conformers: list[Conformer]) -> Energies:
        """Energies of the conformers, one at a time."""
        energies: Energies = {}
        for conformer in conformers:
            mf = mean_field(conformer.numbers, conformer.positions, self._level, conv_tol=CONV_TOL)
            mf.kernel()
            if mf.converged:
                energies[conformer.molecule_id, conformer.conformer_id] = float(mf.e_tot)
        return energies


EMBED_TIME_LIMIT = 60.0  # seconds, the default of ``qmgen generate``


@dataclass(frozen=True)
class Subjects:
    """``conformers`` of ``molecules``, in order; ``failures`` counts geometries that could not be made."""

    source: list[str]
    molecules: tuple[Molecule, ...]
    conformers: tuple[Conformer, ...]
    failures: int

    def about(self) -> dict[str, Any]:
        """Plain values: how many, and how large."""
        heavy = [int(np.sum(c.numbers > 1)) for c in self.conformers]
        shapes = {(int(np.sum(c.numbers > 1)), int(np.sum(c.numbers == 1))) for c in self.conformers}
        return {
            "source": [Path(name).name for name in self.source],
            "molecules": len(self.molecules),
            "conformers": len(self.conformers),
            "without_geometry": self.failures,
            "heavy_atoms": [min(heavy), max(heavy)],
            "atoms": [min(len(c.numbers) for c in self.conformers), max(len(c.numbers) for c in self.conformers)],
            "shapes": len(shapes),
        }


def subjects(files: Sequence[str], count: int, conformers: int, seed: int, stages: Stages) -> Subjects:
    """At most ``count`` molecules of ``files`` (of the list that ships if there are none), drawn without replacement.

    Raises ``UsageError`` when a file will not do or no molecule of the draw has a geometry.
    """
    source = list(files) or [shipped()]
    with open_source(source, None, stages) as opened:
        usable = [entry for entry in stages.merge(iter(opened)) if isinstance(entry, Molecule)]
    drawn = np.sort(np.random.default_rng(seed).permutation(len(usable))[:count])
    molecules = tuple(usable[place] for place in drawn)
    made = list(stages.conformers(iter(molecules), conformers, seed, EMBED_TIME_LIMIT))
    geometries = [item for item in made if isinstance(item, Conformer)]
    if not geometries:
        reason = f": {made[0].detail}" if made and isinstance(made[0], Failure) else ""
        raise UsageError(f"no molecule of {', '.join(source)} has a geometry to measure with{reason}")
    geometries.sort(key=lambda item: (item.molecule_id, item.conformer_id))
    return Subjects(source, molecules, tuple(geometries), len(made) - len(geometries))


def shipped() -> str:
    """The list of molecules in the checkout. Raises ``UsageError`` for an installation without one."""
    path = Path(qmgen.__file__).parent.parent / "configs" / "quickstart.smi"
    if not path.is_file():
        raise UsageError("this installation has no list of molecules: give --molecules FILE")
    return str(path)


def shares(conformers: Sequence[Conformer], count: int) -> list[list[Conformer]]:
    """``count`` shares of equal work: the largest first, each to the share with the least so far; never an empty one.

    The work of a conformer is taken as the cube of its orbitals in a minimal basis.
    """
    dealt: list[list[Conformer]] = [[] for _ in range(count)]
    work = [0.0] * count
    for conformer in sorted(conformers, key=_size, reverse=True):
        least = work.index(min(work))
        dealt[least].append(conformer)
        work[least] += float(len(conformer.numbers) + 4 * np.sum(conformer.numbers > 1)) ** 3
    return [share for share in dealt if share]


def singles(conformers: Sequence[Conformer]) -> list[list[Conformer]]:
    """One task per conformer, the largest first, so that no process is left alone with a large one at the end."""
    return [[conformer] for conformer in sorted(conformers, key=_size, reverse=True)]


def _size(conformer: Conformer) -> tuple[int, int]:
    return int(np.sum(conformer.numbers > 1)), len(conformer.numbers)


@dataclass(frozen=True)
class TimedPass:
    """One pass: wall-clock ``seconds`` from the first task handed out to the last result, ``results`` in the order of
    the tasks, and the largest resident set of each process so far, in bytes."""

    seconds: float
    results: list[Any]
    peak_memory: list[int]


class EngineProcesses(ProcessGroup):
    """``count`` processes that each build ``engine`` (``module:class``) from ``setup`` and stay together over several
    timed passes. As in ``qmgen.pipeline``: one process per core, pinned to it, with one thread; on any core and with
    any number of threads where ``cores`` is empty.

    >>> with EngineProcesses("qmgen.benchmark.engines:PySCF", setup, count=2, cores=(0, 1)) as processes:
    ...     done = processes.work(tasks)
    ...     done.seconds, done.results, done.peak_memory
    """

    def __init__(self, engine: str, setup: Any, count: int, cores: tuple[int, ...] = ()) -> None:
        self.cores = cores
        self.start_seconds = 0.0
        super().__init__(
            f"{__name__}:watched",
            (engine, setup),
            count,
            f"a {engine.rpartition(':')[2]} process of the benchmark",
            "try fewer workers or smaller molecules",
            labeling_environment(bool(cores)),
            cores,
        )

    def __enter__(self) -> EngineProcesses:
        begin = perf_counter()
        super().__enter__()
        self.start_seconds = perf_counter() - begin
        return self

    def work(self, tasks: Sequence[Any]) -> TimedPass:
        """All ``tasks``, each by whichever process is free. Raises as ``ProcessGroup.results``."""
        results: list[Any] = [None] * len(tasks)
        peaks = [0] * self.count
        begin = perf_counter()
        for place, number, (result, peak) in self.results(tasks):
            results[place], peaks[number] = result, peak
        return TimedPass(perf_counter() - begin, results, peaks)


def watched(given: tuple[str, Any]) -> Callable[[Any], tuple[Any, int]]:
    """In a process: the engine (``module:class``, setup), which then answers with its peak of memory, in bytes."""
    module, _, name = given[0].partition(":")
    act = getattr(import_module(module), name)(given[1])
    return lambda task: (act(task), peak_memory())
