"""Geometries made ready for the energy loss (integrals, grid, the Fock matrix of spherical atoms), batches of them, and
converged SCF solutions: reference energies of the monitored geometries, and the labels of ``qmgen train labels``
(energies and Fock matrices).

Molecules of like size share a shape, so that a batch may hold different molecules and few programs are compiled.
Prepared geometries are kept while they fit in memory, and prepared anew where they do not. A batch holds molecules of
one shape; the seed decides the order of each epoch.

Where a network finds an SCF solution of lower energy than the reference, that one becomes the reference and is counted:
an excess is never measured against a higher solution. References are kept beside a training while it lasts, so that a
continued training has the same references as before it stopped.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, Final, NamedTuple
from zipfile import BadZipFile

import jax
import jax.numpy as jnp
import numpy as np

from qmgen import files
from qmgen.dft.backend import Backend, current
from qmgen.dft.basis import Basis, shell_orbitals
from qmgen.dft.functionals import Functional
from qmgen.dft.level import LevelOfTheory
from qmgen.dft.orbitals import overlap_powers
from qmgen.dft.prepare import Shape, System, coarse_precision, prepare, shape_of
from qmgen.dft.scf import Problem, ScfOptions, linear_part, semilocal_of, solve
from qmgen.dft.variational import energy_and_fock_of
from qmgen.documents import LARGEST, table_of
from qmgen.errors import Interrupted, QmgenError
from qmgen.labeling.types import ERRORS
from qmgen.learning.hamiltonian import Inputs
from qmgen.learning.hamiltonian.network import Network
from qmgen.learning.training import checkpoint
from qmgen.progress import TrainingProgress
from qmgen.signals import StopWatch

Array = jax.Array

#: orbitals are padded to a multiple of this, atoms to the most of any molecule with as many
_STEP = 8


class Case(NamedTuple):
    """One geometry, or many with a leading axis; ``inverse_root`` (n, n) is S^(-1/2), ``dipole`` (3, n, n) in Bohr,
    where it is known."""

    problem: Problem
    inverse_root: Any
    inputs: Inputs
    dipole: Any = None


def shapes_of(molecules: Sequence[np.ndarray], level: LevelOfTheory) -> list[Shape]:
    """A shape for each molecule of ``numbers`` (A,): few different ones, each as large as the largest it stands for."""
    own = [shape_of(numbers, level.basis_set, level.functional, level.grid_level) for numbers in molecules]
    rooms: dict[int, Shape] = {}
    keys = []
    for numbers, shape in zip(molecules, own, strict=True):
        orbitals = -(-level.basis_set.n_orbitals(numbers) // _STEP) * _STEP
        keys.append(orbitals)
        room = rooms.get(orbitals, Shape(orbitals, 1, 1))
        rooms[orbitals] = replace(
            room,
            n_atoms=max(room.n_atoms, len(numbers)),
            n_blocks=max(room.n_blocks, shape.n_blocks),
            n_coarse=max(room.n_coarse, shape.n_coarse),
        )
    return [rooms[key] for key in keys]


def case_of(system: System, shape: Shape, level: LevelOfTheory) -> Case:
    """Raises ``ValueError`` and the like for a geometry that has no integrals."""
    made = prepare(system, shape, level.basis_set, level.functional, level.grid_level)
    problem = jax.tree.map(jnp.asarray, made.problem)
    bare = jax.tree.map(jnp.asarray, bare_inputs(system, shape, level.basis_set))
    return _completed(current(), level.functional, problem, bare)._replace(dipole=made.one_electron.dipole)


def bare_inputs(system: System, shape: Shape, basis: Basis) -> Inputs:
    """The inputs without matrices (they are zero)."""
    numbers, positions = np.zeros(shape.n_atoms, np.int32), np.zeros((shape.n_atoms, 3))
    numbers[: len(system.numbers)], positions[: len(system.numbers)] = system.numbers, system.positions
    atom, place, l, m = (np.full(shape.n_orbitals, fill, np.int32) for fill in (0, -1, -1, 0))
    for owner, shell, orbitals in shell_orbitals(system.numbers, basis):
        names = [(momentum, component) for momentum in shell.angular_momenta for component in range(2 * momentum + 1)]
        for orbital, (momentum, component) in zip(orbitals, names, strict=True):
            atom[orbital], l[orbital], m[orbital] = owner, momentum, component
    for owner in range(len(system.numbers)):
        mine = (atom == owner) & (l >= 0)
        place[mine] = np.arange(mine.sum())
    nothing = np.zeros((shape.n_orbitals, shape.n_orbitals))
    return Inputs(numbers, positions, atom, place, l, m, *[nothing] * 6)


def completed(
    backend: Backend, functional: Functional, problem: Problem, inputs: Inputs, on_coarse: bool = False
) -> Case:
    """The case of a problem: one Fock build from ``problem.guess``, on the fine grid or on the coarse one. Pure."""
    semilocal = semilocal_of(functional, problem, backend)[int(on_coarse)]
    linear, _ = linear_part(problem, problem.guess)
    _, potential, _ = semilocal(problem.guess)
    full = inputs._replace(
        overlap=problem.overlap,
        core=problem.core,
        density=problem.guess[0],
        two_electron=linear[0] - problem.core,
        exchange_correlation=potential[0],
        initial=(linear + potential)[0],
    )
    return Case(problem, overlap_powers(problem.overlap, problem.n_real).inverse_root, full)


_completed = jax.jit(completed, static_argnums=(0, 1))


def stacked(cases: Sequence[Any], size: int) -> Any:
    """Trees of one shape with a leading axis, the first repeated to ``size`` places: its weight is for the caller."""
    every = [*cases, *[cases[0]] * (size - len(cases))]
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(x) for x in leaves]), *every)


@partial(jax.jit, static_argnums=0)
def _described(network: Network, inputs: Inputs) -> Any:
    return network.describe(inputs)


@dataclass(frozen=True)
class PreparedGeometry:
    """A geometry as the network and the loss take it; numpy arrays."""

    case: Case
    seen: Any


class GeometryStore:
    """Geometries ``systems`` at one level, for one network. ``shapes`` has the shape of each; ``failed`` those that
    could not be prepared, with the reason. ``memory`` bytes at most are kept."""

    def __init__(self, systems: Sequence[System], level: LevelOfTheory, network: Network, memory: float) -> None:
        self.systems, self.level, self.network = list(systems), level, network
        self.shapes: list[Shape] = shapes_of([one.numbers for one in self.systems], level)
        self.failed: dict[int, str] = {}
        self._memory, self._kept, self._bytes = memory, dict[int, PreparedGeometry](), 0

    def __len__(self) -> int:
        return len(self.systems)

    def get(self, index: int) -> PreparedGeometry | None:
        """The prepared geometry; None where it cannot be had (``failed`` then says why)."""
        if index in self._kept:
            return self._kept[index]
        if index in self.failed:
            return None
        try:
            case = case_of(self.systems[index], self.shapes[index], self.level)
            ready = jax.tree.map(np.asarray, (case, _described(self.network, case.inputs)))
        except ERRORS as error:
            self.failed[index] = f"{type(error).__name__}: {error}".splitlines()[0]
            return None
        prepared = PreparedGeometry(*ready)
        if not np.all(np.isfinite(prepared.case.inputs.initial)):
            self.failed[index] = "the Fock matrix of spherical atoms is not finite"
            return None
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(ready))
        if self._bytes + size <= self._memory:
            self._kept[index], self._bytes = prepared, self._bytes + size
        return prepared

    def reasons(self) -> Counter[str]:
        """How many could not be prepared, by reason."""
        return Counter(reason.partition(":")[0] for reason in self.failed.values())


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class EnergyBatch:
    """Cases and descriptions with a leading axis of B; ``baseline`` (B,) energies without a correction in Hartree;
    ``targets`` (B, n, n) converged Fock matrices and ``energies`` (B,), where there are labels, else None;
    ``weights`` (B,) float32, 0 for a repetition that only fills the batch."""

    cases: Case
    seen: Any
    baseline: Any
    targets: Any
    energies: Any
    weights: Any


@dataclass(frozen=True)
class ConvergedLabels:
    """Converged ``energy`` in Hartree and Fock matrix (n, n) of a geometry."""

    energy: float
    fock: np.ndarray


class CaseFeed:
    """The geometries ``indices`` of a store as ``training.loop.Feed``.

    ``baselines`` by index are filled as geometries are met. ``labels`` by index, where the training has them.
    """

    def __init__(
        self,
        store: GeometryStore,
        indices: Sequence[int],
        size: int,
        seed: int,
        baseline: Any,
        labels: dict[int, ConvergedLabels] | None = None,
    ) -> None:
        self._store, self._indices, self._size, self._seed = store, list(indices), size, seed
        self._baseline, self._labels = baseline, labels
        self._baselines: dict[int, float] = {}

    def plan(self, epoch: int) -> list[list[int]]:
        """The batches of an epoch, each of one shape."""
        draw = np.random.default_rng([self._seed, epoch])
        rooms: dict[Any, list[int]] = {}
        for index in draw.permutation(self._indices).tolist():
            rooms.setdefault(self._store.shapes[index], []).append(index)
        batches = [room[k : k + self._size] for room in rooms.values() for k in range(0, len(room), self._size)]
        return [batches[k] for k in draw.permutation(len(batches))]

    def batches(self, place: dict[str, Any] | None) -> Generator[tuple[EnergyBatch, dict[str, Any], int]]:
        epoch, begin = (place["epoch"], place["batch"]) if place else (0, 0)
        while True:
            met = 0
            plan = self.plan(epoch)
            for number in range(begin, len(plan)):
                members = [(index, ready) for index in plan[number] if (ready := self._store.get(index)) is not None]
                if not members:
                    continue
                met += len(members)
                after = {"epoch": epoch, "batch": number + 1}
                yield jax.device_put(self._batch(members)), after, len(members)
            if begin == 0 and met == 0:
                raise QmgenError("no training geometry could be prepared")
            epoch, begin = epoch + 1, 0

    def _batch(self, members: list[tuple[int, PreparedGeometry]]) -> EnergyBatch:
        size = self._size
        for index, ready in members:
            if index not in self._baselines:
                self._baselines[index] = float(self._baseline(ready.case))
        fill = [*members, *[members[0]] * (size - len(members))]
        labels = None if self._labels is None else [self._labels[index] for index, _ in fill]
        return EnergyBatch(
            stacked([ready.case for _, ready in members], size),
            stacked([ready.seen for _, ready in members], size),
            np.array([self._baselines[index] for index, _ in fill]),
            None if labels is None else np.stack([one.fock for one in labels]),
            None if labels is None else np.array([one.energy for one in labels]),
            (np.arange(size) < len(members)).astype(np.float32),
        )


REFERENCES: Final = "references.json"
#: Hartree: references are converged further than any excess is read
CONVERGED: Final = ScfOptions(conv_energy=1e-10, conv_gradient=1e-7, max_cycles=100)
#: an energy lower than its reference by more than this (Hartree) is that of another solution
LOWER: Final = 1e-8
#: seconds between writes while references are made
_EVERY: Final = 30.0


@dataclass(frozen=True)
class Converged:
    """A self-consistent field: energy in Hartree, density and Fock matrix (n, n), levels (n,), cycles."""

    energy: float
    density: np.ndarray
    levels: np.ndarray
    cycles: int


_solve = jax.jit(solve, static_argnums=(0, 3))


@partial(jax.jit, static_argnums=(0, 3))
def _fock(functional: Functional, problem: Problem, density: Array, backend: Backend) -> Array:
    """(n, n) of ``density`` (n, n). ``backend`` tells compiled programs apart: it is that of this process."""
    return energy_and_fock_of(functional, problem)(density)[1]


@dataclass
class References:
    """Of geometries by index: ``energies`` in Hartree. ``missing`` did not converge; of ``lower`` the network found the
    solution of lower energy. ``file``, where one is given, keeps them; those in it are taken if they are of ``key``."""

    store: GeometryStore
    energies: dict[int, float] = field(default_factory=dict)
    missing: set[int] = field(default_factory=set)
    lower: set[int] = field(default_factory=set)
    file: Path | None = None
    key: str = ""

    def __post_init__(self) -> None:
        self._kept = time.monotonic()
        if self.file is not None:
            self._take(self.file)

    def _take(self, file: Path) -> None:
        try:
            record = table_of(files.read(file, LARGEST), finite=False)
            if record["key"] == self.key:
                energies = {int(index): float(energy) for index, energy in record["energies"].items()}
                self.missing, self.lower = set(record["missing"]), set(record["lower"])
                self.energies = energies
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # none, or damaged: made anew
            return

    def keep(self) -> None:
        """Write them to ``file``, if there is one. Raises ``QmgenError`` where that cannot be done."""
        if self.file is None:
            return
        about = {"key": self.key, "energies": self.energies, "missing": sorted(self.missing)}
        checkpoint.write(self.file, json.dumps({**about, "lower": sorted(self.lower)}).encode())
        self._kept = time.monotonic()

    def converge(self, case: Case, guess: Any = None, options: ScfOptions = CONVERGED) -> Converged | None:
        """The self-consistent field from ``guess`` (n, n), by default spherical atoms; None where there is none."""
        problem = case.problem if guess is None else case.problem._replace(guess=jnp.asarray(guess)[None])
        wanted = coarse_precision(self.store.level.basis_set, float(options.conv_gradient))
        if problem.coarse is not None and problem.coarse.weights.dtype != wanted:  # further than its rounding allows
            problem = problem._replace(coarse=None)
        solution = jax.tree.map(np.asarray, _solve(self.store.level.functional, problem, options, current()))
        if not solution.converged:
            return None
        return Converged(
            float(solution.energy), solution.density[0], solution.orbital_energies[0], int(solution.cycles)
        )

    def fock(self, case: Case, density: np.ndarray) -> np.ndarray:
        """(n, n) the Fock matrix of a density."""
        return np.asarray(_fock(self.store.level.functional, case.problem, density, current()))

    def make(self, indices: Iterable[int]) -> None:
        """References for ``indices`` that have none yet."""
        for index in indices:
            if index in self.energies or index in self.missing:
                continue
            ready = self.store.get(index)
            solution = None if ready is None else self.converge(ready.case)
            if solution is None:
                self.missing.add(index)
            else:
                self.energies[index] = solution.energy
            if time.monotonic() - self._kept > _EVERY:
                self.keep()

    def excess(self, index: int, energy: float, density: np.ndarray) -> float:
        """``energy`` of an idempotent ``density`` above the reference, in Hartree: the reference is converged anew from
        the density where it is not the lowest."""
        if energy < self.energies[index] - LOWER:
            ready = self.store.get(index)
            solution = None if ready is None else self.converge(ready.case, density)
            better = energy if solution is None else min(solution.energy, energy)
            self.energies[index] = better
            self.lower.add(index)
            self.keep()
        return energy - self.energies[index]


#: settings that labels depend on
_DEPENDS: Final = ("geometries", "xc", "basis", "grid_level")
_LABELS_EVERY: Final = 60.0
#: labels as `qmgen generate` makes them, and no slower
AS_GENERATED: Final = ScfOptions()


def make_labels(
    references: References,
    indices: Sequence[int],
    file: Path,
    identity: Mapping[str, Any],
    stop: StopWatch,
    progress: TrainingProgress,
) -> dict[int, ConvergedLabels]:
    """Labels of those of ``indices`` that converge, continued from ``file`` and kept there.

    Raises ``Interrupted`` when ``stop`` says so.
    """
    key = sha256(json.dumps([identity[name] for name in _DEPENDS]).encode()).hexdigest()
    labels, lost = _read_labels(file, key)
    begin = kept = time.monotonic()
    before = len(labels)
    for index in indices:
        if index in labels or index in lost:
            continue
        if stop.stopping():
            _write_labels(file, key, labels, lost)
            raise Interrupted(f"stopped by {stop.reason} after {len(labels)} labels: the same command continues")
        ready = references.store.get(index)
        solution = None if ready is None else references.converge(ready.case, options=AS_GENERATED)
        if ready is None or solution is None:
            lost.add(index)
        else:
            labels[index] = ConvergedLabels(solution.energy, references.fock(ready.case, solution.density))
        if (now := time.monotonic()) - kept > _LABELS_EVERY:
            kept = now
            _write_labels(file, key, labels, lost)
            rate = (len(labels) - before) / (now - begin)
            progress.say(f"labels: {len(labels)} of {len(indices)}, {rate:.2g}/s")
    _write_labels(file, key, labels, lost)
    return {index: labels[index] for index in indices if index in labels}  # the file may know others


def _write_labels(file: Path, key: str, labels: dict[int, ConvergedLabels], lost: set[int]) -> None:
    stream = BytesIO()
    arrays: dict[str, Any] = {f"fock{index}": one.fock for index, one in labels.items()}
    arrays |= {f"energy{index}": np.float64(one.energy) for index, one in labels.items()}
    np.savez(stream, key=np.array(key), lost=np.array(sorted(lost), np.int64), **arrays)
    checkpoint.write(file, stream.getvalue())


def _read_labels(file: Path, key: str) -> tuple[dict[int, ConvergedLabels], set[int]]:
    try:
        with np.load(file) as archive:
            if str(archive["key"]) != key:
                return {}, set()
            indices = [int(name[4:]) for name in archive.files if name.startswith("fock")]
            labels = {k: ConvergedLabels(float(archive[f"energy{k}"]), archive[f"fock{k}"]) for k in indices}
            return labels, set(archive["lost"].tolist())
    except (OSError, EOFError, ValueError, KeyError, BadZipFile):  # none, or damaged: made anew
        return {}, set()
