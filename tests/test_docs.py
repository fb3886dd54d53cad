"""What the documents name is there: Python names, commands, flags, settings, variables, files."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import tomllib
import typing
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from qmgen.cli.main import app
from qmgen.config import CommandConfig
from qmgen.config.sources import MODELS, PREFIX, check_variables
from qmgen.corpus.schema import PREFIX as METADATA_PREFIX
from qmgen.corpus.schema import decode, row_schema
from qmgen.errors import UsageError
from qmgen.molecules.rules.table import _RULE_KEYS as RULE_KEYS
from qmgen.molecules.rules.table import _TABLE_KEYS as TABLE_KEYS

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
#: files to copy, whose comments say how they are used
CONFIGS = sorted((ROOT / "configs").rglob("*.toml"))

#: flags of other programs that the documents name: sbatch's, XLA's, and one that stands for any
OTHER_FLAGS = {"--array", "--exclusive", "--any", "--xla_cpu_prefer_vector_width"}
#: keys in code that are no setting of a command: those of rule sets, and a definition of one's own in docs/rules.md
OTHER_KEYS = {*TABLE_KEYS, *RULE_KEYS, "small"}
#: keys that stand in Parquet files as ``qmgen.key``
METADATA = {"unit", "more", "schema_version"}

#: a command line, to the end of a word list: "qmgen train lm --data x", "qmgen submit CONFIG", not "qmgen.label"
_COMMAND = re.compile(r"(?<![\w./-])qmgen +(?P<words>[a-z][\w-]*(?: [^\n#|]*)?)")
_FLAG = re.compile(r"(?<![\w-])--[A-Za-z][\w-]*")
_NAME = re.compile(r"\bqmgen((?:\.[A-Za-z_]\w*)+)(\([^`()]*\)\.(\w+))?")
_VARIABLE = re.compile(r"(?<![\w$])QMGEN_[A-Z_]*[A-Z]\b")
_SETTING = re.compile(r"(?:^|[;,] ?)\s*([a-z_]+) = ")
_FILE = re.compile(r"(?<![\w./-])(?:qmgen|scripts|tests|docs|configs)/[\w./-]*\w")


@cache
def flags_of() -> dict[str, set[str]]:
    """The flags of each command by its words."""
    found: dict[str, set[str]] = {}

    def add(words: str, command: Any) -> None:
        for name in command.list_commands(None) if hasattr(command, "list_commands") else ():
            add(f"{words} {name}".strip(), command.get_command(None, name))
        options = {text for parameter in command.params for text in (*parameter.opts, *parameter.secondary_opts)}
        found[words] = {text for text in options if text.startswith("-")} | {"-h", "--help", "--debug"}

    add("", get_command(app))
    return found


def code_of(file: Path) -> Iterator[tuple[int, str]]:
    """Code in a document with its line: each line of a block, each span, which may go over a line's end."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".toml":
        yield from ((number, line[1:]) for number, line in enumerate(text.splitlines(), 1) if line.startswith("#"))
        return
    paragraph: list[tuple[int, str]] = []

    def spans() -> Iterator[tuple[int, str]]:
        for match in re.finditer(r"`([^`]+)`", "\n".join(line for _, line in paragraph)):
            number = paragraph[0][0] + match.string.count("\n", 0, match.start())
            yield number, " ".join(match[1].split("\n"))
        paragraph.clear()

    fenced = False
    for number, line in enumerate([*text.splitlines(), ""], 1):
        fence = line.lstrip().startswith("```")
        if fence or fenced or (line.startswith("    ") and not paragraph) or not line.strip():
            yield from spans()
            fenced ^= fence
            if line.strip() and not fence:
                yield number, line
        else:
            paragraph.append((number, line))
            if line.startswith("#"):  # a heading, behind which a block may begin
                yield from spans()


def named(documents: list[Path]) -> list[tuple[str, str]]:
    """All pieces of code, each with its place."""
    return [(f"{file.relative_to(ROOT)}:{number}", code) for file in documents for number, code in code_of(file)]


def wrong(documents: list[Path], check: Callable[[str], Iterator[str]]) -> list[str]:
    """What ``check`` has to say of their code."""
    return [f"{place}: {fault}" for place, code in named(documents) for fault in check(code)]


def missing_names(code: str) -> Iterator[str]:
    """Dotted names below qmgen that are neither there nor keys of the metadata of a file."""
    for match in _NAME.finditer(code):
        path = match[1][1:].split(".")
        if len(path) == 1 and path[0] in METADATA:
            continue
        try:
            value = resolved(path)
        except (ImportError, AttributeError):
            yield f"there is no qmgen.{'.'.join(path)}"
            continue
        if match[3]:
            kind = typing.get_type_hints(value).get("return")
            if not hasattr(kind, match[3]):
                yield f"what qmgen.{'.'.join(path)} returns has no {match[3]}"


def resolved(path: list[str]) -> Any:
    """``["corpus", "load"]``: ``qmgen.corpus.load``."""
    value: Any = importlib.import_module("qmgen")
    for depth, part in enumerate(path, 1):
        try:
            value = getattr(value, part)
        except AttributeError:
            value = importlib.import_module(".".join(["qmgen", *path[:depth]]))
    return value


def missing_arguments(code: str) -> Iterator[str]:
    """Arguments by name that a function of qmgen does not take; ``qmgen.label`` takes settings."""
    try:
        calls = [node for node in ast.walk(ast.parse(code.strip())) if isinstance(node, ast.Call)]
    except SyntaxError:
        return  # no Python, or not all of it
    for call in calls:
        name = ast.unparse(call.func)
        if not re.fullmatch(r"qmgen(\.\w+)+", name) or list(missing_names(name)):
            continue
        known = set(inspect.signature(resolved(name.split(".")[1:])).parameters)
        yield from (f"{name} takes no {word.arg}" for word in call.keywords if word.arg not in known)


def missing_commands(code: str) -> Iterator[str]:
    """Commands that are none, and flags that a command does not have."""
    for match in _COMMAND.finditer(code):
        for part in re.split(r" \| | && |; ", match["words"]):
            words = part.removeprefix("qmgen ").split()
            for name in words[0].split("/"):
                yield from _of_command(name, words)


def _of_command(name: str, words: list[str]) -> Iterator[str]:
    known = flags_of()
    kinds = [name]
    if any(one.startswith(f"{name} ") for one in known):  # a group: `qmgen train schnet/energy`
        kinds = [f"{name} {kind}" for kind in words[1].split("/")] if len(words) > 1 else []
    for kind in kinds:
        if kind not in known:
            yield f"there is no command qmgen {kind}"
            continue
        allowed, rest = known[kind], " ".join(words)
        if kind == "submit" and " -- " in rest:  # what follows is for the ranks
            rest, _, after = rest.partition(" -- ")
            yield from (
                f"qmgen generate has no {flag}" for flag in _FLAG.findall(after) if flag not in known["generate"]
            )
        for flag in _FLAG.findall(rest):
            if flag not in allowed | OTHER_FLAGS:
                yield f"qmgen {kind} has no {flag}"


def missing_flags(code: str) -> Iterator[str]:
    """Flags that no command has, nor the script that is named before them."""
    if script := re.search(r"scripts/([\w.-]+)", code):
        named = [ROOT / "scripts" / script[1], *(ROOT / "scripts" / "benchmarks").rglob("*.py")]
        text = "".join(file.read_text(encoding="utf-8") for file in named if file.is_file())
        known = set(_FLAG.findall(text))
    else:
        known = set().union(*flags_of().values()) | script_flags() | OTHER_FLAGS
    yield from (f"there is no flag {flag}" for flag in _FLAG.findall(code) if flag not in known)


@cache
def script_flags() -> set[str]:
    """Flags of the device session, which its pages name alone."""
    return set(_FLAG.findall((ROOT / "scripts/benchmarks/device/session.py").read_text(encoding="utf-8")))


def missing_settings(code: str) -> Iterator[str]:
    """Keys of TOML that no command has."""
    known = {key for model in MODELS for key in model.model_fields} | OTHER_KEYS
    for key in _SETTING.findall(code):
        try:
            tomllib.loads(code.strip().partition(";")[0])
        except tomllib.TOMLDecodeError:
            return  # a formula, or Python
        if key not in known:
            yield f"there is no setting {key}"


def missing_variables(code: str) -> Iterator[str]:
    for name in _VARIABLE.findall(code):
        try:
            check_variables(CommandConfig, {name: "1"})
        except UsageError as error:
            yield str(error)


def missing_files(code: str) -> Iterator[str]:
    for name in _FILE.findall(code):
        if not (ROOT / name).exists() and not list(ROOT.glob(f"{name}*")):
            yield f"there is no {name}"


CHECKS = [
    missing_names,
    missing_arguments,
    missing_commands,
    missing_flags,
    missing_settings,
    missing_variables,
    missing_files,
]


@pytest.mark.parametrize("check", CHECKS)
def test_what_the_documents_name_is_there(check: Callable[[str], Iterator[str]]) -> None:
    assert wrong(DOCUMENTS + CONFIGS, check) == []


@pytest.mark.parametrize(
    ("check", "code", "said"),
    [
        (missing_names, "qmgen.open_corpus(...).failures()", "no qmgen.open_corpus"),
        (missing_names, "qmgen.corpus.open_corpus(directory).losses()", "has no losses"),
        (missing_names, "from qmgen.corpora import x", "no qmgen.corpora"),
        (missing_arguments, 'rows = qmgen.label(["CCO"], functional="pbe")  # x', "takes no functional"),
        (missing_arguments, 'qmgen.load("corpus", part="train")', "takes no part"),
        (missing_commands, "qmgen compare a b", "no command qmgen compare"),
        (missing_commands, "qmgen train schnet/net", "no command qmgen train net"),
        (missing_commands, "qmgen status DIR --conformers 3", "qmgen status has no --conformers"),
        (missing_commands, "qmgen sample x | qmgen generate --novel", "qmgen generate has no --novel"),
        (missing_commands, "qmgen submit run.toml --ranks 3 -- --ranks 4", "qmgen generate has no --ranks"),
        (missing_flags, "--config", "no flag --config"),
        (missing_flags, "scripts/train_scaling --passes 3", "no flag --passes"),
        (missing_settings, "conformer = 3", "no setting conformer"),
        (missing_variables, "QMGEN_CONFORMER=4", "did you mean QMGEN_CONFORMERS"),
        (missing_files, "qmgen/nothing.py", "no qmgen/nothing.py"),
    ],
)
def test_what_is_not_there_is_found(check: Callable[[str], Iterator[str]], code: str, said: str) -> None:
    (fault,) = check(code)
    assert said in fault


def test_the_documents_are_read_as_they_are_written() -> None:
    code = [piece for _, piece in named(DOCUMENTS)]
    assert any(piece.strip().startswith("qmgen submit run.toml --ranks 64 ") for piece in code)
    assert "qmgen.corpus.open_corpus(directory)" in code
    assert any(" = qmgen.label(" in piece and "basis=" in piece for piece in code)
    assert any("local slurm pbspro lsf" in piece and "googlecloud" in piece for piece in code)  # over a line's end


def test_messages_name_flags_that_there_are() -> None:
    """In the package but for what is said to sbatch."""
    theirs = "cluster/slurm"
    known = (
        set().union(*flags_of().values()) | OTHER_FLAGS | {"--option", "--NAME", "--no-"}
    )  # words that stand for any
    faults = []
    for file in sorted((ROOT / "qmgen").rglob("*.py")):
        if (name := str(file.relative_to(ROOT / "qmgen"))).startswith(theirs):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                faults += [f"{name}:{node.lineno}: {flag}" for flag in _FLAG.findall(node.value) if flag not in known]
    assert faults == []


def test_names_are_told_from_keys_of_metadata_and_from_variables() -> None:
    assert (METADATA_PREFIX, PREFIX) == ("qmgen.", "QMGEN_")
    assert decode(row_schema(dict.fromkeys(METADATA, 1)).metadata).keys() >= METADATA
