"""Fixtures: the stand-ins as stages, and a configuration for them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pipeline_fakes
import pytest

from qmgen.config import GenerateConfig
from qmgen.corpus import FAILURES, Plan, Splitter
from qmgen.labeling.types import Settings
from qmgen.molecules.embedding import PLAIN
from qmgen.pipeline.job import LabelJob
from qmgen.pipeline.run import generate
from qmgen.pipeline.run_record import RunSummary
from qmgen.pipeline.source import UnitInput
from qmgen.pipeline.stages import Stages
from qmgen.progress import RunProgress

MOLECULES = [f"C{'C' * (i % 7)}_{i} mol{i}" for i in range(40)]


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stages:
    """All stations replaced; the workers find them by the search path that they inherit."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    # other runs on this machine, the tests' own among them, claim cores too
    monkeypatch.setattr("qmgen.pipeline.layout.directory", lambda: tmp_path / "cores")
    names = ("read", "parse", "merge", "check", "conformers", "label", "prepare", "theory")
    return Stages(**{name: getattr(pipeline_fakes, name) for name in names})


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., GenerateConfig]:
    """``config(lines, **settings)``: a configuration whose source holds ``lines``."""

    def make(lines: list[str] | None = None, **settings: Any) -> GenerateConfig:
        source = tmp_path / "source.smi"
        source.write_text("".join(line + "\n" for line in (MOLECULES if lines is None else lines)))
        return GenerateConfig(**{"molecules": [str(source)], "out": tmp_path / "corpus", "workers": 1, **settings})

    return make


@pytest.fixture
def lines() -> RunProgress:
    """Progress into a string, a line for every advance."""
    return RunProgress(io.StringIO(), every=0.0)


@pytest.fixture
def run(config: Callable[..., GenerateConfig], stages: Stages, lines: RunProgress) -> Callable[..., RunSummary]:
    """``run(**settings)``: one `qmgen generate` of eight units."""
    return lambda **settings: generate(config(**{"units": 8, **settings}), lines, stages)


@pytest.fixture
def job(stages: Stages, tmp_path: Path) -> Callable[..., LabelJob]:
    """``job(name, **changes)``: what units of a corpus ``name`` share, with partial work kept beside it."""

    def make(name: str = "corpus", **changes: Any) -> LabelJob:
        values: dict[str, Any] = {
            "place": tmp_path / name,
            "settings": Settings(),
            "conformers": 1,
            "seed": 0,
            "embed_time_limit": 60.0,
            "splitter": Splitter(0, 0.2, 0.2),
            "metadata": {"config_hash": "a" * 64},
            "stages": stages,
            "procedure": PLAIN,
            "partials": tmp_path / f"{name}-partials",
        }
        return LabelJob(**values | changes)

    return make


@pytest.fixture
def works(stages: Stages) -> Callable[..., list[UnitInput]]:
    """``works(lines, units)``: the work units of a source of ``lines``."""

    def make(lines: list[str] | None = None, units: int = 1) -> list[UnitInput]:
        parse = stages.parse
        split = [line.partition(" ") for line in lines or MOLECULES]
        entries = [parse(place, smiles, name) for place, (smiles, _, name) in enumerate(split)]
        return [UnitInput(unit, entries[unit.start : unit.end], 0) for unit in Plan(len(entries), units)]

    return make


@pytest.fixture
def files() -> Callable[[LabelJob], dict[str, bytes]]:
    """``files(job)``: the bytes of what the units of a job have become."""

    def read(job: LabelJob) -> dict[str, bytes]:
        paths = [path for folder in ("data", FAILURES) for path in (Path(job.place) / folder).glob("*")]
        return {path.name: path.read_bytes() for path in paths}

    return read
