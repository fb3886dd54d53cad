"""Settings of ``qmgen generate`` and ``qmgen retry``, and of the function ``qmgen.label``."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from qmgen import defaults
from qmgen.config.base import (
    DEFAULT_ELEMENTS,
    DEFAULT_RULES,
    GRID_HELP,
    LARGEST_COUNT,
    MOLECULE_FILES,
    AuxBasis,
    Basis,
    Cartesian,
    CommandConfig,
    Corpus,
    Count,
    ElementList,
    Files,
    Fraction,
    GridLevel,
    Jk,
    MaxFailures,
    MaxHydrogens,
    Names,
    NotNegative,
    Place,
    Positive,
    Rules,
    Seed,
    Setting,
    Sizes,
    TimeLimit,
    Xc,
)  # fmt: skip
from qmgen.defaults import LARGEST_SEED
from qmgen.errors import UsageError

#: characters of the name of a column
LONGEST_NAME: Final = 200
#: the work units that a corpus can have (``corpus.plan.MOST_UNITS``)
_MOST_UNITS: Final = 2**20
#: all attempts of one conformer together must fit the column ``cycles``, which ends at 32767
MOST_CYCLES: Final = 6000


class TheoryConfig(CommandConfig):
    """Functional, basis set, integrals. Unknown names are found by ``qmgen.dft``, which owns them."""

    xc: Xc = defaults.XC
    basis: Basis = defaults.BASIS
    jk: Jk = defaults.JK
    auxbasis: AuxBasis = None
    cartesian: Cartesian = False

    @field_validator("xc", "basis", "auxbasis")
    @classmethod
    def _lower_case(cls, value: str | None) -> str | None:
        return value if value is None else value.strip().lower()

    @model_validator(mode="after")
    def _a_fitting_set_fits(self) -> TheoryConfig:
        if self.auxbasis is not None and self.jk == "exact":
            raise ValueError(f"auxbasis = {self.auxbasis!r} is of no use with jk = 'exact': leave out one of them")
        return self


class LevelConfig(TheoryConfig):
    """The level of theory: with the integration grid, PySCF's level 0 to 5."""

    grid_level: Annotated[GridLevel, Setting(GRID_HELP)] = defaults.GRID_LEVEL


class LabelConfig(LevelConfig):
    """How molecules become labels: what ``qmgen.label`` takes and ``qmgen generate`` too.

    Hartree and seconds; of conformers Angstrom (``prune_rms``) and kcal/mol (``energy_window``).
    """

    #: what ``embed = "qm1b"`` stands for where nothing else is given: QM1B's own numbers
    qm1b_defaults: ClassVar[Mapping[str, Any]] = {"conformers": 1000, "seed": 43}
    #: settings that came after the first corpora were made: at their default they are not in the recipe, so that those
    #: are still recognized; and with which value of which other setting they have no effect at all
    later: ClassVar[Mapping[str, tuple[str, Any] | None]] = {
        "keep": None,
        "embed": None,
        "relax": None,
        "relax_steps": ("relax", "none"),
        "prune_rms": None,
        "energy_window": None,
        "stereo": None,
        "max_stereo_isomers": ("stereo", "as-given"),
        "jk": None,
        "auxbasis": None,
        "cartesian": None,
    }

    smiles_column: Annotated[
        str | None, Setting("Column of the .csv or .tsv file that holds the SMILES.", metavar="NAME")
    ] = None
    keep: Annotated[
        Names,
        Setting(
            "Input fields to keep as columns: columns of .csv and .parquet, properties of .sdf, keys of .xyz; "
            "separated by commas, such as name,pIC50.",
            metavar="NAMES",
        ),
    ] = Field(default=[])
    conformers: Annotated[
        Count, Setting("Number of conformers of each molecule; with --embed qm1b, 1000 unless given.")
    ] = 1
    seed: Annotated[
        Seed, Setting("Random seed of the conformers and of the splits; with --embed qm1b, 43 unless given.")
    ] = 0
    embed: Annotated[
        defaults.Embedder,
        Setting("How a SMILES gets its geometry: RDKit's ETKDGv3, or the procedure of the QM1B authors."),
    ] = defaults.EMBED
    relax: Annotated[defaults.Relaxation, Setting("Relaxation of the conformers: none, or in MMFF94.")] = defaults.RELAX
    relax_steps: Annotated[Count, Setting("Largest number of steps of a relaxation.")] = defaults.RELAX_STEPS
    prune_rms: Annotated[
        Positive | None,
        Setting(
            "Drop a conformer whose heavy-atom RMSD to an earlier conformer of the molecule is below this (Angstrom).",
            unset="keep all",
        ),
    ] = None
    energy_window: Annotated[
        Positive | None,
        Setting(
            "Drop a conformer whose MMFF94 energy is more than this above the lowest of the molecule (kcal/mol).",
            unset="keep all",
        ),
    ] = None
    stereo: Annotated[
        defaults.Stereo,
        Setting("Stereocenters that the SMILES leaves open: as-given (a random choice), or enumerate all isomers."),
    ] = defaults.STEREO
    max_stereo_isomers: Annotated[
        Count, Setting("Largest number of stereoisomers of a molecule; if there are more, a random sample.")
    ] = defaults.MAX_STEREO_ISOMERS
    precision: Annotated[defaults.Precision, Setting("Floating-point precision of the calculation.")] = (
        defaults.PRECISION
    )
    #: a word of ``PLAIN_GUESSES``, or the path of a run of `qmgen train energy`
    guess: Annotated[
        str,
        BeforeValidator(lambda value: str(value) if isinstance(value, Path) else value),
        Setting(
            "First guess of the SCF: atoms (superposition of atomic densities), core (core Hamiltonian), or the "
            "directory of a network trained by `qmgen train energy`.",
            metavar="atoms|core|RUN",
        ),
    ] = defaults.GUESS
    conv_energy: Annotated[
        Positive, Setting("Convergence threshold: largest change of the energy between two SCF cycles (Hartree).")
    ] = defaults.CONV_ENERGY
    conv_gradient: Annotated[
        Positive, Setting("Convergence threshold: largest element of the orbital gradient (Hartree).")
    ] = defaults.CONV_GRADIENT
    max_cycles: Annotated[
        Count, Setting("Largest number of SCF cycles; a conformer that needs more is tried again, more cautiously.")
    ] = defaults.MAX_CYCLES
    batch_size: Annotated[
        Count | None, Setting("Number of conformers in a batch.", unset="by the size of the molecules")
    ] = None
    embed_time_limit: Annotated[
        Positive, Setting("CPU time for making all conformers of a molecule.", metavar="SECONDS")
    ] = 60.0

    @field_validator("keep")
    @classmethod
    def _columns(cls, names: list[str]) -> list[str]:
        for name in names:
            if not name or not name.isprintable() or len(name) > LONGEST_NAME:
                raise ValueError("should be names of columns, such as name,pIC50")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{twice[0]!r} is given more than once")
        if both := sorted(name for name in names if name.removeprefix("input_") != name and name[6:] in names):
            raise ValueError(f"{both[0]!r} is the column that {both[0][6:]!r} may be kept under: keep one of them")
        return names

    @field_validator("guess")
    @classmethod
    def _a_word_or_a_run(cls, value: str) -> str:
        if value not in defaults.PLAIN_GUESSES and not Path(value).expanduser().exists():
            near = difflib.get_close_matches(Path(value).name, defaults.PLAIN_GUESSES, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"should be atoms, core, or a run of `qmgen train energy` that exists{hint}")
        return value

    @model_validator(mode="before")
    @classmethod
    def _as_qm1b(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("embed") == "qm1b":
            return {**cls.qm1b_defaults, **values}
        return values

    @model_validator(mode="after")
    def _qm1b_as_it_was(self) -> LabelConfig:
        """The name promises their geometries; and of two seeds RDKit makes nothing, since it multiplies them."""
        if self.embed != "qm1b":
            return self
        plain = {"relax": "none", "prune_rms": None, "energy_window": None, "stereo": "as-given"}
        if more := [name for name, value in plain.items() if getattr(self, name) != value]:
            raise ValueError(f"embed = 'qm1b' is QM1B's procedure and goes without {', '.join(more)}: use 'etkdg3'")
        if self.seed in (0, LARGEST_SEED):
            raise ValueError(
                f"embed = 'qm1b' makes {self.conformers} times the same geometry of seed = {self.seed}: "
                f"choose one from 1 to {LARGEST_SEED - 1}; QM1B's is 43"
            )
        return self

    @model_validator(mode="after")
    def _numbers_for_conformers(self) -> LabelConfig:
        isomers = self.max_stereo_isomers if self.stereo == "enumerate" else 1
        if self.conformers * isomers > LARGEST_COUNT + 1:
            raise ValueError("conformers times max_stereo_isomers must stay below 2147483649: they share one number")
        return self


class CallConfig(LabelConfig):
    """``qmgen.label``: no files, and processes only where they are asked for."""

    workers: Annotated[Count | None, Setting("Number of worker processes.", unset="none, this process")] = None


class GenerateConfig(LabelConfig):
    """``qmgen generate``: molecules in, labeled corpus out. Energies in Hartree, times in seconds."""

    file_parameter: ClassVar[str | None] = "config"
    path_fields: ClassVar[frozenset[str]] = frozenset({"molecules", "out", "guess"})
    words: ClassVar[Mapping[str, frozenset[str]]] = {"guess": frozenset(defaults.PLAIN_GUESSES)}
    listed_first: ClassVar[tuple[str, ...]] = (
        "molecules", "smiles_column", "keep", "enumerate", "elements", "rules", "max_hydrogens", "sample",
        "sample_parts", "out", "overwrite", "extend", "conformers", "seed", "embed", "embed_time_limit", "relax",
        "relax_steps", "prune_rms", "energy_window", "stereo", "max_stereo_isomers",
    )  # fmt: skip
    #: settings that change no row and no file's name: where and how fast, how much of it, what the card says
    outside_rows: ClassVar[frozenset[str]] = frozenset(
        {"molecules", "out", "workers", "limit", "time_limit", "max_failures", "licence"}
        | {"rank", "world_size", "overwrite", "extend", "devices"}
        | {"enumerate", "elements", "rules", "max_hydrogens", "sample", "sample_parts"}
    )

    of_process: ClassVar[frozenset[str]] = frozenset({"rank", "world_size", "overwrite", "extend"})
    replaces: ClassVar[Mapping[str, frozenset[str]]] = {
        "molecules": frozenset({"enumerate", "sample", "sample_parts"}),
        "enumerate": frozenset({"molecules"}),
    }

    molecules: Annotated[
        Files,
        Setting(f"File with molecules: {MOLECULE_FILES}, or - for SMILES on standard input.", metavar="FILE"),
    ] = Field(default_factory=list)
    enumerate: Annotated[
        Sizes | None,
        Setting(
            "Enumerate all molecules with this number of heavy atoms, such as 9 or 9-11, instead of reading a file.",
            metavar="SIZES",
        ),
    ] = None
    elements: ElementList = Field(default=list(DEFAULT_ELEMENTS))
    rules: Rules = DEFAULT_RULES
    max_hydrogens: MaxHydrogens = None
    sample: Annotated[
        Count | None,
        Setting("Label a random sample of N enumerated molecules (needs one full enumeration).", metavar="N"),
    ] = None
    sample_parts: Annotated[
        str | None,
        Setting("Label K of N random partitions of the enumeration, e.g. 1/1000; starts immediately.", metavar="K/N"),
    ] = None
    units: Annotated[
        Annotated[int, Field(ge=1, le=_MOST_UNITS)] | None,
        Setting("Number of work units; each writes one shard of every split.", unset="by the number of molecules"),
    ] = None
    validation_fraction: Annotated[Fraction, Setting("Fraction of the molecules in the validation split.")] = 0.05
    test_fraction: Annotated[Fraction, Setting("Fraction of the molecules in the test split.")] = 0.05
    out: Annotated[Place, Setting("Directory of the corpus, or s3://bucket/prefix.", metavar="DIR")]
    overwrite: Annotated[bool, Setting("Delete the corpus in the output directory and start again.")] = False
    extend: Annotated[bool, Setting("Add conformers or molecules to the finished corpus in the output directory.")] = (
        False
    )
    rank: Annotated[
        NotNegative | None,
        Setting(
            "Number of this process, from 0, where several processes share the work units.",
            unset="from Slurm or Kubernetes, else 0",
        ),
    ] = None
    world_size: Annotated[
        Count | None, Setting("Number of processes that share the work units.", unset="from Slurm, else 1")
    ] = None
    workers: Annotated[
        Count | None, Setting("Number of worker processes, on each GPU if there are any.", unset="by the machine")
    ] = None
    devices: Annotated[
        str | None,
        Setting(
            "GPUs to use: all, or their numbers such as 0,2 (one process on each); or cpu.",
            unset="JAX's choice",
            metavar="all|cpu|LIST",
        ),
    ] = None
    limit: Annotated[Count | None, Setting("Label only the first N molecules of the source.", metavar="N")] = None
    time_limit: TimeLimit = None
    max_failures: MaxFailures = None
    licence: Annotated[str, Setting("Licence of the data, for the dataset card.", metavar="NAME")] = "CC-BY-4.0"

    @model_validator(mode="after")
    def _one_source(self) -> GenerateConfig:
        if not self.molecules and self.enumerate is None:
            raise ValueError(
                "no molecules: give --molecules FILE or --enumerate 9-11, or molecules = [...] in the config"
            )
        if self.molecules and self.enumerate is not None:
            raise ValueError("molecules come from --molecules or from --enumerate, not from both")
        if self.enumerate is None and (self.sample is not None or self.sample_parts is not None):
            raise ValueError("--sample and --sample-parts draw from an enumeration: give --enumerate 9, say")
        if self.keep and self.enumerate is not None:
            raise ValueError("--keep carries columns of --molecules through: what is enumerated has none")
        return self

    @model_validator(mode="after")
    def _room_for_training(self) -> GenerateConfig:
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError("validation_fraction + test_fraction must be below 1: they leave nothing for training")
        return self

    @model_validator(mode="after")
    def _extend_goes_alone(self) -> GenerateConfig:
        if self.extend and self.overwrite:
            raise ValueError("--extend adds to the corpus that is there, --overwrite removes it: give one of them")
        if self.extend and self.limit is not None:
            raise ValueError("--extend adds all that is new: leave out --limit")
        return self

    def row_fields(self) -> dict[str, Any]:
        """The settings that decide what is in the rows, for the config hash.

        The molecules themselves count too, by their content and not by their file's name: the caller adds their digest.
        So does a network that guesses: the caller puts what it is in the place of its path.
        """
        settings = self.model_dump()
        return {
            name: value
            for name, value in settings.items()
            if name not in self.outside_rows and not (name in self.later and self._idle(name))
        }

    def _idle(self, name: str) -> bool:
        """Whether one of the ``later`` settings leaves the rows as they were before it existed."""
        switch = self.later[name]
        off = switch is not None and getattr(self, switch[0]) == switch[1]
        return off or bool(getattr(self, name) == type(self).model_fields[name].default)

    def check_flags(self, flags: Collection[str]) -> None:
        """Raises ``UsageError`` for flags that choose among enumerated molecules where none are enumerated: one would
        take the corpus for filtered. In a file, which may be of an earlier run, they are of no effect."""
        given = [name for name in ("elements", "rules", "max_hydrogens") if name in flags]
        if given and self.enumerate is None:
            raise UsageError(
                f"{self.flags_of(given[0])[0]} chooses among molecules that are enumerated, and those of a file are "
                "all taken: leave it out, or see what rules say of a file with `qmgen enumerate --check FILE`"
            )


class RetryConfig(CommandConfig):
    """A corpus, and settings for its failures; those that are not given follow from what the failures are."""

    path_fields: ClassVar[frozenset[str]] = frozenset({"directory"})

    directory: Corpus
    max_cycles: Annotated[
        Annotated[int, Field(ge=1, le=MOST_CYCLES)] | None,
        Setting("Largest number of SCF cycles.", unset="4 times as many as before"),
    ] = None
    embed_time_limit: Annotated[
        Positive | None,
        Setting(
            "CPU time for making all conformers of a molecule.", unset="10 times as long as before", metavar="SECONDS"
        ),
    ] = None
    guess: Annotated[
        Literal["atoms", "core"] | None, Setting("First guess of the SCF.", unset="the one not used before")
    ] = None
    batch_size: Annotated[
        Count | None,
        Setting("Number of conformers in a batch.", unset="1 after a crash or if memory ran out, else as before"),
    ] = None
    workers: Annotated[Count | None, Setting("Number of worker processes.", unset="by the machine")] = None
    time_limit: TimeLimit = None
    max_failures: MaxFailures = None
