"""Random padded molecules, and a PyTorch Geometric SchNet with the same weights as ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest


def _molecules(sizes: list[int], seed: int = 0, padded: int | None = None, spread: float = 2.2) -> tuple[Any, Any]:
    """Numbers (B, n) and positions (B, n, 3) in Bohr of molecules of these ``sizes``: atoms on a jittered lattice, so
    that none coincide, ``spread`` Bohr apart."""
    rng = np.random.default_rng(seed)
    n = padded or max(sizes)
    numbers = np.zeros((len(sizes), n), np.int32)
    positions = np.zeros((len(sizes), n, 3), np.float32)
    lattice = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), -1).reshape(-1, 3)
    for row, size in enumerate(sizes):
        numbers[row, :size] = rng.choice([1, 6, 7, 8, 9], size)
        places = lattice[rng.permutation(len(lattice))[:size]]
        positions[row, :size] = spread * places + rng.uniform(-0.4, 0.4, (size, 3))
    return numbers, positions


def _of_pyg(params: dict[str, Any], shape: Any) -> Any:
    """PyTorch Geometric's SchNet with these weights, in float32, and a graph of all pairs within the cutoff."""
    import torch
    from torch_geometric.nn import SchNet

    def graph(pos: torch.Tensor, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        apart = torch.cdist(pos, pos, compute_mode="donot_use_mm_for_euclid_dist")
        edges = (batch[:, None] == batch[None, :]) & (apart <= shape.cutoff)
        edges.fill_diagonal_(False)
        row, col = edges.nonzero(as_tuple=True)
        return torch.stack([row, col]), (pos[row] - pos[col]).norm(dim=-1)

    model = SchNet(
        shape.hidden, shape.filters, shape.interactions, shape.gaussians, shape.cutoff, interaction_graph=graph
    )

    def put(layer: Any, ours: dict[str, Any]) -> None:
        layer.weight.data = torch.from_numpy(np.array(ours["weight"]).T.copy())
        if "bias" in ours:
            layer.bias.data = torch.from_numpy(np.array(ours["bias"]))

    model.embedding.weight.data = torch.from_numpy(np.array(params["embedding"]))
    for number, block in enumerate(model.interactions):
        ours = params["interactions"][str(number)]
        put(block.mlp[0], ours["filter1"])
        put(block.mlp[2], ours["filter2"])
        put(block.conv.lin1, ours["lin1"])
        put(block.conv.lin2, ours["lin2"])
        put(block.lin, ours["lin"])
    put(model.lin1, params["lin1"])
    put(model.lin2, params["lin2"])
    return model


@pytest.fixture
def molecules() -> Callable[..., tuple[Any, Any]]:
    """``molecules(sizes, seed, padded, spread)``."""
    return _molecules


@pytest.fixture
def of_pyg() -> Callable[..., Any]:
    """``of_pyg(params, shape)``: skip where PyTorch is missing."""
    return _of_pyg
