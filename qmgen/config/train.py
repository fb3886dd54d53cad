"""Settings of the commands that train networks: ``qmgen train schnet``, ``energy``, ``labels`` and ``lm``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction as ExactFraction
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field, field_validator, model_validator

from qmgen.config.base import (
    GRID_HELP,
    MOLECULE_FILES,
    CheckpointEvery,
    CommandConfig,
    Count,
    Files,
    Folder,
    GridLevel,
    NotNegative,
    Numbers,
    Place,
    Positive,
    Seed,
    Setting,
    TimeLimit,
    Words,
)  # fmt: skip
from qmgen.config.generate import LevelConfig
from qmgen.defaults import LARGEST_SEED

#: which there are is for ``qmgen.learning`` to say
DEFAULT_PRESET: Final = "small"

_ROWS = re.compile(r"(\d+(?:\.\d+)?)([kKmMgG]?)", re.ASCII)
_FACTORS: Final = {"": 1, "k": 1000, "m": 10**6, "g": 10**9}

#: between 0 and 1, neither of them
Share = Annotated[float, Field(gt=0, lt=1)]
Bias = Annotated[int, Field(ge=-31, le=31)]
Decay = Annotated[float, Field(ge=0, allow_inf_nan=False)]

Precision = Literal["f32", "bf16", "f16", "fp8-amax", "fp8-cscale", "fp8-delayed", "fp8-block"]

# --- settings that several kinds of training have --------------------------------------------------------------------

Clip = Annotated[Positive, Setting("Largest norm of the gradient; a longer gradient is scaled down to it.")]
WeightDecay = Annotated[Decay, Setting("Weight decay of AdamW.")]
Patience = Annotated[Count | None, Setting("Stop after this many validations without improvement.", unset="never")]
LogEvery = Annotated[Count, Setting("Number of steps between two lines of metrics.jsonl.")]
Out = Annotated[Folder, Setting("Directory of the training.", metavar="RUN")]
Overwrite = Annotated[bool, Setting("Delete the training in the output directory and start again.")]
Formats = Annotated[
    Literal["ocp", "ipu"],
    Setting("FP8 formats: ocp (largest E4M3 number 448) or ipu (240)."),
]


def rows_of(text: str) -> tuple[int, ...] | None:
    """``1k,10k,2.5M`` as numbers, rising, each once; None for ``all``. Raises ``ValueError`` for anything else."""
    if text.strip().lower() == "all":
        return None
    numbers = set()
    for word in text.split(","):
        match = _ROWS.fullmatch(word.strip())
        number = (
            ExactFraction(match[1]) * _FACTORS[match[2].lower()] if match else ExactFraction(0)
        )  # exact, as 16.1k is not
        if match is None or number < 1 or number != int(number):
            raise ValueError(f"{word.strip()!r} is no number of rows: give 1000, 10k, 1M, several with commas, or all")
        numbers.add(int(number))
    return tuple(sorted(numbers))


class TrainSchnetConfig(CommandConfig):
    """``qmgen train schnet``: one training for each number of rows and each seed, in ``out``.

    ``None`` is "by preset", as ``qmgen.learning.schnet.train`` says. Times in seconds; ``validate_every`` in steps.
    ``validation_fraction`` of the training molecules are held out for validation, beside the corpus's own. With
    ``init``, ``scratch`` trains each from scratch too, so that the gain is known. ``target_error``,
    in the shown unit of the first target, is what the report estimates rows for: by default 43 meV, 1 kcal/mol.
    """

    file_parameter: ClassVar[str | None] = "config"
    path_fields: ClassVar[frozenset[str]] = frozenset({"data", "out", "init"})
    of_process: ClassVar[frozenset[str]] = frozenset({"overwrite", "time_limit"})
    replaces: ClassVar[Mapping[str, frozenset[str]]] = {
        "steps": frozenset({"epochs"}),
        "epochs": frozenset({"steps"}),
    }
    #: settings that say which trainings there are or where, and change no number of any of them: a folder of
    #: trainings may get more rows and more seeds
    outside_training: ClassVar[frozenset[str]] = frozenset(
        {
            "data",
            "out",
            "rows",
            "seeds",
            "seed",
            "scratch",
            "target_error",
            "checkpoint_every",
            "overwrite",
            "time_limit",
        }
    )

    data: Annotated[Place, Setting("Directory of the corpus, or s3://bucket/prefix.", metavar="DIR")]
    target: Annotated[
        Words,
        Setting(
            "Property to learn: y (or gap), homo, lumo, energy, dipole, forces; several are separated by commas.",
            metavar="NAMES",
        ),
    ] = Field(default=["y"])
    preset: Annotated[
        Annotated[str, Field(min_length=1)] | None,
        Setting(
            "Size of the network: tiny, small or schnet-9m.", unset=f"as --init, else {DEFAULT_PRESET}", metavar="NAME"
        ),
    ] = None
    rows: Annotated[
        Numbers,
        Setting("Number of training rows, or several such as 1k,10k,1M: one training for each.", metavar="LIST"),
    ] = "all"
    seeds: Annotated[Count, Setting("Number of trainings, with different seeds, for each number of rows.")] = 1
    seed: Annotated[Seed, Setting("Random seed of the first training; the others follow.")] = 0
    init: Annotated[
        Folder | None,
        Setting(
            "Start from this trained network: a directory of `qmgen train schnet`, or a model.safetensors.",
            metavar="RUN",
        ),
    ] = None
    scratch: Annotated[bool, Setting("With --init, also train from scratch, for comparison.")] = True
    target_error: Annotated[
        Positive | None,
        Setting(
            "Mean absolute error of the first target for which the report estimates the number of rows, in the unit "
            "of the report.",
            unset="43 meV",
        ),
    ] = None
    steps: Annotated[Count | None, Setting("Number of training steps (batches).", unset="by rows and preset")] = None
    epochs: Annotated[Count | None, Setting("Number of passes over the rows, instead of --steps.")] = None
    batch_size: Annotated[Count | None, Setting("Number of molecules in a batch.", unset="by preset")] = None
    learning_rate: Annotated[
        Positive | None, Setting("Highest learning rate; halved with --init.", unset="by preset")
    ] = None
    schedule: Annotated[
        Literal["cosine", "qm1b", "constant"], Setting("Learning rate over time, after the warm-up.")
    ] = "cosine"
    warmup: Annotated[
        NotNegative | None, Setting("Number of steps over which the learning rate rises.", unset="by preset")
    ] = None
    weight_decay: WeightDecay = 0.01
    clip: Clip = 1.0
    loss: Annotated[Literal["l1", "mse"], Setting("Loss: absolute error or squared error.")] = "l1"
    validate_every: Annotated[
        Count | None, Setting("Number of steps between two validations.", unset="1/40 of the steps")
    ] = None
    validation_rows: Annotated[Count, Setting("Largest number of rows in a validation.")] = 10000
    validation_fraction: Annotated[
        Share | None,
        Setting(
            "Fraction of the training molecules that is held out for validation, beside the validation split.",
            unset="none",
        ),
    ] = None
    patience: Patience = None
    log_every: LogEvery = 50
    precision: Annotated[
        Literal["float32", "float64", "fp8-amax"], Setting("Floating-point precision of the network.")
    ] = "float32"
    checkpoint_every: CheckpointEvery = 60.0
    out: Out
    overwrite: Overwrite = False
    time_limit: TimeLimit = None

    @field_validator("rows")
    @classmethod
    def _rows_are_numbers(cls, value: str) -> str:
        rows_of(value)
        return value

    @model_validator(mode="after")
    def _one_length(self) -> TrainSchnetConfig:
        if self.steps is not None and self.epochs is not None:
            raise ValueError("the length is given by --steps or by --epochs, not by both")
        if self.seed + self.seeds - 1 > LARGEST_SEED:
            raise ValueError(f"seed + seeds must stay below {LARGEST_SEED + 2}")
        return self

    def training_fields(self) -> dict[str, Any]:
        """The settings that change the numbers of a training, as plain values."""
        fields = {
            name: value for name, value in self.model_dump(mode="json").items() if name not in self.outside_training
        }
        if fields["validation_fraction"] is None:  # it came later: trainings from before are still recognized
            del fields["validation_fraction"]
        return fields


class TrainHamiltonianConfig(LevelConfig):
    """A network that predicts the Hamiltonian of a geometry.

    Geometries are those of ``molecules`` (files; SMILES are embedded) or of the corpus ``data``; no label of theirs is
    read. ``refine`` rebuilds of the Fock matrix follow the prediction. ``monitor`` of the geometries held out have
    converged references. Memory in GB, times in seconds, ``validate_every`` in steps.
    """

    file_parameter: ClassVar[str | None] = "config"
    listed_first: ClassVar[tuple[str, ...]] = ("molecules", "data", "limit", "conformers")
    path_fields: ClassVar[frozenset[str]] = frozenset({"molecules", "data", "out", "init"})
    of_process: ClassVar[frozenset[str]] = frozenset({"overwrite", "time_limit"})
    #: settings without which a config.toml is of another command
    of_command: ClassVar[frozenset[str]] = frozenset()
    #: settings that change no number of the training, among them those that leave no choice for networks
    outside_training: ClassVar[frozenset[str]] = frozenset(
        {"molecules", "data", "out", "memory", "checkpoint_every", "overwrite", "time_limit"}
        | {"jk", "auxbasis", "cartesian"}
    )

    molecules: Annotated[Files | None, Setting(f"File with molecules: {MOLECULE_FILES}.", metavar="FILE")] = None
    data: Annotated[
        Place | None,
        Setting("Corpus whose geometries are used, instead of --molecules; its labels are not read.", metavar="DIR"),
    ] = None
    limit: Annotated[Count | None, Setting("Use only the first N molecules or rows.", unset="all", metavar="N")] = None
    conformers: Annotated[Count, Setting("Number of conformers of each SMILES.")] = 1
    held_out: Annotated[
        Literal["auto", "molecules", "geometries"],
        Setting(
            "What is held out for validation: whole molecules, or single geometries; auto: molecules if there are at "
            "least ten."
        ),
    ] = "auto"
    validation_fraction: Annotated[Share, Setting("Fraction that is held out for validation.")] = 0.1
    monitor: Annotated[Count, Setting("Number of held-out geometries that are compared with a converged SCF.")] = 32
    grid_level: Annotated[GridLevel, Setting(GRID_HELP)] = 0
    model: Annotated[
        str,
        Setting(
            "Network: blocks-tiny, blocks-small, blocks-base, or qpt-tiny, -small, -base, -medium, -large.",
            metavar="NAME",
        ),
    ] = "blocks-small"
    published_form: Annotated[
        bool, Setting("Use the qpt network exactly as published, without the corrections made here.")
    ] = False
    refine: Annotated[
        Annotated[int, Field(ge=0, le=3)], Setting("Number of damped Fock rebuilds after the prediction.")
    ] = 0
    init: Annotated[
        Folder | None,
        Setting(
            "Start from this trained network: a directory of `qmgen train energy` or `qmgen train labels`.",
            metavar="RUN",
        ),
    ] = None
    steps: Annotated[Count, Setting("Number of training steps (batches).")] = 4000
    batch_size: Annotated[Count, Setting("Number of molecules in a batch.")] = 8
    learning_rate: Annotated[
        Positive | None, Setting("Highest learning rate; halved with --init.", unset="by model")
    ] = None
    schedule: Annotated[Literal["cosine", "constant"], Setting("Learning rate over time, after the warm-up.")] = (
        "cosine"
    )
    warmup: Annotated[
        NotNegative | None,
        Setting("Number of steps over which the learning rate rises.", unset="a tenth of the steps, at most 100"),
    ] = None
    weight_decay: WeightDecay = 1e-4
    clip: Clip = 1.0
    precision: Annotated[Literal["float32", "fp8-amax"], Setting("Floating-point precision of the network.")] = (
        "float32"
    )
    validate_every: Annotated[
        Count | None, Setting("Number of steps between two validations.", unset="1/40 of the steps")
    ] = None
    patience: Patience = None
    log_every: LogEvery = 20
    seed: Annotated[Seed, Setting("Random seed of the weights, the order, the held-out part and the conformers.")] = 0
    memory: Annotated[Positive, Setting("Memory for prepared geometries that are kept.", metavar="GB")] = 4.0
    checkpoint_every: CheckpointEvery = 60.0
    out: Out
    overwrite: Overwrite = False
    time_limit: TimeLimit = None

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
        if fields["precision"] == "float32":  # it came later: trainings from before are still recognized
            del fields["precision"]
        return fields


class TrainEnergyConfig(TrainHamiltonianConfig):
    """``qmgen train energy``: the loss is the total energy of the density that follows from the prediction.

    ``augment`` further geometries are those of the training set, moved along the forces of the network ``init`` by
    ``augment_steps`` of Langevin dynamics at ``temperature`` (K).
    """

    augment: Annotated[
        NotNegative,
        Setting("Number of further geometries, made by Langevin dynamics with the forces of the network --init."),
    ] = 0
    augment_steps: Annotated[Count, Setting("Number of Langevin steps for each further geometry.")] = 5
    temperature: Annotated[
        float, Field(gt=0, le=5000), Setting("Temperature of the Langevin dynamics.", metavar="K")
    ] = 400.0

    @model_validator(mode="after")
    def _moved_by_a_network(self) -> TrainEnergyConfig:
        if self.augment and self.init is None:
            raise ValueError("--augment moves geometries along the forces of a trained network: name it with --init")
        return self


class TrainLabelsConfig(TrainHamiltonianConfig):
    """``qmgen train labels``: the loss is the error of the Hamiltonian, and of the energy where ``energy_weight`` is
    not 0, against self-consistent fields, which are made first."""

    of_command: ClassVar[frozenset[str]] = frozenset({"loss"})

    loss: Annotated[Literal["l1", "mse"], Setting("Loss of the Hamiltonian: absolute error or squared error.")] = "l1"
    energy_weight: Annotated[Decay, Setting("Weight of the energy error in the loss.")] = 0.0


class TrainLmConfig(CommandConfig):
    """``qmgen train lm``: a language model over SMILES.

    ``None`` is "by preset", by data, or by device. Times in seconds, memory in GB; ``tokens`` is the length (``3M``),
    unless ``steps`` says it; ``batch_size`` are rows of ``context`` tokens, of several molecules each.
    ``skip_unreadable`` leaves out lines that cannot be tokenized, or have tokens that the model of ``init`` lacks.
    """

    file_parameter: ClassVar[str | None] = "config"
    path_fields: ClassVar[frozenset[str]] = frozenset({"data", "out", "init"})
    of_process: ClassVar[frozenset[str]] = frozenset({"overwrite", "time_limit", "plan"})
    replaces: ClassVar[Mapping[str, frozenset[str]]] = {"steps": frozenset({"tokens"}), "tokens": frozenset({"steps"})}
    #: settings that change no number of the training, but for the order of sums over devices
    outside_training: ClassVar[frozenset[str]] = frozenset(
        # what is left out shows in the digest of the texts
        {"data", "out", "checkpoint_every", "overwrite", "time_limit", "plan", "skip_unreadable"}
        | {"data_parallel", "tensor_parallel", "fully_sharded", "device_memory"}
    )

    data: Annotated[Files | None, Setting("File with one SMILES on each line.", metavar="FILE")] = None
    skip_unreadable: Annotated[bool, Setting("Leave out lines that cannot be tokenized, and report their number.")] = (
        False
    )
    limit: Annotated[Count | None, Setting("Train on a random sample of N molecules.", unset="all", metavar="N")] = None
    validation_fraction: Annotated[Share, Setting("Fraction of the molecules that is held out for validation.")] = 0.03
    arch: Annotated[
        Literal["gpt", "llama"] | None, Setting("Architecture of the presets mini and tiny.", unset="gpt")
    ] = None
    preset: Annotated[
        str,
        Setting(
            "Size of the model: mini, tiny; gpt-111m, gpt-590m, gpt-1.3b, gpt-6.7b, gpt-13b; llama2-7b, llama2-13b, "
            "llama2-70b.",
            metavar="NAME",
        ),
    ] = "tiny"
    precision: Annotated[Precision, Setting("Floating-point precision of the linear layers.")] = "f32"
    scale_bias: Annotated[
        Bias, Setting("Exponent of the constant scale 2^N of all tensors, for fp8-cscale.", metavar="N")
    ] = 0
    margin: Annotated[
        Annotated[int, Field(ge=0, le=31)],
        Setting("Binary orders of magnitude that the scale of FP8 gradients leaves free at the top."),
    ] = 3
    history: Annotated[Count, Setting("Number of past steps from which fp8-delayed takes its scales.")] = 16
    formats: Formats = "ocp"
    loss_scale: Annotated[
        Positive | None,
        Setting(
            "Factor on the loss that keeps gradients in range; they are divided by it afterwards.",
            unset="32768 for f16 and fp8-cscale, else 1",
        ),
    ] = None
    activations: Annotated[
        Literal["float32", "bfloat16", "float16"] | None,
        Setting("Floating-point format between the linear layers.", unset="by --precision; with FP8 on a CPU float32"),
    ] = None
    context: Annotated[Count | None, Setting("Number of tokens in a row.", unset="by the longest molecule")] = None
    init: Annotated[
        Folder | None, Setting("Start from this trained model: a directory of `qmgen train lm`.", metavar="RUN")
    ] = None
    tokens: Annotated[Numbers, Setting("Length of the training in tokens, such as 300k or 3M.", metavar="NUMBER")] = (
        "3M"
    )
    steps: Annotated[Count | None, Setting("Length of the training in steps, instead of --tokens.")] = None
    batch_size: Annotated[Count, Setting("Number of rows in a step; a row holds several molecules.")] = 32
    learning_rate: Annotated[Positive | None, Setting("Highest learning rate.", unset="by preset")] = None
    schedule: Annotated[Literal["cosine", "constant"], Setting("Learning rate over time, after the warm-up.")] = (
        "cosine"
    )
    warmup: Annotated[
        NotNegative | None,
        Setting("Number of steps over which the learning rate rises.", unset="a tenth of the steps, at most 100"),
    ] = None
    weight_decay: WeightDecay = 0.1
    clip: Clip = 1.0
    validate_every: Annotated[
        Count | None, Setting("Number of steps between two validations.", unset="1/5 of the steps")
    ] = None
    validation_limit: Annotated[Count, Setting("Largest number of molecules in a validation.")] = 10000
    patience: Patience = None
    log_every: LogEvery = 50
    watch_every: Annotated[Count, Setting("Number of steps between two records of the tensor scales (FP8).")] = 50
    remat: Annotated[
        bool, Setting("Recompute activations in the backward pass instead of storing them: less memory, more time.")
    ] = False
    seed: Annotated[Seed, Setting("Random seed of the weights, the order and the sample of --limit.")] = 0
    data_parallel: Annotated[
        Count | None, Setting("Number of devices among which the rows of a step are divided.", unset="all")
    ] = None
    tensor_parallel: Annotated[Count, Setting("Number of devices among which each layer is divided.")] = 1
    fully_sharded: Annotated[bool, Setting("Divide the weights among the --data-parallel devices too.")] = False
    device_memory: Annotated[
        Positive | None,
        Setting("Memory of a device.", unset="as the device reports; for --plan 80", metavar="GB"),
    ] = None
    checkpoint_every: CheckpointEvery = 60.0
    plan: Annotated[bool, Setting("Print parameters, memory and devices that the preset needs, and stop.")] = False
    out: Annotated[Folder | None, Setting("Directory of the training.", metavar="RUN")] = None
    overwrite: Overwrite = False
    time_limit: TimeLimit = None

    @field_validator("tokens")
    @classmethod
    def _tokens_are_a_number(cls, value: str) -> str:
        numbers = rows_of(value)
        if numbers is None or len(numbers) != 1:
            raise ValueError("tokens is one number: 100k, 3M, 1G")
        return value

    @model_validator(mode="after")
    def _something_to_do(self) -> TrainLmConfig:
        if self.plan:
            return self
        if not self.data:
            raise ValueError("no molecules: give --data FILE.smi, or --plan to see what a preset takes")
        if self.out is None:
            raise ValueError("no output directory: give --out DIR, or out = ... in the config")
        return self

    def training_fields(self) -> dict[str, Any]:
        """The settings that change the numbers of a training, as plain values."""
        return {
            name: value for name, value in self.model_dump(mode="json").items() if name not in self.outside_training
        }
