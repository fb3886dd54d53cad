"""Settings of ``qmgen train lm``, ``qmgen quantize`` and ``qmgen sample``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from qmgen.config.models import CommandConfig, Count, Files, Folder, Positive, Seed
from qmgen.config.train import rows_of, text_of

Precision = Literal["f32", "bf16", "f16", "fp8-amax", "fp8-cscale", "fp8-delayed", "fp8-block"]


class TrainLmConfig(CommandConfig):
    """``qmgen train lm``: a language model over SMILES.

    ``None`` is "by preset", by data, or by device. Times in seconds, memory in GB; ``tokens`` is the length (``3M``),
    unless ``steps`` says it; ``batch_size`` are rows of ``context`` tokens, of several molecules each.
    ``skip_unreadable`` leaves out lines that cannot be tokenised, or have tokens that the model of ``init`` lacks.
    """

    path_fields: ClassVar[frozenset[str]] = frozenset({"data", "out", "init"})
    of_process: ClassVar[frozenset[str]] = frozenset({"overwrite", "time_limit", "plan"})
    replaces: ClassVar[Mapping[str, frozenset[str]]] = {"steps": frozenset({"tokens"}), "tokens": frozenset({"steps"})}
    #: settings that change no number of the training, but for the order of sums over devices
    outside_training: ClassVar[frozenset[str]] = frozenset(
        # what is left out shows in the digest of the texts
        {"data", "out", "checkpoint_every", "overwrite", "time_limit", "plan", "skip_unreadable"}
        | {"data_parallel", "tensor_parallel", "fully_sharded", "device_memory"}
    )

    data: Files | None = None
    skip_unreadable: bool = False
    limit: Count | None = None
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.03
    arch: Literal["gpt", "llama"] | None = None
    preset: str = "tiny"
    precision: Precision = "f32"
    scale_bias: Annotated[int, Field(ge=-31, le=31)] = 0
    margin: Annotated[int, Field(ge=0, le=31)] = 3
    history: Count = 16
    formats: Literal["ocp", "ipu"] = "ocp"
    loss_scale: Positive | None = None
    activations: Literal["float32", "bfloat16", "float16"] | None = None
    context: Count | None = None
    init: Folder | None = None
    tokens: Annotated[str, BeforeValidator(text_of)] = "3M"
    steps: Count | None = None
    batch_size: Count = 32
    learning_rate: Positive | None = None
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: int | None = Field(default=None, ge=0)
    weight_decay: float = Field(default=0.1, ge=0, allow_inf_nan=False)
    clip: Positive = 1.0
    validate_every: Count | None = None
    validation_limit: Count = 10000
    patience: Count | None = None
    log_every: Count = 50
    watch_every: Count = 50
    remat: bool = False
    seed: Seed = 0
    data_parallel: Count | None = None
    tensor_parallel: Count = 1
    fully_sharded: bool = False
    device_memory: Positive | None = None
    checkpoint_every: Positive = 60.0
    plan: bool = False
    out: Folder | None = None
    overwrite: bool = False
    time_limit: Positive | None = None

    @field_validator("tokens")
    @classmethod
    def _tokens_are_a_number(cls, value: str) -> str:
        found = rows_of(value)
        if found is None or len(found) != 1:
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


class QuantizeConfig(CommandConfig):
    """``qmgen quantize RUN``: weights cast once to FP8, into the folder ``out``."""

    path_fields: ClassVar[frozenset[str]] = frozenset({"run", "out"})

    run: Folder
    recipe: Literal["amax", "cscale"] = "amax"
    scale_bias: Annotated[int, Field(ge=-31, le=31)] = 0
    formats: Literal["ocp", "ipu"] = "ocp"
    out: Folder | None = None
    overwrite: bool = False


class SampleConfig(CommandConfig):
    """``qmgen sample RUN``: ``number`` molecules drawn; those that are valid, each once, written to ``out``.

    With ``novel`` only those that are not in ``data``, the files of the training; ``rules`` is a rule set of the
    enumerator that they must pass.
    """

    path_fields: ClassVar[frozenset[str]] = frozenset({"run", "data", "out"})

    run: Folder
    number: Count = 1000
    temperature: Positive = 1.0
    top_k: Count | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    seed: Seed = 0
    batch_size: Count = 256
    data: Files = Field(default_factory=list)
    rules: str = "none"
    novel: bool = False
    keep_all: bool = False
    out: str = "-"
