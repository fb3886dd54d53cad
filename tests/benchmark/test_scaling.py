"""The scaling benchmark on stand-ins: what is counted as warm, and what a verdict rests on."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import bench_fakes
import pytest

from benchmarks import scaling
from benchmarks.scaling import Ours, Scale, measure, table
from qmgen.errors import QmgenError
from qmgen.pipeline.stages import Stages
from qmgen.pipeline.unit import UnitResult

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stages:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setattr("qmgen.pipeline.layout.directory", lambda: tmp_path / "cores")
    names = ("read", "merge", "check", "conformers", "label", "prepare", "theory")
    return Stages(**{name: getattr(bench_fakes, name) for name in names})


def test_the_whole_of_it_on_stand_ins(stages: Stages, tmp_path: Path) -> None:
    source = tmp_path / "molecules.smi"
    source.write_text("O\nO\nflat\n")
    result = measure(Scale((str(source),), 3, 0, workers=2, passes=1, turns=1), lambda what: None, stages)
    assert json.loads(json.dumps(result)) == result
    assert {"schema_version", "date", "command", "machine", "versions", "scale", "settings"} <= result.keys()
    assert result["subjects"]["conformers"] == 2 and result["subjects"]["without_geometry"] == 1
    # the stand-in compiles for a second in its first unit: that one does not count
    assert all(result["qmgen"]["conformers_per_second"][many]["min"] > 1.0 for many in ("1", "2"))
    assert len(result["qmgen"]["cores"]["2"][0]) == 2 and result["parent_cpu_share"]["min"] > 0
    text = table(result)
    assert "2 processes" in text and "qmgen / PySCF" in text and text.lower().count("hold") == 2


def test_turns_alternate_and_scaling_is_taken_within_each(
    stages: Stages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "molecules.smi"
    source.write_text("O\n")
    ours = {1: iter((1.0, 2.0)), 2: iter((1.9, 4.2))}
    theirs = {1: iter((4.0, 1.0)), 2: iter((8.0, 1.5))}
    monkeypatch.setattr(scaling, "_ours", lambda scale, chosen, many, *_: Ours(next(ours[many]), 0.01, [None] * many))
    monkeypatch.setattr(scaling, "_theirs", lambda crew, chosen: next(theirs[crew.count]))
    monkeypatch.setattr(scaling, "EngineProcesses", _NoProcesses)
    said: list[str] = []
    result = measure(Scale((str(source),), 1, 0, turns=2), said.append, stages)
    assert [line.split(": ")[1] for line in said] == [
        "qmgen, 1 process", "qmgen, 2 processes", "PySCF, 1 process", "PySCF, 2 processes",
        "PySCF, 2 processes", "PySCF, 1 process", "qmgen, 2 processes", "qmgen, 1 process",
    ]  # fmt: skip
    assert result["qmgen"]["scaling"]["each"] == pytest.approx([1.9, 2.1])
    assert result["pyscf"]["scaling"]["each"] == pytest.approx([2.0, 1.5])
    assert result["ratio_of_scalings"]["each"] == pytest.approx([0.95, 1.4])


class _NoProcesses(contextlib.nullcontext):  # type: ignore[type-arg]
    def __init__(self, side: str, setup: object, count: int, cores: tuple[int, ...]) -> None:
        super().__init__()
        self.count = count


def test_nothing_labeled_is_an_error(stages: Stages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "molecules.smi"
    source.write_text("O\n")
    monkeypatch.setattr(scaling, "EngineProcesses", _NoProcesses)
    monkeypatch.setattr(scaling, "Pool", _IdlePool)
    with pytest.raises(QmgenError, match="no molecule of the draw got a label"):
        measure(Scale((str(source),), 1, 0, turns=1, passes=1), lambda what: None, stages)


class _IdlePool(contextlib.nullcontext):  # type: ignore[type-arg]
    def __init__(self, *_: object, **__: object) -> None:
        super().__init__(self)
        self.gone = self.workers = []

    def run(self, works: object, stopping: object) -> None:
        pass


def test_the_first_unit_of_each_worker_is_not_timed() -> None:
    watch = scaling._Watch(warm=2, wanted=6)
    for index in (1, 0, 2, 4, 3):
        assert not watch.enough()
        watch.done(_unit(index))
    watch.done(_unit(6))
    assert watch.enough()
    watch.done(_unit(5))  # it only kept the others company
    assert [one.index for one in watch.timed] == [2, 4, 3, 6]


def _unit(index: int) -> UnitResult:
    return UnitResult(index, 1, 1, 0, 1, {}, 1.0, [])


@pytest.mark.parametrize(
    ("two", "theirs", "parent", "holds"),
    [
        (1.85, 2.0, 0.01, (True, True)),
        (1.75, 1.8, 0.01, (True, True)),  # the machine gives PySCF no more either
        (1.6, 1.8, 0.01, (False, True)),
        (1.85, 2.0, 0.06, (True, False)),
    ],
)
def test_what_must_hold(two: float, theirs: float, parent: float, holds: tuple[bool, bool]) -> None:
    ours = {1: [Ours(1.0, 0.0, [0])] * 3, 2: [Ours(two, parent, [0, 1])] * 3}
    found = scaling._summary(2, ours, {1: [1.0] * 3, 2: [theirs] * 3})
    assert (found["holds"]["scaling"], found["holds"]["parent"]) == holds
    assert found["ratio_of_scalings"]["median"] == pytest.approx(two / theirs)


@pytest.mark.slow
def test_the_script_runs_to_its_end(tmp_path: Path, bare_environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "bench_scaling", "--toy", "--json", tmp_path / "scaling.json"],
        capture_output=True,
        text=True,
        env=bare_environment,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "scaling.json").read_text())
    assert found["subjects"]["conformers"] == 2 and found["qmgen"]["scaling"]["median"] > 0
    assert "the parent" in done.stdout


@pytest.mark.parametrize(
    ("script", "words"), [("bench_scaling", ["--workers", "1"]), ("bench_memory", ["--rows", "0"])]
)
def test_wrong_numbers_are_refused_before_any_work(
    script: str, words: list[str], bare_environment: dict[str, str]
) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / script, *words], capture_output=True, text=True, env=bare_environment
    )
    assert done.returncode == 2 and "must be" in done.stderr and "Traceback" not in done.stderr
