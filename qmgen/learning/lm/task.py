"""The training task of a language model: mean −ln p of the next token, in nats; texts packed into rows of one length
(nothing is cut, and little is padding), and batches of rows in a seeded order.

>>> rows = rows_of(sequences.lengths(), order, length=64)
>>> batch = batch_of(sequences, rows[:32], size=32, length=64)

Parameters are {"weights": the model's, "probes": the last state of its products}: ``applied`` puts the gradient of the
latter in its place, so that scales and their histories are part of every checkpoint. A line of the journal has, by name
of the layer and tensor (``qkv.x``), the scale biases of all blocks, and the largest shares that underflow and overflow.
A step records its scales now and then: counting what underflows costs as much as a cast on a CPU.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
import optax

from qmgen.errors import UsageError
from qmgen.learning.fp8.scale import BIAS, OVERFLOW, TENSORS, UNDERFLOW
from qmgen.learning.lm.model import Arithmetic, LmShape, forward
from qmgen.learning.lm.texts import PAD_ID, Sequences
from qmgen.learning.training import step as training
from qmgen.learning.training.loop import Score
from qmgen.learning.training.step import Optimizer, Schedule, Step, TrainingState

#: texts among which the next of a row is chosen
WAITING: Final = 64


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TokenBatch:
    """B rows of T tokens, each of several texts.

    Attributes:
        tokens: (B, T) int32.
        targets: (B, T) int32, the token after each, in its text.
        positions: (B, T) int32, places within the text.
        segments: (B, T) int32, which text of the row, from 1; 0 is padding.
        weights: (B, T) float32, 1 where there is a target.
    """

    tokens: Any
    targets: Any
    positions: Any
    segments: Any
    weights: Any


def rows_of(lengths: np.ndarray, order: np.ndarray, length: int) -> list[list[int]]:
    """Which texts each row of ``length`` tokens holds: the first that waits, then of the ``WAITING`` next in ``order``
    the longest that still fits, and again.

    Raises ``UsageError`` where a text is longer than a row.
    """
    if len(order) and (longest := int(lengths[order].max())) > length:
        raise UsageError(
            f"a molecule has {longest} tokens, begin and end counted, and a row {length}: leave it out, or train with "
            "a longer --context"
        )
    sizes: list[int] = lengths.tolist()
    coming = iter(order.tolist())
    waiting: dict[int, deque[int]] = {}  # by length, each in order
    first: deque[int] = deque()
    gone: set[int] = set()
    rows: list[list[int]] = []

    def refill() -> None:
        for index in islice(coming, WAITING - len(first) + len(gone)):
            first.append(index)
            waiting.setdefault(sizes[index], deque()).append(index)

    refill()
    while first:
        row, room = [], length
        size: int | None = sizes[first[0]]
        while size is not None:
            index = waiting[size].popleft()
            if not waiting[size]:
                del waiting[size]
            gone.add(index)
            row.append(index)
            room -= size
            size = max((one for one in waiting if one <= room), default=None)
        while first and first[0] in gone:
            gone.discard(first.popleft())
        rows.append(row)
        refill()
    return rows


def batch_of(sequences: Sequences, rows: list[list[int]], size: int, length: int) -> TokenBatch:
    """``rows`` as arrays on the host, filled to ``size`` rows with padding."""
    shape = (size, length)
    tokens = np.full(shape, PAD_ID, np.int32)
    targets, positions, segments = (np.zeros(shape, np.int32) for _ in range(3))
    weights = np.zeros(shape, np.float32)
    for place, row in enumerate(rows):
        begin = 0
        for number, index in enumerate(row, 1):
            text = sequences[index]
            end = begin + len(text)
            tokens[place, begin:end] = text
            targets[place, begin : end - 1] = text[1:]
            positions[place, begin:end] = np.arange(len(text))
            segments[place, begin:end] = number
            weights[place, begin : end - 1] = 1.0
            begin = end
    return TokenBatch(tokens, targets, positions, segments, weights)


@dataclass(frozen=True)
class TokenFeed:
    """``size`` rows of ``length`` tokens at once; ``put`` moves a batch to its devices."""

    sequences: Sequences
    size: int
    length: int
    seed: int
    put: Callable[[TokenBatch], TokenBatch] = jax.device_put

    def batches(self, place: dict[str, Any] | None) -> Generator[tuple[TokenBatch, dict[str, Any], int]]:
        """Each batch, the place after it, and how many targets it has. An epoch's last batch is filled from none."""
        epoch, begin = (place["epoch"], place["row"]) if place else (0, 0)
        while True:
            order = np.random.default_rng((self.seed, epoch)).permutation(len(self.sequences))
            rows = rows_of(self.sequences.lengths(), order, self.length)
            while begin < len(rows):
                batch = batch_of(self.sequences, rows[begin : begin + self.size], self.size, self.length)
                begin += self.size
                over = begin >= len(rows)
                after = {"epoch": epoch + over, "row": 0 if over else begin}
                yield self.put(batch), after, int(batch.weights.sum())
            epoch, begin = epoch + 1, 0


def in_order(sequences: Sequences, size: int, length: int) -> Iterator[TokenBatch]:
    """All texts once, on the host, those of like length together."""
    order = np.argsort(sequences.lengths(), kind="stable")
    rows = rows_of(sequences.lengths(), order, length)
    for begin in range(0, len(rows), size):
        yield batch_of(sequences, rows[begin : begin + size], size, length)


Array = jax.Array
Params = dict[str, Any]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def gradient_times(factor: float, x: Array) -> Array:
    """``x``, whose gradient is ``factor`` times as large."""
    return x


gradient_times.defvjp(lambda factor, x: (x, None), lambda factor, _, g: (g * jnp.asarray(factor, g.dtype),))


@partial(jax.tree_util.register_dataclass, data_fields=[], meta_fields=["shape", "arithmetic", "loss_scale", "watched"])
@dataclass(frozen=True)
class LmLoss:
    """``loss(parameters, batch)``: () float32, the mean over targets. Within the model its gradient is larger by
    ``loss_scale``. Probes are taken where it is ``watched``."""

    shape: LmShape
    arithmetic: Arithmetic
    loss_scale: float = 1.0
    watched: bool = True

    def __call__(self, parameters: Params, batch: TokenBatch) -> Array:
        if not self.watched:
            parameters = {**parameters, "probes": None}
        if self.loss_scale != 1.0:
            weights = jax.tree.map(partial(gradient_times, 1.0 / self.loss_scale), parameters["weights"])
            parameters = {**parameters, "weights": weights}
        total, _, number = sums(self.shape, self.arithmetic, self.loss_scale, parameters, batch)
        return total / jnp.maximum(number, 1.0)


def sums(
    shape: LmShape, arithmetic: Arithmetic, scale: float, parameters: Params, batch: TokenBatch
) -> tuple[Array, Array, Array]:
    """Σ −ln p, how many targets are the likeliest token, how many targets there are."""
    given = batch.tokens, batch.positions, batch.segments
    logits = forward(parameters["weights"], shape, arithmetic, *given, parameters["probes"])
    if scale != 1.0:
        logits = gradient_times(scale, logits)
    costs = optax.softmax_cross_entropy_with_integer_labels(logits, batch.targets)
    right = (jnp.argmax(logits, -1) == batch.targets).astype(jnp.float32)
    return jnp.sum(costs * batch.weights), jnp.sum(right * batch.weights), jnp.sum(batch.weights)


_sums = jax.jit(sums, static_argnums=(0, 1, 2))


@dataclass(frozen=True)
class LmTask:
    """What ``training.loop`` trains; ``validation`` gives the batches of the held-out texts, anew each time."""

    shape: LmShape
    arithmetic: Arithmetic
    validation: Callable[[], Iterable[TokenBatch]]
    loss_scale: float = 1.0

    @property
    def loss(self) -> LmLoss:
        """With probes."""
        return LmLoss(self.shape, self.arithmetic, self.loss_scale)

    @property
    def loss_unwatched(self) -> LmLoss:
        """The same without probes."""
        return LmLoss(self.shape, self.arithmetic, self.loss_scale, watched=False)

    def validate(self, parameters: Params) -> Score:
        """Loss in nats and next-token accuracy on the held-out texts."""
        total = right = number = 0.0  # in float64, on the host
        for batch in self.validation():
            found = _sums(self.shape, self.arithmetic, 1.0, parameters, batch)
            total, right, number = (old + float(new) for old, new in zip((total, right, number), found))
        loss, accuracy = total / number, right / number
        return Score({"loss": loss, "accuracy": accuracy}, f"validation {loss:.4f} nats", loss)


def decayed(weights: Params) -> Any:
    """Which leaves weight decay is for: matrices of the blocks and the head, no biases, norms or embeddings."""

    def one(path: Any, _: Any) -> bool:
        names = [str(getattr(key, "key", key)) for key in path]
        return names[-1] == "weight" or names[-1] == "head"

    return jax.tree_util.tree_map_with_path(one, weights)


def adamw(rate: Schedule, weight_decay: float, clip: float) -> Optimizer:
    """AdamW (β 0.9, 0.95) behind a clip of the gradients' global norm, over {"weights", "probes"}."""
    return Optimizer(_adamw, (rate, weight_decay, clip))


def _adamw(rate: Schedule, weight_decay: Any, clip: Any) -> optax.GradientTransformation:
    inner = optax.chain(
        optax.clip_by_global_norm(clip), optax.adamw(rate, b1=0.9, b2=0.95, weight_decay=weight_decay, mask=decayed)
    )

    def update(gradients: Params, state: Any, params: Params | None = None) -> tuple[Params, Any]:
        assert params is not None
        updates, state = inner.update(gradients["weights"], state, params["weights"])
        return {"weights": updates, "probes": gradients["probes"]}, state

    return optax.GradientTransformation(lambda params: inner.init(params["weights"]), update)


def applied(params: Params, updates: Params) -> Params:
    """The parameters after a step."""
    return {"weights": optax.apply_updates(params["weights"], updates["weights"]), "probes": updates["probes"]}


def unwatched_applied(params: Params, updates: Params) -> Params:
    """The same after a step that did not look at its scales."""
    return {"weights": optax.apply_updates(params["weights"], updates["weights"]), "probes": params["probes"]}


def described(probes: Params) -> dict[str, Any]:
    """``scales`` by layer and tensor: a list of biases over blocks; ``underflow`` and ``overflow``: the largest shares
    by tensor."""
    arrays = {name: np.asarray(value) for name, value in sorted(probes.items())}
    scales = {
        f"{name}.{tensor}": array[:, row, BIAS].astype(int).tolist()
        for name, array in arrays.items()
        for row, tensor in enumerate(TENSORS)
    }
    shares: dict[str, Any] = {}
    for field, place in (("underflow", UNDERFLOW), ("overflow", OVERFLOW)):
        shares[field] = {
            tensor: round(max(float(array[:, row, place].max()) for array in arrays.values()), 6)
            for row, tensor in enumerate(TENSORS)
        }
    return {"scales": scales, **shares}


def watches(step: int, every: int) -> bool:
    """Whether the scales of a step (from 1) are looked at: of the first, and of each ``every``-th."""
    return step == 1 or step % every == 0


def watched(every: int) -> Callable[[Params, int], dict[str, Any]]:
    """For ``training.loop``: the scales of the steps that were watched."""

    def watch(parameters: Params, step: int) -> dict[str, Any]:
        return described(parameters["probes"]) if watches(step, every) else {}

    return watch


def in_use(task: LmTask, parameters: Params, batch: TokenBatch) -> dict[str, Any]:
    """The scales of activations and weights when the model is used on ``batch``, from one backward pass of a watched
    product: by layer and tensor, as ``described``; there are no gradients to scale."""
    probes = _probes(task.loss, parameters, batch)
    scales = described(probes)["scales"]
    return {name: biases for name, biases in scales.items() if not name.endswith(".g")}


@jax.jit
def _probes(loss: LmLoss, parameters: Params, batch: TokenBatch) -> Params:
    return jax.grad(lambda probes: loss({**parameters, "probes": probes}, batch))(parameters["probes"])


def lm_stepper(task: LmTask, optimizer: Optimizer, watch_every: int) -> Step:
    """``step(state, batch) -> (state, loss)`` whose probes are renewed in the first step, in each ``watch_every``-th,
    and in every one where the recipe needs them."""
    watching = training.stepper(task.loss, optimizer, applied, portions=False)
    kind = task.arithmetic.recipe.kind
    if kind in ("none", "delayed"):
        return _one_at_a_time(watching)
    plain = training.stepper(task.loss_unwatched, optimizer, unwatched_applied, portions=False)
    done: int | None = None

    def step(state: TrainingState, batch: Any) -> tuple[TrainingState, Any]:
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

    def waits(state: TrainingState, batch: Any) -> tuple[TrainingState, Any]:
        result: tuple[TrainingState, Any] = jax.block_until_ready(step(state, batch))
        return result

    return waits
