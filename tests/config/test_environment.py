"""Variables of the environment that are no setting: a misspelled one must not be left out without a word."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import pytest

import qmgen.config
from qmgen.cli.main import main
from qmgen.config import BenchConfig, CallConfig, CommandConfig, GenerateConfig, LabelConfig, ValidateConfig, resolve
from qmgen.config.sources import MODELS
from qmgen.errors import UsageError

GIVEN = {"molecules": ["a.smi"], "out": "x"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("QMGEN_CONFORMER", "'QMGEN_CONFORMER'; did you mean QMGEN_CONFORMERS?"),
        ("QMGEN_GRIDLEVEL", "did you mean QMGEN_GRID_LEVEL?"),  # of this command, before bench's QMGEN_GRID_LEVELS
        ("QMGEN_MAXCYCLES", "did you mean QMGEN_MAX_CYCLES?"),
        ("QMGEN_LEARNING_RATES", "did you mean QMGEN_LEARNING_RATE?"),  # of another command
        ("QMGEN_conformers", "did you mean QMGEN_CONFORMERS?"),
        ("qmgen_conformers", "did you mean QMGEN_CONFORMERS?"),
        ("QMGEN_", "unset it"),
        ("QMGEN_JSON", "QMGEN_"),  # a flag that is no setting
        ("QMGEN_ZZZ\nQ", r"'QMGEN_ZZZ\nQ'"),
    ],
)
def test_an_unknown_variable_is_refused_with_the_nearest(name: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(GenerateConfig, None, GIVEN, {name: "3", "QMGEN_CONFORMERS": "2"})
    assert "there is no setting for the environment variable" in str(caught.value)
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "QMGEN_CACHE", "QMGEN_PYTHON", "QMGEN_TEST_WORKERS", "QMGEN_TEST_COUNT",
        "QMGEN_RANKS", "QMGEN_GRID_LEVELS", "QMGEN_PRESET", "QMGEN_TOP_P", "QMGEN_EVERY", "QMGEN_HEAVY_ATOMS",
        "QMGEN_SERVICE_HOST", "QMGEN_SERVICE_PORT_HTTP", "QMGEN_PORT", "QMGEN_PORT_80_TCP_ADDR",
        "QMGEN_ROOT", "QMGEN_HOME", "QMGEN_DIR", "QMGEN_PREFIX", "QMGEN_VERSION", "QMGEN_BASE",  # of modulefiles
        "qmgen_root", "MY_QMGEN_CONFORMER",
    ],
)  # fmt: skip
def test_what_is_not_of_this_command_or_no_setting_at_all_is_let_be(name: str) -> None:
    assert resolve(GenerateConfig, None, GIVEN, {name: "/3"}) == resolve(GenerateConfig, None, GIVEN, {})


def test_an_empty_variable_is_not_given_and_each_wrong_one_has_a_line() -> None:
    assert resolve(BenchConfig, None, {}, {"QMGEN_CONFORMER": ""}).conformers == 1
    with pytest.raises(UsageError) as caught:
        resolve(ValidateConfig, None, {"directory": "x"}, {"QMGEN_SAMPEL": "3", "QMGEN_SEEDED": "1"})
    lines = caught.value.lines
    assert [line.rpartition(" ")[2] for line in lines] == ["QMGEN_SAMPLE?", "QMGEN_SEED?"]


def test_every_model_of_a_command_is_known() -> None:
    for module in pkgutil.iter_modules(qmgen.config.__path__, "qmgen.config."):
        importlib.import_module(module.name)

    def below(model: type[CommandConfig]) -> set[type[CommandConfig]]:
        return {model}.union(*map(below, model.__subclasses__()))

    bases = {base for model in MODELS for base in model.__mro__} | {CallConfig}  # qmgen.label reads no variables
    assert {one for one in below(CommandConfig) if one.__module__.startswith("qmgen.config")} - bases == set()
    assert issubclass(GenerateConfig, LabelConfig)


@pytest.mark.parametrize(
    "words",
    [
        ["generate", "--molecules", "a.smi", "--out", "x"],
        ["enumerate", "--heavy-atoms", "1"],
        ["status", "x"],
        ["validate", "x"],
        ["retry", "x"],
        ["train", "lm", "--plan"],
        ["evaluate", "x"],
        ["sample", "x"],
    ],
)
def test_every_command_refuses_it_with_exit_code_2(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QMGEN_CONFORMER", "3")
    assert main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1 and "QMGEN_CONFORMER'" in shown.err
    assert list(tmp_path.iterdir()) == []
