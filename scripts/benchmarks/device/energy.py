"""Training by the energy alone (``qmgen train energy``) on the device: alanine dipeptide, B3LYP5/STO-3G, grid level 0.

The published figure beside it: 3.75 meV after 54 minutes of a laptop's GPU (arXiv 2402.04030). The settings are those
of ``scripts/alanine_dipeptide``. A training that is longer than the session goes on in the next one, where the session
keeps a folder (``--keep``).

``alanine.npz`` is the set of ``scripts/alanine_dipeptide``, whose command ``scripts/thermal_geometries SMILES --count
COUNT --seed SEED`` makes it with RDKit: ``numbers`` (22,) uint8, ``positions`` (500, 22, 3) float32 in Bohr. A corpus
stores no more than float32, so that the two are the same to the last bit (same digest). Change both or neither;
``scripts/make_device_alanine`` makes the file. Nothing here needs RDKit or pydantic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, ClassVar, Final, cast

import numpy as np

from benchmarks.device.task import Entry, Task
from benchmarks.device.task import toy as toy_geometries
from benchmarks.thermal import frame
from qmgen import machine
from qmgen.dft.prepare import System
from qmgen.errors import Interrupted
from qmgen.labeling.level import level_of
from qmgen.labeling.types import Settings
from qmgen.learning.energy.problems import GeometryStore
from qmgen.learning.energy.train import run
from qmgen.learning.hamiltonian.network import network_of
from qmgen.learning.training.folder import METRICS, read_journal
from qmgen.molecules.types import Conformer

SHIPPED: Final = Path(__file__).with_name("alanine.npz")
SMILES: Final = "CC(=O)NC(C)C(=O)NC"
COUNT: Final = 500
SEED: Final = 0
#: the version that made the file
RDKIT: Final = "2026.9.1"
_TOY_COUNT: Final = 10
#: Bohr: standard deviation of each coordinate of a toy
_TOY_SHAKE: Final = 0.05


@dataclass(frozen=True)
class EnergySettings:
    """The fields of ``config.train_energy.TrainEnergyConfig`` with the same defaults, without pydantic, which a
    borrowed machine has not; what they mean is said there. ``time_limit`` in seconds, ``memory`` in GB."""

    molecules: list[str]
    out: Path
    time_limit: float | None = None
    xc: str = "b3lyp5"
    basis: str = "sto-3g"
    grid_level: int = 0
    data: None = None
    limit: int | None = None
    conformers: int = 1
    held_out: str = "auto"
    validation_fraction: float = 0.1
    monitor: int = 32
    model: str = "blocks-small"
    published_form: bool = False
    refine: int = 0
    init: None = None
    augment: int = 0
    augment_steps: int = 5
    temperature: float = 400.0
    steps: int = 4000
    batch_size: int = 8
    learning_rate: float | None = None
    schedule: str = "cosine"
    warmup: int | None = None
    weight_decay: float = 1e-4
    clip: float = 1.0
    precision: str = "float32"
    validate_every: int | None = None
    patience: int | None = None
    log_every: int = 20
    seed: int = 0
    memory: float = 4.0
    checkpoint_every: float = 60.0
    overwrite: bool = False
    jk: str = "exact"
    auxbasis: str | None = None
    cartesian: bool = False
    of_command: ClassVar[frozenset[str]] = frozenset()
    _outside: ClassVar[frozenset[str]] = frozenset(
        {"molecules", "data", "out", "memory", "checkpoint_every", "overwrite", "time_limit"}
        | {"jk", "auxbasis", "cartesian"}
    )

    def training_fields(self) -> dict[str, Any]:
        """The settings that change the numbers of a training, as plain values."""
        fields = {name: value for name, value in asdict(self).items() if name not in self._outside}
        if fields["precision"] == "float32":  # as the configuration has it
            del fields["precision"]
        return fields


def conformers(toy: bool) -> list[Conformer]:
    """The alanine dipeptides, or for a toy a few waters, shaken with a fixed seed."""
    if toy:
        water = toy_geometries().conformers[0]
        shakes = np.random.default_rng(SEED).normal(0.0, _TOY_SHAKE, (_TOY_COUNT, 3, 3))
        return [Conformer(0, k, "", "O", water.numbers, water.positions + shake) for k, shake in enumerate(shakes)]
    with np.load(SHIPPED) as archive:
        numbers, positions = archive["numbers"], archive["positions"].astype(np.float64)
    return [Conformer(0, k, "", SMILES, numbers, xyz) for k, xyz in enumerate(positions)]


def write(chosen: Sequence[Conformer], path: Path) -> None:
    """An ``.xyz`` file as of ``scripts/thermal_geometries``, read back to the last bit of what float32 holds."""
    path.write_text("".join(frame(one, "shipped=yes") for one in chosen), encoding="utf-8")


#: meV above the converged energy, the published figure
TARGET: Final = 3.75
#: geometries that are prepared for the rate, beside the first, which compiles
PREPARED: Final = 32
#: seconds between the end of a piece and that of the measurement
_MARGIN: Final = 5.0
#: GB: all 500 geometries (21 MB each where orbitals are evaluated in blocks, more on an accelerator), so that none is
#: made twice
_ALL: Final = 24.0
_TOY: Final[dict[str, Any]] = {
    "model": "blocks-tiny", "steps": 6, "batch_size": 2, "monitor": 1, "log_every": 1, "validate_every": 3,
}  # fmt: skip


def settings_of(toy: bool, folder: Path) -> EnergySettings:
    """Those of ``scripts/alanine_dipeptide``, with its geometries written beside the training."""
    folder.mkdir(parents=True, exist_ok=True)
    molecules = folder / "geometries.xyz"
    write(conformers(toy), molecules)
    half = min((size for size in (machine.memory(), machine.memory_limit()) if size), default=0) / 2e9
    made = EnergySettings([str(molecules)], folder / "run", steps=6000)
    made = replace(made, memory=max(min(_ALL, half), made.memory))
    return replace(made, **_TOY) if toy else made


def measure_energy(task: Task) -> None:
    """Entries ``preparing`` and ``training``. A toy's training is stopped once before it has begun, and goes on."""
    chosen = conformers(task.toy)
    settings = settings_of(task.toy, task.keep or task.scratch / "energy")
    task.entry("preparing", partial(prepare, chosen[: 3 if task.toy else 1 + PREPARED], settings))
    if task.toy:
        task.entry("stopped", partial(train, replace(settings, time_limit=1e-3)))
    limit = max(task.left() - _MARGIN, 1.0)
    task.entry("training", lambda: train(replace(settings, time_limit=limit)))


def prepare(chosen: list[Conformer], settings: EnergySettings) -> Entry:
    """Geometries a second (integrals, grid, first Fock matrix, description), one after another as a training makes
    them; ``compile_seconds`` is what the first took longer."""
    level = level_of(Settings(settings.xc, settings.basis, settings.grid_level))
    elements = sorted({int(z) for one in chosen for z in one.numbers})
    systems = [System(one.numbers.astype(np.int64), one.positions) for one in chosen]
    store = GeometryStore(systems, level, network_of(settings.model, level.basis_set, elements, False), 0.0)
    took = []
    for index in range(len(store)):
        begin = perf_counter()
        if store.get(index) is None:
            raise RuntimeError(f"geometry {index}: {store.failed[index]}")
        took.append(perf_counter() - begin)
    each = sum(took[1:]) / len(took[1:])
    return {"geometries_per_second": 1.0 / each, "geometries": len(took) - 1, "compile_seconds": took[0] - each}


def train(settings: EnergySettings) -> Entry:
    """One piece of the training, or all that is left of it; what is known then, see ``report``."""
    known: dict[str, Any] = {}
    result, why = None, ""
    try:
        # the fields alone are used: claim_folder
        result = run(cast(Any, settings), quiet=True, claim_folder=False, told=known.update)
    except Interrupted as error:
        why = str(error)
    return {
        **report(settings, read_journal(settings.out / METRICS), {**known, **(result or {})}),
        "stopped": why,
    }


def report(settings: EnergySettings, lines: list[dict[str, Any]], known: dict[str, Any]) -> Entry:
    """From the journal of a training and what else is known of it (``train.run``), None where it has not come so far:

    - ``seconds_per_step``: the median; ``compile_seconds``: what the steps before the first line took longer;
    - ``excess_meV`` by rebuilds above the converged energy, mean over the watched geometries, at the last validation
      (of the best weights, where the training is finished), and the same ``without_correction`` (W = 0);
    - ``reached``: seconds of training, all pieces, until the excess without rebuilds was under ``TARGET``, or that it
      was not. ``seconds_preparing`` (this piece) are not in it.
    """
    timed = [line for line in lines if "loss" in line]
    checked = [line for line in lines if "validation" in line]
    steps = _step_seconds(lines)
    each = median(steps) if steps else None
    first = timed[0] if timed else None
    last = {name.replace("excess", "refine_0").replace("refine_0_refined", "refine"): value
            for name, value in (checked[-1]["validation"] if checked else {}).items()}  # fmt: skip
    under = next((line["seconds"] for line in checked if line["validation"]["excess"] < TARGET), None)
    shown = f", last {last['refine_0']:.4g} meV" if last else ""
    return {
        "model": settings.model,
        "batch_size": settings.batch_size,
        "step": max((line["step"] for line in lines), default=0),
        "steps": settings.steps,
        "finished": "excess_meV" in known,
        "training_seconds": lines[-1]["seconds"] if lines else 0.0,
        "seconds_per_step": each,
        "compile_seconds": first["seconds"] - first["step"] * each if first and each is not None else None,
        "geometries": known.get("geometries"),
        "monitored": known.get("monitored"),
        "seconds_preparing": known.get("seconds_preparing"),
        "excess_meV": known.get("excess_meV", last or None),
        "excess_meV_without_correction": known.get("excess_meV_without_correction"),
        "target_meV": TARGET,
        "reached": f"{under:.0f} s of training" if under is not None else f"not reached{shown}",
        "reached_seconds": under,
    }


def _step_seconds(lines: list[dict[str, Any]]) -> list[float]:
    """Seconds a step between two lines with losses that follow one another, with no validation between."""
    found = []
    for before, after in pairwise(lines):
        if "loss" in before and "loss" in after:
            found.append((after["seconds"] - before["seconds"]) / (after["step"] - before["step"]))
    return found
