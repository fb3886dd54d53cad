"""Settings of the commands that use trained networks: ``evaluate``, ``quantize``, ``sample``."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from qmgen.config.base import (
    MOLECULE_FILES,
    CommandConfig,
    Count,
    Files,
    Folder,
    NotNegative,
    Place,
    Positive,
    Seed,
    Setting,
)  # fmt: skip
from qmgen.config.train import Bias, Formats
from qmgen.errors import UsageError


class QuantizeConfig(CommandConfig):
    """``qmgen quantize RUN``: weights cast once to FP8, into the folder ``out``."""

    path_fields: ClassVar[frozenset[str]] = frozenset({"run", "out"})

    run: Annotated[Folder, Setting("Directory of `qmgen train lm`.", metavar="RUN", argument=True)]
    recipe: Annotated[
        Literal["amax", "cscale"],
        Setting("Scale of each tensor: from its largest element (amax), or one constant (cscale)."),
    ] = "amax"
    scale_bias: Annotated[
        Bias, Setting("Exponent of the constant scale 2^N of all tensors, for cscale.", metavar="N")
    ] = 0
    formats: Formats = "ocp"
    out: Annotated[Folder | None, Setting("Directory to write.", unset="RUN-fp8-RECIPE", metavar="DIR")] = None
    overwrite: Annotated[bool, Setting("Replace the output directory if it exists.")] = False


class SampleConfig(CommandConfig):
    """``qmgen sample RUN``: ``number`` molecules drawn; those that are valid, each once, written to ``out``.

    With ``novel`` only those that are not in ``data``, the files of the training; ``rules`` is a rule set of the
    enumerator that they must pass.
    """

    path_fields: ClassVar[frozenset[str]] = frozenset({"run", "data", "out"})

    run: Annotated[Folder, Setting("Directory of `qmgen train lm` or `qmgen quantize`.", metavar="RUN", argument=True)]
    number: Annotated[Count, Setting("Number of molecules to draw.", flags=("--number", "-n"))] = 1000
    temperature: Annotated[Positive, Setting("Sampling temperature: below 1, likely tokens become more likely.")] = 1.0
    top_k: Annotated[Count | None, Setting("Draw only from the K most likely tokens.", unset="all", metavar="K")] = None
    top_p: Annotated[
        float,
        Field(gt=0, le=1),
        Setting("Draw only from the most likely tokens whose probabilities add up to this."),
    ] = 0.95
    seed: Annotated[Seed, Setting("Random seed.")] = 0
    batch_size: Annotated[Count, Setting("Number of molecules that are drawn at the same time.")] = 256
    data: Annotated[
        Files,
        Setting("SMILES file of the training, to count new molecules.", unset="as recorded in the run", metavar="FILE"),
    ] = Field(default_factory=list)
    rules: Annotated[str, Setting("Keep only molecules that this rule set accepts: none, gdb11, or a TOML file.")] = (
        "none"
    )
    novel: Annotated[bool, Setting("Leave out molecules that occur in the training data.")] = False
    keep_all: Annotated[
        bool, Setting("Write every drawn text as it is, one per line; an empty line is a text without an end.")
    ] = False
    out: Annotated[str, Setting("SMILES file to write, or - for standard output.", metavar="FILE")] = "-"


class EvaluateConfig(CommandConfig):
    """``qmgen evaluate RUN``: a trained network on a corpus (``data``) or on files (``molecules``), one of the two; a
    language model on texts (``molecules``), by default those its training held out, and on ``samples`` drawn ones."""

    path_fields: ClassVar[frozenset[str]] = frozenset({"run", "data", "molecules", "out", "figure"})

    run: Annotated[
        Folder, Setting("Directory of a `qmgen train` command, or a model.safetensors.", metavar="RUN", argument=True)
    ]
    data: Annotated[
        Place | None,
        Setting("Corpus with which the predictions are compared, or s3://bucket/prefix.", metavar="DIR"),
    ] = None
    split: Annotated[
        Literal["validation", "test", "train", "all"] | None,
        Setting("Split to evaluate.", unset="test; if it is empty, and for language models, validation"),
    ] = None
    molecules: Annotated[Files, Setting(f"File with molecules to predict: {MOLECULE_FILES}.", metavar="FILE")] = Field(
        default_factory=list
    )
    other_level: Annotated[bool, Setting("Accept labels of another level of theory than that of the training.")] = False
    out: Annotated[
        str | None,
        Setting("File for the predictions: .csv .parquet .json .xyz, or - for CSV on standard output.", metavar="FILE"),
    ] = None
    figure: Annotated[
        Folder | None,
        Setting(
            "File for the figure: predictions against labels, or excess energies of a Hamiltonian network.",
            metavar="FILE",
        ),
    ] = None
    limit: Annotated[
        Count | None,
        Setting("Evaluate only the first N rows (language models: N texts, evenly spaced).", unset="all", metavar="N"),
    ] = None
    batch_size: Annotated[Count | None, Setting("Number of molecules in a batch.", unset="64; texts 256")] = None
    seed: Annotated[Seed, Setting("Random seed of embedded geometries, or of drawn texts.")] = 0
    samples: Annotated[NotNegative, Setting("Number of texts to draw from a language model.")] = 1000

    @model_validator(mode="after")
    def _one_source(self) -> EvaluateConfig:
        if self.data is not None and self.molecules:
            raise ValueError("give either --data DIR, a corpus, or --molecules FILE")
        return self

    def of_molecules(self) -> None:
        """What networks that predict need, and language models do not. Raises ``UsageError``."""
        if self.data is None and not self.molecules:
            raise UsageError("give either --data DIR, a corpus, or --molecules FILE")
        only = [name for name in ("split", "other_level") if self.molecules and getattr(self, name)]
        if only:
            flag = only[0].replace("_", "-")
            raise UsageError(f"--{flag} needs labels to compare with: give --data DIR instead of --molecules")
