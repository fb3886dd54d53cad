"""How settings are declared: once, as a field of a command's pydantic model.

    conformers: Annotated[Count, Setting("Number of conformers of each molecule.")] = 1

The field gives the name, the type, the bounds and the default; ``Setting`` gives the help. From the field follow the
flag of the command line (``qmgen.cli.options``), the key of the TOML file and the ``QMGEN_*`` variable
(``qmgen.config.sources``), the keyword of ``qmgen.label``, and docs/settings.md (``scripts/settings_page``).

Models are strict on purpose: ``conformers = "5"`` and ``conformers = true`` are mistakes, not fives and ones. Texts
(environment variables) are converted before validation, in ``qmgen.config.sources``.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, NamedTuple, Self, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticCustomError

from qmgen.defaults import LARGEST_SEED, JkChoice


@dataclass(frozen=True)
class Setting:
    """What is said of a setting beside its type, bounds and default.

    ``help`` is a sentence, or a noun phrase, for someone who reads ``--help``. ``unset`` says what happens where the
    default is None. ``metavar`` stands for the value in the help. ``flags`` are the flags where they are not the
    setting's own name; an ``argument`` is given by its place and has no flag.
    """

    help: str
    unset: str | None = None
    metavar: str | None = None
    flags: tuple[str, ...] = ()
    argument: bool = False


class ValueShape(NamedTuple):
    """What values a setting takes: ``kind`` (int, float, bool, str or Path), or one of ``choices``; several where
    ``repeated``. ``bounds`` are in words, empty where there are none that a user may meet."""

    kind: type
    repeated: bool
    choices: tuple[str, ...]
    bounds: str


def shape_of(model_field: FieldInfo) -> ValueShape:
    """The values of a field, read from its annotation."""
    kinds: list[type] = []
    choices: list[str] = []
    limits: dict[str, float] = {}
    repeated = False

    def read(annotation: Any, metadata: Collection[Any] = ()) -> None:
        nonlocal repeated
        for item in metadata:
            read_limits(item.metadata if isinstance(item, FieldInfo) else [item])
        origin, inner = get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            read(inner[0], inner[1:])
        elif origin is Literal:
            choices.extend(inner)
        elif inner:  # a union, a list or a tuple
            repeated |= origin in (list, tuple)
            for one in inner:
                read(one)
        elif isinstance(annotation, type) and annotation is not type(None):
            kinds.append(annotation)

    def read_limits(items: Collection[Any]) -> None:
        for item in items:
            limits.update(
                {name: value for name in ("ge", "gt", "le", "lt") if (value := getattr(item, name, None)) is not None}
            )

    read(model_field.annotation, model_field.metadata)
    repeated &= COMMAS not in model_field.metadata
    return ValueShape(kinds[0] if kinds else str, repeated, tuple(choices), _bounds(limits))


def _bounds(limits: Mapping[str, float]) -> str:
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    limits = {name: value for name, value in limits.items() if value != LARGEST_COUNT}
    if limits.keys() == {"ge", "le"}:
        return f"{limits['ge']} to {limits['le']}"
    return ", ".join(f"{word} {limits[name]}" for name, word in words.items() if name in limits)


# --- types -----------------------------------------------------------------------------------------------------------


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
    if value == "":
        raise ValueError("should be a directory, or s3://bucket/prefix")
    if not isinstance(value, str | Path) or not is_url(str(value)):
        return _as_path(value)
    scheme, _, rest = str(value).partition(":")
    if isinstance(value, str) and rest.startswith("//"):
        return value
    form = f"{scheme.lower()}://{rest.lstrip('/') or 'bucket/prefix'}"
    raise ValueError(f"should have two slashes, as a URL has: {form} (a directory of that name: ./{value})")


def _words(value: Any) -> Any:
    """``C,N,O`` as a list."""
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    return [word.strip() for word in value.split(",")] if isinstance(value, str) else value


def _words_of_each(value: Any) -> Any:
    """``y,homo`` as a list, empty words left out; several such texts as one list."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        return value
    return [word.strip() for text in texts for word in text.split(",") if word.strip()]


def _lines(value: Any) -> Any:
    """One text or several as a tuple. Not ``list[str]``: from the environment that would be cut at its colons."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _as_text(value: Any) -> Any:
    """``rows = 1000`` and ``rows = ["1k", "10k"]`` of a TOML file as the text they are on the command line."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, list | tuple):
        return ",".join(str(item) for item in value)
    return value


#: marks a list that is one text with commas on the command line
COMMAS: Final = "commas"
Files = Annotated[list[str], BeforeValidator(_as_list)]
Folder = Annotated[Path, BeforeValidator(_as_path)]
#: a directory, or the URL of a prefix in an object store, which stays text
Place = Annotated[Path | str, BeforeValidator(_as_place)]
#: no count is larger: it must fit into 32 bits wherever it is handed on to
LARGEST_COUNT: Final = 2**31 - 1
Count = Annotated[int, Field(ge=1, le=LARGEST_COUNT)]
NotNegative = Annotated[int, Field(ge=0)]
GridLevel = Annotated[int, Field(ge=0, le=5)]
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
#: of columns: ``name,pIC50``, or a list
Names = Annotated[list[str], BeforeValidator(_words), COMMAS]
Elements = Annotated[list[str], BeforeValidator(_words), COMMAS, Field(min_length=1)]
Words = Annotated[list[str], BeforeValidator(_words_of_each), Field(min_length=1)]
Lines = Annotated[tuple[str, ...], BeforeValidator(_lines)]
#: ``1k,10k,2.5M``
Numbers = Annotated[str, BeforeValidator(_as_text)]


def sizes_of(text: str) -> range:
    """``9`` or ``9-11`` as a range. Raises ``ValueError`` for anything else."""
    match = re.fullmatch(r"\s*(\d{1,3})\s*(?:-\s*(\d{1,3})\s*)?", text, re.ASCII)
    if match is None:
        raise ValueError(f"{text!r} is no number of heavy atoms: give 9 or 9-11")
    first, last = int(match[1]), int(match[2] or match[1])
    if not 1 <= first <= last:
        raise ValueError(f"{text!r} is no range of heavy atoms: give 9 or 9-11")
    return range(first, last + 1)


def _as_sizes(text: str) -> str:
    sizes_of(text)
    return text


#: numbers of heavy atoms, as text
Sizes = Annotated[str, AfterValidator(_as_sizes)]


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


#: the files of molecules for help texts: the suffixes of ``qmgen.molecules.readers``
MOLECULE_FILES: Final = ".smi .csv .tsv .sdf .mol .xyz .extxyz (also with .gz), .parquet"

# --- settings that several commands have -----------------------------------------------------------------------------

Corpus = Annotated[Place, Setting("Directory of the corpus, or s3://bucket/prefix.", metavar="DIR", argument=True)]
Xc = Annotated[str, Setting("Exchange-correlation functional, such as b3lyp5, pbe0 or pbe.")]
Basis = Annotated[str, Setting("Basis set, such as sto-3g, 6-31g* or def2-svp.")]
Jk = Annotated[
    JkChoice,
    Setting(
        "Integrals of Coulomb and exchange: exact, or density fitting (df); auto: df for polarized basis sets, "
        "exact for others."
    ),
]
AuxBasis = Annotated[
    str | None, Setting("Fitting set of --jk df, such as def2-universal-jkfit.", unset="by basis set", metavar="NAME")
]
Cartesian = Annotated[
    bool, Setting("Use Cartesian d and f functions, as 6-31G* is defined, instead of spherical ones.")
]
GRID_HELP: Final = "Integration grid, PySCF's level."
#: elements and rules of `qmgen enumerate` and `qmgen generate --enumerate`
DEFAULT_ELEMENTS: Final = ("C", "N", "O", "F")
DEFAULT_RULES: Final = "gdb11"
Rules = Annotated[str, Setting("Rule set: gdb11, none (valences only), or a TOML file.")]
ElementList = Annotated[Elements, Setting("Elements other than hydrogen, separated by commas.", metavar="LIST")]
MaxHydrogens = Annotated[NotNegative | None, Setting("Largest number of hydrogen atoms.")]
TimeLimit = Annotated[
    Positive | None,
    Setting("Stop after this many seconds, with exit code 75; the same command continues.", metavar="SECONDS"),
]
MaxFailures = Annotated[NotNegative | None, Setting("End with exit code 3 if there are more failures than this.")]
CheckpointEvery = Annotated[Positive, Setting("Seconds between checkpoints.", metavar="SECONDS")]
TrainingFolder = Setting("Directory of the training.", metavar="RUN")


class CommandConfig(BaseModel):
    """What all configurations share: unknown keys are errors, values do not change once made."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)

    #: the argument or option of the command that names a TOML file with the settings; None if the command takes none
    file_parameter: ClassVar[str | None] = None
    #: settings that stand first in the help; the others follow in the order of the model
    listed_first: ClassVar[tuple[str, ...]] = ()
    #: settings that name files; relative ones in a TOML file are relative to that file
    path_fields: ClassVar[frozenset[str]] = frozenset()
    #: values of these that are words and no files
    words: ClassVar[Mapping[str, frozenset[str]]] = {}
    #: settings of lower precedence that one of these sets aside
    replaces: ClassVar[Mapping[str, frozenset[str]]] = {}
    #: settings of one process, which do not stand in the configuration that is written beside the output
    of_process: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="wrap")
    @classmethod
    def _paths_can_be_looked_up(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """A name that is too long, or a link that leads to itself, is a mistake in the setting."""
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

    @classmethod
    def settings(cls) -> dict[str, Setting]:
        """Each setting of the command with its help, in the order of the help."""
        names = dict.fromkeys([*cls.listed_first, *cls.model_fields])
        return {name: item for name in names for item in cls.model_fields[name].metadata if isinstance(item, Setting)}

    @classmethod
    def flags_of(cls, name: str) -> tuple[str, ...]:
        """The flags of a setting, the usual one first; a switch that is on by default has its negation too."""
        plain = f"--{name.replace('_', '-')}"
        if cls.model_fields[name].default is True:
            return (f"{plain}/--no-{plain[2:]}",)
        return cls.settings()[name].flags or (plain,)

    @classmethod
    def default_text(cls, name: str) -> str | None:
        """The default of a setting in words; None where nothing happens without it."""
        field, setting = cls.model_fields[name], cls.settings()[name]
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        if default is None or default in ([], ()):
            return setting.unset
        if isinstance(default, bool):
            return "on" if default else None
        if isinstance(default, list):
            return ("," if isinstance(default[0], str) else " ").join(map(str, default))
        return str(default)

    def check_flags(self, flags: Collection[str]) -> None:
        """Raises ``UsageError`` for settings that have no effect here and were given as flags (``flags``)."""

    def resolved_toml(self, directory: Path | None = None) -> str:
        """Every setting as TOML. Paths are written relative to ``directory``, the place where the text will lie."""
        return document(self.model_dump(exclude=set(self.of_process)), self.path_fields, directory, self.words)


# --- TOML: flat keys with strings, numbers, booleans and lists of strings ---------------------------------------------


def document(
    values: Mapping[str, Any],
    path_fields: Collection[str] = (),
    directory: Path | None = None,
    words: Mapping[str, Collection[str]] | None = None,
) -> str:
    """One ``key = value`` line each, a comment where nothing is set. Paths are relative to ``directory``, if given;
    ``words`` of a setting are none."""
    lines = []
    for key, value in values.items():
        if value is None:
            lines.append(f"# {key} is not set")
            continue
        if key in path_fields and directory is not None and value not in (words or {}).get(key, ()):
            value = _relative(value, directory)
        lines.append(f"{key} = {literal(value)}")
    return "\n".join(lines) + "\n"


def literal(value: Any) -> str:
    """``value`` as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(literal(item) for item in value) + "]"
    # JSON's escapes are TOML's, except for DEL, which TOML wants escaped
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _relative(path: Any, directory: Path) -> Any:
    if isinstance(path, list):
        return [_relative(item, directory) for item in path]
    return str(path) if str(path) == "-" or "://" in str(path) else os.path.relpath(path, directory)
