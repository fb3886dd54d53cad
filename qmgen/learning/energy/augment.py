"""More geometries to learn from, moved along the forces of a trained network's own density.

Self-refinement (arXiv 2506.01225) draws geometries from the Boltzmann distribution of the model that is being trained.
Here it goes in rounds: a training with ``--init`` moves geometries of its training set by a few steps of overdamped
Langevin dynamics (Ermak and McCammon, J. Chem. Phys. 69, 1352 (1978)),

    R <- R + eta F + sqrt(2 eta k T) xi,      F = -dE/dR of the density that the network predicts (``dft.forces``)

and learns from them too. Made once, kept beside the run; every walker has a seed of its own.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast
from zipfile import BadZipFile

import jax
import numpy as np

from qmgen.constants import BOHR_TO_ANGSTROM
from qmgen.dft.forces import forces
from qmgen.dft.level import LevelOfTheory
from qmgen.dft.prepare import Shape, System
from qmgen.dft.variational import density_of, energy_and_fock_of
from qmgen.errors import Interrupted
from qmgen.labeling.types import ERRORS
from qmgen.learning.energy.geometries import Geometry, GeometrySet
from qmgen.learning.energy.problems import Case, case_of, shapes_of
from qmgen.learning.energy.stored import StoredHamiltonian
from qmgen.learning.training import checkpoint
from qmgen.progress import TrainingProgress
from qmgen.quantities import duration
from qmgen.signals import StopWatch

if TYPE_CHECKING:
    from qmgen.config.train import TrainEnergyConfig, TrainHamiltonianConfig

NAME: Final = "augmented.npz"
#: Boltzmann's constant in Hartree/K (CODATA 2018)
BOLTZMANN: Final = 3.166811563e-6
#: eta in Bohr^2/Hartree: with the force constants of single and double bonds, 0.3 to 1 Hartree/Bohr^2, steps stay
#: below 2/k, where the dynamics would diverge
MOBILITY: Final = 1.0
#: an atom moves by no more than this in a step (Bohr, 0.1 Angstrom)
LONGEST: Final = 0.1 / BOHR_TO_ANGSTROM
#: what ends a walker: atoms nearer than this (Bohr, 0.5 Angstrom), an energy this much above where it began (Hartree)
NEAREST: Final = 0.5 / BOHR_TO_ANGSTROM
HIGHEST: Final = 1.0
#: seconds between writes of what is done
_EVERY: Final = 30.0


@dataclass(frozen=True)
class WalkPlan:
    """How many geometries, how many steps of dynamics each, at how many Kelvin."""

    count: int
    steps: int
    temperature: float
    seed: int


@dataclass(frozen=True)
class Augmented:
    """New geometries, and how many walkers were given up, by reason."""

    geometries: list[Geometry]
    dropped: Counter[str]


def augment(
    model: StoredHamiltonian,
    level: LevelOfTheory,
    beginnings: Sequence[tuple[Geometry, Shape]],
    plan: WalkPlan,
    file: Path,
    digest: str,
    stop: StopWatch,
    progress: TrainingProgress,
) -> Augmented:
    """``plan.count`` walkers from ``beginnings`` in turn, continued from ``file`` and kept there; ``digest`` tells what
    these are.

    Raises ``Interrupted`` when ``stop`` says so (the same call goes on), ``QmgenError`` where the file cannot be
    written.
    """
    key = _key(model, level, plan, digest)
    done = _read_walkers(file, key)
    walk = _Walk(model, level, plan)
    begin = kept = time.monotonic()
    before = len(done)
    for walker in range(plan.count):
        if walker in done:
            continue
        if stop.stopping():
            _write_walkers(file, key, done)
            raise Interrupted(
                f"stopped by {stop.reason} after {len(done)} moved geometries: the same command continues"
            )
        done[walker] = walk(walker, *beginnings[walker % len(beginnings)])
        if (now := time.monotonic()) - kept > _EVERY:
            kept = now
            _write_walkers(file, key, done)
            rate = (len(done) - before) / (now - begin)
            left = (plan.count - len(done)) / rate
            progress.say(f"moved {len(done)} of {plan.count} geometries, {rate:.2g}/s, {duration(left)} left")
    _write_walkers(file, key, done)
    made, dropped = [], Counter[str]()
    for walker in range(plan.count):
        end = done[walker]
        if isinstance(end, str):
            dropped[end] += 1
        else:
            made.append(replace(beginnings[walker % len(beginnings)][0], positions=end))
    return Augmented(made, dropped)


def moved_for(
    settings: TrainHamiltonianConfig,
    level: LevelOfTheory,
    read: GeometrySet,
    train: Sequence[int],
    model: StoredHamiltonian | None,
    stop: StopWatch,
    progress: TrainingProgress,
) -> Augmented:
    """What ``settings`` ask for, of the geometries ``train`` of ``read``: nothing where they know no ``augment``.

    Raises as ``augment`` does.
    """
    if model is None or not getattr(settings, "augment", 0):
        return Augmented([], Counter())
    asked = cast("TrainEnergyConfig", settings)
    shapes = shapes_of([one.numbers for one in read.geometries], level)
    beginnings = [(read.geometries[index], shapes[index]) for index in train]
    plan = WalkPlan(asked.augment, asked.augment_steps, asked.temperature, asked.seed)
    digest = sha256(json.dumps([read.digest, list(train)]).encode()).hexdigest()
    return augment(model, level, beginnings, plan, settings.out / NAME, digest, stop, progress)


class _Walk:
    """One walker from its beginning to its end: positions in Bohr, or why it was given up."""

    def __init__(self, model: StoredHamiltonian, level: LevelOfTheory, plan: WalkPlan) -> None:
        self._level, self._plan = level, plan
        network, params, statistics, functional = model.network, model.params, model.statistics, level.functional

        def predicted(case: Case) -> tuple[jax.Array, jax.Array]:
            correction = network.correction(params, statistics, network.describe(case.inputs))
            hamiltonian = case.inputs.initial + correction
            density = density_of(case.problem, case.orthogonaliser, hamiltonian)
            return density, energy_and_fock_of(functional, case.problem)(density)[0]

        self._predicted = jax.jit(predicted)

    def __call__(self, walker: int, beginning: Geometry, shape: Shape) -> np.ndarray | str:
        noise = np.random.default_rng([self._plan.seed, walker])
        spread = np.sqrt(2.0 * MOBILITY * BOLTZMANN * self._plan.temperature)
        system = System(beginning.numbers.astype(np.int64), np.array(beginning.positions, float))
        first = None
        try:
            for _ in range(self._plan.steps):
                density, energy = self._density(system, shape)
                first = energy if first is None else first
                if (why := _spoiled(system.positions, energy - first)) is not None:
                    return why
                force = forces(
                    self._level.functional, self._level.basis_set, self._level.grid_level, system, shape, density
                )
                step = MOBILITY * force + spread * noise.normal(size=force.shape)
                length = np.linalg.norm(step, axis=1, keepdims=True)
                step *= np.minimum(1.0, LONGEST / np.maximum(length, 1e-12))
                system = System(system.numbers, system.positions + step)
            _, energy = self._density(system, shape)
        except ERRORS as error:
            return type(error).__name__
        return _spoiled(system.positions, energy - (first or 0.0)) or system.positions

    def _density(self, system: System, shape: Shape) -> tuple[np.ndarray, float]:
        density, energy = self._predicted(case_of(system, shape, self._level))
        return np.asarray(density), float(energy)


def _spoiled(positions: np.ndarray, rise: float) -> str | None:
    """Why a geometry is no longer one to learn from."""
    if not (np.isfinite(positions).all() and np.isfinite(rise)):
        return "not finite"
    apart = np.linalg.norm(positions[:, None] - positions[None], axis=-1)[np.triu_indices(len(positions), 1)]
    if apart.size and apart.min() < NEAREST:
        return "atoms on top of each other"
    return "far too high" if rise > HIGHEST else None


def _key(model: StoredHamiltonian, level: LevelOfTheory, plan: WalkPlan, digest: str) -> str:
    """What the walkers depend on; not their number, so that more of them go on from those there."""
    about: list[Any] = [model.checksum, level.xc, level.basis_set.checksum, level.grid_level, digest]
    return sha256(json.dumps([*about, plan.steps, plan.temperature, plan.seed]).encode()).hexdigest()


def _write_walkers(file: Path, key: str, done: dict[int, np.ndarray | str]) -> None:
    stream = BytesIO()
    arrays: dict[str, Any] = {f"walker{walker}": np.asarray(end) for walker, end in done.items()}
    np.savez(stream, key=np.array(key), **arrays)
    checkpoint.write(file, stream.getvalue())


def _read_walkers(file: Path, key: str) -> dict[int, np.ndarray | str]:
    try:
        with np.load(file) as archive:
            if str(archive["key"]) != key:
                return {}
            found = {int(name[6:]): archive[name] for name in archive.files if name != "key"}
            return {walker: str(end) if end.dtype.kind == "U" else end for walker, end in found.items()}
    except (OSError, EOFError, ValueError, KeyError, BadZipFile):  # none, or damaged: made anew
        return {}
