"""Training SchNet on the device: molecules a second of whole steps, beside the products they cannot do without."""

from __future__ import annotations

from functools import partial

import jax

from qmgen.benchmark.device.ceilings import best_seconds, matmul
from qmgen.benchmark.device.task import Entry, Task
from qmgen.benchmark.training import ours
from qmgen.benchmark.training.floors import operations
from qmgen.benchmark.training.molecules import batches
from qmgen.learning.schnet.shape import PRESETS

#: batches in a pass: as many as there are padded sizes
PASS = 4


def measure(task: Task) -> None:
    """Entries by preset, batch size and precision of products: ``default`` (on recent GPUs TF32, 11 bits) and
    ``highest`` (float32 whole), with the seconds of the products alone at this device's best (``floor``)."""
    presets, sizes = (("tiny",), (2,)) if task.toy else (("schnet-9m", "small"), (112, 512))
    if not task.toy and not task.accelerator:
        sizes = (32,)
    for preset in presets:
        for size in sizes:
            for precision in ("default", "highest"):
                task.entry(f"{preset}, batch {size}, {precision}", partial(_rate, task, preset, size, precision))


def _rate(task: Task, preset: str, size: int, precision: str) -> Entry:
    shape, given = PRESETS[preset], batches(size, 1 if task.toy else PASS)
    with jax.default_matmul_precision(precision):
        seconds = best_seconds(ours.epoch(shape, given), 1 if task.toy else 3)
    gflops = matmul(task.accelerator, task.toy, "float32", precision)["gflops"]
    work = sum(operations(shape, given).values()) / 1e9
    molecules = size * len(given)
    return {
        "molecules_per_second": molecules / seconds,
        "seconds_per_molecule": seconds / molecules,
        "floor": work / gflops / molecules,
        "gflop_per_molecule": work / molecules,
    }
