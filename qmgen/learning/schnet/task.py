"""SchNet as something to be trained: the loss of a batch, and errors on rows it has not seen.

    loss = mean over targets of  Σ_b w_b · d(prediction_b − value_b) / Σ_b w_b

with d by the recipe, a molecule's own mean over the components of a dipole moment and over its atoms' forces, and w = 0
for dummies. Errors are taken in float64 on the host, from values restored to their column's unit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qmgen.learning.batch import Batch
from qmgen.learning.fp8 import NONE, Recipe, by_recipe
from qmgen.learning.schnet.predict import predict
from qmgen.learning.schnet.recipe import distance
from qmgen.learning.schnet.shape import SchNetShape
from qmgen.learning.targets import Kind, Target
from qmgen.learning.targets.normalisation import Normalisation
from qmgen.learning.training.loop import Score

Params = Any


@dataclass(frozen=True)
class Errors:
    """Mean absolute errors by target in the units people read, of so many ``rows``; ``trivial`` are those of predicting
    what the normalisation alone knows (the mean, references of the atoms); ``total`` is their mean in normalised units.
    Of a dipole moment the mean length of the difference."""

    shown: dict[str, float]
    trivial: dict[str, float]
    rows: int
    total: float


@dataclass(frozen=True)
class SchnetTask:
    """What ``training.loop`` trains; ``validation`` gives the batches to choose the best weights by, anew each time.

    ``dtype`` is that of the arithmetic. In steps of the training linear layers multiply by ``recipe``; errors are those
    of the weights in ``dtype``, as they will be used.
    """

    shape: SchNetShape
    targets: tuple[Target, ...]
    normalisation: Normalisation
    loss_kind: str
    dtype: Any
    validation: Callable[[], Iterable[tuple[Batch, Any]]]
    recipe: Recipe = NONE

    def __post_init__(self) -> None:
        object.__setattr__(self, "_forward", jax.jit(self.forward))

    def forward(self, parameters: Params, numbers: Any, positions: Any) -> dict[str, Any]:
        """Predictions in normalised units, as ``predict``."""
        return predict(
            parameters, self.shape, self.targets, self.normalisation, numbers, jnp.asarray(positions, self.dtype)
        )

    def loss(self, parameters: Params, batch: Batch) -> Any:
        """() the loss of a batch."""
        found = self.forward(by_recipe(parameters, self.recipe), batch.numbers, batch.positions)
        cost = distance(self.loss_kind)
        weights = jnp.asarray(batch.weights, self.dtype)
        atoms = jnp.asarray(batch.numbers > 0, self.dtype)
        total = jnp.zeros((), self.dtype)
        for target in self.targets:
            each = cost(found[target.name] - jnp.asarray(batch.values[target.name], self.dtype))
            if target.kind is Kind.FORCES:
                of_molecule = jnp.sum(jnp.mean(each, -1) * atoms, -1) / jnp.maximum(jnp.sum(atoms, -1), 1.0)
            else:
                of_molecule = jnp.mean(each, -1)
            total += jnp.sum(of_molecule * weights) / jnp.maximum(jnp.sum(weights), 1.0)
        return total / len(self.targets)

    def errors(self, parameters: Params, batches: Iterable[tuple[Batch, Any]]) -> Errors:
        """The mean absolute errors on all rows of ``Batches.in_order()``; dummies and padding do not count."""
        shown = dict.fromkeys((target.name for target in self.targets), 0.0)
        plain, trivial, counts = dict(shown), dict(shown), dict.fromkeys(shown, 0)
        rows = 0
        for batch, _ in batches:
            real = np.asarray(batch.weights) > 0
            numbers = np.asarray(batch.numbers)[real]
            rows += len(numbers)
            found = self._forward(parameters, batch.numbers, batch.positions)  # type: ignore[attr-defined]
            for target in self.targets:
                name = target.name
                given, label = (np.asarray(values, np.float64)[real] for values in (found[name], batch.values[name]))
                restored = [
                    np.asarray(self.normalisation.restore(name, values, numbers), np.float64)
                    for values in (given, np.zeros_like(label), label)
                ]
                off, entries = _sum(target, restored[0] - restored[2], numbers)
                shown[name] += off * target.shown[1]
                trivial[name] += _sum(target, restored[1] - restored[2], numbers)[0] * target.shown[1]
                plain[name] += _sum(target, given - label, numbers)[0]
                counts[name] += entries
        means = {name: total / max(counts[name], 1) for name, total in plain.items()}
        return Errors(
            {name: total / max(counts[name], 1) for name, total in shown.items()},
            {name: total / max(counts[name], 1) for name, total in trivial.items()},
            rows,
            sum(means.values()) / len(means),
        )

    def validate(self, parameters: Params) -> Score:
        """As ``training.loop`` asks."""
        found = self.errors(parameters, self.validation())
        return Score(found.shown, text(self.targets, found.shown), found.total)


def text(targets: Iterable[Target], errors: dict[str, float]) -> str:
    """``y 85.2 meV, dipole 0.0513 Debye``."""
    return ", ".join(f"{target.name} {errors[target.name]:.4g} {target.shown[0]}" for target in targets)


def _sum(target: Target, difference: np.ndarray, numbers: np.ndarray) -> tuple[float, int]:
    """The sum of absolute differences of the real molecules, and of how many numbers."""
    if target.kind is Kind.DIPOLE:
        return float(np.sum(np.linalg.norm(difference, axis=-1))), len(difference)
    if target.kind is Kind.FORCES:
        real = difference[numbers > 0]
        return float(np.sum(np.abs(real))), real.size
    return float(np.sum(np.abs(difference))), len(difference)
