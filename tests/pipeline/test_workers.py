"""How workers are laid out over the machine, and what is said while they work."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pipeline_fakes
import pytest

from qmgen.config import GenerateConfig
from qmgen.errors import UsageError
from qmgen.pipeline import layout
from qmgen.pipeline.job import settings_of
from qmgen.pipeline.level import level_of_theory
from qmgen.pipeline.run import generate
from qmgen.pipeline.stages import Stages
from qmgen.progress import RunProgress

Config = Callable[..., GenerateConfig]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no pinning on this system")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_has_one_core_and_one_thread(
    config: Config, stages: Stages, lines: RunProgress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setenv("QMGEN_TEST_TOLD", str(tmp_path))
    monkeypatch.setattr(layout, "on_accelerator", lambda: False)
    generate(config(workers=workers), lines, stages.replace(prepare=pipeline_fakes.prepare_and_tell))
    told = [json.loads(path.read_text()) for path in tmp_path.glob("*.json")]
    assert len(told) == workers
    assert all(len(one["cores"]) == 1 and one["NPROC"] == one["OMP_NUM_THREADS"] == "1" for one in told)
    assert len({one["cores"][0] for one in told}) == min(workers, len(layout.usable_cores()))


def test_default_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "usable_cores", lambda: (2, 3, 5))
    monkeypatch.setattr(layout, "granted_cpus", lambda: 3)
    monkeypatch.setattr(layout, "on_accelerator", lambda: False)

    def default_layout(workers: int | None, units: int) -> tuple[int, bool]:
        places = layout.layout(workers, None, units)
        (one_thread,) = {place.one_thread for place in places}
        return len(places), one_thread

    assert default_layout(None, 8) == (3, True)
    assert default_layout(None, 2) == (2, True) and default_layout(7, 8) == (7, True)
    monkeypatch.setattr(layout, "granted_cpus", lambda: 2)
    assert default_layout(None, 8) == (2, True) and default_layout(3, 8) == (3, True)
    monkeypatch.setattr(layout, "on_accelerator", lambda: True)
    assert default_layout(None, 8) == (1, False) and default_layout(2, 8) == (2, False)


def test_the_device_is_judged_without_jax(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert not layout.on_accelerator()
    monkeypatch.setenv("JAX_PLATFORMS", "cuda,cpu")
    assert layout.on_accelerator()


def test_lines_for_log_files() -> None:
    stream = io.StringIO()
    lines = RunProgress(stream, every=0.0)
    lines.start(10)
    lines.advance(3, 1)
    lines.expect(-2)
    lines.advance(4, 0)
    said = stream.getvalue().splitlines()
    assert said[0].startswith("qmgen: labeling: 4 of 10 conformers (40%), ")
    assert said[0].endswith("; 3 rows, 1 failures")
    assert said[1].startswith("qmgen: labeling: 8 of 8 conformers (100%), ")
    assert said[1].endswith(" 0 s left; 7 rows, 1 failures")
    quiet = RunProgress(stream, every=60.0)
    quiet.start(10)
    quiet.advance(3, 1)
    assert len(stream.getvalue().splitlines()) == 2


def test_standard_input(config: Config, stages: Stages, lines: RunProgress, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config().model_copy(update={"molecules": ["-"]})
    for text, rows in ((b"C_0\nC_1\nC_2\n", 3), (b"C_0\nC_1\nC_2\n", 0)):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
        assert generate(settings, lines, stages).run_rows == rows  # the second time nothing is left to do
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    with pytest.raises(UsageError, match="standard input is empty"):
        generate(settings, lines, stages)


@pytest.mark.parametrize("name", ["hf", "lda", "pbe", "pbe0", "b3lyp", "b3lyp5"])
def test_level_of_theory_spells_the_functional_out(config: Config, name: str) -> None:
    theory = level_of_theory(settings_of(config(xc=name)))
    assert theory["xc"] == name and len(theory["basis_checksum"]) >= 16 and theory["conv_energy"] == 1e-9
    if name.startswith("b3lyp"):
        assert ("VWN5" if name == "b3lyp5" else "VWN-RPA") in theory["functional"]


def test_unknown_level_names_the_nearest(config: Config) -> None:
    with pytest.raises(UsageError, match=r"unknown functional 'b3lpy5'.* did you mean 'b3lyp5'"):
        level_of_theory(settings_of(config(xc="b3lpy5")))
    with pytest.raises(UsageError, match="unknown basis 'sto-3h'; did you mean 'sto-3g'"):
        level_of_theory(settings_of(config(basis="sto-3h")))
