"""What --help says is what the configuration does."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, get_args, get_type_hints

import pytest

from qmgen.cli.bench import bench
from qmgen.cli.evaluate import evaluate
from qmgen.cli.generate import generate
from qmgen.cli.retry import retry
from qmgen.cli.train import schnet
from qmgen.cli.validate import validate
from qmgen.config import BenchConfig, CommandConfig, GenerateConfig, ValidateConfig
from qmgen.config.generate import RetryConfig
from qmgen.config.train import EvaluateConfig, TrainSchnetConfig

COMMANDS = [
    (generate, GenerateConfig),
    (validate, ValidateConfig),
    (bench, BenchConfig),
    (retry, RetryConfig),
    (schnet, TrainSchnetConfig),
    (evaluate, EvaluateConfig),
]


@pytest.mark.parametrize(("command", "model"), COMMANDS)
def test_defaults_in_the_help_are_those_of_the_model(command: Callable[..., Any], model: type[CommandConfig]) -> None:
    hints = get_type_hints(command, include_extras=True)
    for name, field in model.model_fields.items():
        if name not in hints:
            continue
        (text,) = [item.help or "" for item in get_args(hints[name])[1:]]
        stated = re.search(r"\[default: (\S+|[\d ]+)\]$", text)
        if stated and field.default is not None:
            default = field.default if isinstance(field.default, list) else [field.default]
            assert stated[1].replace(",", " ") == " ".join(map(str, default)), name


@pytest.mark.parametrize(("command", "model"), COMMANDS)
def test_every_option_reaches_the_model(command: Callable[..., Any], model: type[CommandConfig]) -> None:
    not_settings = {"config", "dry_run", "as_json", "quiet"}
    assert set(inspect.signature(command).parameters) - not_settings <= set(model.model_fields)
