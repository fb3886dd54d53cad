"""A step that looks at its scales now and then: telling what underflows costs as much as a cast on a CPU."""

from __future__ import annotations

from typing import Any

import jax
import optax

from qmgen.learning.lm.training.optimiser import applied, kept
from qmgen.learning.lm.training.scales import watches
from qmgen.learning.lm.training.task import LmTask
from qmgen.learning.training import state as training
from qmgen.learning.training.state import State, Step


def stepper(task: LmTask, optimiser: optax.GradientTransformation, watch_every: int) -> Step:
    """``step(state, batch) -> (state, loss)`` whose probes are renewed in the first step, in each ``watch_every``-th,
    and in every one where the recipe needs them."""
    watching = training.stepper(task.loss, optimiser, applied, portions=False)
    kind = task.arithmetic.recipe.kind
    if kind in ("none", "delayed"):
        return _one_at_a_time(watching)
    plain = training.stepper(task.loss_unwatched, optimiser, kept, portions=False)
    done: int | None = None

    def step(state: State, batch: Any) -> tuple[State, Any]:
        nonlocal done
        if done is None:
            done = int(state.step)  # a training that is continued is anywhere
        done += 1
        return (watching if watches(done, watch_every) else plain)(state, batch)

    return _one_at_a_time(step)


def _one_at_a_time(step: Step) -> Step:
    """``step``; on several devices of one CPU it waits for its end: their sums over devices need a thread each, and
    those of steps begun ahead would take the threads that the first ones wait for."""
    if jax.default_backend() != "cpu" or jax.device_count() == 1:
        return step

    def waits(state: State, batch: Any) -> tuple[State, Any]:
        found: tuple[State, Any] = jax.block_until_ready(step(state, batch))
        return found

    return waits
