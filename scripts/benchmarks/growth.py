"""How the time and memory of a label grow: with the size of the molecule, with the batch, with the number of rows.

>>> runtime.prepare()
>>> result = measure(FULL, repeats=3, seed=0, tell=print)
>>> result["by_size"]["fit"]["exponent"]

In the calling process, which should be pinned to one core and keep to one thread. Times are its CPU seconds, which
other work on the machine disturbs little; wall-clock seconds stand beside them. Everything is done once before it is
timed, so that nothing is compiled in between; ``compile_seconds_while_timed`` says whether that held.

The molecules are isomers, three of each formula, from 31 to 108 atomic orbitals in STO-3G. Isomers share a padded
shape, so that each size is compiled once. All formulas are C_m H_2m O_2, seven orbitals apart: a row holds an ester, an
acid and something more compact, as far-away orbital pairs cost less than near ones.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from qmgen.dft.backend import current
from qmgen.dft.level import LevelOfTheory
from qmgen.dft.prepare import Shape, shape_of
from qmgen.errors import QmgenError
from qmgen.labeling import Settings, label
from qmgen.labeling.level import level_of
from qmgen.labeling.memory import bytes_by_part
from qmgen.machine import forget_peak_memory, peak_memory, provenance, resident_memory, return_free_memory
from qmgen.molecules.embedding import embed
from qmgen.molecules.types import Conformer, Failure
from qmgen.power_law import power_law
from qmgen.tables import markdown


@dataclass(frozen=True)
class Series:
    """``molecules`` by rows of one size; ``batch`` and ``rows`` are done with ``typical``, at all ``batch_sizes``
    with that many conformers, and with ``rows`` conformers timed in chunks of ``chunk``."""

    molecules: tuple[tuple[str, ...], ...]
    typical: str
    batch_sizes: tuple[int, ...]
    rows: int
    chunk: int
    grid_level: int


FULL: Final = Series(
    molecules=(
        # C3: 5 heavy atoms, 31 orbitals
        ("COC(C)=O", "CCC(=O)O", "OC1COC1"),
        # C4: 38
        ("CCOC(C)=O", "CC(C)C(=O)O", "C1COCCO1"),
        # C5: 45
        ("CCCOC(C)=O", "CC(C)(C)C(=O)O", "OCC1CCCO1"),
        # C6: 52
        ("CCCCOC(C)=O", "CCC(CC)C(=O)O", "OC1CCCCC1O"),
        # C7: 59
        ("CC(C)CCOC(C)=O", "CCCCCCC(=O)O", "CC1(O)CCCCC1O"),
        # C8: 66
        ("CCCCCCOC(C)=O", "CCCCC(CC)C(=O)O", "OCC1CCC(CO)CC1"),
        # C9: 73
        ("CCCCCCCOC(C)=O", "CC(CC(=O)O)CC(C)(C)C", "CC1CC(O)CC(C)(C)C1O"),
        # C10: 80
        ("CCCCCCCCOC(C)=O", "CCCCCCCCCC(=O)O", "CC(C)(O)C1CCC(C)(O)CC1"),
        # C12: 94
        ("CCCCCCCCCCOC(C)=O", "CCCCCCCCCCCC(=O)O", "OC1CCCCCCCCCCC1O"),
        # C14: 16 heavy atoms, 108 orbitals
        ("CCCCCCCCCCCCOC(C)=O", "CCCCCCCCCCCCCC(=O)O", "CC(C)(C)C1CC(O)CC(C(C)(C)C)C1O"),
    ),
    typical="CC(C)CCOC(C)=O",
    batch_sizes=(1, 2, 4, 8, 16),
    rows=128,
    chunk=16,
    grid_level=1,
)

#: the same in small, to see that it runs: methanol, and ethanol with its isomer
TOY: Final = Series(
    molecules=(("CO",), ("CCO", "COC")),
    typical="CO",
    batch_sizes=(1, 2),
    rows=4,
    chunk=2,
    grid_level=0,
)


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
    """``points``, one a molecule, labeled alone, and ``fit`` of their seconds to a power of the orbitals."""
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
                "orbitals": level.basis_set.n_orbitals(conformers[0].numbers),
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
    return {"smiles": smiles, "orbitals": level.basis_set.n_orbitals(conformers[0].numbers), "points": points}


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
                _labeled(next(stream))

        found = compiling.timed(some)
        points.append({"first_row": first + 1, "rows": count, **_each(found, count)})
    return {"smiles": smiles, "orbitals": level.basis_set.n_orbitals(conformers[0].numbers), "points": points}


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
        _labeled(result)


def _labeled(result: Any) -> None:
    if isinstance(result, Failure):
        raise QmgenError(f"{result.smiles} got no label ({result.reason}: {result.detail}): nothing to time")


def _conformers(smiles: str, count: int, seed: int) -> list[Conformer]:
    made = embed(smiles, count, seed)
    found = [x for x in made.positions if x is not None]
    if len(found) < count:
        raise QmgenError(f"{smiles} has only {len(found)} of {count} geometries: try another --seed")
    return [Conformer(0, number, smiles, smiles, made.numbers, positions) for number, positions in enumerate(found)]


def _shape(conformer: Conformer, level: LevelOfTheory) -> Shape:
    return shape_of(conformer.numbers.astype(int), level.basis_set, level.functional, level.grid_level)


def _by_part(shape: Shape, level: LevelOfTheory, batch: int) -> dict[str, int]:
    return bytes_by_part(shape, level, batch, current())


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
    return markdown([head, *(list(map(str, line)) for line in lines)])
