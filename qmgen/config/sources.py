"""Where settings come from: defaults < TOML file < ``QMGEN_*`` environment < flags. Every mistake names its source."""

from __future__ import annotations

import difflib
import errno
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from qmgen import files
from qmgen.config.base import CommandConfig, is_url
from qmgen.config.corpus import BenchConfig, InspectConfig, StatusConfig, SubmitConfig, ValidateConfig
from qmgen.config.enumerate import EnumerateConfig
from qmgen.config.generate import GenerateConfig, RetryConfig
from qmgen.config.predict import EvaluateConfig, QuantizeConfig, SampleConfig
from qmgen.config.train import TrainEnergyConfig, TrainLabelsConfig, TrainLmConfig, TrainSchnetConfig
from qmgen.documents import LARGEST_SETTINGS, toml_of
from qmgen.errors import UsageError

Model = TypeVar("Model", bound=CommandConfig)

#: what to do about a setting without which the command cannot start
REQUIRED = {
    "out": "no output directory: give --out DIR, or out = ... in the config",
    "directory": "no corpus directory given",
    "data": "no corpus: give --data DIR, or data = ... in the config",
}


def resolve(
    model: type[Model],
    file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Model:
    """The configuration of one command. Flags that are ``None`` or empty lists were not given.

    Raises ``UsageError`` with one line per mistake, each naming the setting and where it was made.
    """
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    given = {key: value for key, value in (flags or {}).items() if value is not None and value != []}
    layers = (
        (read_file(model, file) if file is not None else {}, lambda key: f"in {file}"),
        (_from_environment(model, os.environ if environment is None else environment), _variable),
        (
            given,
            lambda key: f"given as {model.flags_of(key)[0].partition('/')[0]}",
        ),
    )
    for layer, name in layers:
        for key in layer.keys() & model.replaces.keys():  # a flag --molecules goes before a file's enumerate
            values = {other: value for other, value in values.items() if other not in model.replaces[key]}
        values.update(layer)
        origin.update({key: name(key) for key in layer})
    settings = check(model, values, origin)
    settings.check_flags(given.keys())
    return settings


def check(model: type[Model], values: Mapping[str, Any], origin: Mapping[str, str] | None = None) -> Model:
    """The configuration that ``values`` make; ``origin`` says where each was given, for the messages.

    Raises ``UsageError`` with one line per mistake.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UsageError(*(_line(detail, origin or {}) for detail in error.errors())) from None


def read_file(model: type[CommandConfig], file: Path) -> dict[str, Any]:
    """The settings of a TOML file, with relative paths made relative to the file."""
    try:
        values = toml_of(_content(file).decode("utf-8").replace("\r\n", "\n").replace("\r", "\n"))
    except FileNotFoundError:
        raise UsageError(f"no such config file: {file}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UsageError(f"cannot read the config file {file}: {reason}") from None
    except ValueError as error:
        raise UsageError(f"{file} is not valid TOML: {error}") from None
    for key in values:
        if key not in model.model_fields:
            raise UsageError(f"{file}: there is no setting {key!r}{nearest(key, model.model_fields)}")
    return {key: _beside(file, value) if _names_files(model, key, value) else value for key, value in values.items()}


def _content(file: Path) -> bytes:
    """The bytes of a settings file, or of a pipe that the shell has put in its place. Raises ``OSError``: for another
    device than that, which may have no end, and for more than a settings file has."""
    if file.parent in (Path("/dev"), Path("/dev/fd")):
        with file.open("rb") as stream:
            content = stream.read(LARGEST_SETTINGS + 1)
        if len(content) > LARGEST_SETTINGS:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(file))
        return content
    return files.read(file, LARGEST_SETTINGS)


def _names_files(model: type[CommandConfig], key: str, value: Any) -> bool:
    words = model.words.get(key, ())
    return key in model.path_fields and not (isinstance(value, str) and value in words)


def nearest(word: str, known: Collection[str]) -> str:
    """``; did you mean 'x'?``, or what there is if nothing is near."""
    match = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {match[0]!r}?" if match else f"; there are: {', '.join(known)}"


def _beside(file: Path, value: Any) -> Any:
    if isinstance(value, list):
        return [_beside(file, item) for item in value]
    if not isinstance(value, str) or value in ("", "-") or is_url(value):
        return value
    return os.path.normpath(file.parent / Path(value).expanduser())


def _from_environment(model: type[CommandConfig], environment: Mapping[str, str]) -> dict[str, Any]:
    check_variables(model, environment)
    values: dict[str, Any] = {}
    for key, field in model.model_fields.items():
        text = environment.get(variable(key), "")
        if not text:
            continue
        annotation: Any = field.annotation
        if annotation == list[str] or _plain_types(annotation) & {str, Path}:
            values[key] = text.split(os.pathsep) if annotation == list[str] else text
            continue
        try:
            if get_origin(annotation) is list:  # of numbers: 0,1,3
                number = TypeAdapter(get_args(annotation)[0])
                values[key] = [number.validate_strings(word.strip()) for word in text.split(",")]
            else:
                values[key] = TypeAdapter(annotation).validate_strings(text)
        except ValidationError as error:
            raise UsageError(_line({**error.errors()[0], "loc": (key,)}, {key: _variable(key)})) from None
    return values


def _plain_types(annotation: Any) -> set[Any]:
    """The types an annotation is made of, through unions and ``Annotated``: those that take a text as it is matter."""
    if get_origin(annotation) is Annotated:
        return _plain_types(get_args(annotation)[0])
    inner = get_args(annotation)
    return set().union(*map(_plain_types, inner)) if inner else {annotation}


def _variable(key: str) -> str:
    return f"in the environment variable {variable(key)}"


def _line(detail: ErrorDetails, origin: Mapping[str, str]) -> str:
    """One mistake on one line: setting, value, source, and what it should be."""
    key = str(detail["loc"][0]) if detail["loc"] else ""
    if detail["type"] == "missing" or (detail["type"] == "too_short" and key in REQUIRED):
        return REQUIRED.get(key, f"the setting {key!r} is missing")
    message = detail["msg"].removeprefix("Value error, ")
    if not key:
        return message
    message = message.replace("Input should be", "should be", 1).replace("an instance of Path", "text", 1)
    where = f" {origin[key]}" if key in origin else ""
    return f"{key} = {detail['input']!r}{where}: {message}"


PREFIX: Final = "QMGEN_"

#: the commands that have settings; a variable may be meant for any of them
MODELS: Final[tuple[type[CommandConfig], ...]] = (
    EnumerateConfig,
    GenerateConfig,
    SubmitConfig,
    RetryConfig,
    ValidateConfig,
    StatusConfig,
    InspectConfig,
    BenchConfig,
    TrainSchnetConfig,
    TrainEnergyConfig,
    TrainLabelsConfig,
    TrainLmConfig,
    EvaluateConfig,
    QuantizeConfig,
    SampleConfig,
)

#: variables that are no setting, as patterns: the folder of compiled programs, the interpreter of scripts in scripts/,
#: what the tests tell their processes, what Kubernetes sets in each pod beside a service that is called qmgen, and what
#: environment modules (Lmod, Spack, EasyBuild) set for a program that they load
OTHERS: Final = (
    r"QMGEN_CACHE",
    r"QMGEN_PYTHON",
    r"QMGEN_TEST_\w+",
    r"QMGEN_SERVICE_(HOST|PORT\w*)",
    r"QMGEN_PORT(_\d+_(TCP|UDP|SCTP)\w*)?",
    r"QMGEN_(ROOT|HOME|DIR|PREFIX|VERSION|BASE)",
)


def variable(key: str) -> str:
    """The variable of a setting."""
    return PREFIX + key.upper()


def check_variables(model: type[CommandConfig], environment: Mapping[str, str]) -> None:
    """Raises ``UsageError``, a line for each variable that is given and is none of qmgen's, with the nearest one; those
    of ``model`` go before those of other commands. An empty variable is not given."""
    others = re.compile("|".join(OTHERS))
    own = {variable(key) for key in model.model_fields}
    known = own.union(*({variable(key) for key in one.model_fields} for one in MODELS))
    lines = []
    for name, value in sorted(environment.items()):
        # one that has a setting's name but for its case is meant as one, whatever its first letters
        ours = name.startswith(PREFIX) or name.upper() in known
        if value and ours and name not in known and not others.fullmatch(name):
            lines.append(f"there is no setting for the environment variable {name!r}{_meant(name.upper(), own, known)}")
    if lines:
        raise UsageError(*lines)


def _meant(name: str, own: set[str], known: set[str]) -> str:
    """What the variable may have been meant as: their common beginning says nothing, and is not compared."""
    key = name.removeprefix(PREFIX)
    keys = [sorted(one.removeprefix(PREFIX) for one in names) for names in (own, known)]
    for near in keys:
        if match := difflib.get_close_matches(key, near, n=1, cutoff=0.6):
            return f"; did you mean {PREFIX}{match[0]}?"
    (last,) = difflib.get_close_matches(key, keys[1], n=1, cutoff=0.0)
    return f": unset it; the nearest that there is, is {PREFIX}{last}"
