"""Settings of ``qmgen train``: which rows, which network, how long, and where to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from qmgen.config.models import LARGEST_SEED, CommandConfig, Count, Folder, Place, Positive, Seed

#: which there are is for ``qmgen.learning`` to say
DEFAULT_PRESET: Final = "small"

_ROWS = re.compile(r"(\d+(?:\.\d+)?)([kKmMgG]?)", re.ASCII)
_FACTORS: Final = {"": 1, "k": 1000, "m": 10**6, "g": 10**9}


def _words(value: Any) -> Any:
    """``y,homo`` as a list; from TOML a list as it is."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        return value
    return [word.strip() for text in texts for word in text.split(",") if word.strip()]


def text_of(value: Any) -> Any:
    """``rows = 1000`` and ``rows = ["1k", "10k"]`` of a TOML file as the text they are on the command line."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, list | tuple):
        return ",".join(str(item) for item in value)
    return value


Words = Annotated[list[str], BeforeValidator(_words), Field(min_length=1)]


def rows_of(text: str) -> tuple[int, ...] | None:
    """``1k,10k,2.5M`` as numbers, rising, each once; None for ``all``. Raises ``ValueError`` for anything else."""
    if text.strip().lower() == "all":
        return None
    found = set()
    for word in text.split(","):
        match = _ROWS.fullmatch(word.strip())
        number = Fraction(match[1]) * _FACTORS[match[2].lower()] if match else Fraction(0)  # exact, as 16.1k is not
        if match is None or number < 1 or number != int(number):
            raise ValueError(f"{word.strip()!r} is no number of rows: give 1000, 10k, 1M, several with commas, or all")
        found.add(int(number))
    return tuple(sorted(found))


class TrainSchnetConfig(CommandConfig):
    """``qmgen train schnet``: one training for each number of rows and each seed, in ``out``.

    ``None`` is "by preset", as ``qmgen.learning.schnet.recipe`` says. Times in seconds; ``validate_every`` in steps.
    ``validation_fraction`` of the training molecules are held out for validation, beside the corpus's own. With
    ``init``, ``scratch`` trains each from scratch too, so that the gain is known. ``target_error``,
    in the shown unit of the first target, is what the report estimates rows for: by default 43 meV, 1 kcal/mol.
    """

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

    data: Place
    target: Words = Field(default=["y"])
    preset: Annotated[str, Field(min_length=1)] | None = None
    rows: Annotated[str, BeforeValidator(text_of)] = "all"
    seeds: Count = 1
    seed: Seed = 0
    init: Folder | None = None
    scratch: bool = True
    target_error: Positive | None = None
    steps: Count | None = None
    epochs: Count | None = None
    batch_size: Count | None = None
    learning_rate: Positive | None = None
    schedule: Literal["cosine", "qm1b", "constant"] = "cosine"
    warmup: int | None = Field(default=None, ge=0)
    weight_decay: float = Field(default=0.01, ge=0, allow_inf_nan=False)
    clip: Positive = 1.0
    loss: Literal["l1", "mse"] = "l1"
    validate_every: Count | None = None
    validation_rows: Count = 10000
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    patience: Count | None = None
    log_every: Count = 50
    precision: Literal["float32", "float64", "fp8-amax"] = "float32"
    checkpoint_every: Positive = 60.0
    out: Folder
    overwrite: bool = False
    time_limit: Positive | None = None

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
        if fields["validation_fraction"] is None:  # it came later: trainings from before are still recognised
            del fields["validation_fraction"]
        return fields
