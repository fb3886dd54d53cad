"""Fixtures: the stand-ins as stages, and a configuration for them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qmgen.config import GenerateConfig
from qmgen.pipeline.progress import Lines
from qmgen.pipeline.stages import Stages

MOLECULES = [f"C{'C' * (i % 7)}_{i} mol{i}" for i in range(40)]


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stages:
    """All stations replaced; the workers find them by the search path that they inherit."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    # other runs on this machine, the tests' own among them, claim cores too
    monkeypatch.setattr("qmgen.pipeline.cores.directory", lambda: tmp_path / "cores")
    names = ("read", "parse", "merge", "check", "conformers", "label", "prepare", "theory")
    return Stages(**{name: f"pipeline_fakes:{name}" for name in names})


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., GenerateConfig]:
    """``config(lines, **settings)``: a configuration whose source holds ``lines``."""

    def make(lines: list[str] | None = None, **settings: Any) -> GenerateConfig:
        source = tmp_path / "source.smi"
        source.write_text("".join(line + "\n" for line in (MOLECULES if lines is None else lines)))
        return GenerateConfig(**{"molecules": [str(source)], "out": tmp_path / "corpus", "workers": 1, **settings})

    return make


@pytest.fixture
def lines() -> Lines:
    """Progress into a string, a line for every advance."""
    return Lines(io.StringIO(), every=0.0)
