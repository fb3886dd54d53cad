"""Trained networks as files: ``model.safetensors`` holds the weights and all it takes to predict with them."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import jax
import numpy as np

from qmgen import runtime
from qmgen.errors import UsageError
from qmgen.learning.data.normalization import Normalization
from qmgen.learning.data.packed import Packed, padded, per_atom
from qmgen.learning.schnet.model import SchNetShape, init, outputs_of, predict
from qmgen.learning.targets import Target, targets_of
from qmgen.learning.training import checkpoint
from qmgen.learning.training.checkpoint import MODEL, of_this_version, read_model, require, shape_of

KIND: Final = "schnet"
_CELL: Final = re.compile(r"rows-(\d+)/seed-(\d+)")


@dataclass(frozen=True)
class StoredSchnet:
    """A trained network. ``metadata`` are plain values: preset, rows, seed, level_of_theory, units, digest (of the
    data), qmgen (version); ``path`` and ``checksum`` (SHA-256) are those of the file it came from."""

    params: Any
    shape: SchNetShape
    targets: tuple[Target, ...]
    normalization: Normalization
    metadata: dict[str, Any]
    path: Path | None = None
    checksum: str = ""


def save_model(path: Path, stored: StoredSchnet) -> None:
    """Write it, whole or not at all. Raises ``QmgenError`` where that cannot be done."""
    about = {
        **stored.metadata,
        "kind": KIND,
        "shape": asdict(stored.shape),
        "targets": [target.name for target in stored.targets],
        "units": {target.name: target.unit for target in stored.targets},
        "normalisation": stored.normalization.to_json(),
    }
    checkpoint.save(path, stored.params, about)


def load_model(path: Path) -> StoredSchnet:
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
        normalization = Normalization.from_json(about.pop("normalisation"))
        normalization.of(targets)
        if shape.outputs != outputs_of(targets):
            raise ValueError(f"it has {shape.outputs} outputs for {len(targets)} targets")
        like = jax.eval_shape(lambda: init(jax.random.key(0), shape))
        kinds = {array.dtype for array in arrays.values()}
        if kinds == {np.dtype(np.float64)}:
            runtime.prepare()  # or JAX reads them as float32
        like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, *kinds), like)
        weights = checkpoint.unflatten(arrays, like, str(file))
    return StoredSchnet(weights, shape, targets, normalization, about, file, found.checksum)


def _file(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.exists():
        raise UsageError(f"no such file or directory: {path}")
    if (path / MODEL).is_file():
        return path / MODEL
    found = {}
    for file in path.glob(f"rows-*/seed-*/{MODEL}"):
        if match := _CELL.fullmatch(file.parent.relative_to(path).as_posix()):
            found[-int(match[1]), int(match[2])] = file
    if not found:
        state = "no training in it is finished yet" if list(path.glob("rows-*/seed-*")) else "it holds no training"
        raise UsageError(f"no trained network in {path}: {state}; give what `qmgen train schnet --out` was given")
    return found[min(found)]


#: molecules at once, small enough for the pairs of the largest preset in the memory of a laptop
BATCH_SIZE: Final = 64
#: arrays are for a multiple of so many atoms: few shapes to compile, few pairs in vain
_STEP: Final = 4


class SchnetPredictor:
    """A stored SchNet as a function from packed molecules to values in the units of a corpus; ``batch_size`` molecules
    at once, those of like size together.

    >>> predictor = SchnetPredictor(load_model(Path("runs/gap9")))
    >>> values = predictor(packed)["y"]                 # (M, 1) float64, eV
    """

    def __init__(self, stored: StoredSchnet, batch_size: int = BATCH_SIZE) -> None:
        self.targets, self.normalization, self.metadata = stored.targets, stored.normalization, stored.metadata
        self._params, self._batch_size = stored.params, batch_size
        self._forward = jax.jit(
            lambda parameters, numbers, positions: predict(
                parameters, stored.shape, stored.targets, stored.normalization, numbers, positions
            )
        )

    def __call__(self, packed: Packed) -> dict[str, np.ndarray]:
        """(M, 1) for scalars, (M, 3) for the dipole moment, (A, 3) for forces: float64, in the column's unit, in the
        order of ``packed``. Raises ``UsageError`` for elements that the network was not trained on."""
        self.normalization.check(packed)
        found = {t.name: np.zeros(_shape(t, packed)) for t in self.targets}
        # a size that does not depend on the molecules of a full batch, and is no larger than needed for a few
        size = min(self._batch_size, 1 << max(len(packed) - 1, 0).bit_length())
        order = np.argsort(packed.sizes, kind="stable")
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            atoms = -(-int(packed.sizes[rows].max()) // _STEP) * _STEP
            batch = padded(packed, {}, rows, size, atoms)
            values = self._forward(self._params, batch.numbers, batch.positions)
            mask = batch.numbers > 0
            for target in self.targets:
                value = np.asarray(values[target.name], np.float64)
                if per_atom(target.name):
                    found[target.name][packed.atoms_of(rows)] = value[mask]
                else:
                    found[target.name][rows] = value[: len(rows)]
        return {name: self.normalization.restore(name, value, packed) for name, value in found.items()}


def _shape(target: Target, packed: Packed) -> tuple[int, int]:
    if per_atom(target.name):
        return len(packed.numbers), 3
    return len(packed), 3 if target.name == "dipole" else 1
