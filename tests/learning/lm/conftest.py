"""Small molecules as text, and language models that train in seconds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from small_models import SMILES, settings_of


@pytest.fixture(scope="session")
def smiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of some hundred small molecules."""
    file = tmp_path_factory.mktemp("smiles") / "small.smi"
    file.write_text("".join(f"{text} number-{k}\n" for k, text in enumerate(SMILES)))
    return file


@pytest.fixture(scope="session")
def trained(smiles: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Finished runs by name: gpt in f32, llama in fp8-amax."""
    from qmgen.learning.lm.train import run

    runs: dict[str, Any] = {}
    for name, arch, precision in (("gpt", "gpt", "f32"), ("llama", "llama", "fp8-amax")):
        out = tmp_path_factory.mktemp("runs") / name
        run(settings_of(smiles, out, arch=arch, precision=precision, steps=60), quiet=True)
        runs[name] = out
    return runs
