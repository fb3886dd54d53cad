"""What the tests of language models share: a list of molecules, settings, shapes."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

from qmgen.learning.lm.model import LmShape

_ENDS = ("C", "N", "O", "F", "C#N", "C=O", "C(=O)O", "C1CC1", "c1ccccc1", "C(F)(F)F")
#: chains and branches between two ends, each a valid SMILES once
SMILES = sorted({f"{middle}{left}" for left, middle in product(_ENDS, ("C", "CC", "CO", "CN", "CCC", "CC(C)", "CC(=O)",
         "C1CC1", "N1CC1", "OC(C)", "CCOC", "C=C"))} | {f"F{end}" for end in ("C", "CC", "CCO")})  # fmt: skip

SHAPES = {
    "gpt": LmShape("gpt", 32, 2, 4, 4, 64, 19, 24),
    "llama": LmShape("llama", 32, 2, 4, 2, 48, 19, 24),
}


def settings_of(data: Path, out: Path, **given: Any) -> Any:
    """Settings of a training of seconds."""
    from qmgen.config import check
    from qmgen.config.train import TrainLmConfig

    values = {
        "data": [str(data)], "out": out, "preset": "mini", "context": 32, "batch_size": 4, "steps": 12, "log_every": 4,
        "watch_every": 4, "validate_every": 6, "validation_fraction": 0.2,
    }  # fmt: skip
    return check(TrainLmConfig, {**values, **given})
