"""Trained Hamiltonians as files: weights, statistics, and the level they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jax
import numpy as np

from qmgen.errors import UsageError
from qmgen.learning.hamiltonian.network import Network, network_from
from qmgen.learning.training import checkpoint
from qmgen.learning.training.model_file import NAME, of_this_version, read_model, require

KIND: Final = "hamiltonian"


@dataclass(frozen=True)
class StoredHamiltonian:
    """A trained network. ``about`` are plain values: xc, basis, basis_checksum, grid_level, elements, loss, refine,
    geometries; ``path`` and ``checksum`` (SHA-256) are those of its file."""

    network: Network
    params: Any
    statistics: Any
    about: dict[str, Any]
    path: Path | None = None
    checksum: str = ""


def save_model(path: Path, model: StoredHamiltonian) -> None:
    """Write it, whole or not at all. Raises ``QmgenError`` where that cannot be done."""
    leaves = {str(k): np.asarray(leaf) for k, leaf in enumerate(jax.tree.leaves(model.statistics))}
    metadata: Mapping[str, Any] = {**model.about, "kind": KIND, "network": model.network.to_json()}
    checkpoint.save(path, {"params": model.params, "statistics": leaves}, metadata)


def load_model(path: Path) -> StoredHamiltonian:
    """The network at ``path``: a ``model.safetensors``, or the folder of a ``qmgen train energy`` or ``labels``.

    Raises ``UsageError`` with one line where there is none, it is damaged, or is something else.
    """
    file = path / NAME if path.is_dir() else path
    if not file.exists():
        raise UsageError(f"no trained network in {path} ({_state(path)}): give the --out of `qmgen train energy`")
    found = read_model(file, KIND, "trained Hamiltonian", "qmgen train energy")
    arrays, about = found.arrays, found.about
    with of_this_version(file):
        require(about, xc=str, basis=str, basis_checksum=str, grid_level=int, elements=list)
        if not all(isinstance(z, int) for z in about["elements"]):
            raise TypeError("its elements are no numbers")
        network = network_from(about.pop("network"))
        params = jax.eval_shape(lambda: network.init(jax.random.key(0)))
        statistics = {name.partition(".")[2]: leaf for name, leaf in arrays.items() if name.startswith("statistics.")}
        like = {
            "params": params,
            "statistics": {k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in statistics.items()},
        }
        tree = checkpoint.unflatten(arrays, like, str(file))
        ordered = [tree["statistics"][str(k)] for k in range(len(statistics))]
        made = network.statistics_from(ordered)
    return StoredHamiltonian(network, tree["params"], made, about, file, found.checksum)


def _state(path: Path) -> str:
    """Why there is no network at ``path``."""
    if not path.is_dir() or not (path / "config.toml").exists():
        return "nothing there"
    if any(path.glob(f"rows-*/seed-*/{NAME}")):
        return "it is a run of `qmgen train schnet`"
    return "its training is not finished"
