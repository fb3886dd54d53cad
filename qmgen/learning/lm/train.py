"""``qmgen train lm``: from settings to a trained language model and what is known of it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from qmgen import machine, runtime
from qmgen.errors import UsageError
from qmgen.learning.fp8 import NOTE, emulated
from qmgen.learning.lm.memory import batch_put, check_memory, mesh_of, placed
from qmgen.learning.lm.model import LmShape, init, probes_of, published
from qmgen.learning.lm.stored import (
    KIND,
    StoredLm,
    activations_of,
    arithmetic_of,
    load_model,
    loss_scale_of,
    recipe_of,
    recipe_to_json,
    save_model,
)
from qmgen.learning.lm.task import LmTask, TokenFeed, adamw, in_order, in_use, lm_stepper, rows_of, watched
from qmgen.learning.lm.texts import Sequences, Texts, Vocabulary, read_texts
from qmgen.learning.training.checkpoint import MODEL
from qmgen.learning.training.folder import alone, claim, finished, store_result
from qmgen.learning.training.loop import TrainingPlan, train
from qmgen.learning.training.step import schedule_of
from qmgen.progress import TrainingProgress
from qmgen.signals import StopWatch

if TYPE_CHECKING:
    from qmgen.config.train import TrainLmConfig


#: tokens of a row, at least, where molecules are shorter; rows are of whole multiples of ``STEP``
CONTEXT: Final = 64
STEP: Final = 32
#: validations in a training
VALIDATIONS: Final = 5
#: of the peak rate, for a model that begins with trained weights
FINE_TUNING: Final = 0.3
#: highest learning rates: published ones of models of that size (GPT-3, Llama 2), measured ones for the small
RATES: Final = {
    "mini": 6e-3, "tiny": 4e-3,
    "gpt-111m": 6e-4, "gpt-590m": 2.5e-4, "gpt-1.3b": 2e-4, "gpt-6.7b": 1.2e-4, "gpt-13b": 1e-4,
    "llama2-7b": 3e-4, "llama2-13b": 3e-4, "llama2-70b": 1.5e-4,
}  # fmt: skip


@dataclass(frozen=True)
class _Length:
    """Steps and warm-up, and targets in an epoch."""

    steps: int
    warmup: int
    epoch: int


def run(settings: TrainLmConfig, quiet: bool = False) -> dict[str, Any]:
    """Train, or continue; what ``result.json`` holds.

    Raises ``Interrupted`` when stopped (the same command goes on), ``UsageError`` for settings and files that do not
    do and for models that do not fit the memory, ``QmgenError`` where the loss is lost.
    """
    assert settings.data and settings.out is not None
    runtime.prepare(double=False)
    begin_with = load_model(settings.init) if settings.init else None
    if begin_with is not None and begin_with.quantized:
        raise UsageError(f"--init {settings.init} is quantized: begin with the run that it was made of")
    known = begin_with.vocabulary if begin_with else None
    files = [Path(file) for file in settings.data]
    texts = read_texts(
        files, settings.validation_fraction, known, settings.limit, settings.seed, settings.skip_unreadable
    )
    preset, shape = lm_shape_of(settings, texts.vocabulary, longest(texts), begin_with)
    if longest(texts) > shape.context:
        raise UsageError(
            f"a molecule has {longest(texts)} tokens, begin and end counted: leave it out, or set --context "
            f"{longest(texts)} or more"
        )
    mesh = mesh_of(settings.data_parallel, settings.tensor_parallel, shape, settings.batch_size, settings.fully_sharded)
    check_memory(settings, preset, shape, mesh)
    length = _length(settings, texts, shape)
    claim(settings)
    identity = {
        **settings.training_fields(),
        "shape": asdict(shape),
        "activations": activations_of(settings),
        "vocabulary": list(texts.vocabulary.tokens),
        "steps": length.steps,
        "learning_rate": peak_of(settings, preset),
        "digest": texts.digest,
        "init": begin_with.checksum if begin_with else None,
    }
    progress = TrainingProgress(quiet=quiet)
    with alone(settings.out), StopWatch(settings.time_limit, unit="step", kept="checkpoints") as stop:
        if (done := finished(settings.out, identity, "--overwrite trains anew")) is not None:
            return done
        if not quiet:
            if texts.unreadable.count:
                count, lines = texts.unreadable.count, texts.unreadable.lines
                left_out = f"{count} of {lines} lines cannot be tokenized and are left out"
                progress.say(f"{left_out}: {texts.unreadable.places()}")
            note = f"; {NOTE}" if emulated(recipe_of(settings)) else ""
            progress.say(
                f"{shape.total():,} parameters, {len(texts.train)} molecules to learn from, {len(texts.validation)} "
                f"held out, {len(texts.vocabulary)} tokens, {settings.precision}{note}"
            )
        result = _train(settings, preset, shape, texts, length, mesh, begin_with, identity, stop, progress)
        return store_result(settings.out, result, identity)


def _train(
    settings: TrainLmConfig,
    preset: str,
    shape: LmShape,
    texts: Texts,
    length: _Length,
    mesh: Any,
    begin_with: StoredLm | None,
    identity: dict[str, Any],
    stop: StopWatch,
    progress: TrainingProgress,
) -> dict[str, Any]:
    assert settings.out is not None
    arithmetic = arithmetic_of(settings, shape)
    put = batch_put(mesh)
    size, context = settings.batch_size, shape.context
    held_out = first_of(texts.validation, settings.validation_limit)
    held_out_batches = lambda: map(put, in_order(held_out, size, context))
    task = LmTask(shape, arithmetic, held_out_batches, loss_scale_of(settings))
    rate = schedule_of(settings.schedule, peak_of(settings, preset), length.warmup, length.steps)
    optimizer = adamw(rate, settings.weight_decay, settings.clip)
    weights = begin_with.params["weights"] if begin_with else init(jax.random.key(settings.seed), shape)
    params = {"weights": jax.tree.map(jnp.array, weights), "probes": probes_of(shape, arithmetic.recipe)}
    label = f"{shape.arch} {preset} {settings.precision}"
    plan = TrainingPlan.of(settings, label, length.steps, length.epoch, VALIDATIONS, "token")
    feed = TokenFeed(texts.train, size, context, settings.seed, put)
    watch = None if arithmetic.recipe.kind == "none" else watched(settings.watch_every)
    step = lm_stepper(task, optimizer, settings.watch_every)
    begin = placed(params, mesh, settings.fully_sharded)
    outcome = train(task, optimizer, rate, begin, feed, plan, settings.out, identity, stop, progress, step, watch)
    about = {
        "arch": shape.arch,
        "preset": preset,
        "precision": settings.precision,
        "activations": activations_of(settings),
        "seed": settings.seed,
        "validation_fraction": settings.validation_fraction,
        "limit": settings.limit,
        "digest": texts.digest,
        "unreadable": texts.unreadable.count,
        "longest": longest(texts),
        "qmgen": machine.versions()["qmgen"],
    }
    on_host = jax.tree.map(np.asarray, outcome.parameters)
    used = None
    if watch is not None:  # of molecules of all lengths, as in the training
        some = next(TokenFeed(held_out, size, context, settings.seed, put).batches(None))[0]
        used = in_use(task, outcome.parameters, some)
    save_model(settings.out / MODEL, StoredLm(on_host, shape, texts.vocabulary, arithmetic.recipe, about))
    return {
        "kind": KIND,
        **about,
        "recipe": recipe_to_json(arithmetic.recipe),
        "emulated": emulated(arithmetic.recipe),
        "shape": asdict(shape),
        "parameters": shape.total(),
        "molecules": len(texts.train),
        "held_out": len(held_out),
        "duplicates": texts.duplicates,
        "vocabulary": len(texts.vocabulary),
        "steps": outcome.steps,
        "best_step": outcome.best_step,
        "tokens_seen": outcome.rows_seen,
        "epochs": round(outcome.rows_seen / length.epoch, 4),
        "seconds": round(outcome.seconds, 2),
        "validation_loss": outcome.errors["loss"],
        "validation_accuracy": outcome.errors["accuracy"],
        "scales_in_use": used,
        "devices": 1 if mesh is None else mesh.size,
    }


def lm_shape_of(
    settings: TrainLmConfig, vocabulary: Vocabulary, longest: int, begin_with: StoredLm | None
) -> tuple[str, LmShape]:
    """The preset's name and the shape over ``vocabulary``. Raises ``UsageError`` as ``published``, and where the model
    to begin with is another."""
    context = settings.context or max(CONTEXT, -(-longest // STEP) * STEP)
    if begin_with is None:
        return settings.preset, published(settings.preset, settings.arch).of(len(vocabulary), context)
    shape = begin_with.shape
    if settings.arch not in (None, shape.arch):
        raise UsageError(f"--init {begin_with.path} is a {shape.arch}: leave --arch out")
    if "preset" in settings.model_fields_set and settings.preset != begin_with.about["preset"]:
        raise UsageError(f"--init {begin_with.path} is a {begin_with.about['preset']}: leave --preset out")
    if shape.arch == "gpt" and longest > shape.context:
        raise UsageError(
            f"a molecule has {longest} tokens, and --init {begin_with.path} {shape.context} positions: leave it out"
        )
    if shape.arch == "gpt" and settings.context not in (None, shape.context):
        raise UsageError(f"--init {begin_with.path} has {shape.context} positions: leave --context out")
    return begin_with.about["preset"], shape if shape.arch == "gpt" else replace(shape, context=context)


def peak_of(settings: TrainLmConfig, preset: str) -> float:
    """The highest learning rate."""
    return settings.learning_rate or RATES[preset] * (FINE_TUNING if settings.init else 1.0)


def longest(texts: Texts) -> int:
    """Tokens of the longest molecule, begin and end counted."""
    return int(max(texts.train.lengths().max(), texts.validation.lengths().max()))


def first_of(sequences: Sequences, number: int) -> Sequences:
    """At most ``number`` of them, evenly spread: files are in the order of the enumeration."""
    if len(sequences) <= number:
        return sequences
    chosen = np.linspace(0, len(sequences) - 1, number).astype(int)
    texts = [sequences[int(k)] for k in chosen]
    return Sequences(np.concatenate(texts), np.cumsum([len(text) for text in texts], dtype=np.int64))


def _length(settings: TrainLmConfig, texts: Texts, shape: LmShape) -> _Length:
    from qmgen.config.train import rows_of as numbers

    lengths = texts.train.lengths()
    epoch = int((lengths - 1).sum())
    rows = len(rows_of(lengths, np.arange(len(lengths)), shape.context))
    per_step = epoch / rows * settings.batch_size
    wanted = numbers(settings.tokens)
    assert wanted is not None
    steps = settings.steps or max(round(wanted[0] / per_step), 1)
    warmup = min(100, steps // 10) if settings.warmup is None else settings.warmup
    return _Length(steps, warmup, epoch)


def result_text(result: dict[str, Any]) -> str:
    """The first lines of the result, for people."""
    loss, left_out = result["validation_loss"], result.get("unreadable", 0)
    speed = result["tokens_seen"] / max(result["seconds"], 1e-9)
    return "\n".join(
        [
            f"{result['arch']} {result['preset']}, {result['parameters']:,} parameters, {result['precision']}",
            f"{result['tokens_seen']:,} tokens in {result['steps']} steps, {result['seconds']:.0f} s, {speed:.0f}/s",
            f"held out: {loss:.4f} nats a token (perplexity {math.exp(loss):.3f}), next token right "
            f"{100 * result['validation_accuracy']:.2f} %",
            *([f"{left_out} lines were left out that cannot be tokenized"] if left_out else []),
            *([NOTE] if result["emulated"] else []),
        ]
    )
