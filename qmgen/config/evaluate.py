"""Settings of ``qmgen evaluate``."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from qmgen.config.models import CommandConfig, Count, Files, Folder, Place, Seed
from qmgen.errors import UsageError


class EvaluateConfig(CommandConfig):
    """``qmgen evaluate RUN``: a trained network on a corpus (``data``) or on files (``molecules``), one of the two; a
    language model on texts (``molecules``), by default those its training held out, and on ``samples`` drawn ones."""

    path_fields: ClassVar[frozenset[str]] = frozenset({"run", "data", "molecules", "out", "figure"})

    run: Folder
    data: Place | None = None
    split: Literal["validation", "test", "train", "all"] | None = None
    molecules: Files = Field(default_factory=list)
    other_level: bool = False
    out: str | None = None
    figure: Folder | None = None
    limit: Count | None = None
    batch_size: Count | None = None
    seed: Seed = 0
    samples: int = Field(default=1000, ge=0)

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
