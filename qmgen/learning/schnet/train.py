"""One training of SchNet from its rows to its result: what is between ``qmgen train schnet`` and ``training.loop``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np

from qmgen import machine, runtime
from qmgen.config.train import TrainSchnetConfig
from qmgen.errors import UsageError
from qmgen.learning import fp8
from qmgen.learning.batch import Batch
from qmgen.learning.data.batches import Batches
from qmgen.learning.data.held_out import VALIDATION_SEED, divided
from qmgen.learning.data.prepare import of_any_element, training_batches
from qmgen.learning.data.selection import select
from qmgen.learning.data.source import RowSource
from qmgen.learning.schnet import parameters as weights
from qmgen.learning.schnet.predict import outputs_of
from qmgen.learning.schnet.recipe import DEFAULTS, batch_size, recipe
from qmgen.learning.schnet.shape import PRESETS, SchNetShape
from qmgen.learning.schnet.stored import KIND, NAME, Stored, save_model, summary
from qmgen.learning.schnet.task import SchnetTask
from qmgen.learning.targets import Kind, Target, targets_of
from qmgen.learning.training import checkpoint
from qmgen.learning.training.feed import RowFeed
from qmgen.learning.training.folder import RESULT, finished
from qmgen.learning.training.loop import Plan, train
from qmgen.learning.training.progress import Progress
from qmgen.signals import StopWatch


def train_cell(
    settings: TrainSchnetConfig,
    source: RowSource,
    rows: int,
    seed: int,
    folder: Path,
    stop: StopWatch,
    progress: Progress,
    init: Stored | None = None,
) -> dict[str, Any]:
    """Train on ``rows`` rows of ``source`` chosen by ``seed``, in ``folder``; from ``init``, where it is given.

    Continues what is there, and returns the stored result where the training is over. Returns what ``result.json``
    holds.

    Raises ``Interrupted`` when ``stop`` says so, ``UsageError`` where ``folder`` holds another training, the rows are
    not there, or ``init`` has another shape; ``QmgenError`` as ``training.loop.train``.
    """
    targets = targets_of(settings.target)
    if settings.precision == "fp8-amax" and any(target.kind is Kind.FORCES for target in targets):
        raise UsageError("forces are derivatives of the network, which its FP8 products have not: use float32")
    preset, shape = shape_of(settings, targets, init)
    size = batch_size(settings, preset, rows)
    made = recipe(settings, preset, rows, -(-rows // size), init is not None)
    # the recipe too: a default that is another in a later version is another training
    identity = {
        **settings.training_fields(),
        **asdict(made),
        "preset": preset,
        "shape": asdict(shape),
        "rows": rows,
        "seed": seed,
        "data": source.digest,
        "init": init.checksum if init else None,
    }
    if (done := finished(folder, identity, f"remove {folder} to train it anew")) is not None:
        return done
    runtime.prepare(double=settings.precision == "float64")
    division = divided(source, settings.validation_fraction)
    indices = division.select(rows, seed)
    normalisation, batches = training_batches(source, indices, size, seed)
    known = of_any_element(normalisation, targets)
    validation = [
        Batches(source, split, chosen, known, size, batches.edges, seed)
        for split, chosen in division.validation(settings.validation_rows)
    ]

    def validating() -> Iterator[tuple[Batch, Any]]:
        for one in validation:
            yield from one.in_order()

    test = None
    if total := source.count("test"):
        tested = select(total, min(settings.validation_rows, total), VALIDATION_SEED)
        test = Batches(source, "test", tested, known, size, batches.edges, seed)
    for held_out in (*validation, test):  # a bad row is found now, and not when the training is over
        for _ in held_out.in_order() if held_out else ():
            pass

    products = fp8.AMAX if settings.precision == "fp8-amax" else fp8.NONE
    dtype = np.dtype("float32" if settings.precision == "fp8-amax" else settings.precision)
    task = SchnetTask(shape, targets, known, settings.loss, dtype, validating, products)
    plan = Plan(
        f"{rows} rows, seed {seed}",
        made.steps,
        rows,
        settings.log_every,
        made.validate_every,
        made.patience,
        settings.checkpoint_every,
    )
    if fp8.emulated(products):
        progress.say(fp8.NOTE)
    begin = _first(shape, seed, init, dtype)
    outcome = train(
        task, made.optimiser(), made.rate(), begin, RowFeed(batches), plan, folder, identity, stop, progress
    )
    about = {
        "preset": preset,
        "rows": rows,
        "seed": seed,
        "level_of_theory": source.level_of_theory,
        "digest": source.digest,
        "precision": settings.precision,
        "qmgen": machine.versions()["qmgen"],
    }
    save_model(folder / NAME, Stored(outcome.parameters, shape, targets, normalisation, about))
    trivial = task.errors(outcome.parameters, validating()).trivial
    errors = task.errors(outcome.parameters, test.in_order()) if test else None
    result = {
        "kind": KIND,
        "rows": rows,
        "seed": seed,
        "preset": preset,
        "parameters": weights.count(outcome.parameters),
        "batch_size": size,
        "steps": outcome.steps,
        "best_step": outcome.best_step,
        "epochs": round(outcome.rows_seen / rows, 4),
        "seconds": round(outcome.seconds, 3),
        "precision": settings.precision,
        "emulated": fp8.emulated(products),
        "targets": {
            target.name: {
                "unit": target.shown[0],
                "validation_mae": outcome.errors[target.name],
                "trivial_mae": trivial[target.name],
                "test_mae": errors.shown[target.name] if errors else None,
                "validation_rows": sum(one.rows for one in validation),
                "validation_molecules": division.molecules(settings.validation_rows),
                "test_rows": errors.rows if errors else 0,
            }
            for target in targets
        },
        "level_of_theory": source.level_of_theory,
        "init": summary(init) if init else None,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {**machine.machine(), "device": jax.devices()[0].device_kind},
        "matmul_precision": str(jax.config.jax_default_matmul_precision),  # type: ignore[attr-defined]
        "versions": machine.versions(),
        "identity": identity,
    }
    checkpoint.write(folder / RESULT, (json.dumps(result, indent=2) + "\n").encode())
    checkpoint.discard(folder)
    return result


def shape_of(settings: TrainSchnetConfig, targets: tuple[Target, ...], init: Stored | None) -> tuple[str, SchNetShape]:
    """The preset's name and the network's shape. Raises ``UsageError``: no such preset, or not that of ``init``."""
    preset = settings.preset or (init.metadata["preset"] if init else "small")
    if preset not in PRESETS or preset not in DEFAULTS:
        raise UsageError(f"no preset is called {preset!r}: choose from {', '.join(PRESETS)}")
    shape = PRESETS[preset].with_outputs(outputs_of(targets))
    if init is not None and replace(init.shape, outputs=shape.outputs) != shape:
        raise UsageError(
            f"--init {init.path} is a network of the preset {init.metadata['preset']!r} and not of {preset!r}: leave "
            "--preset out"
        )
    return preset, shape


def _first(shape: SchNetShape, seed: int, init: Stored | None, dtype: np.dtype) -> Any:
    """The weights to begin with: from the seed; with ``init`` its own, but for a last layer of another width."""
    fresh = weights.init(jax.random.key(seed), shape)
    if init is not None:
        fresh = jax.tree.map(lambda new, old: old if old.shape == new.shape else new, fresh, init.params)
    # copies: the first step takes over the memory of what it is given
    return jax.tree.map(lambda leaf: jax.numpy.array(leaf, dtype), fresh)
