"""The smallest training there is: a line through points, by the real loop. Run as a script, it can be killed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

from qmgen.learning.data.packed import MoleculeBatch
from qmgen.learning.training.loop import Score, TrainingOutcome, TrainingPlan, train
from qmgen.learning.training.step import schedule_of
from qmgen.progress import TrainingProgress
from qmgen.signals import StopWatch

PEAK = 0.05


class Line:
    """y = a x + b; ``spoiled_at`` makes the loss of one batch infinite."""

    def loss(self, parameters: Any, batch: MoleculeBatch) -> Any:
        found = parameters["a"] * batch.positions[:, 0, 0] + parameters["b"]
        return jnp.mean(jnp.abs(found - batch.values["y"][:, 0]))

    def validate(self, parameters: Any) -> Score:
        error = abs(float(parameters["a"]) - 2.0) + abs(float(parameters["b"]) + 1.0)
        return Score({"y": error}, f"y {error:.3f} meV", error)


class Points:
    """Batches of eight points of y = 2 x − 1 by number: the place is the number of the next."""

    def __init__(self, spoiled: int = -1, after: Any = None) -> None:
        self.spoiled, self.after, self.begun = spoiled, after, []

    def batches(self, place: dict[str, Any] | None) -> Generator[tuple[MoleculeBatch, dict[str, Any], int]]:
        number = place["number"] if place else 0
        self.begun.append(number)
        while True:
            x = np.random.default_rng(number).normal(size=8).astype(np.float32)
            y = 2 * x - 1 if number != self.spoiled else np.full_like(x, np.inf)
            positions = np.zeros((8, 1, 3), np.float32)
            positions[:, 0, 0] = x
            number += 1
            yield (
                MoleculeBatch(np.ones((8, 1), np.int32), positions, {"y": y[:, None]}, np.ones(8, np.float32)),
                {"number": number},
                8,
            )
            if self.after is not None:
                self.after(number)


def run(
    folder: Path,
    steps: int = 60,
    points: Points | None = None,
    stop: StopWatch | None = None,
    patience: int | None = None,
    checkpoint_seconds: float = 1000.0,
    identity: dict[str, Any] | None = None,
    progress: TrainingProgress | None = None,
    watch: Callable[[Any, int], dict[str, Any]] | None = None,
) -> TrainingOutcome:
    """Train in ``folder``: lines every 7 steps, validations every 20, checkpoints at those unless it is said sooner."""
    rate = schedule_of("cosine", PEAK, 5, steps)
    return train(
        Line(),
        optax.adamw(rate),
        rate,
        {"a": jnp.zeros((), jnp.float32), "b": jnp.zeros((), jnp.float32)},
        points or Points(),
        TrainingPlan("line", steps, 40, 7, 20, patience, checkpoint_seconds),
        folder,
        identity or {"data": "points"},
        stop or StopWatch(),
        progress or TrainingProgress(quiet=True),
        watch=watch,
    )


if __name__ == "__main__":
    # slow enough to be killed in the middle
    import time

    run(Path(sys.argv[1]), points=Points(after=lambda number: time.sleep(0.02)), checkpoint_seconds=0.05)
