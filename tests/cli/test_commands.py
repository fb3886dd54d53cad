"""What commands make of their results: exit codes, talk on standard error, data on standard output only when asked."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from qmgen.cli.main import main
from qmgen.config import BenchConfig, GenerateConfig
from qmgen.pipeline.estimate import Estimate
from qmgen.pipeline.run_record import RunSummary

SUMMARY = RunSummary(
    directory="corpus",
    entries=4,
    rows=2,
    molecules=2,
    failures={"net_charge": 1, "odd_electrons": 1},
    merged=0,
    splits={"train": 2},
    files=4,
    bytes=1000,
    run_rows=2,
    run_failures=2,
    run_units=1,
    units=1,
    workers=1,
    seconds=2.0,
    conformers_per_second=2.0,
    seconds_to_first_row=float("nan"),
    compile_seconds=None,
)
GENERATE = ["generate", "--molecules", "x.smi", "--out", "corpus"]


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in [key for key in os.environ if key.startswith("QMGEN_")]:
        monkeypatch.delenv(key)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[GenerateConfig]:
    """The configurations that reached the pipeline, which answers with ``SUMMARY``."""
    seen: list[GenerateConfig] = []

    def generate(config: GenerateConfig, quiet: bool) -> RunSummary:
        seen.append(config)
        return replace(SUMMARY, max_failures=config.max_failures)

    monkeypatch.setattr("qmgen.pipeline.run.generate", generate)
    return seen


def test_generate_hands_over_what_was_given(runs: list[GenerateConfig], tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('molecules = "a.smi"\nout = "o"\nconformers = 2\n')
    assert main(["generate", str(file), "--seed", "3", "--molecules", "b.smi", "--molecules", "c.smi"]) == 0
    (config,) = runs
    assert (config.conformers, config.seed, config.molecules) == (2, 3, ["b.smi", "c.smi"])
    assert config.out == tmp_path / "o"


@pytest.mark.parametrize("words", [["--rules", "gdb11"], ["--elements", "C,N"], ["--max-hydrogens", "4"]])
def test_flags_that_choose_among_enumerated_molecules_need_an_enumeration(
    words: list[str], runs: list[GenerateConfig], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody is to take the corpus of a file for filtered; a file with such settings may be of an earlier run."""
    assert main([*GENERATE, *words]) == 2
    told = capsys.readouterr().err
    assert f"{words[0]} chooses among molecules that are enumerated" in told and told.count("\n") == 1
    assert main(["generate", "--enumerate", "3", "--out", "corpus", *words]) == 0
    file = tmp_path / "run.toml"
    file.write_text('rules = "none"\nelements = ["C"]\nmax_hydrogens = 4\nmolecules = "a.smi"\nout = "o"\n')
    assert main(["generate", str(file)]) == 0 and len(runs) == 2


def test_generate_talks_to_standard_error(runs: list[GenerateConfig], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(GENERATE) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    for part in ("2 rows", "net_charge 1", "corpus", "try next", "validate corpus"):
        assert part in printed.err


def test_generate_can_be_quiet(runs: list[GenerateConfig], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*GENERATE, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_generate_prints_json_when_asked(runs: list[GenerateConfig], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*GENERATE, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["directory"], found["failures"]["net_charge"]) == (2, "corpus", 1)
    assert found["seconds_to_first_row"] is None


@pytest.mark.parametrize(("allowed", "code"), [(2, 0), (1, 3), (0, 3)])
def test_too_many_failures_exit_3(runs: list[GenerateConfig], allowed: int, code: int) -> None:
    assert main([*GENERATE, "--quiet", "--max-failures", str(allowed)]) == code


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({}, 1, "qmgen: not one row was made: net_charge 1, odd_electrons 1; failures/ in corpus says more\n"),
        ({"failures": {"machine_trouble": 4}}, 75, "the same command tries again\n"),
        ({"max_failures": 1}, 3, ""),
        ({"complete": False, "world_size": 2}, 0, ""),  # other ranks may have rows
        ({"complete": False}, 1, "not one row was made"),
        ({"failures": {}}, 0, ""),
        ({"rows": 7, "added_rows": 0, "added_failures": {"unreadable": 3}}, 1, "not one row was made: unreadable 3;"),
        ({"rows": 7, "added_rows": 0, "added_failures": {}}, 0, ""),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_a_run_without_a_row_has_failed(
    changes: dict[str, object],
    code: int,
    said: str,
    as_json: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = replace(SUMMARY, **{"rows": 0, "molecules": 0, "run_rows": 0, **changes})
    monkeypatch.setattr("qmgen.pipeline.run.generate", lambda config, quiet: found)
    assert main([*GENERATE, *(["--json"] if as_json else [])]) == code
    printed = capsys.readouterr()
    assert said in printed.err and (not as_json or json.loads(printed.out)["rows"] == found.rows)
    assert "not one row" not in printed.err or "try next" not in printed.err


@pytest.mark.parametrize("command", [GENERATE, ["retry", "corpus"]])
@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(12, "Cannot allocate memory"),
        ImportError("lib.so: failed to map segment from shared object"),
        RuntimeError("can't start new thread"),
    ],
)
def test_too_little_memory_is_no_bug(
    command: list[str], error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(f"qmgen.pipeline.{'retry.retry' if 'retry' in command else 'run.generate'}", fail)
    assert main(command) == 75
    printed = capsys.readouterr().err
    assert printed.startswith("qmgen: too little memory (") and printed.count("\n") == 1


@pytest.mark.parametrize(
    ("limit", "value", "code"),
    [
        ("address_space_limit", 600_000_000, 75),
        ("address_space_limit", 4_000_000_000, 0),
        ("memory_limit", 100_000_000, 75),
        ("memory_limit", 450_000_000, 0),
    ],
)
def test_what_cannot_be_loaded_within_a_limit_is_said_before(
    runs: list[GenerateConfig],
    limit: str,
    value: int,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(f"qmgen.machine.{limit}", lambda: value)
    assert main(GENERATE) == code and len(runs) == (code == 0)
    assert (f"may have {value / 1e6:.0f} MB" in capsys.readouterr().err) == (code == 75)


def test_a_dry_run_measures_and_writes_nothing(
    runs: list[GenerateConfig], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = Estimate(Path("corpus"), 4, 8, 1, 1, 2, 0.5, 3.0, 1.0, 0.1, 0.5, 4, 0)
    monkeypatch.setattr("qmgen.pipeline.estimate.estimate", lambda config: expected)
    assert main([*GENERATE, "--dry-run"]) == 0
    assert "8 rows of 4 molecules" in capsys.readouterr().err
    assert main([*GENERATE, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["hours"] == 1.0
    assert runs == []


@pytest.mark.parametrize(("good", "code"), [(True, 0), (False, 1)])
def test_doctor_exits_1_when_something_is_wrong(
    good: bool, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("qmgen.doctor.report", lambda: {"ok": good})
    monkeypatch.setattr("qmgen.doctor.lines", lambda issues: ["a finding"])
    assert main(["doctor"]) == code
    assert capsys.readouterr() == ("", "a finding\n")
    assert main(["doctor", "--json"]) == code
    assert json.loads(capsys.readouterr().out) == {"ok": good}


def test_bench_prints_its_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[object] = []

    def run(config: object) -> dict[str, int]:
        asked.append(config)
        return {"ratio": 2}

    monkeypatch.setattr("qmgen.benchmark.measure.run", run)
    monkeypatch.setattr("qmgen.benchmark.tables.table", lambda result: f"ratio {result['ratio']}")
    assert main(["bench", "--count", "5", "--repeats", "2"]) == 0
    assert capsys.readouterr() == ("", "ratio 2\n")
    assert asked == [BenchConfig(count=5, repeats=2)]
    assert main(["bench", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"ratio": 2}


@pytest.mark.parametrize(("passed", "code"), [(True, 0), (False, 1)])
def test_validate_exits_1_out_of_tolerance(
    passed: bool, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked: dict[str, object] = {}
    figures: list[Path] = []

    def validate(directory: Path, **settings: object) -> SimpleNamespace:
        asked.update(settings, directory=directory)
        return SimpleNamespace(passed=passed, table=lambda: "the table", to_dict=lambda: {"passed": passed})

    def draw(report: object, path: Path) -> Path:
        figures.append(path)
        return path

    monkeypatch.setattr("qmgen.validation.validate", validate)
    monkeypatch.setattr("qmgen.report.parity.draw", draw)
    words = ["validate", str(tmp_path), "--sample", "7", "--tol-dipole", "0.5"]
    assert main(words) == code
    assert (asked["directory"], asked["sample"], asked["seed"]) == (tmp_path, 7, 0)
    assert asked["tolerances"].dipole == 0.5  # type: ignore[attr-defined]
    assert "the table" in capsys.readouterr().err
    assert main([*words, "--json", "--out", str(tmp_path / "v.json")]) == code
    assert json.loads(capsys.readouterr().out) == {"passed": passed}
    assert figures == [tmp_path / "validation.png", tmp_path / "v.png"]
