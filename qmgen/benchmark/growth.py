"""How the time and memory of a label grow: with the size of the molecule, with the batch, with the number of rows.

>>> runtime.prepare()
>>> result = measure(FULL, repeats=3, seed=0, tell=print)
>>> result["by_size"]["fit"]["exponent"]

In the calling process, which should be pinned to one core and keep to one thread. Times are its CPU seconds, which
other work on the machine disturbs little; wall-clock seconds stand beside them. Everything is done once before it is
timed, so that nothing is compiled in between; ``compile_seconds_while_timed`` says whether that held.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from qmgen.benchmark.growth_series import Series
from qmgen.benchmark.provenance import provenance
from qmgen.dft.batch import mapping
from qmgen.dft.prepare import Shape, shape_of
from qmgen.errors import QmgenError
from qmgen.labeling import Settings, label
from qmgen.labeling.level import Level, level_of
from qmgen.labeling.memory import bytes_by_part
from qmgen.machine import forget_peak_memory, peak_memory, resident_memory, return_free_memory
from qmgen.molecules.embedding import embed
from qmgen.molecules.types import Conformer, Failure
from qmgen.power_law import power_law

SCHEMA_VERSION = 1

Teller = Callable[[str], None]


@dataclass(frozen=True)
class Timing:
    """One go: CPU and wall-clock seconds, resident bytes before it, and at its peak."""

    cpu_seconds: float
    seconds: float
    resting_bytes: int | None
    peak_bytes: int


def measure(series: Series, repeats: int, seed: int, tell: Teller) -> dict[str, Any]:
    """All three, as plain JSON values. ``tell`` hears what is being done.

    Raises ``QmgenError`` when a molecule of the series gets no label.
    """
    settings = Settings(grid_level=series.grid_level)
    compiling = _Compiling()
    about = provenance()
    return {
        "schema_version": SCHEMA_VERSION,
        **about,
        "settings": asdict(settings),
        "repeats": repeats,
        "seed": seed,
        "memory_is_of_each_go": forget_peak_memory(),
        "by_size": by_size(series.molecules, settings, repeats, seed, compiling, tell),
        "by_batch": by_batch(series.typical, series.batch_sizes, settings, repeats, seed, compiling, tell),
        "by_rows": by_rows(series.typical, series.rows, series.chunk, settings, seed, compiling, tell),
        "compile_seconds_while_timed": compiling.while_timed,
    }


def by_size(
    molecules: Sequence[Sequence[str]],
    settings: Settings,
    repeats: int,
    seed: int,
    compiling: _Compiling,
    tell: Teller,
) -> dict[str, Any]:
    """``points``, one a molecule, labelled alone, and ``fit`` of their seconds to a power of the orbitals."""
    settings = replace(settings, batch_size=1)
    level = level_of(settings)
    points = []
    for smiles in (one for row in molecules for one in row):
        tell(f"size: {smiles}")
        conformers = _conformers(smiles, 1, seed)
        shape = _shape(conformers[0], level)
        points.append(
            {
                "smiles": smiles,
                "orbitals": level.basis.n_orbitals(conformers[0].numbers),
                "padded_orbitals": shape.n_orbitals,
                "heavy_atoms": int((conformers[0].numbers > 1).sum()),
                **_repeated(conformers, settings, repeats, compiling),
                "memory_by_part_bytes": _by_part(shape, level, 1),
            }
        )
    fit = power_law([p["orbitals"] for p in points], [p["cpu_seconds"] for p in points])
    return {"points": points, "fit": asdict(fit)}


def by_batch(
    smiles: str,
    sizes: Sequence[int],
    settings: Settings,
    repeats: int,
    seed: int,
    compiling: _Compiling,
    tell: Teller,
) -> dict[str, Any]:
    """``points``, one a batch size: the same conformers of one molecule, as many as fill the largest batch."""
    conformers, level = _conformers(smiles, max(sizes), seed), level_of(settings)
    shape = _shape(conformers[0], level)
    points = []
    for size in sizes:
        tell(f"batch size: {size}")
        found = _repeated(conformers, replace(settings, batch_size=size), repeats, compiling)
        points.append({"batch_size": size, **found, "memory_by_part_bytes": _by_part(shape, level, size)})
    return {"smiles": smiles, "orbitals": level.basis.n_orbitals(conformers[0].numbers), "points": points}


def by_rows(
    smiles: str, rows: int, chunk: int, settings: Settings, seed: int, compiling: _Compiling, tell: Teller
) -> dict[str, Any]:
    """``points``, one for each ``chunk`` of a single stream of ``rows`` conformers: flat, unless something piles up."""
    conformers, level = _conformers(smiles, rows, seed), level_of(settings)
    _label(conformers[:chunk], settings)
    # one stream from first to last: what piles up would do so in the state of ``label`` too
    stream = label(iter(conformers), settings)
    points = []
    for first in range(0, rows, chunk):
        tell(f"rows: {first + 1} to {min(first + chunk, rows)} of {rows}")
        count = min(chunk, rows - first)

        def some(count: int = count) -> None:
            for _ in range(count):
                _labelled(next(stream))

        found = compiling.timed(some)
        points.append({"first_row": first + 1, "rows": count, **_each(found, count)})
    return {"smiles": smiles, "orbitals": level.basis.n_orbitals(conformers[0].numbers), "points": points}


class _Compiling:
    """Times work, and adds up the seconds that XLA compiled or loaded meanwhile."""

    def __init__(self) -> None:
        import jax

        self.while_timed = self._so_far = 0.0
        jax.monitoring.register_event_duration_secs_listener(self._hear)

    def _hear(self, event: str, duration_secs: float, **_: Any) -> None:
        if "backend_compile" in event:
            self._so_far += duration_secs

    def timed(self, work: Callable[[], None]) -> Timing:
        """One go of ``work``. Where the system cannot forget a peak, it is that of the process so far."""
        gc.collect()
        forget_peak_memory()
        before, resting = self._so_far, resident_memory()
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        self.while_timed += self._so_far - before
        return Timing(cpu, wall, resting, peak_memory())


def _repeated(
    conformers: Sequence[Conformer], settings: Settings, repeats: int, compiling: _Compiling
) -> dict[str, Any]:
    """Medians per conformer over ``repeats``; before them one batch is compiled, and one gone through for its memory.

    That one starts without free memory in the process, which its arrays would fill unseen; the timed ones, as in a
    run, with what the one before left.
    """
    one_batch = conformers[: settings.batch_size]
    _label(one_batch, settings)
    return_free_memory()
    memory = compiling.timed(lambda: _label(one_batch, settings))
    goes = [compiling.timed(lambda: _label(conformers, settings)) for _ in range(repeats)]
    each = [go.cpu_seconds / len(conformers) for go in goes]
    return {
        "cpu_seconds": statistics.median(each),
        "seconds": statistics.median(go.seconds for go in goes) / len(conformers),
        "cpu_seconds_each": each,
        "resting_bytes": memory.resting_bytes,
        "peak_bytes": memory.peak_bytes,
    }


def _each(found: Timing, count: int) -> dict[str, Any]:
    return asdict(found) | {"cpu_seconds": found.cpu_seconds / count, "seconds": found.seconds / count}


def _label(conformers: Sequence[Conformer], settings: Settings) -> None:
    for result in label(iter(conformers), settings):
        _labelled(result)


def _labelled(result: Any) -> None:
    if isinstance(result, Failure):
        raise QmgenError(f"{result.smiles} got no label ({result.reason}: {result.detail}): nothing to time")


def _conformers(smiles: str, count: int, seed: int) -> list[Conformer]:
    made = embed(smiles, count, seed)
    found = [x for x in made.positions if x is not None]
    if len(found) < count:
        raise QmgenError(f"{smiles} has only {len(found)} of {count} geometries: try another --seed")
    return [Conformer(0, number, smiles, smiles, made.numbers, positions) for number, positions in enumerate(found)]


def _shape(conformer: Conformer, level: Level) -> Shape:
    return shape_of(conformer.numbers.astype(int), level.basis, level.functional, level.grid_level)


def _by_part(shape: Shape, level: Level, batch: int) -> dict[str, int]:
    components = 4 if level.functional.needs_gradient else 1
    return bytes_by_part(shape, components, batch, mapping())
