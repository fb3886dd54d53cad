"""One model per command: every setting, its type, its bounds and its default.

Strict on purpose: ``conformers = "5"`` and ``conformers = true`` are mistakes, not fives and ones. Values that come
as text (environment variables) are converted before they get here, in ``load``.
"""

from __future__ import annotations

import difflib
import errno
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from qmgen.config.sizes import DEFAULT_ELEMENTS, DEFAULT_RULES, Elements, Names, sizes_of
from qmgen.config.toml import document

#: RDKit and NumPy take seeds up to here alike.
LARGEST_SEED = 2**31 - 1
#: first guesses of the self-consistent field that need no network
PLAIN_GUESSES = ("atoms", "core")
#: the column ``conformer_id`` holds no larger number
LARGEST_CONFORMER = 2**31 - 1
#: characters of the name of a column
LONGEST_NAME = 200


def _as_list(value: Any) -> Any:
    if isinstance(value, str | Path):
        return [str(value)]
    if isinstance(value, list | tuple):
        return [str(item) if isinstance(item, Path) else item for item in value]
    return value


#: how a URL begins, its slashes right or wrong: none of these is meant to be a folder of this machine
_URL: Final = re.compile(r"(s3a?|s3n|gs|gcs|https?|ftp|file|hdfs|abfss?|azure|az):", re.IGNORECASE)


def is_url(text: str) -> bool:
    """Whether ``text`` is meant as a URL, however many slashes follow the colon."""
    return "://" in text or _URL.match(text) is not None


def _as_path(value: Any) -> Any:
    if isinstance(value, str | Path) and is_url(str(value)):
        raise ValueError("should be a directory or file of this machine: object stores are for corpora alone")
    return Path(value) if isinstance(value, str) and value else value


def _as_place(value: Any) -> Any:
    if not isinstance(value, str | Path) or not is_url(str(value)):
        return _as_path(value)
    scheme, _, rest = str(value).partition(":")
    if isinstance(value, str) and rest.startswith("//"):
        return value
    form = f"{scheme.lower()}://{rest.lstrip('/') or 'bucket/prefix'}"
    raise ValueError(f"should have two slashes, as a URL has: {form} (a directory of that name: ./{value})")


def path_trouble(path: str) -> str | None:
    """Why the system will not even look ``path`` up, in words; None where it does, whatever is there."""
    try:
        os.stat(path)
    except ValueError:
        return "it holds a null character"
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES):
            return error.strerror
    return None


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


Files = Annotated[list[str], BeforeValidator(_as_list)]
Folder = Annotated[Path, BeforeValidator(_as_path)]
#: a directory, or the URL of a prefix in an object store, which stays text
Place = Annotated[Path | str, BeforeValidator(_as_place)]
#: no count is larger: it must fit into 32 bits wherever it is handed on to
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
#: as many files of each split: what a corpus can have (``corpus.plan.MOST_UNITS``)
Units = Annotated[int, Field(ge=1, le=2**20)]
GridLevel = Annotated[int, Field(ge=0, le=5)]
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]


class CommandConfig(BaseModel):
    """What all configurations share: unknown keys are errors, values do not change once made."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    #: settings that name files; relative ones in a TOML file are relative to that file
    path_fields: ClassVar[frozenset[str]] = frozenset()
    #: values of these that are words and no files
    words: ClassVar[Mapping[str, frozenset[str]]] = {}
    #: settings of lower precedence that one of these sets aside
    replaces: ClassVar[Mapping[str, frozenset[str]]] = {}
    #: settings of one process, which do not stand in the configuration that is written beside the output
    of_process: ClassVar[frozenset[str]] = frozenset()
    #: the flag of a setting, where it is not the setting's own name: one that is repeated is singular
    flag_names: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="wrap")
    @classmethod
    def _paths_can_be_looked_up(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """A name that is too long, or a link that leads to itself, is a mistake of who wrote it."""
        names = (cls.path_fields | {"rules"}) & cls.model_fields.keys()
        errors: list[InitErrorDetails] = []
        for name in sorted(names & values.keys() if isinstance(values, Mapping) else ()):
            given = values[name] if isinstance(values[name], list | tuple) else [values[name]]
            texts = [str(one) for one in given if isinstance(one, str | Path)]
            for text in (text for text in texts if not is_url(text)):
                if (why := path_trouble(text)) is not None:
                    kind = PydanticCustomError("path", "{why}", {"why": f"{why}: give another path"})
                    errors.append(InitErrorDetails(type=kind, loc=(name,), input=text))
        if errors:
            raise ValidationError.from_exception_data(cls.__name__, errors)
        return handler(values)

    def resolved_toml(self, directory: Path | None = None) -> str:
        """Every setting as TOML. Paths are written relative to ``directory``, the place where the text will lie."""
        return document(self.model_dump(exclude=set(self.of_process)), self.path_fields, directory, self.words)


class TheoryConfig(CommandConfig):
    """Functional and basis set. Unknown names are found by ``qmgen.dft``, which owns them."""

    xc: str = "b3lyp5"
    basis: str = "sto-3g"

    @field_validator("xc", "basis")
    @classmethod
    def _lower_case(cls, value: str) -> str:
        return value.strip().lower()


class LevelConfig(TheoryConfig):
    """The level of theory: with the integration grid, PySCF's level 0 to 5."""

    grid_level: GridLevel = 1


class LabelConfig(LevelConfig):
    """How molecules become labels: what ``qmgen.label`` takes and ``qmgen generate`` too.

    Hartree and seconds; of conformers Angstrom (``prune_rms``) and kcal/mol (``energy_window``).
    """

    #: what ``embed = "qm1b"`` stands for where nothing else is given: QM1B's own numbers
    qm1b_defaults: ClassVar[Mapping[str, Any]] = {"conformers": 1000, "seed": 43}
    #: settings that came after the first corpora were made: at their default they are not in the recipe, so that those
    #: are still recognised; and with which value of which other setting they have no effect at all
    later: ClassVar[Mapping[str, tuple[str, Any] | None]] = {
        "keep": None,
        "embed": None,
        "relax": None,
        "relax_steps": ("relax", "none"),
        "prune_rms": None,
        "energy_window": None,
        "stereo": None,
        "max_stereo_isomers": ("stereo", "as-given"),
    }

    smiles_column: str | None = None
    keep: Names = Field(default=[])
    conformers: Count = 1
    seed: Seed = 0
    embed: Literal["etkdg3", "qm1b"] = "etkdg3"
    relax: Literal["none", "mmff"] = "none"
    relax_steps: Count = 1000
    prune_rms: Positive | None = None
    energy_window: Positive | None = None
    stereo: Literal["as-given", "enumerate"] = "as-given"
    max_stereo_isomers: Count = 32
    precision: Literal["float64"] = "float64"
    #: a word of ``PLAIN_GUESSES``, or the path of a run of `qmgen train energy`
    guess: Annotated[str, BeforeValidator(_as_text)] = "atoms"
    conv_energy: Positive = 1e-9
    conv_gradient: Positive = 1e-6
    max_cycles: Count = 50
    batch_size: Count | None = None
    embed_time_limit: Positive = 60.0

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
        if value not in PLAIN_GUESSES and not Path(value).expanduser().exists():
            near = difflib.get_close_matches(Path(value).name, PLAIN_GUESSES, n=1, cutoff=0.5)
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
        if self.conformers * isomers > LARGEST_CONFORMER + 1:
            raise ValueError("conformers times max_stereo_isomers must stay below 2147483649: they share one number")
        return self


class CallConfig(LabelConfig):
    """``qmgen.label``: no files, and processes only where they are asked for."""

    workers: Count | None = None


class GenerateConfig(LabelConfig):
    """``qmgen generate``: molecules in, labelled corpus out. Energies in Hartree, times in seconds."""

    path_fields: ClassVar[frozenset[str]] = frozenset({"molecules", "out", "guess"})
    words: ClassVar[Mapping[str, frozenset[str]]] = {"guess": frozenset(PLAIN_GUESSES)}
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

    molecules: Files = Field(default_factory=list)
    enumerate: str | None = None
    elements: Elements = Field(default=list(DEFAULT_ELEMENTS))
    rules: str = DEFAULT_RULES
    max_hydrogens: int | None = Field(default=None, ge=0)
    sample: Count | None = None
    sample_parts: str | None = None
    units: Units | None = None
    validation_fraction: Fraction = 0.05
    test_fraction: Fraction = 0.05
    out: Place
    overwrite: bool = False
    extend: bool = False
    rank: int | None = Field(default=None, ge=0)
    world_size: Count | None = None
    workers: Count | None = None
    devices: str | None = None
    limit: Count | None = None
    time_limit: Positive | None = None
    max_failures: int | None = Field(default=None, ge=0)
    licence: str = "CC-BY-4.0"

    @field_validator("enumerate")
    @classmethod
    def _sizes_are_numbers(cls, value: str | None) -> str | None:
        if value is not None:
            sizes_of(value)
        return value

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


class ValidateConfig(CommandConfig):
    """``qmgen validate``: a seeded sample of a corpus against PySCF. Tolerances in Hartree and Debye."""

    path_fields: ClassVar[frozenset[str]] = frozenset({"directory", "out"})

    directory: Place
    sample: Count = 50
    seed: Seed = 0
    tol_energy: Positive = 1e-6
    tol_orbital: Positive = 1e-5
    tol_dipole: Positive = 1e-3
    workers: Count | None = None
    out: Folder | None = None


class BenchConfig(TheoryConfig):
    """``qmgen bench``: the same molecules through qmgen and PySCF, at one grid level after another.

    No ``molecules`` means the list that ships.
    """

    path_fields: ClassVar[frozenset[str]] = frozenset({"molecules", "out"})
    flag_names: ClassVar[Mapping[str, str]] = {"grid_levels": "grid-level"}

    grid_levels: list[GridLevel] = Field(default=[0, 1, 3], min_length=1)
    molecules: Files = Field(default_factory=list)
    count: Count = 16
    conformers: Count = 1
    seed: Seed = 0
    repeats: Count = 3
    workers: Count | None = None
    out: Folder | None = None

    @field_validator("grid_levels")
    @classmethod
    def _each_once(cls, levels: list[int]) -> list[int]:
        if twice := sorted({level for level in levels if levels.count(level) > 1}):
            raise ValueError(f"level {twice[0]} is given more than once")
        return levels
