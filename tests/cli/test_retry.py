"""``qmgen retry`` from the shell: what it prints, and its exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from qmgen.cli.main import main
from qmgen.config.generate import RetryConfig
from qmgen.pipeline import retry as retrying
from qmgen.pipeline.run_record import RetrySummary


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[[RetrySummary], list[tuple[RetryConfig, bool]]]:
    """``asked(outcome)``: the run itself gives ``outcome``; what it was asked is in the list."""

    def stand_in(outcome: RetrySummary) -> list[tuple[RetryConfig, bool]]:
        heard: list[tuple[RetryConfig, bool]] = []

        def run(config: RetryConfig, quiet: bool = False, dry_run: bool = False) -> RetrySummary:
            heard.append((config, dry_run))
            return outcome

        monkeypatch.setattr(retrying, "retry", run)
        return heard

    return stand_in


TRIED = RetrySummary("corpus", 2, {"not_converged": 3}, {"max_cycles": 200, "batch_size": None}, 2, {"net_charge": 4})


def test_flags_reach_the_run(asked: Callable[..., list], capsys: pytest.CaptureFixture[str]) -> None:
    heard = asked(TRIED)
    assert main(["retry", "corpus", "--max-cycles", "99", "--guess", "core", "--workers", "2", "--dry-run"]) == 0
    assert heard == [(RetryConfig(directory="corpus", max_cycles=99, guess="core", workers=2), True)]
    said = capsys.readouterr()
    assert said.out == "" and "would try 3 failures of corpus (not_converged 3)" in said.err
    assert "max_cycles 200" in said.err and "None" not in said.err


def test_json_is_all_that_is_printed(asked: Callable[..., list], capsys: pytest.CaptureFixture[str]) -> None:
    asked(TRIED)
    assert main(["retry", "corpus", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["failures"], found["number"]) == (2, {"net_charge": 4}, 2)


@pytest.mark.parametrize(("allowed", "code"), [(3, 3), (4, 0)])
def test_too_many_failures_left(asked: Callable[..., list], allowed: int, code: int) -> None:
    asked(RetrySummary("corpus", None, {}, {}, 0, {"net_charge": 4}, None, allowed))
    assert main(["retry", "corpus", "--max-failures", str(allowed)]) == code


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "nowhere holds no finished corpus"),
        ([".", "--max-cycles", "7000"], "less than or equal to 6000"),
        ([".", "--guess", "luck"], "guess = 'luck'"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["retry", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line and not (tmp_path / "nowhere").exists()
