"""The loop of any training: steps, lines in the journal, validations, checkpoints, and an end in good order.

>>> outcome = train(task, optimizer, rate, parameters, feed, plan, folder, identity, stop, progress)

A training that was stopped, or killed, continues from its last checkpoint with the very numbers it would have had: the
state, the place in the data, the best weights and the journal's length all belong to one checkpoint. The next batches
are made in a thread of their own while the device computes.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Generic, Protocol, TypeVar

import jax
import jax.numpy as jnp
import optax

from qmgen.errors import Interrupted, QmgenError, UsageError, first_line
from qmgen.learning.training import checkpoint
from qmgen.learning.training.folder import METRICS, Journal
from qmgen.learning.training.step import Optimizer, Params, Step, TrainingState, emptied, first, stepper
from qmgen.progress import TrainingProgress
from qmgen.signals import StopWatch

Item = TypeVar("Item")

#: how long the thread waits for room before it looks whether it is still wanted
_LOOK_SECONDS: Final = 0.1


class _Failed:
    """What the thread ended with: an exception, or None at the end of the items."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class Prefetch(Generic[Item]):
    """The items of an iterator, made in a thread of its own, ``depth`` ahead. An exception comes out where its item
    would. ``close`` (or leaving a ``with`` block, or the last reference) ends the thread; it may be called at any time.
    """

    def __init__(self, iterator: Iterator[Item], depth: int = 2) -> None:
        if depth < 1:
            raise ValueError("at least one item must be made ahead")
        self._queue: queue.Queue[Any] = queue.Queue(depth)
        self._stop = threading.Event()
        self._ended = False
        # the thread holds the queue and the event, not this object: dropping it is enough to end the thread
        self._thread = threading.Thread(
            target=_fill, args=(iterator, self._queue, self._stop), name="qmgen-prefetch", daemon=True
        )
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        while not self._ended and not self._stop.is_set():
            # with a limit, so that Ctrl-C takes effect while waiting
            try:
                item = self._queue.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                continue
            if isinstance(item, _Failed):
                self._ended = True
                if item.error is not None:
                    raise item.error
                break
            return item  # type: ignore[no-any-return]
        raise StopIteration

    def close(self) -> None:
        """End the thread, once the item it is making is made."""
        self._stop.set()
        self._thread.join()

    def __enter__(self) -> Prefetch[Item]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        stop = getattr(self, "_stop", None)
        if stop is not None:
            stop.set()


def _fill(iterator: Iterator[Any], items: queue.Queue[Any], stop: threading.Event) -> None:
    error: BaseException | None = None
    try:
        for item in iterator:
            if not _put(items, item, stop):
                break
        close = getattr(iterator, "close", None)  # a generator that was left in the middle
        if close is not None:
            close()
    except BaseException as caught:
        error = caught
    _put(items, _Failed(error), stop)


def _put(items: queue.Queue[Any], item: Any, stop: threading.Event) -> bool:
    """Whether there was room before the consumer went away."""
    while not stop.is_set():
        try:
            items.put(item, timeout=_LOOK_SECONDS)
        except queue.Full:
            continue
        return True
    return False


#: steps that may be waiting on the device: it never idles, and a signal to stop takes effect soon
AHEAD: Final = 4


@dataclass(frozen=True)
class Score:
    """A validation: ``errors`` by target in the units people read, ``text`` of them, and ``total``, which chooses the
    best weights: the mean over targets of the error in units of the target's own spread."""

    errors: dict[str, float]
    text: str
    total: float


class LearningTask(Protocol):
    """What is learned."""

    @property
    def loss(self) -> Callable[[Params, Any], Any]:
        """``loss(parameters, batch)``: () the loss of a batch, a pytree with ``weights`` of its molecules: a pure
        function, to be compiled (``step.stepper``)."""
        ...

    def validate(self, parameters: Params) -> Score:
        """The errors on the validation rows."""
        ...


class BatchFeed(Protocol):
    """Where batches come from; they are made in a thread of their own while the device computes."""

    def batches(self, place: dict[str, Any] | None) -> Generator[tuple[Any, dict[str, Any], int]]:
        """Without an end: each batch with the place after it (plain values) and its number of real rows. ``place``
        is where to begin, None for the beginning."""
        ...


@dataclass(frozen=True)
class TrainingPlan:
    """How long and how often: in steps, but ``checkpoint_seconds``. ``patience`` validations without a better one end
    the training (None: never). ``rows`` make an epoch, of what ``unit`` says."""

    label: str
    steps: int
    rows: int
    log_every: int
    validate_every: int
    patience: int | None
    checkpoint_seconds: float
    unit: str = "row"

    @classmethod
    def of(cls, settings: Any, label: str, steps: int, rows: int, validations: int, unit: str = "row") -> TrainingPlan:
        """That of ``settings``; ``validations`` in the training where ``validate_every`` is not given."""
        every = settings.validate_every or max(steps // validations, 1)
        return cls(label, steps, rows, settings.log_every, every, settings.patience, settings.checkpoint_every, unit)


@dataclass(frozen=True)
class TrainingOutcome:
    """The weights with the lowest ``Score.total``, when they were found, and what the training took."""

    parameters: Params
    best_step: int
    errors: dict[str, float]
    steps: int
    rows_seen: int
    seconds: float


@dataclass
class _Books:
    """What a checkpoint says beside its arrays."""

    step: int = 0
    rows_seen: int = 0
    place: dict[str, Any] | None = None
    seconds: float = 0.0
    best_step: int = 0
    best_total: float = math.inf
    errors: dict[str, float] | None = None
    worse: int = 0  # validations since the best

    def plain(self) -> bool:
        """Whether all of it has the types that it should have."""
        counts = (self.step, self.rows_seen, self.best_step, self.worse)
        errors = self.errors if isinstance(self.errors, dict) else {}
        numbers = (self.seconds, self.best_total, *errors.values())
        tables = isinstance(self.place, dict | None) and isinstance(self.errors, dict | None)
        return tables and all(type(n) is int for n in counts) and all(type(n) in (int, float) for n in numbers)


def train(
    task: LearningTask,
    optimizer: Optimizer | optax.GradientTransformation,
    rate: Callable[[int], Any],
    parameters: Params,
    feed: BatchFeed,
    plan: TrainingPlan,
    folder: Path,
    identity: Mapping[str, Any],
    stop: StopWatch,
    progress: TrainingProgress,
    step: Step | None = None,
    watch: Callable[[Params, int], dict[str, Any]] | None = None,
) -> TrainingOutcome:
    """Train to the end of ``plan``, from the last checkpoint in ``folder`` where there is one.

    ``rate`` is the learning rate after so many steps, for the journal; ``identity`` tells trainings apart that must not
    continue each other. ``step`` is made of the loss and ``optimizer`` where none is given; ``watch`` says what a
    further line of the journal holds after so many steps, if there is one.

    Raises ``Interrupted`` (after a checkpoint) when ``stop`` says so, ``UsageError`` where the checkpoint is of another
    training, ``QmgenError`` where the loss is no longer finite or the checkpoints are damaged.
    """
    state, best, books = _begin(parameters, optimizer, folder, identity, progress)
    step = step or stepper(task.loss, optimizer)
    seconds_before, begin = books.seconds, time.monotonic()
    saved = logged = begin
    logged_rows = books.rows_seen
    waiting: deque[Any] = deque()

    def over() -> bool:
        return books.step >= plan.steps or (plan.patience is not None and books.worse >= plan.patience)

    def save() -> None:
        nonlocal saved
        _finite(state)
        books.seconds = seconds_before + time.monotonic() - begin
        lines.synchronize()
        checkpoint.keep(folder, {"state": state, "best": best}, {**vars(books), "identity": dict(identity)})
        saved = time.monotonic()

    progress.start(plan.label, plan.steps, books.step, plan.unit)
    try:
        with (
            Journal(folder / METRICS, books.step) as lines,
            Prefetch(feed.batches(books.place)) as source,
        ):
            while not over():
                batch, books.place, rows = next(source)
                state, loss = step(state, batch)
                books.step += 1
                books.rows_seen += rows
                waiting.append(loss)
                if len(waiting) > AHEAD:
                    waiting.popleft().block_until_ready()
                if books.step % plan.log_every == 0:
                    loss_now = float(state.loss_sum) / plan.log_every
                    _finite(state)
                    state = emptied(state)
                    now = time.monotonic()
                    speed = (books.rows_seen - logged_rows) / max(now - logged, 1e-9)
                    logged, logged_rows = now, books.rows_seen
                    lines.append(
                        {
                            "step": books.step,
                            "epoch": round(books.rows_seen / plan.rows, 4),
                            f"{plan.unit}s_seen": books.rows_seen,
                            "seconds": round(seconds_before + now - begin, 3),
                            "loss": loss_now,
                            "learning_rate": float(rate(books.step)),
                            f"{plan.unit}s_per_second": round(speed, 2),
                        }
                    )
                    progress.advance_to(books.step, loss_now, speed)
                if watch is not None and (seen := watch(state.parameters, books.step)):
                    lines.append({"step": books.step, **seen})
                if books.step % plan.validate_every == 0 or books.step == plan.steps:
                    _finite(state)
                    score = task.validate(state.parameters)
                    if not math.isfinite(score.total):
                        raise _diverged(books.step)
                    seconds = round(seconds_before + time.monotonic() - begin, 3)
                    lines.append({"step": books.step, "validation": score.errors, "seconds": seconds})
                    if better := score.total < books.best_total:
                        best = jax.tree.map(jnp.copy, state.parameters)
                        books.best_step, books.best_total, books.errors = books.step, score.total, score.errors
                    books.worse = 0 if better else books.worse + 1
                    progress.validated(score.text, better)
                    save()
                    logged, logged_rows = time.monotonic(), books.rows_seen
                elif time.monotonic() - saved >= plan.checkpoint_seconds:
                    save()
                if stop.stopping() and not over():
                    save()
                    raise Interrupted(
                        f"stopped by {stop.reason} at step {books.step} of {plan.steps} ({plan.label}): "
                        "the same command continues"
                    )
    finally:
        progress.close()
    seconds = seconds_before + time.monotonic() - begin
    return TrainingOutcome(best, books.best_step, books.errors or {}, books.step, books.rows_seen, seconds)


def _begin(
    parameters: Params,
    optimizer: Optimizer | optax.GradientTransformation,
    folder: Path,
    identity: Mapping[str, Any],
    progress: TrainingProgress,
) -> tuple[TrainingState, Params, _Books]:
    """The state, best weights and books of the last checkpoint, or of the beginning."""
    state, best, books = first(parameters, optimizer), jax.tree.map(jnp.copy, parameters), _Books()
    last = checkpoint.latest(folder, {"state": state, "best": best})
    if last is None:
        return state, best, books
    tree, about, passed_over = last
    kept = about.pop("identity", None)
    try:
        books = _Books(**about)
    except TypeError as error:
        raise _odd(folder, first_line(error)) from None
    if not isinstance(kept, dict) or not books.plain():
        raise _odd(folder, "it does not say how far the training is")
    for line in passed_over:
        progress.say(f"{line}: continuing from the one before it, step {int(tree['state'].step)}")
    if kept != dict(identity):
        odd = sorted(key for key in kept.keys() | identity.keys() if kept.get(key) != identity.get(key))
        raise UsageError(
            f"{folder} holds the checkpoint of another training ({', '.join(odd)} differ): choose another --out, or "
            "--overwrite to start anew"
        )
    tree = jax.tree.map(_beside, {"state": state, "best": best}, tree)
    return tree["state"], tree["best"], books


def _odd(folder: Path, what: str) -> checkpoint.DamagedCheckpoint:
    return checkpoint.DamagedCheckpoint(
        f"the checkpoint in {folder} is of another version of qmgen ({what}): train it anew"
    )


def _beside(like: Any, leaf: Any) -> Any:
    """``leaf`` on the devices of ``like``, where that is on several."""
    sharding = getattr(like, "sharding", None)
    return leaf if sharding is None or len(sharding.device_set) == 1 else jax.device_put(leaf, sharding)


def _finite(state: TrainingState) -> None:
    """Nothing, or the error of a loss that is not finite. Waits for the device."""
    if int(state.bad) >= 0:
        raise _diverged(int(state.bad))


def _diverged(step: int) -> QmgenError:
    return QmgenError(
        f"the loss or its gradient is not finite at step {step}: train with a lower --learning-rate, into another "
        "--out or with --overwrite; the last checkpoint is as it was"
    )
