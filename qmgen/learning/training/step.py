"""One step of a training as a pure function of its state; nothing in it waits for the device.

Learning rates, decay and what a loss takes from its data are arguments of the compiled step, not constants in it:
trainings that differ in these alone share one program, in this process and in the compilation cache.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import jax
import jax.numpy as jnp
import optax

from qmgen.learning.data.packed import MoleculeBatch

Params = Any


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainingState:
    """What a step takes and gives: all of it is in a checkpoint.

    Attributes:
        parameters, optimiser: pytrees of arrays. The names are in checkpoint files.
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
Step = Callable[[TrainingState, Any], tuple[TrainingState, Any]]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Optimizer:
    """The optax transformation ``make(*numbers)``. ``make`` is a function of a module; ``numbers`` is a pytree."""

    make: Callable[..., optax.GradientTransformation] = field(metadata={"static": True})
    numbers: tuple[Any, ...] = ()

    def init(self, parameters: Params) -> Any:
        """Its state before the first step."""
        return self.make(*self.numbers).init(parameters)

    def update(self, gradients: Params, state: Any, parameters: Params) -> tuple[Params, Any]:
        """What to add to the parameters, and the next state."""
        return self.make(*self.numbers).update(gradients, state, parameters)


def first(parameters: Params, optimizer: Optimizer | optax.GradientTransformation) -> TrainingState:
    """The state before the first step."""
    dtype = jax.tree.leaves(parameters)[0].dtype
    return TrainingState(
        parameters,
        optimizer.init(parameters),
        jnp.zeros((), jnp.int32),
        jnp.zeros((), dtype),
        jnp.full((), -1, jnp.int32),
    )


def stepper(
    loss: Callable[[Params, Any], Any],
    optimizer: Optimizer | optax.GradientTransformation,
    apply: Callable[[Params, Params], Params] = optax.apply_updates,
    portions: bool = True,
) -> Step:
    """``step(state, batch) -> (state, loss)``: compiled once per shape of the batch, the old state's memory re-used.

    ``loss`` is a mean over the molecules of a batch by their weights, so that the gradient may be taken in portions
    (``portions``). ``apply`` makes the next parameters of the old ones and the optimizer's updates. A ``loss`` that is
    a pytree, and an ``Optimizer``, share their program with others of the same static fields.
    """
    return partial(_step, _as_tree(loss), _as_optimizer(optimizer), apply, portions)


def _as_tree(function: Any) -> Any:
    """A function as a pytree; one that is none yet has no numbers of its own."""
    return jax.tree_util.Partial(function) if jax.tree_util.all_leaves([function]) else function


def _as_optimizer(optimizer: Optimizer | optax.GradientTransformation) -> Optimizer:
    return optimizer if isinstance(optimizer, Optimizer) else Optimizer(lambda: optimizer)


@partial(jax.jit, static_argnums=(2, 3), donate_argnums=4)
def _step(
    loss: Callable[[Params, Any], Any],
    optimizer: Optimizer,
    apply: Callable[[Params, Params], Params],
    portions: bool,
    state: TrainingState,
    batch: Any,
) -> tuple[TrainingState, Any]:
    if portions:
        value, gradients = by_portions(loss, portion_of(len(batch.weights)))(state.parameters, batch)
    else:
        value, gradients = jax.value_and_grad(loss)(state.parameters, batch)
    updates, inner = optimizer.update(gradients, state.optimiser, state.parameters)
    done = state.step + jnp.int32(1)
    # a finite loss may have a gradient that is not, and the weights would be lost all the same
    sound = jnp.isfinite(value) & jnp.isfinite(sum(jnp.sum(jnp.abs(leaf)) for leaf in jax.tree.leaves(gradients)))
    lost = (state.bad < 0) & ~sound
    after = TrainingState(
        apply(state.parameters, updates),
        inner,
        done,
        state.loss_sum + value.astype(state.loss_sum.dtype),
        jnp.where(lost, done, state.bad),
    )
    return after, value


def emptied(state: TrainingState) -> TrainingState:
    """``state`` with the sum of losses begun anew."""
    return TrainingState(state.parameters, state.optimiser, state.step, jnp.zeros_like(state.loss_sum), state.bad)


#: molecules at once on a CPU, at most
MOST: Final = 4


def portion_of(size: int) -> int:
    """How many of ``size`` molecules to take at once on JAX's default device: all where no portion divides them."""
    if jax.default_backend() != "cpu":
        return size
    return max((part for part in range(2, MOST + 1) if size % part == 0), default=size)


def by_portions(
    loss: Callable[[Params, MoleculeBatch], Any], portion: int
) -> Callable[[Params, MoleculeBatch], tuple[jax.Array, Params]]:
    """``jax.value_and_grad(loss)`` of a batch, summed over parts of ``portion`` molecules; of the whole batch where
    that does not divide it. ``loss`` is a mean over molecules by their weights.

    A CPU is faster where the activations of a part stay in its cache. Measured on two cores of an Intel Xeon
    (docs/schnet.md): with 4 molecules at once a step of 32 takes half the time (``tiny``), two thirds (``small``,
    ``schnet-9m``); with 2 or 8 it takes longer again. A GPU wants the whole batch.
    """
    whole = jax.value_and_grad(loss)

    def summed(parameters: Params, batch: MoleculeBatch) -> tuple[jax.Array, Params]:
        size = len(batch.weights)
        if portion >= size or size % portion:
            return whole(parameters, batch)
        parts = jax.tree.map(lambda leaf: leaf.reshape(size // portion, portion, *leaf.shape[1:]), batch)
        total = jnp.maximum(jnp.sum(batch.weights), 1.0)

        def add(sums: Any, part: MoleculeBatch) -> tuple[Any, None]:
            share = jnp.sum(part.weights) / total
            part_gradient = whole(parameters, part)
            return jax.tree.map(lambda old, new: old + (share * new).astype(old.dtype), sums, part_gradient), None

        nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(whole, parameters, batch))
        return jax.lax.scan(add, nothing, parts)[0]

    return summed


#: of the peak, at the first step of the warm-up
FIRST: Final = 0.2
DECAY: Final = 0.96
DECAY_STEPS: Final = 9600
SCHEDULES: Final = ("cosine", "qm1b", "constant")


@partial(jax.tree_util.register_dataclass, data_fields=["peak", "warmup", "length"], meta_fields=["kind"])
@dataclass(frozen=True)
class Schedule:
    """The learning rate as a function of the number of steps done, float32; for inside jit and outside alike.

    warm-up   rate(t) = peak · (0.2 + 0.8 t / warmup)          t < warmup
    cosine    rate(t) = peak · (1 + cos(π (t − warmup) / length)) / 2
    qm1b      rate(t) = peak · 0.96^⌊t / 9600⌋                 (arXiv 2311.01135, its authors' notebooks)
    constant  rate(t) = peak

    ``length`` is the number of steps after the warm-up.
    """

    kind: str
    peak: float
    warmup: float
    length: float

    def __call__(self, step: Any) -> Any:
        t = jnp.asarray(step, jnp.float32)
        if self.kind == "cosine":
            share = jnp.clip((t - self.warmup) / self.length, 0.0, 1.0)
            later = 0.5 * (1.0 + jnp.cos(jnp.float32(jnp.pi) * share))
        elif self.kind == "qm1b":
            later = jnp.float32(DECAY) ** jnp.floor(t / DECAY_STEPS)
        else:
            later = jnp.ones_like(t)
        begin = FIRST + (1.0 - FIRST) * t / jnp.maximum(self.warmup, 1.0)
        return (jnp.float32(self.peak) * jnp.where(t < self.warmup, begin, later)).astype(jnp.float32)


def schedule_of(kind: str, peak: float, warmup: int, steps: int) -> Schedule:
    """The schedule of a training of ``steps`` steps. Raises ``ValueError`` for a kind that is none."""
    if kind not in SCHEDULES:
        raise ValueError(f"no schedule is called {kind!r}")
    return Schedule(kind, float(peak), float(warmup), float(max(steps - warmup, 1)))


def adamw(rate: Schedule, weight_decay: float, clip: float) -> Optimizer:
    """AdamW behind a clip of the gradients' global norm."""
    return Optimizer(_adamw, (rate, weight_decay, clip))


def _adamw(rate: Schedule, weight_decay: Any, clip: Any) -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(clip), optax.adamw(rate, weight_decay=weight_decay))
