"""One step of a training as a pure function of its state; nothing in it waits for the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from qmgen.learning.training.portions import by_portions, portion_of

Params = Any


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class State:
    """What a step takes and gives: all of it is in a checkpoint.

    Attributes:
        parameters, optimiser: pytrees of arrays.
        step: () int32, the number of steps done.
        loss_sum: () of the losses since the last line of the journal, so that a line says the same after a resumption.
        bad: () int32, the first step whose loss or gradient was not finite; −1 while there is none.
    """

    parameters: Params
    optimiser: Any
    step: Any
    loss_sum: Any
    bad: Any


#: ``step(state, batch) -> (state, loss)``
Step = Callable[[State, Any], tuple[State, Any]]


def first(parameters: Params, optimiser: optax.GradientTransformation) -> State:
    """The state before the first step."""
    dtype = jax.tree.leaves(parameters)[0].dtype
    return State(
        parameters,
        optimiser.init(parameters),
        jnp.zeros((), jnp.int32),
        jnp.zeros((), dtype),
        jnp.full((), -1, jnp.int32),
    )


def stepper(
    loss: Callable[[Params, Any], Any],
    optimiser: optax.GradientTransformation,
    apply: Callable[[Params, Params], Params] = optax.apply_updates,
    portions: bool = True,
) -> Step:
    """``step(state, batch) -> (state, loss)``: compiled once per shape of the batch, the old state's memory re-used.

    ``loss`` is a mean over the molecules of a batch by their weights, so that the gradient may be taken in portions
    (``portions``). ``apply`` makes the next parameters of the old ones and the optimiser's updates.
    """

    def step(state: State, batch: Any) -> tuple[State, Any]:
        if portions:
            value, gradients = by_portions(loss, portion_of(len(batch.weights)))(state.parameters, batch)
        else:
            value, gradients = jax.value_and_grad(loss)(state.parameters, batch)
        updates, inner = optimiser.update(gradients, state.optimiser, state.parameters)
        done = state.step + jnp.int32(1)
        # a finite loss may have a gradient that is not, and the weights would be lost all the same
        sound = jnp.isfinite(value) & jnp.isfinite(sum(jnp.sum(jnp.abs(leaf)) for leaf in jax.tree.leaves(gradients)))
        lost = (state.bad < 0) & ~sound
        after = State(
            apply(state.parameters, updates),
            inner,
            done,
            state.loss_sum + value.astype(state.loss_sum.dtype),
            jnp.where(lost, done, state.bad),
        )
        return after, value

    return jax.jit(step, donate_argnums=0)


def emptied(state: State) -> State:
    """``state`` with the sum of losses begun anew."""
    return State(state.parameters, state.optimiser, state.step, jnp.zeros_like(state.loss_sum), state.bad)
