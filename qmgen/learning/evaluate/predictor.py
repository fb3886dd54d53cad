"""A trained network as a function from packed molecules to values in the units of a corpus.

>>> predictor = open_predictor("runs/gap9")
>>> values = predictor(packed)["y"]                 # (M, 1) float64, eV
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

import jax
import numpy as np

from qmgen.errors import UsageError
from qmgen.learning.data.packed import Packed, per_atom
from qmgen.learning.data.padding import padded
from qmgen.learning.schnet.predict import predict
from qmgen.learning.schnet.stored import KIND, Stored, load_model
from qmgen.learning.targets import Target
from qmgen.learning.targets.normalisation import Normalisation

#: molecules at once, small enough for the pairs of the largest preset in the memory of a laptop
BATCH_SIZE: Final = 64
#: arrays are for a multiple of so many atoms: few shapes to compile, few pairs in vain
_STEP: Final = 4


class Predictor(Protocol):
    """What every kind of trained network is here: values of ``targets`` for molecules of known elements."""

    targets: tuple[Target, ...]
    normalisation: Normalisation
    metadata: dict[str, Any]

    def __call__(self, packed: Packed) -> dict[str, np.ndarray]: ...


class SchnetPredictor:
    """A stored SchNet; ``batch_size`` molecules at once, those of like size together."""

    def __init__(self, stored: Stored, batch_size: int = BATCH_SIZE) -> None:
        self.targets, self.normalisation, self.metadata = stored.targets, stored.normalisation, stored.metadata
        self._params, self._batch_size = stored.params, batch_size
        self._forward = jax.jit(
            lambda parameters, numbers, positions: predict(
                parameters, stored.shape, stored.targets, stored.normalisation, numbers, positions
            )
        )

    def __call__(self, packed: Packed) -> dict[str, np.ndarray]:
        """(M, 1) for scalars, (M, 3) for the dipole moment, (A, 3) for forces: float64, in the column's unit, in the
        order of ``packed``. Raises ``UsageError`` for elements that the network was not trained on."""
        self.normalisation.check(packed)
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
        return {name: self.normalisation.restore(name, value, packed) for name, value in found.items()}


#: by the ``kind`` that a model file states: later kinds of network are added here
_KINDS: Final[dict[str, Callable[[Stored, int], Predictor]]] = {KIND: SchnetPredictor}


def open_predictor(path: str | Path, batch_size: int | None = None) -> Predictor:
    """The network at ``path`` (as ``load_model``), ready to predict. Raises ``UsageError`` where there is none."""
    stored = load_model(Path(path))
    kind = stored.metadata.get("kind", KIND)
    if kind not in _KINDS:
        raise UsageError(f"{path} is a {kind}: qmgen evaluate knows {', '.join(_KINDS)}")
    return _KINDS[kind](stored, batch_size or BATCH_SIZE)


def _shape(target: Target, packed: Packed) -> tuple[int, int]:
    if per_atom(target.name):
        return len(packed.numbers), 3
    return len(packed), 3 if target.name == "dipole" else 1
