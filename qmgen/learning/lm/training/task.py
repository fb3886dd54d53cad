"""A language model as something to be trained: mean −ln p of the next token, in nats.

Parameters are {"weights": the model's, "probes": what its products told last}: ``optimiser.applied`` puts the gradient
of the latter in its place, so that scales and their histories are part of every checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from qmgen.learning.lm.network.model import Arithmetic, forward
from qmgen.learning.lm.network.shape import LmShape
from qmgen.learning.lm.texts.packing import TokenBatch
from qmgen.learning.training.loop import Score

Array = jax.Array
Params = dict[str, Any]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def gradient_times(factor: float, x: Array) -> Array:
    """``x``, whose gradient is ``factor`` times as large."""
    return x


gradient_times.defvjp(lambda factor, x: (x, None), lambda factor, _, g: (g * jnp.asarray(factor, g.dtype),))


@dataclass(frozen=True)
class LmTask:
    """What ``training.loop`` trains; ``validation`` gives the batches of the held-out texts, anew each time."""

    shape: LmShape
    arithmetic: Arithmetic
    validation: Callable[[], Iterable[TokenBatch]]
    loss_scale: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "_sums", jax.jit(partial(self.sums, scale=1.0)))

    def logits(self, parameters: Params, batch: TokenBatch) -> Array:
        """(B, T, V) float32."""
        given = batch.tokens, batch.positions, batch.segments
        return forward(parameters["weights"], self.shape, self.arithmetic, *given, parameters["probes"])

    def loss(self, parameters: Params, batch: TokenBatch) -> Array:
        """() float32, the mean over targets. Within the model its gradient is larger by ``loss_scale``."""
        if self.loss_scale != 1.0:
            weights = jax.tree.map(partial(gradient_times, 1.0 / self.loss_scale), parameters["weights"])
            parameters = {**parameters, "weights": weights}
        total, _, number = self.sums(parameters, batch, self.loss_scale)
        return total / jnp.maximum(number, 1.0)

    def loss_unwatched(self, parameters: Params, batch: TokenBatch) -> Array:
        """The same without probes."""
        return self.loss({**parameters, "probes": None}, batch)

    def sums(self, parameters: Params, batch: TokenBatch, scale: float = 1.0) -> tuple[Array, Array, Array]:
        """Σ −ln p, how many targets are the likeliest token, how many targets there are."""
        logits = self.logits(parameters, batch)
        if scale != 1.0:
            logits = gradient_times(scale, logits)
        costs = optax.softmax_cross_entropy_with_integer_labels(logits, batch.targets)
        right = (jnp.argmax(logits, -1) == batch.targets).astype(jnp.float32)
        return jnp.sum(costs * batch.weights), jnp.sum(right * batch.weights), jnp.sum(batch.weights)

    def validate(self, parameters: Params) -> Score:
        """Loss in nats and next-token accuracy on the held-out texts."""
        total = right = number = 0.0  # in float64, on the host
        for batch in self.validation():
            sums = self._sums(parameters, batch)  # type: ignore[attr-defined]
            total, right, number = (old + float(new) for old, new in zip((total, right, number), sums))
        loss, accuracy = total / number, right / number
        return Score({"loss": loss, "accuracy": accuracy}, f"validation {loss:.4f} nats", loss)
