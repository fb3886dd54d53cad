"""``qmgen train energy`` and ``qmgen train labels``: from settings to a trained network and what is known of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import jax
import jax.numpy as jnp
import numpy as np

from qmgen import machine, runtime
from qmgen.dft.backend import current
from qmgen.dft.level import LevelOfTheory
from qmgen.dft.prepare import System
from qmgen.errors import Interrupted, QmgenError, UsageError
from qmgen.labeling.level import level_of
from qmgen.labeling.types import Settings
from qmgen.learning.energy.geometries import GeometrySet, moved_for, read_geometries, split
from qmgen.learning.energy.problems import REFERENCES as KEPT
from qmgen.learning.energy.problems import (
    CaseFeed,
    ConvergedLabels,
    GeometryStore,
    References,
    make_labels,
)
from qmgen.learning.energy.stored import KIND, StoredHamiltonian, load_model, save_model
from qmgen.learning.energy.task import MEV, REFINED, HamiltonianTask, LossWeights, uncorrected_energy
from qmgen.learning.fp8 import AMAX, NONE, NOTE, emulated
from qmgen.learning.hamiltonian.network import Network, network_of
from qmgen.learning.training.checkpoint import MODEL
from qmgen.learning.training.folder import alone, claim, finished, store_result
from qmgen.learning.training.loop import TrainingPlan, train
from qmgen.learning.training.step import adamw, schedule_of
from qmgen.progress import TrainingProgress
from qmgen.signals import StopWatch
from qmgen.tables import aligned

if TYPE_CHECKING:
    from qmgen.config.train import TrainHamiltonianConfig, TrainLabelsConfig


Params = Any
#: geometries that statistics are taken from, at most
DESCRIBED: Final = 512
#: validations in a training
VALIDATIONS: Final = 40
#: of the peak rate, for a network that begins with trained weights
FINE_TUNING: Final = 0.5
_GIGABYTE: Final = 10**9


@dataclass(frozen=True)
class Sets:
    """Indices of the geometries to learn from and of those held out."""

    train: list[int]
    validation: list[int]


def run(
    settings: TrainHamiltonianConfig,
    quiet: bool = False,
    claim_folder: bool = True,
    told: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Train, or continue; what ``result.json`` holds.

    ``told`` gets what is known before the first step, also for a training that is stopped: ``geometries``,
    ``monitored``, ``seconds_preparing`` and ``excess_meV_without_correction``; it is not called where the training is
    finished already. Without ``claim_folder`` no config.toml is kept: ``settings`` may then be anything with the
    fields of ``TrainHamiltonianConfig`` (checkpoints still refuse another training's).

    Raises ``Interrupted`` when stopped (the same command goes on), ``UsageError`` for settings and files that do not
    do, ``QmgenError`` where the loss is not finite.
    """
    runtime.prepare()
    names = {name: getattr(settings, name) for name in ("xc", "basis", "grid_level", "jk", "auxbasis", "cartesian")}
    level = level_of(Settings(**names))
    _refuse_beyond_networks(level)
    init = load_model(settings.init) if settings.init else None
    files = None if settings.molecules is None else [Path(file) for file in settings.molecules]
    read = read_geometries(files, settings.data, level, settings.limit, settings.seed, settings.conformers)
    _refuse_beyond_networks(level, elements_of(read))
    sets = _split(read, settings)
    if init:
        _check_init(init, level, read)
        network = init.network
    else:
        network = network_of(settings.model, level.basis_set, elements_of(read), settings.published_form)
    if claim_folder:
        claim(settings)
    else:
        settings.out.mkdir(parents=True, exist_ok=True)
    identity = {
        **settings.training_fields(),
        # as a checkpoint gives it back: lists, no tuples
        "network": json.loads(json.dumps(network.to_json())),
        "learning_rate": _peak(settings, network),
        "geometries": read.digest,
        "init": init.checksum if init else None,
    }
    progress = TrainingProgress(quiet=quiet)
    with alone(settings.out), StopWatch(settings.time_limit, unit="step", kept="checkpoints") as stop:
        if (done := finished(settings.out, identity, "--overwrite trains anew")) is not None:  # by who held the folder
            return done
        moved = moved_for(settings, level, read, sets.train, init, stop, progress)
        every = [*read.geometries, *moved.geometries]
        systems = [System(one.numbers.astype(np.int64), one.positions) for one in every]
        store = GeometryStore(systems, level, network, settings.memory * _GIGABYTE)
        sets.train.extend(range(len(read.geometries), len(every)))
        result = _train(settings, level, read, sets, store, network, init, identity, stop, progress, told)
        result |= {"augmented": len(moved.geometries), "augmented_dropped": dict(moved.dropped)}
        result = store_result(settings.out, result, identity)
        (settings.out / KEPT).unlink(missing_ok=True)
    return result


def _train(
    settings: TrainHamiltonianConfig,
    level: LevelOfTheory,
    read: GeometrySet,
    sets: Sets,
    store: GeometryStore,
    network: Network,
    init: StoredHamiltonian | None,
    identity: dict[str, Any],
    stop: StopWatch,
    progress: TrainingProgress,
    told: Callable[[dict[str, Any]], None] | None,
) -> dict[str, Any]:
    begin = time.monotonic()
    described = _prepared(store, sets.train[:DESCRIBED], "preparing geometries", stop, progress)
    if not described:
        raise QmgenError(f"no geometry could be prepared: {next(iter(store.failed.values()), 'none was given')}")
    statistics = init.statistics if init else network.statistics(described)
    of_references = {name: identity[name] for name in ("geometries", "xc", "basis", "grid_level")}
    references = References(store, file=settings.out / KEPT, key=json.dumps(of_references))
    monitored = sets.validation[: settings.monitor]
    try:
        _prepared(store, monitored, "references", stop, progress, references)
    finally:
        references.keep()
    monitored = [index for index in monitored if index in references.energies]
    if not monitored:
        raise QmgenError("no geometry held out has a converged reference: give others, or another --seed")
    prepared = time.monotonic()
    labels: dict[int, ConvergedLabels] | None = None
    aim, indices = LossWeights(settings.refine), sets.train
    if "loss" in settings.of_command:
        wanted = cast("TrainLabelsConfig", settings)
        aim = LossWeights(wanted.refine, wanted.energy_weight, 1.0, wanted.loss == "mse")
        labels = make_labels(references, sets.train, settings.out / "labels.npz", identity, stop, progress)
        indices = sorted(labels)
    labeled = time.monotonic()

    recipe = AMAX if settings.precision == "fp8-amax" else NONE
    task = HamiltonianTask(network, statistics, level.functional, aim, references, monitored, recipe)
    without = MEV * task.excesses(None).mean(axis=0)
    progress.say(
        f"{len(indices)} geometries to learn from, {len(sets.validation)} held out, {len(monitored)} of them watched; "
        f"without a correction {without[0]:.4g} meV above the converged energy, {without[1]:.4g} when refined"
    )
    if emulated(recipe):
        progress.say(NOTE)
    if told is not None:
        told(
            {
                "geometries": len(indices),
                "monitored": len(monitored),
                "seconds_preparing": round(prepared - begin, 2),
                "excess_meV_without_correction": _by_refine(without),
            }
        )
    plain = partial(uncorrected_energy, level.functional, current(), aim.refine)
    feed = CaseFeed(store, indices, settings.batch_size, settings.seed, plain, labels)
    params = jax.tree.map(jnp.array, init.params) if init else network.init(jax.random.key(settings.seed))
    peak = _peak(settings, network)
    warmup = min(100, settings.steps // 10) if settings.warmup is None else settings.warmup
    rate = schedule_of(settings.schedule, peak, warmup, settings.steps)
    optimizer = adamw(rate, settings.weight_decay, settings.clip)
    plan = TrainingPlan.of(settings, settings.model, settings.steps, len(indices), VALIDATIONS)
    outcome = train(task, optimizer, rate, params, feed, plan, settings.out, identity, stop, progress)
    excess = MEV * task.excesses(outcome.parameters)
    if references.lower:  # both sides of the comparison above the same references
        without = MEV * task.excesses(None).mean(axis=0)
    about = {
        "xc": level.xc,
        "basis": level.basis,
        "basis_checksum": level.basis_set.checksum,
        "grid_level": level.grid_level,
        "level_of_theory": level.about(),
        "elements": init.about["elements"] if init else elements_of(read),
        "refine": settings.refine,
        "precision": settings.precision,
        "loss": "labels" if labels is not None else "energy",
        "geometries": len(indices),
        "digest": read.digest,
        "qmgen": machine.versions()["qmgen"],
    }
    save_model(settings.out / MODEL, StoredHamiltonian(network, outcome.parameters, statistics, about))
    return {
        "kind": KIND,
        "model": network.preset,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(outcome.parameters)),
        **about,
        "held_out": len(sets.validation),
        "monitored": len(monitored),
        "skipped": dict(read.skipped + store.reasons()),
        "without_reference": len(references.missing),
        "lower_solutions": len(references.lower),
        "steps": outcome.steps,
        "best_step": outcome.best_step,
        "geometries_seen": outcome.rows_seen,
        "seconds": round(outcome.seconds, 2),
        "emulated": emulated(recipe),
        "seconds_preparing": round(prepared - begin, 2),
        "seconds_labelling": round(labeled - prepared, 2) if labels is not None else 0.0,
        "excess_meV": _by_refine(excess.mean(axis=0)),
        "excess_meV_largest": _by_refine(excess.max(axis=0)),
        "excess_meV_without_correction": _by_refine(without),
        "times_lower": _by_refine(without / np.maximum(excess.mean(axis=0), 1e-9)),
    }


def _peak(settings: TrainHamiltonianConfig, network: Network) -> float:
    """The highest learning rate."""
    return settings.learning_rate or network.learning_rate * (FINE_TUNING if settings.init else 1.0)


def _refuse_beyond_networks(level: LevelOfTheory, elements: Iterable[int] = ()) -> None:
    """Raises ``UsageError`` for functions that the networks have no blocks for, in the first row or on ``elements``,
    and for density fitting, with which nothing of a training is made."""
    basis, use = level.basis_set, "use --basis 6-31g"
    if basis.polarized or any(l > 1 for z in elements for shell in basis.shells(z) for l in shell.angular_momenta):
        raise UsageError(f"basis {basis.name} has d functions here, and networks know s and p alone: {use}")
    if level.jk == "df":
        raise UsageError(f"networks are trained with exact integrals, and this is --jk df: {use} --jk exact")


def _check_init(init: StoredHamiltonian, level: LevelOfTheory, read: GeometrySet) -> None:
    """Raises ``UsageError`` where the network to begin with is of another basis set, or lacks an element."""
    if init.about["basis_checksum"] != level.basis_set.checksum:
        raise UsageError(f"--init {init.path} is for {init.about['basis']} and not for {level.basis}: set --basis")
    if unknown := sorted(set(elements_of(read)) - set(init.about["elements"])):
        raise UsageError(f"--init {init.path} knows no element {unknown[0]}: leave such geometries out, or --init")


def elements_of(read: GeometrySet) -> list[int]:
    """The elements in a set of geometries, ascending."""
    return sorted({int(z) for one in read.geometries for z in one.numbers})


def _by_refine(values: Any) -> dict[str, float]:
    return {"refine_0": float(values[0]), f"refine_{REFINED}": float(values[1])}


def _split(read: GeometrySet, settings: TrainHamiltonianConfig) -> Sets:
    """In a seeded order, so that the first few of either side are a sample of it."""
    parts = split(read.geometries, settings.validation_fraction, settings.held_out, settings.seed)
    draw = np.random.default_rng(settings.seed)
    return Sets(*(draw.permutation(part).tolist() for part in parts))


def _prepared(
    store: GeometryStore,
    indices: Sequence[int],
    label: str,
    stop: StopWatch,
    progress: TrainingProgress,
    references: References | None = None,
) -> list[Any]:
    """The descriptions of those geometries that can be prepared; with ``references``, these made too."""
    descriptions = []
    begin = last = time.monotonic()
    for done, index in enumerate(indices):
        if stop.stopping():
            raise Interrupted(f"stopped by {stop.reason} while {label}: the same command continues")
        if (ready := store.get(index)) is not None:
            descriptions.append(ready.seen)
        if references is not None:
            references.make([index])
        if (now := time.monotonic()) - last > 10.0:
            last = now
            progress.say(f"{label}: {done + 1} of {len(indices)}, {(done + 1) / (now - begin):.2g}/s")
    return descriptions


def result_text(result: dict[str, Any]) -> str:
    """Excess energies with and without the correction, and what they took."""
    rows = [
        (
            refine.removeprefix("refine_"),
            f"{result['excess_meV_without_correction'][refine]:.4g}",
            f"{result['excess_meV'][refine]:.4g}",
            f"{result['excess_meV_largest'][refine]:.4g}",
            f"{result['times_lower'][refine]:.4g}",
        )
        for refine in result["excess_meV"]
    ]
    head = ("rebuilds", "without correction", "with it", "largest", "times lower")
    table = aligned([head, *rows], left=())
    labeled = f", labels {result['seconds_labelling']:.0f} s" if result["loss"] == "labels" else ""
    lower = f"; {result['lower_solutions']} references were lowered" if result["lower_solutions"] else ""
    moved = f", {result['augmented']} of them moved by forces," if result.get("augmented") else ""
    skipped = sum(result["skipped"].values())
    return (
        f"excess energy in meV over {result['monitored']} converged references (held out){lower}\n{table}\n"
        f"{result['model']}, {result['parameters']:,} parameters, {result['steps']} steps on {result['geometries']} "
        f"geometries{moved} ({skipped} skipped) in {result['seconds']:.0f} s{labeled}, "
        f"preparing {result['seconds_preparing']:.0f} s" + (f"\n{NOTE}" if result.get("emulated") else "")
    )
