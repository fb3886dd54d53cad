"""Settings of ``qmgen enumerate``."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field, model_validator

from qmgen.config.base import (
    DEFAULT_ELEMENTS,
    DEFAULT_RULES,
    CommandConfig,
    Count,
    ElementList,
    Files,
    MaxHydrogens,
    NotNegative,
    Rules,
    Seed,
    Setting,
    Sizes,
    TimeLimit,
    sizes_of,
)  # fmt: skip

#: standard output
STDOUT: Final = "-"


class EnumerateConfig(CommandConfig):
    """All molecules of some sizes or of one formula that a rule set keeps; or a share, a sample or a count of them."""

    path_fields: ClassVar[frozenset[str]] = frozenset({"out", "check", "merge"})
    #: settings that change no molecule
    outside_set: ClassVar[frozenset[str]] = frozenset({"out", "overwrite", "count", "time_limit", "check", "merge"})

    heavy_atoms: Annotated[
        Sizes | None, Setting("Number of heavy atoms (all but hydrogen), such as 9 or 9-11.", metavar="SIZES")
    ] = None
    formula: Annotated[
        str | None, Setting("Molecular formula, such as C7H10O2, instead of --heavy-atoms.", metavar="FORMULA")
    ] = None
    elements: ElementList = Field(default=list(DEFAULT_ELEMENTS))
    rules: Rules = DEFAULT_RULES
    tautomers: Annotated[
        Literal["merge", "keep"] | None,
        Setting("Tautomers of a molecule: merge into one, or keep all.", unset="as the rule set says"),
    ] = None
    min_hydrogens: Annotated[NotNegative, Setting("Smallest number of hydrogen atoms.")] = 0
    max_hydrogens: MaxHydrogens = None
    max_bond_order: Annotated[int, Field(ge=1, le=3), Setting("Highest bond order.")] = 3
    max_rings: Annotated[NotNegative | None, Setting("Largest number of rings.")] = None
    part: Annotated[
        str | None,
        Setting(
            "Enumerate partition K of N, e.g. 3/64: the N partitions are disjoint, of similar size, and together "
            "complete.",
            metavar="K/N",
        ),
    ] = None
    sample: Annotated[
        Count | None,
        Setting("Write a random sample of N molecules (needs one full enumeration).", metavar="N"),
    ] = None
    sample_parts: Annotated[
        str | None,
        Setting("Write all molecules of K of N random partitions, e.g. 1/1000; starts immediately.", metavar="K/N"),
    ] = None
    seed: Annotated[Seed, Setting("Random seed of --sample and --sample-parts.")] = 0
    limit: Annotated[
        Count | None, Setting("Stop after the first N molecules in order (not a random sample).", metavar="N")
    ] = None
    time_limit: TimeLimit = None
    out: Annotated[str, Setting("SMILES file to write, or - for standard output.", metavar="FILE")] = STDOUT
    overwrite: Annotated[bool, Setting("Replace the output file if it exists.")] = False
    count: Annotated[
        bool, Setting("Print the number of molecules by heavy atoms and formula, instead of the molecules.")
    ] = False
    check: Annotated[
        str | None,
        Setting(
            "Check the molecules of a SMILES file: print for each ok, or the first rule that rejects it.",
            metavar="FILE",
        ),
    ] = None
    merge: Annotated[
        Files,
        Setting("File with the sample of a partition; these samples are joined to one of --sample N.", metavar="FILE"),
    ] = Field(default_factory=list)

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
