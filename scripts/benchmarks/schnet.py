"""A step of SchNet's training, by qmgen and by PyTorch Geometric, in turns in one process.

Both sides take the same batches of real molecules, of neighboring sizes as in training. qmgen's step is that of
``qmgen train schnet`` without reading rows: loss, gradient, AdamW. PyTorch Geometric's graph of neighbors is made
beforehand and not timed, and its molecules are not padded.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.device.task import SHIPPED, load
from qmgen.learning.data.batches import edges
from qmgen.learning.data.packed import MoleculeBatch
from qmgen.learning.schnet.model import PRESETS, SchNetShape, atomwise, init
from qmgen.learning.training.step import first, stepper
from qmgen.machine import provenance


@dataclass(frozen=True)
class Given:
    """One batch: ``numbers`` (B, n) and ``positions`` (B, n, 3) float32 in Bohr, padded; ``values`` (B, 1)."""

    numbers: np.ndarray
    positions: np.ndarray
    values: np.ndarray

    @property
    def atoms(self) -> int:
        """Real atoms."""
        return int(np.count_nonzero(self.numbers))


def batches(size: int, count: int, seed: int = 0) -> list[Given]:
    """``count`` batches of ``size`` molecules out of the 256 of 9 to 11 heavy atoms that ship, drawn by ``seed``, in at
    most four padded sizes. Batches of all sizes come as often as training on these molecules would have them."""
    conformers = load(SHIPPED).conformers
    rng = np.random.default_rng(seed)
    drawn = [conformers[i] for i in rng.integers(0, len(conformers), size * count)]
    drawn.sort(key=lambda conformer: len(conformer.numbers))  # stable: the order drawn, within a size
    bounds = edges(np.bincount([len(c.numbers) for c in drawn]))
    made = []
    for start in range(0, len(drawn), size):
        chosen = drawn[start : start + size]
        atoms = next(bound for bound in bounds if bound >= len(chosen[-1].numbers))
        numbers = np.zeros((size, atoms), np.int32)
        positions = np.zeros((size, atoms, 3), np.float32)
        for row, conformer in enumerate(chosen):
            there = len(conformer.numbers)
            numbers[row, :there], positions[row, :there] = conformer.numbers, conformer.positions
        made.append(Given(numbers, positions, rng.normal(size=(size, 1)).astype(np.float32)))
    return made


def operations(shape: SchNetShape, given: Sequence[Given], padded: bool = True) -> dict[str, float]:
    """Floating-point operations of one step on each batch (a multiplication and an addition are two), by part.

    ``pairs``: the filter networks, each pair once; ``atoms``: all that is done for each atom. Backward counts twice the
    forward, but for the first filter layer, whose input has no gradient. ``padded`` counts dummies too.
    """
    atoms = pairs = 0
    for one in given:
        sizes = [one.numbers.shape[1]] * len(one.numbers) if padded else (one.numbers > 0).sum(axis=1).tolist()
        atoms += sum(sizes)
        pairs += sum(n * (n - 1) // 2 for n in sizes)
    hidden, filters, gaussians = shape.hidden, shape.filters, shape.gaussians
    of_pair = shape.interactions * 2 * (2 * gaussians * filters + 3 * filters * filters)
    of_atom = (
        3 * 2 * (shape.interactions * (2 * hidden * filters + hidden * hidden) + hidden * (hidden // 2) + hidden // 2)
    )
    return {"pairs": float(pairs * of_pair), "atoms": float(atoms * of_atom)}


def epoch_of_qmgen(shape: SchNetShape, given: Sequence[Given]) -> Callable[[], float]:
    """A function that takes one step on each batch and returns the last loss; its first call compiles."""
    ready = [
        jax.device_put(MoleculeBatch(one.numbers, one.positions, {"y": one.values}, one.values[:, 0] * 0 + 1))
        for one in given
    ]

    def loss(params: Any, batch: MoleculeBatch) -> jax.Array:
        found = jnp.sum(atomwise(params, shape, batch.numbers, batch.positions), axis=1)
        return jnp.mean(jnp.abs(found - batch.values["y"]))

    optimizer = optax.adamw(5e-4)
    step = stepper(loss, optimizer)
    state = first(init(jax.random.key(0), shape), optimizer)

    def work() -> float:
        nonlocal state
        for batch in ready:
            state, value = step(state, batch)
        return float(value)

    return work


def missing() -> str | None:
    """Why there is nothing to compare with, if so."""
    names = [name for name in ("torch", "torch_geometric") if find_spec(name) is None]
    return f"{' and '.join(names)} not installed: pip install 'qmgen[test]' on Python 3.11" if names else None


def epoch_of_pyg(shape: SchNetShape, given: Sequence[Given], threads: int) -> Callable[[], float]:
    """As :func:`benchmarks.schnet.epoch_of_qmgen`, with so many threads."""
    import torch
    from torch_geometric.nn import SchNet

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    current: list[Any] = []
    model = SchNet(
        shape.hidden, shape.filters, shape.interactions, shape.gaussians, shape.cutoff,
        interaction_graph=lambda pos, batch: current[0],
    )  # fmt: skip
    ready = []
    for one in given:
        there = one.numbers > 0
        positions = torch.from_numpy(one.positions[there])
        batch = torch.from_numpy(np.nonzero(there)[0])
        graph = _graph(positions, batch, shape.cutoff)
        ready.append(
            (torch.from_numpy(one.numbers[there]).long(), positions, batch, torch.from_numpy(one.values), graph)
        )
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4)

    def work() -> float:
        for numbers, positions, batch, values, graph in ready:
            current[:] = [graph]
            optimizer.zero_grad()
            loss = (model(numbers, positions, batch) - values).abs().mean()
            loss.backward()
            optimizer.step()
        return float(loss.detach())

    return work


def _graph(positions: Any, batch: Any, cutoff: float) -> tuple[Any, Any]:
    """All pairs within the cutoff in both directions, and their distances."""
    import torch

    apart = torch.cdist(positions, positions, compute_mode="donot_use_mm_for_euclid_dist")
    edges = (batch[:, None] == batch[None, :]) & (apart <= cutoff)
    edges.fill_diagonal_(False)
    row, col = edges.nonzero(as_tuple=True)
    return torch.stack([row, col]), (positions[row] - positions[col]).norm(dim=-1)


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
    lacking = missing()
    entries = [_entry(plan, preset, size, lacking, tell) for preset in plan.presets for size in plan.batch_sizes]
    return {**provenance(), "settings": asdict(plan), "missing": lacking, "entries": entries}


def _entry(plan: Plan, preset: str, size: int, lacking: str | None, tell: Callable[[str], None]) -> dict[str, Any]:
    shape, given = PRESETS[preset], batches(size, plan.batches, plan.seed)
    tell(f"{preset}, batch {size}")
    sides = {"qmgen": epoch_of_qmgen(shape, given)}
    if lacking is None:
        sides["pyg"] = epoch_of_pyg(shape, given, plan.threads)
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


def table(result: dict[str, Any]) -> str:
    """Molecules a second of both sides, their ratio with its range, and the rate of operations."""
    lines = [
        "| preset | batch | qmgen, molecules/s | PyG, molecules/s | ratio | ratio of CPU time | GFLOP/s of qmgen |",
        "|---|---|---|---|---|---|---|",
    ]
    for entry in result["entries"]:
        own = entry["qmgen"]
        molecules = entry["batch_size"] * result["settings"]["batches"]
        speed = sum(entry["gflop"].values()) / molecules * own["molecules_per_second"]
        theirs = f"{entry['pyg']['molecules_per_second']:.0f}" if "pyg" in entry else "missing"
        lines.append(
            f"| {entry['preset']} | {entry['batch_size']} | {own['molecules_per_second']:.0f} | {theirs} "
            f"| {_ratio(entry.get('ratio'))} | {_ratio(entry.get('cpu_ratio'))} | {speed:.0f} |"
        )
    if result["missing"]:
        lines.append(f"\nPyG: {result['missing']}")
    return "\n".join(lines)


def _ratio(found: dict[str, float] | None) -> str:
    return f"{found['median']:.2f} ({found['lowest']:.2f}–{found['highest']:.2f})" if found else ""
