"""``qmgen evaluate`` for a network that predicts Hamiltonians: against fields converged at the same level.

Everything beside the same without a correction (W = 0), at once and after rebuilds, which help either. What the
network's first guess saves in cycles: each geometry is labeled twice, as `qmgen generate` labels it, from spherical
atoms and from the network's density. Cycles are those of ``Label.cycles``, the column ``cycles`` of a corpus: the steps
of all attempts, those on the coarse grid too, and ``LEARNED_CYCLES`` for the Fock matrix that the network reads,
which is that of the coarse grid.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from qmgen import runtime
from qmgen.config.predict import EvaluateConfig
from qmgen.constants import AU_TO_DEBYE, HARTREE_TO_EV
from qmgen.dft.prepare import System
from qmgen.dft.variational import RoothaanStep
from qmgen.errors import UsageError
from qmgen.labeling.level import level_of
from qmgen.labeling.stream import label
from qmgen.labeling.types import Guess, LabelCosts, Settings
from qmgen.learning.energy.geometries import Geometry, GeometrySet, read_geometries
from qmgen.learning.energy.problems import Converged, GeometryStore, PreparedGeometry, References
from qmgen.learning.energy.stored import LearnedGuess, StoredHamiltonian, load_model
from qmgen.learning.energy.task import MEV, REFINED, HamiltonianTask, LossWeights
from qmgen.learning.evaluate.run import Prediction
from qmgen.learning.targets import targets_of
from qmgen.molecules.types import Conformer, Failure
from qmgen.tables import aligned


@dataclass(frozen=True)
class CycleCounts:
    """Of one geometry: ``cycles`` from ``atoms`` and from the ``network``; seconds of the self-consistent field from
    either, ``scf_atoms`` and ``scf_network``, and of the network itself, ``guess``."""

    atoms: int
    network: int
    scf_atoms: float
    scf_network: float
    guess: float


def count_cycles(geometry: Geometry, settings: Settings, guess: Guess) -> CycleCounts | None:
    """Both counts at the level of ``settings``; None where either side has no label."""
    atoms = _labeled(geometry, settings, None)
    network = _labeled(geometry, settings, guess)
    if atoms is None or network is None:
        return None
    return CycleCounts(atoms[0], network[0], atoms[1]["field"], network[1]["field"], network[1]["guess"])


def _labeled(geometry: Geometry, settings: Settings, guess: Guess | None) -> tuple[int, dict[str, float]] | None:
    """Cycles, and wall seconds by station of ``LabelCosts``."""
    one = Conformer(0, 0, geometry.name, geometry.smiles, geometry.numbers, geometry.positions)
    tally = LabelCosts()
    for result in label([one], settings, guess=guess, tally=tally):
        if not isinstance(result, Failure):
            return result[1].cycles, tally.seconds
    return None


#: geometries that are compared where no limit is given: each takes two self-consistent fields
LIMIT: Final = 200
#: columns of a file of predictions
TARGETS: Final = targets_of(["energy", "homo", "lumo", "y", "dipole"])
MICRO: Final = 1e6
#: of one side: its key, unit, and what it is, in the order of the table
MEASURES: Final = (
    ("excess", "meV", "energy above the converged"),
    ("excess_largest", "meV", "largest of these"),
    ("hamiltonian", "µHa", "Hamiltonian, element"),
    ("occupied", "µHa", "occupied levels"),
    ("levels", "µHa", "all levels"),
    ("gap", "meV", "HOMO-LUMO gap"),
    ("dipole", "Debye", "dipole moment"),
)


@dataclass
class HamiltonianReport:
    """Mean absolute errors by side (``network``, ``no_correction``) and by rebuilds; SCF cycles and seconds a molecule,
    of those that `qmgen generate` labels from either guess (``energy.cycles``);
    ``excess`` (molecules, 4) in meV for the figure; ``skipped`` by reason."""

    about: dict[str, Any]
    molecules: int = 0
    errors: dict[str, dict[str, float]] = field(default_factory=dict)
    cycles: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    lower_solutions: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    excess: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        plain = ("about", "molecules", "errors", "cycles", "seconds", "lower_solutions")
        return {**{name: getattr(self, name) for name in plain}, "skipped": dict(self.skipped)}


def evaluate_hamiltonian(
    settings: EvaluateConfig,
    write: Callable[[list[Prediction]], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> HamiltonianReport:
    """Compare the network at ``settings.run`` with converged fields of the given geometries; ``write`` gets a row of
    predictions for each. Raises ``UsageError`` for no network and no usable geometry."""
    runtime.prepare()
    stored = load_model(settings.run)
    about = stored.about
    how = Settings(about["xc"], about["basis"], about["grid_level"])
    level, guess = level_of(how), LearnedGuess(stored)
    files = [Path(file) for file in settings.molecules] or None
    read = read_geometries(files, settings.data, level, None if settings.data else settings.limit, settings.seed)
    chosen, skipped = _chosen(read, settings, stored)
    store = GeometryStore([System(g.numbers.astype(np.int64), g.positions) for g in chosen], level, stored.network, 0.0)
    references = References(store)
    task = HamiltonianTask(stored.network, stored.statistics, level.functional, LossWeights(0), references, [])
    kept = ("xc", "basis", "grid_level", "loss", "refine", "geometries")
    report = HamiltonianReport({"model": str(settings.run), **{key: about.get(key) for key in kept}}, skipped=skipped)
    tallies = _Tallies()
    for index, geometry in enumerate(chosen):
        prediction = _one(index, store, references, task, stored.params, tallies)
        if prediction is not None:
            tallies.count(count_cycles(geometry, how, guess))
        if prediction is None:
            report.skipped["not_converged" if index in references.missing else "no_preparation"] += 1
        if write is not None:
            write([_row(geometry, prediction, "" if prediction else "not_converged: no reference")])
        if progress is not None:
            progress(index + 1, len(chosen))
    if not tallies.excess:
        raise UsageError(f"no geometry of {len(chosen)} has a converged field to compare with: give others")
    report.molecules, report.lower_solutions = len(tallies.excess), len(references.lower)
    report.errors, report.excess = tallies.errors(), np.array(tallies.excess)
    if counted := tallies.counted:
        cycles = {side: float(np.mean([getattr(one, side) for one in counted])) for side in ("atoms", "network")}
        report.cycles = {**cycles, "saved": 1.0 - cycles["network"] / cycles["atoms"]}
        names = {"network": "guess", "scf_atoms": "scf_atoms", "scf_network": "scf_network"}
        # the first of a shape is compiled within its time
        report.seconds = {name: float(np.median([getattr(one, of) for one in counted])) for name, of in names.items()}
    return report


class _Tallies:
    """Numbers of each molecule so far."""

    def __init__(self) -> None:
        self.sides: dict[str, list[dict[str, float]]] = {}
        self.excess: list[list[float]] = []
        self.counted: list[CycleCounts] = []

    def count(self, counts: CycleCounts | None) -> None:
        """Add cycles and seconds of a molecule, if it has them."""
        if counts is not None:
            self.counted.append(counts)

    def errors(self) -> dict[str, dict[str, float]]:
        """Means over molecules, and the largest excess."""
        summary = {}
        for side, rows in self.sides.items():
            means = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
            summary[side] = {**means, "excess_largest": max(row["excess"] for row in rows)}
        return summary


def _one(
    index: int, store: GeometryStore, references: References, task: HamiltonianTask, params: Any, tallies: _Tallies
) -> tuple[PreparedGeometry, RoothaanStep] | None:
    """Add a molecule to the tallies; what was predicted for it, None where there is nothing to compare with."""
    ready = store.get(index)
    if ready is None:
        return None
    best = references.converge(ready.case)
    hamiltonian = task.predict(params, ready)
    if best is None:
        references.missing.add(index)
        return None
    references.energies[index] = best.energy
    ours, plain = task.trials(ready, hamiltonian), task.trials(ready, np.asarray(ready.case.inputs.initial))
    for trial in (*ours, *plain):  # the reference is the lowest of all solutions
        lower = references.excess(index, float(trial.energy), np.asarray(trial.density)) < 0
        best = references.converge(ready.case, np.asarray(trial.density)) or best if lower else best
    reference = references.energies[index]
    fock = references.fock(ready.case, best.density)
    names = [f"{side}_refine_{k}" for side in ("network", "no_correction") for k in (0, REFINED)]
    rows = [_errors(ready, trial, best, fock, reference) for trial in (*ours, *plain)]
    for name, row in zip(names, rows, strict=True):
        tallies.sides.setdefault(name, []).append(row)
    tallies.excess.append([row["excess"] for row in rows])
    return ready, ours[0]


def _errors(
    ready: PreparedGeometry, trial: RoothaanStep, best: Converged, fock: np.ndarray, reference: float
) -> dict[str, float]:
    problem = ready.case.problem
    n, occupied = int(problem.n_real), int(problem.n_occupied)
    off = np.abs(np.asarray(trial.levels)[:n] - best.levels[:n])
    gap = _gap(np.asarray(trial.levels), occupied) - _gap(best.levels, occupied)
    moved = np.einsum("xij,ij->x", np.asarray(ready.case.dipole), np.asarray(trial.density) - best.density)
    return {
        "excess": MEV * (float(trial.energy) - reference),
        "hamiltonian": MICRO * float(np.abs(np.asarray(trial.hamiltonian) - fock)[:n, :n].mean()),
        "occupied": MICRO * float(off[:occupied].mean()),
        "levels": MICRO * float(off.mean()),
        "gap": MEV * abs(gap),
        "dipole": AU_TO_DEBYE * float(np.linalg.norm(moved)),
    }


def _gap(levels: np.ndarray, occupied: int) -> float:
    return float(levels[occupied] - levels[occupied - 1])


def _row(geometry: Geometry, prediction: tuple[PreparedGeometry, RoothaanStep] | None, reason: str) -> Prediction:
    values: dict[str, np.ndarray] = {}
    if prediction is not None:
        ready, trial = prediction
        occupied = int(ready.case.problem.n_occupied)
        levels = HARTREE_TO_EV * np.asarray(trial.levels)
        electrons = np.einsum("xij,ij->x", np.asarray(ready.case.dipole), np.asarray(trial.density))
        values = {
            "energy": np.array([HARTREE_TO_EV * float(trial.energy)]),
            "homo": levels[occupied - 1 : occupied],
            "lumo": levels[occupied : occupied + 1],
            "y": np.array([_gap(levels, occupied)]),
            "dipole": AU_TO_DEBYE * (geometry.numbers.astype(float) @ geometry.positions - electrons),
        }
    return Prediction(
        geometry.source, 0, geometry.name, geometry.smiles, values, reason, geometry.numbers, geometry.positions
    )


def _chosen(
    read: GeometrySet, settings: EvaluateConfig, stored: StoredHamiltonian
) -> tuple[list[Geometry], Counter[str]]:
    """The geometries to compare, at most ``LIMIT`` unless a limit is given, and what is skipped."""
    known, skipped = frozenset(stored.about["elements"]), Counter(read.skipped)
    geometries: Iterator[Geometry] = iter(read.geometries)
    if settings.data is not None and settings.split != "all":
        there = {one.split for one in read.geometries}
        wanted = settings.split or ("test" if "test" in there else "validation")
        geometries = (one for one in geometries if one.split == wanted)
    chosen = []
    for one in geometries:
        if known.issuperset(one.numbers.tolist()):
            chosen.append(one)
        else:
            skipped["unseen_element"] += 1
    limit = settings.limit or LIMIT
    if not chosen:
        raise UsageError("no geometry that the network can predict: give others, or another --split")
    return chosen[:limit], skipped


def text(report: HamiltonianReport) -> str:
    """Tables for a person."""
    about = report.about
    sides = list(report.errors)
    heads = [s.replace("_refine_", ", rebuilds ").replace("no_correction", "W = 0") for s in sides]
    lines = [f"{report.molecules} geometries, {about['xc']}/{about['basis']}, grid level {about['grid_level']}"]
    rows = [["mean absolute error", "unit", *heads]]
    rows += [[name, unit, *(f"{report.errors[side][key]:.4g}" for side in sides)] for key, unit, name in MEASURES]
    lines.append(aligned(rows, left=(0, 1)))
    cycles, seconds = report.cycles, report.seconds
    if not cycles:
        lines.append("SCF cycles: not counted, no geometry has a label from either guess")
    else:
        lines.append(
            f"SCF cycles as `qmgen generate` counts them at this level: {cycles['atoms']:.2f} from atoms, "
            f"{cycles['network']:.2f} from the network (its Fock build counted): {cycles['saved']:.1%} saved"
        )
        lines.append(
            f"seconds a molecule (median): network {seconds['network']:.4f}, SCF from atoms "
            f"{seconds['scf_atoms']:.4f}, from the network {seconds['scf_network']:.4f}"
        )
    if report.lower_solutions:
        lines.append(f"{report.lower_solutions} references were lowered: a prediction led to a lower solution")
    if report.skipped:
        lines.append("skipped: " + ", ".join(f"{count} {reason}" for reason, count in sorted(report.skipped.items())))
    return "\n".join(lines)
