"""Trained networks as files: ``model.safetensors`` holds the weights and all it takes to predict with them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import jax
import numpy as np

from qmgen import runtime
from qmgen.errors import UsageError
from qmgen.learning.schnet import parameters
from qmgen.learning.schnet.predict import outputs_of
from qmgen.learning.schnet.shape import SchNetShape
from qmgen.learning.targets import Target, targets_of
from qmgen.learning.targets.normalisation import Normalisation
from qmgen.learning.training import checkpoint
from qmgen.learning.training.model_file import NAME, of_this_version, read_model, require, shape_of

KIND: Final = "schnet"
_CELL: Final = re.compile(r"rows-(\d+)/seed-(\d+)")


@dataclass(frozen=True)
class Stored:
    """A trained network. ``metadata`` are plain values: preset, rows, seed, level_of_theory, units, digest (of the
    data), qmgen (version); ``path`` and ``checksum`` (SHA-256) are those of the file it came from."""

    params: Any
    shape: SchNetShape
    targets: tuple[Target, ...]
    normalisation: Normalisation
    metadata: dict[str, Any]
    path: Path | None = None
    checksum: str = ""


def save_model(path: Path, model: Stored) -> None:
    """Write it, whole or not at all. Raises ``QmgenError`` where that cannot be done."""
    about = {
        **model.metadata,
        "kind": KIND,
        "shape": asdict(model.shape),
        "targets": [target.name for target in model.targets],
        "units": {target.name: target.unit for target in model.targets},
        "normalisation": model.normalisation.to_json(),
    }
    checkpoint.save(path, model.params, about)


def load_model(path: Path) -> Stored:
    """The network at ``path``: a ``model.safetensors``, the folder of one training, or of many (``qmgen train --out``):
    of these the one of most rows, and of its seeds the lowest.

    Raises ``UsageError`` with one line where there is none, it is damaged, or is something else.
    """
    file = _file(Path(path))
    found = read_model(file, KIND, "trained SchNet", "qmgen train schnet")
    arrays, about = found.arrays, found.about
    with of_this_version(file):
        shape = shape_of(SchNetShape, about.pop("shape"))
        require(about, targets=list)
        if not isinstance(about.get("level_of_theory", {}), dict | None):
            raise TypeError("its level of theory is no table")
        targets = targets_of(about["targets"])
        normalisation = Normalisation.from_json(about.pop("normalisation"))
        normalisation.of(targets)
        if shape.outputs != outputs_of(targets):
            raise ValueError(f"it has {shape.outputs} outputs for {len(targets)} targets")
        like = jax.eval_shape(lambda: parameters.init(jax.random.key(0), shape))
        kinds = {array.dtype for array in arrays.values()}
        if kinds == {np.dtype(np.float64)}:
            runtime.prepare()  # or JAX reads them as float32
        like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, *kinds), like)
        weights = checkpoint.unflatten(arrays, like, str(file))
    return Stored(weights, shape, targets, normalisation, about, file, found.checksum)


def _file(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.exists():
        raise UsageError(f"no such file or directory: {path}")
    if (path / NAME).is_file():
        return path / NAME
    found = {}
    for file in path.glob(f"rows-*/seed-*/{NAME}"):
        if match := _CELL.fullmatch(file.parent.relative_to(path).as_posix()):
            found[-int(match[1]), int(match[2])] = file
    if not found:
        state = "no training in it is finished yet" if list(path.glob("rows-*/seed-*")) else "it holds no training"
        raise UsageError(f"no trained network in {path}: {state}; give what `qmgen train schnet --out` was given")
    return found[min(found)]


def summary(model: Stored) -> Mapping[str, Any]:
    """What a result says of the network it began with."""
    return {
        "path": str(model.path),
        "checksum": model.checksum,
        "targets": [target.name for target in model.targets],
        "level_of_theory": model.metadata.get("level_of_theory"),
        "rows": model.metadata.get("rows"),
    }
