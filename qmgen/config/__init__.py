"""Settings of each command: declared once, checked before any work starts."""

from qmgen.config.base import CommandConfig, Setting
from qmgen.config.corpus import BenchConfig, InspectConfig, StatusConfig, SubmitConfig, ValidateConfig
from qmgen.config.enumerate import EnumerateConfig
from qmgen.config.generate import CallConfig, GenerateConfig, LabelConfig, RetryConfig
from qmgen.config.predict import EvaluateConfig, QuantizeConfig, SampleConfig
from qmgen.config.sources import check, resolve
from qmgen.config.train import TrainEnergyConfig, TrainLabelsConfig, TrainLmConfig, TrainSchnetConfig

__all__ = [
    "BenchConfig", "CallConfig", "CommandConfig", "EnumerateConfig", "EvaluateConfig", "GenerateConfig",
    "InspectConfig", "LabelConfig", "QuantizeConfig", "RetryConfig", "SampleConfig", "Setting", "StatusConfig",
    "SubmitConfig", "TrainEnergyConfig", "TrainLabelsConfig", "TrainLmConfig", "TrainSchnetConfig", "ValidateConfig",
    "check", "resolve",
]  # fmt: skip
