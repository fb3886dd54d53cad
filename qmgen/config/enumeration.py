"""The settings of ``qmgen enumerate``: which molecules, by which rules, how many of them, and where they go."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from qmgen.config.models import CommandConfig, Count, Files, Positive, Seed
from qmgen.config.sizes import DEFAULT_ELEMENTS, DEFAULT_RULES, Elements, sizes_of

#: standard output
STDOUT = "-"


class EnumerateConfig(CommandConfig):
    """All molecules of some sizes or of one formula that a rule set keeps; or a share, a sample or a count of them."""

    path_fields: ClassVar[frozenset[str]] = frozenset({"out", "check", "merge"})
    #: settings that change no molecule
    outside_set: ClassVar[frozenset[str]] = frozenset({"out", "overwrite", "count", "time_limit", "check", "merge"})

    heavy_atoms: str | None = None
    formula: str | None = None
    elements: Elements = Field(default=list(DEFAULT_ELEMENTS))
    rules: str = DEFAULT_RULES
    tautomers: Literal["merge", "keep"] | None = None
    min_hydrogens: int = Field(default=0, ge=0)
    max_hydrogens: int | None = Field(default=None, ge=0)
    max_bond_order: int = Field(default=3, ge=1, le=3)
    max_rings: int | None = Field(default=None, ge=0)
    part: str | None = None
    sample: Count | None = None
    sample_parts: str | None = None
    seed: Seed = 0
    limit: Count | None = None
    time_limit: Positive | None = None
    out: str = STDOUT
    overwrite: bool = False
    count: bool = False
    check: str | None = None
    merge: Files = Field(default_factory=list)

    @field_validator("heavy_atoms")
    @classmethod
    def _sizes_are_numbers(cls, value: str | None) -> str | None:
        if value is not None:
            sizes_of(value)
        return value

    @model_validator(mode="after")
    def _one_thing_at_a_time(self) -> EnumerateConfig:
        if self.check is None and not self.merge:
            if self.heavy_atoms is None and self.formula is None:
                raise ValueError("nothing to enumerate: give --heavy-atoms 9, --heavy-atoms 9-11 or --formula C7H10O2")
            if self.heavy_atoms is not None and self.formula is not None:
                raise ValueError("--heavy-atoms and --formula exclude each other: a formula says how many atoms")
        if self.part is not None and self.sample_parts is not None:
            raise ValueError("--part and --sample-parts exclude each other: both choose shares")
        if self.count and (self.sample is not None or self.limit is not None):
            raise ValueError("--count counts all: leave out --sample and --limit")
        if self.sample is not None and self.limit is not None:
            raise ValueError("--sample and --limit exclude each other: --sample says how many")
        if self.merge and self.sample is None:
            raise ValueError("--merge joins the samples of parts: give --sample N and the seed they were drawn with")
        return self

    def sizes(self) -> range:
        """Numbers of heavy atoms; of a formula none, as it says its own."""
        return range(0) if self.heavy_atoms is None else sizes_of(self.heavy_atoms)

    def of_set(self) -> dict[str, Any]:
        """The settings that decide what is written."""
        return {name: value for name, value in self.model_dump().items() if name not in self.outside_set}
