"""Conformers a second from geometries to Parquet, by the code that ``qmgen generate`` runs for each work unit: by grid
level, and by the number of molecules in a batch; and the peak memory of a batch beside what labeling reckons with.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import jax
import pyarrow.parquet as pq

from benchmarks.device.task import Entry, Task
from qmgen.constants import HARTREE_TO_EV
from qmgen.corpus.plan import Splitter, Unit
from qmgen.dft.backend import current
from qmgen.dft.prepare import Shape
from qmgen.labeling.level import level_of
from qmgen.labeling.memory import bytes_by_part
from qmgen.labeling.stream import batch_size_of
from qmgen.labeling.types import Settings
from qmgen.machine import peak_memory
from qmgen.molecules.types import Conformer, Failure, Molecule
from qmgen.pipeline.job import LabelJob
from qmgen.pipeline.source import UnitInput
from qmgen.pipeline.stages import Stages
from qmgen.pipeline.unit import do_unit


@dataclass(frozen=True)
class Pass:
    """Wall ``seconds``, ``failures`` by reason, and ``energies`` in Hartree by (molecule_id, conformer_id)."""

    seconds: float
    failures: dict[str, int]
    energies: dict[tuple[int, int], float]


def given(molecules: Iterable[Molecule | Failure], *_: Any, **__: Any) -> Iterator[Conformer | Failure]:
    """The geometry of each molecule: the station ``conformers`` where there is nothing to embed."""
    for entry in molecules:
        if isinstance(entry, Failure):
            yield entry
        else:
            assert entry.numbers is not None and entry.positions is not None
            place = entry.molecule_id, entry.conformer_id
            yield Conformer(*place, entry.name, entry.smiles, entry.numbers, entry.positions)


#: the stations of the pipeline, with one in place of the embedding that starts no process with RDKit
STAGES = Stages(conformers=given)


def to_parquet(conformers: list[Conformer], settings: Settings, scratch: Path) -> Pass:
    """One unit, written below ``scratch``, which is emptied; its energies are read back from the file, untimed."""
    folder = scratch / "corpus"
    shutil.rmtree(folder, ignore_errors=True)
    unit = Unit(0, 1, 0, len(conformers))
    job = LabelJob(folder, settings, 1, 0, 60.0, Splitter(0, 0.0, 0.0), {}, STAGES)
    entries: list[Molecule | Failure] = [
        Molecule(c.molecule_id, c.name, c.smiles, c.numbers, c.positions, 0, c.conformer_id) for c in conformers
    ]
    begin = perf_counter()
    done = do_unit(job, UnitInput(unit, entries, 0))
    seconds = perf_counter() - begin
    table = pq.read_table(folder / unit.files()["train"], columns=["molecule_id", "conformer_id", "energy"])
    energies = {(r["molecule_id"], r["conformer_id"]): r["energy"] / HARTREE_TO_EV for r in table.to_pylist()}
    shutil.rmtree(folder, ignore_errors=True)
    return Pass(seconds, done.failures, energies)


def places(shape: Shape, settings: Settings) -> int:
    """Molecules that labeling puts into a batch of ``shape``: as asked, or fewer where memory ends."""
    return batch_size_of(shape, level_of(settings), settings)


PASSES = 3
#: largest difference to a stored energy, Hartree: what the rates are promised at
TOLERANCE = 1e-6
LEVELS = (0, 1, 3)
BATCH_SIZES = (16, 32, 64, 128, 256)
#: batch sizes on a CPU, where molecules go one by one whatever the batch
CPU_BATCH_SIZES = (1, 2, 4)


def measure_levels(task: Task) -> None:
    """An entry ``level N`` for each grid level, at the batch size that labeling chooses."""
    for level in (0,) if task.toy else LEVELS:
        task.entry(f"level {level}", partial(rate, task, Settings(grid_level=level), count(task, 128)))


def measure_batch_sizes(task: Task) -> None:
    """An entry ``batch N`` for each batch size, at grid level 1 (0 for a toy)."""
    for size in (1, 2) if task.toy else BATCH_SIZES if task.accelerator else CPU_BATCH_SIZES:
        settings = Settings(grid_level=0 if task.toy else 1, batch_size=size)
        task.entry(f"batch {size}", partial(rate, task, settings, max(size, count(task, 128))))


def count(task: Task, wanted: int) -> int:
    """Conformers of a pass: ``wanted``, a multiple of the batch sizes, on an accelerator; few where each takes long."""
    return 4 if task.toy else wanted if task.accelerator else 8


def rate(task: Task, settings: Settings, conformers: int) -> Entry:
    """``conformers_per_second``: median, least and largest of the timed passes, after one that compiles.

    ``largest_energy_difference`` (Hartree) is to the stored energies of ``compared`` conformers; None where there is
    none. Where it is above ``TOLERANCE``, or a conformer got no label, the entry is
    an ``error`` too. A pass is left out where time is short, but never the first; a toy makes one.

    Raises:
        RuntimeError: nothing was labeled.
    """
    shape, chosen = task.geometries.of_one_shape(settings, conformers)
    warm = to_parquet(chosen, settings, task.scratch)
    if not warm.energies:
        raise RuntimeError(f"no conformer got a label: {warm.failures}")
    rates: list[float] = []
    last = warm
    while len(rates) < (1 if task.toy else PASSES) and (not rates or task.left() > last.seconds):
        last = to_parquet(chosen, settings, task.scratch)
        rates.append(len(last.energies) / last.seconds)
        task.tell(f"  {rates[-1]:.2f} conformers/s")
    stored = task.geometries.energies
    differences = [
        abs(energy - stored[key[0], settings.grid_level])
        for key, energy in last.energies.items()
        if (key[0], settings.grid_level) in stored
    ]
    wrong = problems(last.failures, differences)
    return {
        **({"error": wrong} if wrong else {}),
        "conformers_per_second": {"median": median(rates), "least": min(rates), "largest": max(rates)},
        "passes": len(rates),
        "warm_up_seconds": round(warm.seconds, 3),
        "conformers": len(chosen),
        "distinct": len({c.molecule_id for c in chosen}),
        "failures": last.failures,
        "shape": asdict(shape),
        "batch_asked": settings.batch_size,
        "batch_places": places(shape, settings),
        "compared": len(differences),
        "largest_energy_difference": max(differences, default=None),
    }


def problems(failures: dict[str, int], differences: list[float]) -> str:
    """What is wrong with labels whose rate was measured; empty if nothing is."""
    found = [f"{number} conformers without a label ({reason})" for reason, number in failures.items()]
    if any(not difference <= TOLERANCE for difference in differences):  # NaN too
        found.append(f"an energy is off by {max(differences, key=lambda d: (d != d, d)):.1e} Hartree")
    return "; ".join(found)


MEMORY_BATCH_SIZES = (16, 64, 256)


def measure_memory(task: Task) -> None:
    """An entry ``batch N`` for each batch size, ascending, at grid level 1 (0 for a toy).

    Ascending, since a device's peak is that of the whole process so far.
    """
    for size in (1, 2) if task.toy else MEMORY_BATCH_SIZES if task.accelerator else (1, 2):
        settings = Settings(grid_level=0 if task.toy else 1, batch_size=size)
        task.entry(f"batch {size}", partial(one_batch, task, settings, size))


def one_batch(task: Task, settings: Settings, size: int) -> Entry:
    """Bytes: ``device_peak`` (None where the device does not say), ``host_peak`` and ``reckoned`` by part."""
    shape, chosen = task.geometries.of_one_shape(settings, size)
    done = to_parquet(chosen, settings, task.scratch)
    stats = jax.devices()[0].memory_stats() or {}
    in_batch = places(shape, settings)
    parts = bytes_by_part(shape, level_of(settings), in_batch, current())
    return {
        "device_peak": stats.get("peak_bytes_in_use"),
        "device_limit": stats.get("bytes_limit"),
        "host_peak": peak_memory(),
        "reckoned": {**{name: int(part) for name, part in parts.items()}, "sum": int(sum(parts.values()))},
        "batch_places": in_batch,
        "labelled": len(done.energies),
    }
