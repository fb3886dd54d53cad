"""How SchNet is trained where nothing else is said: rates, batches and lengths by preset and by number of rows.

L1 loss on normalised targets, AdamW, gradients clipped by their global norm, a warm-up from 0.2 of the peak rate, then
a cosine to zero. ``schnet-9m`` has QM1B's batch, rate and warm-up (arXiv 2311.01135); its decay is ``--schedule qm1b``.

The length, where neither steps nor epochs are given, is 100 epochs, but at least ``least`` steps (in at most 300
epochs) and at most ``most``, and never under 5 epochs. It is kept to its end, where the cosine finds its best weights,
unless ``patience`` is given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import optax

from qmgen.config.train import TrainSchnetConfig
from qmgen.learning.training.schedule import Schedule, schedule_of

EPOCHS: Final = 100
FEWEST_EPOCHS: Final = 5
#: passes over a few rows that a large preset's least number of steps may come to
MOST_EPOCHS: Final = 300
#: validations in a training
VALIDATIONS: Final = 40
#: fine-tuning begins near a minimum: its peak rate is this share of the preset's
FINE_TUNING: Final = 0.5
#: a warm-up is at most this share of a training
LONGEST_WARMUP: Final = 0.1


@dataclass(frozen=True)
class Defaults:
    """Of one preset: molecules in a batch, peak learning rate, steps of warm-up, least and most steps by default."""

    batch_size: int
    learning_rate: float
    warmup: int
    least: int
    most: int


DEFAULTS: Final = {
    "tiny": Defaults(32, 1e-3, 100, 1000, 6000),
    "small": Defaults(32, 1e-3, 500, 3000, 40000),
    "schnet-9m": Defaults(112, 5e-4, 2500, 10000, 200000),
}


@dataclass(frozen=True)
class Recipe:
    """One training's numbers, all decided. ``steps`` and what follows from it come from ``steps_per_epoch``."""

    batch_size: int
    learning_rate: float
    warmup: int
    steps: int
    validate_every: int
    patience: int | None
    schedule: str
    weight_decay: float
    clip: float

    def rate(self) -> Schedule:
        """The learning rate by steps done."""
        return schedule_of(self.schedule, self.learning_rate, self.warmup, self.steps)

    def optimiser(self) -> optax.GradientTransformation:
        """AdamW behind a clip of the gradients' global norm."""
        return optax.chain(
            optax.clip_by_global_norm(self.clip), optax.adamw(self.rate(), weight_decay=self.weight_decay)
        )


def batch_size(settings: TrainSchnetConfig, preset: str, rows: int) -> int:
    """Molecules in a batch: as given or by preset, never more than there are rows."""
    return min(settings.batch_size or DEFAULTS[preset].batch_size, rows)


def recipe(settings: TrainSchnetConfig, preset: str, rows: int, steps_per_epoch: int, fine_tuning: bool) -> Recipe:
    """The numbers of a training on ``rows`` rows, ``steps_per_epoch`` batches of them in an epoch."""
    by = DEFAULTS[preset]
    if settings.steps is not None:
        steps = settings.steps
    elif settings.epochs is not None:
        steps = settings.epochs * steps_per_epoch
    else:
        least = min(by.least, MOST_EPOCHS * steps_per_epoch)
        steps = max(least, min(EPOCHS * steps_per_epoch, by.most), FEWEST_EPOCHS * steps_per_epoch)
    warmup = min(by.warmup, int(LONGEST_WARMUP * steps)) if settings.warmup is None else settings.warmup
    return Recipe(
        batch_size(settings, preset, rows),
        settings.learning_rate or by.learning_rate * (FINE_TUNING if fine_tuning else 1.0),
        warmup,
        steps,
        settings.validate_every or max(steps // VALIDATIONS, 1),
        settings.patience,
        settings.schedule,
        settings.weight_decay,
        settings.clip,
    )


def distance(kind: str) -> Callable[[Any], Any]:
    """What a difference costs: its size for ``l1``, its square for ``mse``."""
    return {"l1": abs, "mse": lambda difference: difference * difference}[kind]
