"""What a network learns the energy from: geometries alone, of files or of a corpus, whose labels are not read.

>>> read = read_geometries([Path("water.xyz")], None, level)
>>> train, validation = split(read.geometries, 0.1, "auto", seed=0)

Further geometries are moved along the forces of a trained network's own density. Self-refinement (arXiv 2506.01225)
draws geometries from the Boltzmann distribution of the model that is being trained. Here it goes in rounds: a training
with ``--init`` moves geometries of its training set by a few steps of overdamped Langevin dynamics (Ermak and McCammon,
J. Chem. Phys. 69, 1352 (1978)),

    R <- R + eta F + sqrt(2 eta k T) xi,      F = -dE/dR of the density that the network predicts (``dft.forces``)

and learns from them too. Made once, kept beside the run; every walker has a seed of its own.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property, partial
from hashlib import blake2b, sha256
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, cast
from zipfile import BadZipFile

import jax
import numpy as np

from qmgen.constants import BOHR_TO_ANGSTROM
from qmgen.corpus import SPLITS, Place, open_corpus
from qmgen.corpus.plan import hill_formula
from qmgen.dft.backend import Backend, current
from qmgen.dft.forces import forces
from qmgen.dft.functionals import Functional
from qmgen.dft.level import LevelOfTheory
from qmgen.dft.prepare import Shape, System
from qmgen.dft.variational import density_of, energy_and_fock_of
from qmgen.errors import Interrupted, QmgenError, UsageError, first_line
from qmgen.labeling.level import reject
from qmgen.labeling.types import ERRORS
from qmgen.learning.data.splits import select
from qmgen.learning.energy.problems import Case, case_of, shapes_of
from qmgen.learning.energy.stored import StoredHamiltonian
from qmgen.learning.hamiltonian.network import Network
from qmgen.learning.training import checkpoint
from qmgen.molecules.embedding_pool import conformers as embedded
from qmgen.molecules.geometry import symbol_of
from qmgen.molecules.readers import read_files
from qmgen.molecules.types import Conformer, Failure, Pruned, Reason
from qmgen.progress import TrainingProgress
from qmgen.quantities import duration
from qmgen.signals import StopWatch

if TYPE_CHECKING:
    from qmgen.config.train import TrainEnergyConfig, TrainHamiltonianConfig


#: from so many different molecules on, whole molecules are held out
MOLECULES_APART: Final = 10
_EXAMPLES: Final = 5
_COLUMNS: Final = ("molecule_id", "conformer_id", "z", "pos", "smile", "name")

#: what was found, the split of the corpus it is in, and its place
_Item = tuple[Conformer | Failure, str, int]
By = Literal["auto", "molecules", "geometries"]


@dataclass(frozen=True)
class Geometry:
    """``numbers`` (A,) uint8, ``positions`` (A, 3) float64 in Bohr. ``smiles``, canonical, and ``name`` may be empty.

    ``source`` is the 0-based place in the files or the corpus, bad ones counted. ``split`` is that of its
    corpus, or empty.
    """

    numbers: np.ndarray
    positions: np.ndarray
    smiles: str
    name: str
    source: int
    split: str = ""

    @cached_property
    def molecule(self) -> str:
        """Which molecule it is of: the SMILES, or the formula where there is none."""
        return self.smiles or hill_formula(map(symbol_of, self.numbers.tolist()))


@dataclass(frozen=True)
class GeometrySet:
    """``skipped`` counts what cannot be used by its reason; ``examples`` are the first few of it, a line each."""

    geometries: list[Geometry]
    skipped: Counter[str]
    examples: list[str]

    @cached_property
    def digest(self) -> str:
        """What tells this set from others: SHA-256 of elements, positions and splits, in order."""
        total = sha256()
        for one in self.geometries:
            total.update(one.numbers.tobytes() + one.positions.tobytes() + one.split.encode())
        return total.hexdigest()


def read_geometries(
    files: Sequence[Path] | None,
    data: Place | None,
    level: LevelOfTheory,
    limit: int | None = None,
    seed: int = 0,
    conformers: int = 1,
    in_process: bool = False,
) -> GeometrySet:
    """The geometries of ``files``, or of the corpus ``data``: exactly one of the two is given.

    SMILES are embedded, ``conformers`` of each, as `qmgen generate` does with the same seed; geometries in files stay
    as they are. Of a corpus all splits are read, its columns of labels never. ``limit`` takes the first so many usable
    ones of files; of a corpus so many rows at random, by ``seed``. What cannot be labeled at ``level`` is skipped and
    counted. ``in_process`` embeds without protection against a molecule that hangs RDKit.

    Raises ``UsageError`` where nothing usable is found, and as ``read_molecules`` and ``open_corpus`` do.
    """
    if (files is None) == (data is None):
        raise ValueError("either files or data")
    if limit is not None and limit < 1:
        raise UsageError(f"cannot learn from {limit} geometries: ask for at least one")
    items: Iterator[_Item]
    if data is not None:
        where, items = str(data), _of_corpus(data, limit, seed)
    else:
        assert files is not None
        where, items = ", ".join(map(str, files)), _of_files(files, seed, conformers, in_process)
    geometries: list[Geometry] = []
    skipped: Counter[str] = Counter()
    examples: list[str] = []
    with closing(items):  # type: ignore[type-var]  # generators, both
        for item, split_name, place in items:
            refused = item if isinstance(item, Failure) else reject(item, level)
            if isinstance(item, Conformer) and refused is None:
                made = Geometry(item.numbers, item.positions, item.smiles, item.name, place, split_name)
                geometries.append(made)
                if limit is not None and len(geometries) == limit:
                    break
            elif refused is not None:
                skipped[refused.reason.value] += 1
                if len(examples) < _EXAMPLES:
                    what = " ".join(filter(None, (refused.name, refused.smiles)))
                    examples.append(f"entry {refused.molecule_id} {what}".rstrip() + f": {_why(refused)}")
    if not geometries:
        why = f"; {examples[0]}" if examples else ""
        raise UsageError(f"{where} holds no geometry to learn from ({skipped.total()} cannot be used{why})")
    return GeometrySet(geometries, skipped, examples)


def _why(refused: Failure) -> str:
    return f"{refused.reason.value}: {first_line(ValueError(refused.detail))}"


def _of_files(files: Sequence[Path], seed: int, conformers: int, in_process: bool) -> Iterator[_Item]:
    made = embedded(read_files(files), conformers, seed, in_process=in_process)
    with closing(made):  # type: ignore[type-var]  # ends the worker, also where no more is asked for
        place = 0
        for item in made:
            if not isinstance(item, Pruned):
                yield item, "", place
                place += 1


def _of_corpus(data: Place, limit: int | None, seed: int) -> Iterator[_Item]:
    """Rows in order, one split after the other; files are decoded piece by piece."""
    corpus = open_corpus(data)
    total = len(corpus)
    chosen = None if limit is None or limit >= total else select(total, limit, seed)
    before = 0
    try:
        for split_name in SPLITS:
            for batch in corpus.batches(split_name, _COLUMNS, rows=4096):
                rows = np.arange(batch.num_rows)
                if chosen is not None:
                    low, high = np.searchsorted(chosen, [before, before + batch.num_rows])
                    rows = chosen[low:high] - before
                for row in rows.tolist():
                    yield _conformer(batch, row), split_name, before + row
                before += batch.num_rows
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise QmgenError(f"{data} cannot be read ({first_line(error)}): run `qmgen verify {data}`") from error


def _conformer(batch: Any, row: int) -> Conformer | Failure:
    ids = [batch.column(name)[row].as_py() for name in _COLUMNS[:2]]
    molecule_id, conformer_id = (-1 if value is None else int(value) for value in ids)
    smiles, name = (batch.column(key)[row].as_py() or "" for key in ("smile", "name"))
    numbers, flat = (batch.column(name)[row].values for name in ("z", "pos"))
    why = ""
    if numbers is None or flat is None or numbers.null_count or flat.null_count:
        why = "an empty value in z or pos"
    elif len(flat) != 3 * len(numbers):
        why = f"{len(flat)} numbers in pos for {len(numbers)} atoms"
    if why:
        return Failure(molecule_id, conformer_id, name, smiles, Reason.BAD_COORDINATES, why)
    positions = flat.to_numpy().astype(np.float64).reshape(-1, 3)
    return Conformer(molecule_id, conformer_id, name, smiles, numbers.to_numpy().astype(np.uint8), positions)


def split(geometries: Sequence[Geometry], fraction: float, by: By, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Places in ``geometries``, sorted int64, to learn from and to validate on; the latter ``fraction`` of the units.

    Units are whole molecules, or single geometries; "auto" takes molecules from ``MOLECULES_APART`` different ones on.
    Those with the smallest hash of the seed and the molecule (or the source) are held out: at least one, never all,
    whatever their order. A corpus's own train and validation splits, where both have rows, are taken for molecules as
    they are; its test rows never come out of here. Raises ``UsageError`` where there are less than two units.
    """
    if not 0 < fraction < 1:
        raise UsageError(f"cannot hold out a share of {fraction} for validation: it must lie between 0 and 1")
    places = [place for place, geometry in enumerate(geometries) if geometry.split != "test"]
    molecules = {geometries[place].molecule for place in places}
    whole = by == "molecules" or (by == "auto" and len(molecules) >= MOLECULES_APART)
    given = {name: [p for p in places if geometries[p].split == name] for name in ("train", "validation")}
    if whole and all(given.values()) and sum(map(len, given.values())) == len(places):
        return np.array(given["train"], np.int64), np.array(given["validation"], np.int64)
    keys = {p: geometries[p].molecule if whole else f"\0{geometries[p].source}" for p in places}
    order = sorted(
        set(keys.values()), key=lambda key: (blake2b(f"{seed}\0{key}".encode(), digest_size=8).digest(), key)
    )
    if len(order) < 2:
        kind = "molecule" if whole else "geometry"
        instead = "; hold out single geometries instead" if whole and len(places) > 1 else ""
        raise UsageError(f"{len(order)} {kind} cannot be split into training and validation: give more{instead}")
    held = set(order[: min(max(1, round(fraction * len(order))), len(order) - 1)])
    train = [place for place in places if keys[place] not in held]
    return np.array(train, np.int64), np.array([place for place in places if keys[place] in held], np.int64)


NAME: Final = "augmented.npz"
#: Boltzmann's constant in Hartree/K (CODATA 2018)
BOLTZMANN: Final = 3.166811563e-6
#: eta in Bohr^2/Hartree: with the force constants of single and double bonds, 0.3 to 1 Hartree/Bohr^2, steps stay
#: below 2/k, where the dynamics would diverge
MOBILITY: Final = 1.0
#: an atom moves by no more than this in a step (Bohr, 0.1 Angstrom)
LARGEST_STEP: Final = 0.1 / BOHR_TO_ANGSTROM
#: what ends a walker: atoms nearer than this (Bohr, 0.5 Angstrom), an energy this much above where it began (Hartree)
SMALLEST_DISTANCE: Final = 0.5 / BOHR_TO_ANGSTROM
LARGEST_RISE: Final = 1.0
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


# ``backend`` tells compiled programs apart: it is that of this process
@partial(jax.jit, static_argnums=(0, 1, 2))
def _predicted(
    network: Network, functional: Functional, backend: Backend, params: Any, statistics: Any, case: Case
) -> tuple[jax.Array, jax.Array]:
    """The density of the predicted Hamiltonian, and its energy."""
    correction = network.correction(params, statistics, network.describe(case.inputs))
    density = density_of(case.problem, case.inverse_root, case.inputs.initial + correction)
    return density, energy_and_fock_of(functional, case.problem)(density)[0]


class _Walk:
    """One walker from its beginning to its end: positions in Bohr, or why it was given up."""

    def __init__(self, model: StoredHamiltonian, level: LevelOfTheory, plan: WalkPlan) -> None:
        self._level, self._plan = level, plan
        self._model = model

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
                step *= np.minimum(1.0, LARGEST_STEP / np.maximum(length, 1e-12))
                system = System(system.numbers, system.positions + step)
            _, energy = self._density(system, shape)
        except ERRORS as error:
            return type(error).__name__
        return _spoiled(system.positions, energy - (first or 0.0)) or system.positions

    def _density(self, system: System, shape: Shape) -> tuple[np.ndarray, float]:
        case, model = case_of(system, shape, self._level), self._model
        known = model.network, self._level.functional, current()
        density, energy = _predicted(*known, model.params, model.statistics, case)
        return np.asarray(density), float(energy)


def _spoiled(positions: np.ndarray, rise: float) -> str | None:
    """Why a geometry is no longer one to learn from."""
    if not (np.isfinite(positions).all() and np.isfinite(rise)):
        return "not finite"
    apart = np.linalg.norm(positions[:, None] - positions[None], axis=-1)[np.triu_indices(len(positions), 1)]
    if apart.size and apart.min() < SMALLEST_DISTANCE:
        return "atoms on top of each other"
    return "far too high" if rise > LARGEST_RISE else None


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
            ends = {int(name[6:]): archive[name] for name in archive.files if name != "key"}
            return {walker: str(end) if end.dtype.kind == "U" else end for walker, end in ends.items()}
    except (OSError, EOFError, ValueError, KeyError, BadZipFile):  # none, or damaged: made anew
        return {}
