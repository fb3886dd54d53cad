"""Settings of ``qmgen train energy`` and ``qmgen train labels``: which geometries, which network, how long."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from qmgen.config.models import Count, Files, Folder, LevelConfig, Place, Positive, Seed


class TrainHamiltonianConfig(LevelConfig):
    """A network that predicts the Hamiltonian of a geometry.

    Geometries are those of ``molecules`` (files; SMILES are embedded) or of the corpus ``data``; no label of theirs is
    read. ``refine`` rebuilds of the Fock matrix follow the prediction. ``monitor`` of the geometries held out have
    converged references. Memory in GB, times in seconds, ``validate_every`` in steps.
    """

    path_fields: ClassVar[frozenset[str]] = frozenset({"molecules", "data", "out", "init"})
    of_process: ClassVar[frozenset[str]] = frozenset({"overwrite", "time_limit"})
    #: settings without which a config.toml is of another command
    of_command: ClassVar[frozenset[str]] = frozenset()
    #: settings that change no number of the training
    outside_training: ClassVar[frozenset[str]] = frozenset(
        {"molecules", "data", "out", "memory", "checkpoint_every", "overwrite", "time_limit"}
    )

    molecules: Files | None = None
    data: Place | None = None
    limit: Count | None = None
    conformers: Count = 1
    held_out: Literal["auto", "molecules", "geometries"] = "auto"
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    monitor: Count = 32
    grid_level: Annotated[int, Field(ge=0, le=5)] = 0
    model: str = "blocks-small"
    published_form: bool = False
    refine: Annotated[int, Field(ge=0, le=3)] = 0
    init: Folder | None = None
    steps: Count = 4000
    batch_size: Count = 8
    learning_rate: Positive | None = None
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: int | None = Field(default=None, ge=0)
    weight_decay: float = Field(default=1e-4, ge=0, allow_inf_nan=False)
    clip: Positive = 1.0
    precision: Literal["float32", "fp8-amax"] = "float32"
    validate_every: Count | None = None
    patience: Count | None = None
    log_every: Count = 20
    seed: Seed = 0
    memory: Positive = 4.0
    checkpoint_every: Positive = 60.0
    out: Folder
    overwrite: bool = False
    time_limit: Positive | None = None

    @model_validator(mode="after")
    def _one_source(self) -> TrainHamiltonianConfig:
        if (self.molecules is None) == (self.data is None):
            raise ValueError("geometries come from --molecules or from --data: give one of them")
        return self

    def training_fields(self) -> dict[str, Any]:
        """The settings that change the numbers of a training, as plain values."""
        fields = {
            name: value for name, value in self.model_dump(mode="json").items() if name not in self.outside_training
        }
        if fields["precision"] == "float32":  # it came later: trainings from before are still recognised
            del fields["precision"]
        return fields


class TrainEnergyConfig(TrainHamiltonianConfig):
    """``qmgen train energy``: the loss is the total energy of the density that follows from the prediction.

    ``augment`` further geometries are those of the training set, moved along the forces of the network ``init`` by
    ``augment_steps`` of Langevin dynamics at ``temperature`` (K).
    """

    augment: int = Field(default=0, ge=0)
    augment_steps: Count = 5
    temperature: Annotated[float, Field(gt=0, le=5000)] = 400.0

    @model_validator(mode="after")
    def _moved_by_a_network(self) -> TrainEnergyConfig:
        if self.augment and self.init is None:
            raise ValueError("--augment moves geometries along the forces of a trained network: name it with --init")
        return self


class TrainLabelsConfig(TrainHamiltonianConfig):
    """``qmgen train labels``: the loss is the error of the Hamiltonian, and of the energy where ``energy_weight`` is
    not 0, against self-consistent fields, which are made first."""

    of_command: ClassVar[frozenset[str]] = frozenset({"loss"})

    loss: Literal["l1", "mse"] = "l1"
    energy_weight: float = Field(default=0.0, ge=0, allow_inf_nan=False)
