"""Every setting of every command is an option of the command line, and --help says what the setting does."""

from __future__ import annotations

import re
from typing import Any

import pytest
from typer.main import get_command

from qmgen.cli.main import app, main
from qmgen.config import CommandConfig
from qmgen.config.sources import MODELS

#: commands by the name of their model
WORDS = {
    "EnumerateConfig": ["enumerate"], "GenerateConfig": ["generate"], "SubmitConfig": ["submit"],
    "RetryConfig": ["retry"], "ValidateConfig": ["validate"], "StatusConfig": ["status"], "InspectConfig": ["verify"],
    "BenchConfig": ["bench"], "TrainSchnetConfig": ["train", "schnet"], "TrainEnergyConfig": ["train", "energy"],
    "TrainLabelsConfig": ["train", "labels"], "TrainLmConfig": ["train", "lm"], "EvaluateConfig": ["evaluate"],
    "QuantizeConfig": ["quantize"], "SampleConfig": ["sample"],
}  # fmt: skip


def parameters_of(words: list[str]) -> dict[str, Any]:
    command: Any = get_command(app)
    for word in words:
        command = command.get_command(None, word)
    return {one.name: one for one in command.params}


@pytest.mark.parametrize("model", MODELS)
def test_every_setting_is_an_argument_or_a_flag_with_help(model: type[CommandConfig]) -> None:
    found = parameters_of(WORDS[model.__name__])
    assert model.settings().keys() == model.model_fields.keys() <= found.keys()
    for name, setting in model.settings().items():
        assert setting.help.endswith(".") and found[name].help.startswith(setting.help)
        assert setting.argument or found[name].opts[0] == model.flags_of(name)[0].partition("/")[0]


@pytest.mark.parametrize("model", MODELS)
def test_the_help_of_a_command_states_defaults_and_choices(
    model: type[CommandConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*WORDS[model.__name__], "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split()).replace("- ", "-")
    for name, field in model.model_fields.items():
        default = model.default_text(name)
        assert default is None or f"default: {default}]".replace("- ", "-") in told, name
        if isinstance(field.default, str) and field.default:
            assert default == field.default


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        (["generate"], ["--molecules FILE", "--embed etkdg3|qm1b", "[0 to 5; default: 1]", "May be repeated."]),
        (["bench"], ["--grid-level <int>", "[0 to 5; default: 0 1 3]"]),
        (["train", "schnet"], ["--scratch / --no-scratch", "[default: on]"]),
        (["train", "lm"], ["One of f32, bf16, f16, fp8-amax, fp8-cscale, fp8-delayed, fp8-block."]),
        (["enumerate"], ["--elements LIST", "[default: C,N,O,F]"]),
        (["sample"], ["-n, --number <int>"]),
        (["submit"], ["--cluster FILE", "--provider-option KEY=VALUE"]),
    ],
)
def test_flags_follow_from_types_bounds_and_choices(
    words: list[str], flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--help"]) == 0
    told = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert [flag for flag in flags if flag not in told] == []


def test_the_list_of_commands_has_a_sentence_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    told = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert told.count(".") >= len(get_command(app).list_commands(None))
    assert "generate Label molecules with batched Kohn-Sham DFT and write a corpus." in told
