"""What the measurement ``energy`` trains on, and its settings: nothing here needs RDKit or pydantic.

``alanine.npz`` is the set of ``scripts/alanine_dipeptide``, whose command ``scripts/thermal_geometries SMILES --count
COUNT --seed SEED`` makes it with RDKit: ``numbers`` (22,) uint8, ``positions`` (500, 22, 3) float32 in Bohr. A corpus
stores no more than float32, so that the two are the same to the last bit (same digest). Change both or neither;
``scripts/make_device_alanine`` makes the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from qmgen.benchmark.device.geometries import toy as toy_geometries
from qmgen.molecules.thermal_file import frame
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
    of_command: ClassVar[frozenset[str]] = frozenset()
    _outside: ClassVar[frozenset[str]] = frozenset(
        {"molecules", "data", "out", "memory", "checkpoint_every", "overwrite", "time_limit"}
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
