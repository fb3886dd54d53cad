"""The script that compares the recipes: to its end at toy size, stopped and continued, and what it makes of results."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks import fp8_comparison as comparison
from qmgen.config import check
from qmgen.config.train import TrainLmConfig
from qmgen.errors import UsageError
from qmgen.learning.fp8 import NOTE

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "scripts" / "compare_fp8"


def test_the_jobs_are_those_of_the_issue() -> None:
    jobs = comparison.jobs(3_000_000, 3, ["mini", "tiny"])
    assert len({job.name for job in jobs}) == len(jobs)
    names = [job.name for job in jobs]
    for arch in ("gpt", "llama"):
        for precision in ("f32", "bf16", "fp8-amax", "fp8-delayed", "fp8-block"):
            assert {f"{arch}/{precision}/seed-{seed}" for seed in range(3)} <= set(names)
        for preset in ("mini", "tiny"):
            assert f"{arch}/{preset}/short/f32" in names
            assert {f"{arch}/{preset}/cscale/bias-{bias}" for bias in comparison.BIASES} <= set(names)
    by_name = {job.name: " ".join(job.flags) for job in jobs}
    assert "--tokens 3000000 --seed 2" in by_name["gpt/fp8-amax/seed-2"]
    assert "--tokens 750000 --seed 0 --scale-bias -2" in by_name["llama/mini/cscale/bias--2"]
    assert len(comparison.jobs(3_000_000, 1, ["tiny"], (0,))) == 10 + 2 * 2


def put(out: Path, name: str, loss: float, accuracy: float = 0.6, emulated: bool = False) -> None:
    folder = out / name
    folder.mkdir(parents=True)
    result = {
        "validation_loss": loss,
        "validation_accuracy": accuracy,
        "parameters": 10,
        "tokens_seen": 5,
        "seconds": 1.0,
        "emulated": emulated,
    }
    (folder / "result.json").write_text(json.dumps(result))


def test_differences_are_taken_seed_by_seed(tmp_path: Path) -> None:
    jobs = comparison.jobs(100, 2, ["tiny"], (0, 2, 4, 6))
    for seed, base in enumerate((1.0, 2.0)):
        put(tmp_path, f"gpt/f32/seed-{seed}", base)
        put(tmp_path, f"gpt/fp8-amax/seed-{seed}", base * (1.004 - 0.002 * seed))
    put(tmp_path, "gpt/tiny/short/f32", 1.5, 0.5)
    for bias, accuracy in ((0, 0.3), (2, 0.4976), (4, 0.501), (6, 0.49)):
        put(tmp_path, f"gpt/tiny/cscale/bias-{bias}", 1.6, accuracy)
    report = comparison.collected(tmp_path, jobs, {"loss": 4.0, "order": 5, "tokens": 100})
    assert report["finished"] == 9
    rows = {row["precision"]: row for row in report["table"]}
    assert rows["fp8-amax"]["relative_to_f32"] == pytest.approx(0.003)
    assert rows["f32"]["below_ngram"] == pytest.approx(0.5)  # the worst seed's
    (window,) = report["sweep"]
    assert window["window"] == [2, 4]  # at least 99.5 % of f32's accuracy
    (f32,) = (line for line in comparison.text(report).splitlines() if "f32 " in line and "gpt" in line)
    assert "%  " not in f32 and NOTE not in comparison.text(report)
    assert "+0.40, +0.20 %" in comparison.text(report) and "does not count" not in comparison.text(report)
    worse = comparison.collected(tmp_path, jobs, {"loss": 2.05, "order": 5, "tokens": 100})  # 2.0 is 2.4 % below
    assert report["counts"] and not worse["counts"]
    assert "does not count" in comparison.text(worse) and report["amax_within"]
    assert report["f32_missing"] == 3  # two seeds of the llama, and the base of its sweep
    # the base of a sweep must beat the n-gram model too
    assert not comparison.collected(tmp_path, jobs, {"loss": 1.55, "order": 5, "tokens": 100})["counts"]
    nothing = comparison.collected(tmp_path / "nothing", jobs, {"loss": 4.0, "order": 5, "tokens": 100})
    assert nothing["counts"] is None and "nothing can be said" in comparison.text(nothing)
    put(tmp_path, "llama/f32/seed-0", 1.0)
    put(tmp_path, "llama/fp8-amax/seed-0", 1.0051, emulated=True)
    far = comparison.collected(tmp_path, jobs, {"loss": 4.0, "order": 5, "tokens": 100})
    assert not far["amax_within"] and "is NOT within 0.5%" in comparison.text(far)
    assert NOTE in comparison.text(far)


def test_results_of_other_settings_are_not_taken_for_finished(tmp_path: Path) -> None:
    """Tokens, molecules, and flags for all trainings."""
    jobs = comparison.jobs(100, 1, ["tiny"], (4,))
    shared = comparison.shared_settings(["--batch-size", "8", "--remat", "--validation-fraction=0.1"])
    assert shared == {"batch_size": 8, "remat": True, "validation_fraction": 0.1}
    for job in jobs:
        given = check(TrainLmConfig, {**shared, **job.settings, "plan": True}).training_fields()
        folder = tmp_path / job.name
        folder.mkdir(parents=True)
        identity = {**given, "steps": 7, "learning_rate": 4e-3, "digest": "of these"}
        (folder / "result.json").write_text(json.dumps({"identity": json.loads(json.dumps(identity))}))
    assert comparison.foreign(tmp_path, jobs, shared, "of these") == []
    everything = [job.name for job in jobs]
    assert comparison.foreign(tmp_path, jobs, shared, "of others") == everything
    assert comparison.foreign(tmp_path, jobs, {**shared, "batch_size": 9}, "of these") == everything
    for more in ({"context": 96}, {"warmup": 5}, {"learning_rate": 0.02}, {"loss_scale": 8.0}):  # by preset or data
        assert comparison.foreign(tmp_path, jobs, {**shared, **more}, "of these") == everything
    assert comparison.foreign(tmp_path, comparison.jobs(200, 1, ["tiny"], (4,)), shared, "of these") == everything
    assert comparison.foreign(tmp_path / "nothing", jobs, shared, "of these") == []
    for flag in ("--seed", "--limit", "--steps"):
        with pytest.raises(UsageError, match=f"{flag} is not for all"):
            comparison.shared_settings([flag, "3"])
    assert comparison.shared_settings(["--validation-fraction", ".1"]) == {"validation_fraction": 0.1}
    with pytest.raises(UsageError, match="no setting"):
        comparison.shared_settings(["--remat", "cfg.toml", "more.toml"])
    with pytest.raises(UsageError, match="batch_size"):
        comparison.foreign(tmp_path, jobs, {"batch_size": 0}, "of these")


@pytest.mark.parametrize(
    ("flags", "said"), [(["--jobs", "0"], "at least 1"), (["--seed", "1"], "leave it out"), (["--tokens", "x"], "3M"),
                        (["--batch-size", "x"], "batch_size"), (["--data", "nowhere.smi"], "no such file")],
)  # fmt: skip
def test_mistakes_are_said_before_any_work(
    flags: list[str], said: str, tmp_path: Path, bare_environment: dict[str, str]
) -> None:
    _, told = script("--out", str(tmp_path / "fp8"), *flags, env=bare_environment).communicate(timeout=300)
    assert said in told.splitlines()[-1]
    assert not list(tmp_path.glob("fp8/*.smi"))  # nor was anything enumerated


def script(*words: str, **more: Any) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, str(SCRIPT), *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, **more)  # fmt: skip


@pytest.mark.slow
def test_a_toy_goes_to_its_end_even_when_it_is_stopped(tmp_path: Path, bare_environment: dict[str, str]) -> None:
    words = ["--toy", "--out", str(tmp_path / "fp8"), "--jobs", "2"]
    first = script(*words, env=bare_environment)
    deadline = time.monotonic() + 300
    while not list((tmp_path / "fp8").glob("*/*/*/metrics.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(first.pid, signal.SIGTERM)
    first.communicate(timeout=300)
    assert first.returncode == 75
    told, said = script(*words, env=bare_environment).communicate(timeout=1800)
    report = json.loads((tmp_path / "fp8" / "compare.json").read_text())
    assert report["finished"] == report["trainings"], said
    assert {row["precision"] for row in report["table"]} == {
        "f32", "bf16", "fp8-amax", "fp8-delayed", "fp8-block",
    }  # fmt: skip
    assert "against f32" in told and NOTE in told
    assert all((tmp_path / "fp8" / name).exists() for name in ("losses.png", "cscale.png", "ngram.json"))
