"""The benchmark at toy size, with PySCF on both sides, so that the right answers are known."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bench_fakes
import pytest

from qmgen.benchmark.engines import EngineProcesses, shares, singles, subjects
from qmgen.benchmark.measure import run
from qmgen.benchmark.tables import markdown, table
from qmgen.config import BenchConfig
from qmgen.errors import QmgenError, UsageError
from qmgen.pipeline.stages import Stages


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> Stages:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    names = ("read", "merge", "check", "conformers", "label", "prepare", "theory")
    return Stages(**{name: getattr(bench_fakes, name) for name in names})


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., BenchConfig]:
    """``config(names, **settings)``: one stand-in molecule per name."""

    def make(names: list[str], **settings: Any) -> BenchConfig:
        source = tmp_path / "molecules.smi"
        source.write_text("".join(f"{name}\n" for name in names))
        return BenchConfig(**{"molecules": [str(source)], "grid_levels": [0], "workers": 1, **settings})

    return make


def test_a_whole_benchmark(config, stages, tmp_path, capsys):
    out = tmp_path / "bench.json"
    result = run(config(["O", "O", "flat", "O"], repeats=3, out=out), stages=stages)
    assert json.loads(out.read_text()) == result
    assert capsys.readouterr().out == ""
    assert result["subjects"]["conformers"] == 3 and result["subjects"]["without_geometry"] == 1
    assert {"cpu", "usable_cpus"} <= result["machine"].keys() and result["versions"]["pyscf"]
    (level,) = result["levels"]
    assert level["settings"]["grid_level"] == 0
    ours, theirs = level["sides"]["qmgen"], level["sides"]["pyscf"]
    assert ours["labelled"] == theirs["labelled"] == 3
    assert len(ours["warm"]["seconds"]) == len(theirs["warm"]["seconds"]) == 3
    assert ours["cold"]["seconds"] > 1.0  # the stand-in compiles for a second
    assert theirs["cold"] is None
    assert level["agreement"]["compared"] == 3
    assert level["agreement"]["max_abs_energy_difference_hartree"] < 1e-8
    ratio = level["ratio"]["warm"]
    assert ratio["min"] <= ratio["median"] <= ratio["max"] and len(ratio["each"]) == 3
    usual = theirs["warm"]["conformers_per_second"]["median"]
    assert level["ratio"]["cold"] == pytest.approx(ours["cold"]["conformers_per_second"] / usual)
    assert 50e6 < ours["peak_memory_bytes"]["largest_process"] < 2e9
    assert level["generate"]["rows"] == 3
    first = level["first_label"]
    assert (first["conformer"], first["atoms"], first["heavy_atoms"]) == ([0, 0], 3, 1)
    for found in (first["empty_cache"], first["filled_cache"]):
        assert found["label_seconds"] > 1.0  # a fresh process each: the stand-in compiles in both
        assert found["seconds"] == pytest.approx(found["start_seconds"] + found["label_seconds"], abs=2e-3)

    text = table(result)
    assert "qmgen / PySCF" in text and "b3lyp5/sto-3g, grid level 0" in text
    assert f"{first['empty_cache']['seconds']:.1f}" in text and "target 60 s" in text and "target 10 s" in text
    assert result["date"][:10] in markdown(result).splitlines()[0]


@pytest.mark.slow
def test_levels_follow_one_another_and_a_disagreement_shows(config, stages):
    result = run(config(["O", "wrong"], repeats=1, grid_levels=[1, 0]), stages=stages, progress=False)
    assert [level["settings"]["grid_level"] for level in result["levels"]] == [1, 0]
    for level in result["levels"]:
        assert level.keys() == {"settings", "sides", "generate", "first_label", "ratio", "agreement"}
        agreement = level["agreement"]
        assert (agreement["compared"], agreement["worst"]) == (2, [1, 0])
        assert abs(agreement["max_abs_energy_difference_hartree"] - 1e-4) < 1e-8
    text = table(result)
    summary = text[text.index("grid level  unit") :].splitlines()
    assert [line.split()[0] for line in summary[1:]] == ["1", "0"]
    # each table of the Markdown has one number of columns: two of levels, one of all
    tables = [part.splitlines() for part in markdown(result).split("\n\n") if part.startswith("|")]
    assert [len({line.count("|") for line in lines}) for lines in tables] == [1, 1, 1]
    assert len(tables[2]) == 4


def test_what_cannot_be_measured_is_one_line(config, stages, tmp_path):
    with pytest.raises(UsageError, match="b3lyp9"):
        run(config(["O"], xc="b3lyp9"), stages=stages)
    with pytest.raises(UsageError, match="told to"):
        run(config(["flat"]), stages=stages)
    with pytest.raises(UsageError, match="no such file"):
        run(BenchConfig(molecules=[str(tmp_path / "none.smi")]), stages=stages)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("crash", QmgenError, "exit code 3"),
        ("refuse", QmgenError, "told to refuse"),
        ("bug", RuntimeError, "ZeroDivisionError"),
    ],
)
def test_a_process_that_fails_ends_the_benchmark(config, stages, name, error, message):
    with pytest.raises(error, match=message):
        run(config([name], repeats=1), stages=stages, progress=False)


def test_the_draw_is_seeded_and_shares_are_even(config, stages):
    files = config(["O"] * 11).molecules

    def drawn(seed: int) -> list[int]:
        return [molecule.molecule_id for molecule in subjects(files, 5, 1, seed, stages).molecules]

    assert drawn(1) == drawn(1) != drawn(2)
    found = subjects(files, 5, 2, 0, stages)
    assert len(found.conformers) == 10
    assert [len(share) for share in shares(found.conformers, 3)] == [4, 3, 3]
    assert len(shares(found.conformers, 64)) == len(singles(found.conformers)) == 10


def test_processes_have_one_thread_and_their_own_core(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    core = min(os.sched_getaffinity(0))
    before = os.environ.get("OMP_NUM_THREADS")
    with EngineProcesses("crew_sides:Looking", "setup", 2, (core,)) as crew:
        done = crew.work(list(range(6)))
    assert os.environ.get("OMP_NUM_THREADS") == before
    assert [result["task"] for result in done.results] == list(range(6))
    assert {result["threads"] for result in done.results} == {"1"}
    assert {tuple(result["cores"]) for result in done.results} == {(core,)}
    assert len(done.peak_memory) == 2
