"""How SchNet is trained where nothing else is said: rates, batches and lengths by preset and by number of rows.

L1 loss on normalized targets, AdamW, gradients clipped by their global norm, a warm-up from 0.2 of the peak rate, then
a cosine to zero. ``schnet-9m`` has QM1B's batch, rate and warm-up (arXiv 2311.01135); its decay is ``--schedule qm1b``.

The length, where neither steps nor epochs are given, is 100 epochs, but at least ``least`` steps (in at most 300
epochs) and at most ``most``, and never under 5 epochs. It is kept to its end, where the cosine finds its best weights,
unless ``patience`` is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from qmgen import machine, runtime
from qmgen.config.train import TrainSchnetConfig
from qmgen.errors import UsageError
from qmgen.learning import fp8
from qmgen.learning.data.batches import Batches, of_any_element, training_batches
from qmgen.learning.data.packed import MoleculeBatch, Normalization
from qmgen.learning.data.source import RowSource
from qmgen.learning.data.splits import VALIDATION_SEED, divided, select
from qmgen.learning.fp8 import NONE, ScalingRecipe, by_recipe
from qmgen.learning.schnet import model
from qmgen.learning.schnet.model import (
    KIND,
    PRESETS,
    SchNetShape,
    StoredSchnet,
    outputs_of,
    predict,
    predict_compiled,
    save_model,
    units_of,
)
from qmgen.learning.targets import Kind, Target, targets_of
from qmgen.learning.training.checkpoint import MODEL
from qmgen.learning.training.folder import finished, store_result
from qmgen.learning.training.loop import Score, TrainingPlan, train
from qmgen.learning.training.step import Schedule, adamw, schedule_of
from qmgen.progress import TrainingProgress
from qmgen.signals import StopWatch

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
class PresetDefaults:
    """Of one preset: molecules in a batch, peak learning rate, steps of warm-up, least and most steps by default."""

    batch_size: int
    learning_rate: float
    warmup: int
    least: int
    most: int


DEFAULTS: Final = {
    "tiny": PresetDefaults(32, 1e-3, 100, 1000, 6000),
    "small": PresetDefaults(32, 1e-3, 500, 3000, 40000),
    "schnet-9m": PresetDefaults(112, 5e-4, 2500, 10000, 200000),
}


@dataclass(frozen=True)
class TrainingRecipe:
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


def batch_size(settings: TrainSchnetConfig, preset: str, rows: int) -> int:
    """Molecules in a batch: as given or by preset, never more than there are rows."""
    return min(settings.batch_size or DEFAULTS[preset].batch_size, rows)


def recipe(
    settings: TrainSchnetConfig, preset: str, rows: int, steps_per_epoch: int, fine_tuning: bool
) -> TrainingRecipe:
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
    return TrainingRecipe(
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


Params = Any


@dataclass(frozen=True)
class ValidationErrors:
    """Mean absolute errors by target in the units people read, of so many ``rows``; ``trivial`` are those of predicting
    what the normalization alone knows (the mean, references of the atoms); ``total`` is their mean in normalized units.
    Of a dipole moment the mean length of the difference."""

    shown: dict[str, float]
    trivial: dict[str, float]
    rows: int
    total: float


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["units"],
    meta_fields=["shape", "targets", "kind", "dtype", "recipe"],
)
@dataclass(frozen=True)
class SchnetLoss:
    """``loss(parameters, batch)``: () that of a batch,

        loss = mean over targets of  Σ_b w_b · d(prediction_b − value_b) / Σ_b w_b

    with d by ``kind``, a molecule's own mean over the components of a dipole moment and over its atoms' forces, and
    w = 0 for dummies. ``units`` as ``units_of``."""

    shape: SchNetShape
    targets: tuple[Target, ...]
    units: dict[str, float]
    kind: str
    dtype: np.dtype
    recipe: ScalingRecipe

    def __call__(self, parameters: Params, batch: MoleculeBatch) -> Any:
        positions = jnp.asarray(batch.positions, self.dtype)
        weights_of_products = by_recipe(parameters, self.recipe)
        predicted = predict(weights_of_products, self.shape, self.targets, self.units, batch.numbers, positions)
        cost = distance(self.kind)
        weights = jnp.asarray(batch.weights, self.dtype)
        atoms = jnp.asarray(batch.numbers > 0, self.dtype)
        total = jnp.zeros((), self.dtype)
        for target in self.targets:
            each = cost(predicted[target.name] - jnp.asarray(batch.values[target.name], self.dtype))
            if target.kind is Kind.FORCES:
                of_molecule = jnp.sum(jnp.mean(each, -1) * atoms, -1) / jnp.maximum(jnp.sum(atoms, -1), 1.0)
            else:
                of_molecule = jnp.mean(each, -1)
            total += jnp.sum(of_molecule * weights) / jnp.maximum(jnp.sum(weights), 1.0)
        return total / len(self.targets)


@dataclass(frozen=True)
class SchnetTask:
    """What ``training.loop`` trains: the loss of a batch, and errors on rows that the network has not seen.

    Errors are taken in float64 on the host, from values restored to their column's unit. ``validation`` gives the
    batches to choose the best weights by, anew each time.

    ``dtype`` is that of the arithmetic. In steps of the training linear layers multiply by ``recipe``; errors are those
    of the weights in ``dtype``, as they will be used.
    """

    shape: SchNetShape
    targets: tuple[Target, ...]
    normalization: Normalization
    loss_kind: str
    dtype: np.dtype
    validation: Callable[[], Iterable[tuple[MoleculeBatch, Any]]]
    recipe: ScalingRecipe = NONE

    @property
    def loss(self) -> SchnetLoss:
        """That of the training."""
        units = units_of(self.targets, self.normalization)
        return SchnetLoss(self.shape, self.targets, units, self.loss_kind, self.dtype, self.recipe)

    def errors(self, parameters: Params, batches: Iterable[tuple[MoleculeBatch, Any]]) -> ValidationErrors:
        """The mean absolute errors on all rows of ``Batches.in_order()``; dummies and padding do not count."""
        shown = dict.fromkeys((target.name for target in self.targets), 0.0)
        plain, trivial, counts = dict(shown), dict(shown), dict.fromkeys(shown, 0)
        rows, units = 0, units_of(self.targets, self.normalization)
        for batch, _ in batches:
            real = np.asarray(batch.weights) > 0
            numbers = np.asarray(batch.numbers)[real]
            rows += len(numbers)
            predicted = predict_compiled(parameters, self.shape, self.targets, units, batch.numbers, batch.positions)
            for target in self.targets:
                name = target.name
                given, label = (
                    np.asarray(values, np.float64)[real] for values in (predicted[name], batch.values[name])
                )
                restored = [
                    np.asarray(self.normalization.restore(name, values, numbers), np.float64)
                    for values in (given, np.zeros_like(label), label)
                ]
                off, entries = _sum(target, restored[0] - restored[2], numbers)
                shown[name] += off * target.shown[1]
                trivial[name] += _sum(target, restored[1] - restored[2], numbers)[0] * target.shown[1]
                plain[name] += _sum(target, given - label, numbers)[0]
                counts[name] += entries
        means = {name: total / max(counts[name], 1) for name, total in plain.items()}
        return ValidationErrors(
            {name: total / max(counts[name], 1) for name, total in shown.items()},
            {name: total / max(counts[name], 1) for name, total in trivial.items()},
            rows,
            sum(means.values()) / len(means),
        )

    def validate(self, parameters: Params) -> Score:
        """As ``training.loop`` asks."""
        errors = self.errors(parameters, self.validation())
        return Score(errors.shown, errors_text(self.targets, errors.shown), errors.total)


def errors_text(targets: Iterable[Target], errors: dict[str, float]) -> str:
    """``y 85.2 meV, dipole 0.0513 Debye``."""
    return ", ".join(f"{target.name} {errors[target.name]:.4g} {target.shown[0]}" for target in targets)


def _sum(target: Target, difference: np.ndarray, numbers: np.ndarray) -> tuple[float, int]:
    """The sum of absolute differences of the real molecules, and of how many numbers."""
    if target.kind is Kind.DIPOLE:
        return float(np.sum(np.linalg.norm(difference, axis=-1))), len(difference)
    if target.kind is Kind.FORCES:
        real = difference[numbers > 0]
        return float(np.sum(np.abs(real))), real.size
    return float(np.sum(np.abs(difference))), len(difference)


def train_cell(
    settings: TrainSchnetConfig,
    source: RowSource,
    rows: int,
    seed: int,
    folder: Path,
    stop: StopWatch,
    progress: TrainingProgress,
    init: StoredSchnet | None = None,
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
    normalization, batches = training_batches(source, indices, size, seed)
    known = of_any_element(normalization, targets)
    validation = [
        Batches(source, split, chosen, known, size, batches.edges, seed)
        for split, chosen in division.validation(settings.validation_rows)
    ]

    def validating() -> Iterator[tuple[MoleculeBatch, Any]]:
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
    plan = TrainingPlan(
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
        task,
        adamw(made.rate(), made.weight_decay, made.clip),
        made.rate(),
        begin,
        batches,
        plan,
        folder,
        identity,
        stop,
        progress,
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
    save_model(folder / MODEL, StoredSchnet(outcome.parameters, shape, targets, normalization, about))
    trivial = task.errors(outcome.parameters, validating()).trivial
    errors = task.errors(outcome.parameters, test.in_order()) if test else None
    result = {
        "kind": KIND,
        "rows": rows,
        "seed": seed,
        "preset": preset,
        "parameters": sum(int(leaf.size) for leaf in jax.tree.leaves(outcome.parameters)),
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
        "init": {
            "path": str(init.path),
            "checksum": init.checksum,
            "targets": [target.name for target in init.targets],
            "level_of_theory": init.metadata.get("level_of_theory"),
            "rows": init.metadata.get("rows"),
        }
        if init
        else None,
        "matmul_precision": str(jax.config.jax_default_matmul_precision),  # type: ignore[attr-defined]
    }
    return store_result(folder, result, identity)


def shape_of(
    settings: TrainSchnetConfig, targets: tuple[Target, ...], init: StoredSchnet | None
) -> tuple[str, SchNetShape]:
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


def _first(shape: SchNetShape, seed: int, init: StoredSchnet | None, dtype: np.dtype) -> Any:
    """The weights to begin with: from the seed; with ``init`` its own, but for a last layer of another width."""
    fresh = model.init(jax.random.key(seed), shape)
    if init is not None:
        fresh = jax.tree.map(lambda new, old: old if old.shape == new.shape else new, fresh, init.params)
    # copies: the first step takes over the memory of what it is given
    return jax.tree.map(lambda leaf: jax.numpy.array(leaf, dtype), fresh)
