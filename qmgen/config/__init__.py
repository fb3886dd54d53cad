"""Settings of each command, checked before any work starts: pydantic models, read from TOML, environment and flags."""

from qmgen.config.load import check, resolve
from qmgen.config.models import BenchConfig, CallConfig, CommandConfig, GenerateConfig, LabelConfig, ValidateConfig

__all__ = [
    "BenchConfig", "CallConfig", "CommandConfig", "GenerateConfig", "LabelConfig", "ValidateConfig", "check", "resolve",
]  # fmt: skip
