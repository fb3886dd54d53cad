"""Which ``QMGEN_*`` variables there are: settings of all commands, and what else qmgen reads or meets under that name.

A variable that is none of these is a mistake, for a setting that is misspelled would be left out without a word.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Final

from qmgen.config.enumeration import EnumerateConfig
from qmgen.config.evaluate import EvaluateConfig
from qmgen.config.inspect import InspectConfig, StatusConfig
from qmgen.config.models import BenchConfig, CommandConfig, GenerateConfig, ValidateConfig
from qmgen.config.retry import RetryConfig
from qmgen.config.submit import SubmitConfig
from qmgen.config.train import TrainSchnetConfig
from qmgen.config.train_energy import TrainEnergyConfig, TrainLabelsConfig
from qmgen.config.train_lm import QuantizeConfig, SampleConfig, TrainLmConfig
from qmgen.errors import UsageError

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
