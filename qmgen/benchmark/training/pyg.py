"""The same steps by PyTorch Geometric's SchNet and PyTorch's AdamW, the only place that imports them.

Its graph of neighbours is made beforehand and not timed; its molecules are not padded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from qmgen.benchmark.training.molecules import Given
from qmgen.learning.schnet.shape import SchNetShape


def missing() -> str | None:
    """Why there is nothing to compare with, if so."""
    names = [name for name in ("torch", "torch_geometric") if find_spec(name) is None]
    return f"{' and '.join(names)} not installed: pip install 'qmgen[test]' on Python 3.11" if names else None


def epoch(shape: SchNetShape, given: Sequence[Given], threads: int) -> Callable[[], float]:
    """As :func:`qmgen.benchmark.training.ours.epoch`, with so many threads."""
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
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-4)

    def work() -> float:
        for numbers, positions, batch, values, graph in ready:
            current[:] = [graph]
            optimiser.zero_grad()
            loss = (model(numbers, positions, batch) - values).abs().mean()
            loss.backward()
            optimiser.step()
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
