"""``qmgen train energy`` and ``qmgen train labels``: from settings to a trained network and what is known of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax

from qmgen import machine, runtime
from qmgen.dft.prepare import System
from qmgen.dft.variational import rebuild
from qmgen.errors import Interrupted, QmgenError, UsageError
from qmgen.labeling.level import Level, level_of
from qmgen.labeling.types import Settings
from qmgen.learning.energy.augment import moved_for
from qmgen.learning.energy.batches import CaseFeed, Labels
from qmgen.learning.energy.geometries import Read, read_geometries, split
from qmgen.learning.energy.labels import make_labels
from qmgen.learning.energy.problems import Case, by_table
from qmgen.learning.energy.references import NAME as KEPT
from qmgen.learning.energy.references import References
from qmgen.learning.energy.store import Store
from qmgen.learning.energy.stored import KIND, NAME, StoredHamiltonian, load_model, save_model
from qmgen.learning.energy.task import MEV, REFINED, Aim, HamiltonianTask
from qmgen.learning.fp8 import AMAX, NONE, NOTE, emulated
from qmgen.learning.hamiltonian.network import Network, network_of
from qmgen.learning.training import checkpoint
from qmgen.learning.training.folder import RESULT, alone, claim, finished
from qmgen.learning.training.loop import Plan, train
from qmgen.learning.training.progress import Progress, Quiet, default_progress
from qmgen.learning.training.schedule import schedule_of
from qmgen.signals import StopWatch

if TYPE_CHECKING:  # a borrowed machine has no pydantic
    from qmgen.config.train import TrainHamiltonianConfig, TrainLabelsConfig

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

    ``told`` gets what is known before the first step, so that a piece that is stopped has it too: ``geometries``,
    ``monitored``, ``seconds_preparing`` and ``excess_meV_without_correction``; it is not called where the training is
    finished already. Without ``claim_folder`` no config.toml is kept: ``settings`` may then be anything with the
    fields of ``TrainHamiltonianConfig`` (checkpoints still refuse another training's).

    Raises ``Interrupted`` when stopped (the same command goes on), ``UsageError`` for settings and files that do not
    do, ``QmgenError`` where the loss is lost.
    """
    runtime.prepare()
    level = level_of(Settings(settings.xc, settings.basis, settings.grid_level))
    init = load_model(settings.init) if settings.init else None
    files = None if settings.molecules is None else [Path(file) for file in settings.molecules]
    read = read_geometries(files, settings.data, level, settings.limit, settings.seed, settings.conformers)
    sets = _split(read, settings)
    if init:
        _check_init(init, level, read)
        network = init.network
    else:
        network = network_of(settings.model, level.basis, elements_of(read), settings.published_form)
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
    progress: Progress = Quiet() if quiet else default_progress()
    with alone(settings.out), StopWatch(settings.time_limit, unit="step", kept="checkpoints") as stop:
        if (done := finished(settings.out, identity, "--overwrite trains anew")) is not None:  # by who held the folder
            return done
        moved = moved_for(settings, level, read, sets.train, init, stop, progress)
        every = [*read.geometries, *moved.geometries]
        systems = [System(one.numbers.astype(np.int64), one.positions) for one in every]
        store = Store(systems, level, network, settings.memory * _GIGABYTE)
        sets.train.extend(range(len(read.geometries), len(every)))
        result = _train(settings, level, read, sets, store, network, init, identity, stop, progress, told)
        result |= {"augmented": len(moved.geometries), "augmented_dropped": dict(moved.dropped)}
        checkpoint.write(settings.out / RESULT, (json.dumps(result, indent=2) + "\n").encode())
        checkpoint.discard(settings.out)
        (settings.out / KEPT).unlink(missing_ok=True)
    return result


def _train(
    settings: TrainHamiltonianConfig,
    level: Level,
    read: Read,
    sets: Sets,
    store: Store,
    network: Network,
    init: StoredHamiltonian | None,
    identity: dict[str, Any],
    stop: StopWatch,
    progress: Progress,
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
    labels: dict[int, Labels] | None = None
    aim, indices = Aim(settings.refine), sets.train
    if "loss" in settings.of_command:
        wanted = cast("TrainLabelsConfig", settings)
        aim = Aim(wanted.refine, wanted.energy_weight, 1.0, wanted.loss == "mse")
        labels = make_labels(references, sets.train, settings.out / "labels.npz", identity, stop, progress)
        indices = sorted(labels)
    labelled = time.monotonic()

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
    functional = level.functional

    @jax.jit
    def plain(case: Case) -> Any:
        given = case.problem, case.orthogonaliser, case.inputs.initial, aim.refine
        return rebuild(functional, *given, by_table).last.energy

    feed = CaseFeed(store, indices, settings.batch_size, settings.seed, plain, labels)
    params = jax.tree.map(jnp.array, init.params) if init else network.init(jax.random.key(settings.seed))
    peak = _peak(settings, network)
    warmup = min(100, settings.steps // 10) if settings.warmup is None else settings.warmup
    rate = schedule_of(settings.schedule, peak, warmup, settings.steps)
    optimiser = optax.chain(
        optax.clip_by_global_norm(settings.clip), optax.adamw(rate, weight_decay=settings.weight_decay)
    )
    plan = Plan(
        settings.model,
        settings.steps,
        len(indices),
        settings.log_every,
        settings.validate_every or max(settings.steps // VALIDATIONS, 1),
        settings.patience,
        settings.checkpoint_every,
    )
    outcome = train(task, optimiser, rate, params, feed, plan, settings.out, identity, stop, progress)
    excess = MEV * task.excesses(outcome.parameters)
    if references.lower:  # both sides of the comparison above the same references
        without = MEV * task.excesses(None).mean(axis=0)
    about = {
        "xc": level.functional.name,
        "basis": level.basis.name,
        "basis_checksum": level.basis.checksum,
        "grid_level": level.grid_level,
        "level_of_theory": {"xc": level.functional.name, "basis": level.basis.name, "grid_level": level.grid_level},
        "elements": init.about["elements"] if init else elements_of(read),
        "refine": settings.refine,
        "precision": settings.precision,
        "loss": "labels" if labels is not None else "energy",
        "geometries": len(indices),
        "digest": read.digest,
        "qmgen": machine.versions()["qmgen"],
    }
    save_model(settings.out / NAME, StoredHamiltonian(network, outcome.parameters, statistics, about))
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
        "seconds_labelling": round(labelled - prepared, 2) if labels is not None else 0.0,
        "excess_meV": _by_refine(excess.mean(axis=0)),
        "excess_meV_largest": _by_refine(excess.max(axis=0)),
        "excess_meV_without_correction": _by_refine(without),
        "times_lower": _by_refine(without / np.maximum(excess.mean(axis=0), 1e-9)),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {**machine.machine(), "device": jax.devices()[0].device_kind},
        "versions": machine.versions(),
        "identity": identity,
    }


def _peak(settings: TrainHamiltonianConfig, network: Network) -> float:
    """The highest learning rate."""
    return settings.learning_rate or network.learning_rate * (FINE_TUNING if settings.init else 1.0)


def _check_init(init: StoredHamiltonian, level: Level, read: Read) -> None:
    """Raises ``UsageError`` where the network to begin with is of another basis set, or lacks an element."""
    if init.about["basis_checksum"] != level.basis.checksum:
        raise UsageError(f"--init {init.path} is for {init.about['basis']} and not for {level.basis.name}: set --basis")
    if unknown := sorted(set(elements_of(read)) - set(init.about["elements"])):
        raise UsageError(f"--init {init.path} knows no element {unknown[0]}: leave such geometries out, or --init")


def elements_of(read: Read) -> list[int]:
    """The elements in a set of geometries, ascending."""
    return sorted({int(z) for one in read.geometries for z in one.numbers})


def _by_refine(values: Any) -> dict[str, float]:
    return {"refine_0": float(values[0]), f"refine_{REFINED}": float(values[1])}


def _split(read: Read, settings: TrainHamiltonianConfig) -> Sets:
    """In a seeded order, so that the first few of either side are a sample of it."""
    parts = split(read.geometries, settings.validation_fraction, settings.held_out, settings.seed)
    draw = np.random.default_rng(settings.seed)
    return Sets(*(draw.permutation(part).tolist() for part in parts))


def _prepared(
    store: Store,
    indices: Sequence[int],
    label: str,
    stop: StopWatch,
    progress: Progress,
    references: References | None = None,
) -> list[Any]:
    """The descriptions of those geometries that can be prepared; with ``references``, these made too."""
    found = []
    begin = last = time.monotonic()
    for done, index in enumerate(indices):
        if stop.stopping():
            raise Interrupted(f"stopped by {stop.reason} while {label}: the same command continues")
        if (ready := store.get(index)) is not None:
            found.append(ready.seen)
        if references is not None:
            references.make([index])
        if (now := time.monotonic()) - last > 10.0:
            last = now
            progress.say(f"{label}: {done + 1} of {len(indices)}, {(done + 1) / (now - begin):.2g}/s")
    return found
