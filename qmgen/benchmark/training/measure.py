"""Both sides in turns in one process, and what came out."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from qmgen.benchmark.provenance import provenance
from qmgen.benchmark.training import ours, pyg
from qmgen.benchmark.training.floors import operations
from qmgen.benchmark.training.molecules import batches
from qmgen.learning.schnet.shape import PRESETS


@dataclass(frozen=True)
class Plan:
    """``presets`` by name; molecules in a batch; batches in a pass; timed passes of each side; threads of each."""

    presets: tuple[str, ...] = tuple(PRESETS)
    batch_sizes: tuple[int, ...] = (32, 112)
    passes: int = 5
    batches: int = 4
    threads: int = 2
    seed: int = 0


def measure(plan: Plan, tell: Callable[[str], None]) -> dict[str, Any]:
    """Plain values: provenance, ``settings``, ``missing`` (why PyTorch Geometric is not there, or None), ``entries``.

    The process must have been given as many cores as ``plan.threads`` before JAX started.
    """
    lacking = pyg.missing()
    entries = [_entry(plan, preset, size, lacking, tell) for preset in plan.presets for size in plan.batch_sizes]
    return {**provenance(), "settings": asdict(plan), "missing": lacking, "entries": entries}


def _entry(plan: Plan, preset: str, size: int, lacking: str | None, tell: Callable[[str], None]) -> dict[str, Any]:
    shape, given = PRESETS[preset], batches(size, plan.batches, plan.seed)
    tell(f"{preset}, batch {size}")
    sides = {"qmgen": ours.epoch(shape, given)}
    if lacking is None:
        sides["pyg"] = pyg.epoch(shape, given, plan.threads)
    wall: dict[str, list[float]] = {name: [] for name in sides}
    busy: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(plan.passes + 1):
        for name, work in sides.items():
            begin, used = time.perf_counter(), time.process_time()
            work()
            if turn:  # the first compiles
                wall[name].append(time.perf_counter() - begin)
                busy[name].append(time.process_time() - used)
    molecules = size * plan.batches
    found: dict[str, Any] = {
        "preset": preset,
        "batch_size": size,
        "padded_atoms": sorted({one.numbers.shape[1] for one in given}),
        "mean_atoms": sum(one.atoms for one in given) / molecules,
        "gflop": {part: value / 1e9 for part, value in operations(shape, given).items()},
    }
    for name in sides:
        rates = [molecules / seconds for seconds in wall[name]]
        found[name] = {
            "molecules_per_second": statistics.median(rates),
            "lowest": min(rates),
            "highest": max(rates),
            "cpu_seconds_per_molecule": statistics.median(busy[name]) / molecules,
        }
    if lacking is None:
        ratios = [theirs / own for own, theirs in zip(wall["qmgen"], wall["pyg"], strict=True)]
        of_cpu = [theirs / own for own, theirs in zip(busy["qmgen"], busy["pyg"], strict=True)]
        found["ratio"] = {"median": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)}
        found["cpu_ratio"] = {"median": statistics.median(of_cpu), "lowest": min(of_cpu), "highest": max(of_cpu)}
    return found
