"""verify, merge and status on what generate, --extend, retry and a whole enumeration leave behind: sound, and whole."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from qmgen.config import GenerateConfig
from qmgen.config.generate import RetryConfig
from qmgen.corpus.merge import merge
from qmgen.corpus.status import status
from qmgen.corpus.verify import inspect
from qmgen.pipeline.retry import retry
from qmgen.pipeline.run import generate
from qmgen.pipeline.stages import Stages
from qmgen.progress import RunProgress

Config = Callable[..., GenerateConfig]


def is_sound(place: Path, units: int, rows: int) -> None:
    found = inspect(place)
    assert not found.issues, found.issues
    assert found.complete and found.units == units and found.as_json()["counts"]["rows"] == rows
    told = status(place)
    assert (told.units, told.units_done, told.rows) == (units, units, rows)


@pytest.mark.parametrize("lost", [(), ("manifest.json",), ("manifest.json", "runs"), ("generations", "runs")])
def test_additions(config: Config, stages: Stages, lines: RunProgress, tmp_path: Path, lost: tuple[str, ...]) -> None:
    settings = config(["C_0", "stiff_1", "bad", "C_0", "C_2"], units=2)
    generate(settings, lines, stages)
    is_sound(settings.out, 2, 2)
    more = settings.model_copy(update={"conformers": 3, "extend": True})
    generate(more, lines, stages)
    is_sound(settings.out, 4, 6)
    retry(RetryConfig(directory=settings.out), lines, stages)
    is_sound(settings.out, 5, 9)
    sums = (settings.out / "SHA256SUMS").read_bytes()
    for name in lost:
        path = settings.out / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert not inspect(settings.out).damaged
    assert merge(settings.out).state == "complete"
    is_sound(settings.out, 5, 9)
    assert (settings.out / "SHA256SUMS").read_bytes() == sums


@pytest.mark.parametrize("lost", [(), ("manifest.json", "runs")])
def test_parts_of_an_enumeration(stages: Stages, lines: RunProgress, tmp_path: Path, lost: tuple[str, ...]) -> None:
    out = tmp_path / "corpus"
    settings = GenerateConfig(enumerate="1-2", rules="none", units=3, out=out, workers=1)
    rows = generate(settings, lines, stages).rows
    is_sound(out, 3, rows)
    for name in lost:
        shutil.rmtree(out / name) if (out / name).is_dir() else (out / name).unlink()
    assert merge(out).state == "complete"
    is_sound(out, 3, rows)
    assert generate(settings, lines, stages).run_units == 0
