"""Conformers a second from geometries to Parquet: by grid level, and by the number of molecules in a batch."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from statistics import median

from qmgen.benchmark.device.task import Entry, Task
from qmgen.benchmark.device.unit import places, to_parquet
from qmgen.labeling.types import Settings

PASSES = 3
#: largest difference to a stored energy, Hartree: what the rates are promised at
TOLERANCE = 1e-6
LEVELS = (0, 1, 3)
BATCH_SIZES = (16, 32, 64, 128, 256)
#: batch sizes on a CPU, where molecules go one by one whatever the batch
CPU_BATCH_SIZES = (1, 2, 4)


def measure_levels(task: Task) -> None:
    """An entry ``level N`` for each grid level, at the batch size that labelling chooses."""
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
        RuntimeError: nothing was labelled.
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
