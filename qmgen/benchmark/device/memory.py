"""Peak memory of a batch on the device, beside what labelling reckons with before it begins."""

from __future__ import annotations

from functools import partial

import jax

from qmgen.benchmark.device.task import Entry, Task
from qmgen.benchmark.device.unit import places, to_parquet
from qmgen.dft.batch import mapping
from qmgen.labeling.level import level_of
from qmgen.labeling.memory import bytes_by_part
from qmgen.labeling.types import Settings
from qmgen.machine import peak_memory

BATCH_SIZES = (16, 64, 256)


def measure(task: Task) -> None:
    """An entry ``batch N`` for each batch size, ascending, at grid level 1 (0 for a toy).

    Ascending, since a device's peak is that of the whole process so far.
    """
    for size in (1, 2) if task.toy else BATCH_SIZES if task.accelerator else (1, 2):
        settings = Settings(grid_level=0 if task.toy else 1, batch_size=size)
        task.entry(f"batch {size}", partial(one_batch, task, settings, size))


def one_batch(task: Task, settings: Settings, size: int) -> Entry:
    """Bytes: ``device_peak`` (None where the device does not say), ``host_peak`` and ``reckoned`` by part."""
    shape, chosen = task.geometries.of_one_shape(settings, size)
    done = to_parquet(chosen, settings, task.scratch)
    stats = jax.devices()[0].memory_stats() or {}
    in_batch = places(shape, settings)
    components = 4 if level_of(settings).functional.needs_gradient else 1
    parts = bytes_by_part(shape, components, in_batch, mapping())
    return {
        "device_peak": stats.get("peak_bytes_in_use"),
        "device_limit": stats.get("bytes_limit"),
        "host_peak": peak_memory(),
        "reckoned": {**{name: int(part) for name, part in parts.items()}, "sum": int(sum(parts.values()))},
        "batch_places": in_batch,
        "labelled": len(done.energies),
    }
