"""A real Slurm, started here, runs an array of four whose jobs are preempted and come back."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds

RANKS = 4


def test_an_array_that_is_preempted_is_finished_with_the_same_bytes(
    run: Path,
    slurm: Any,
    undisturbed: dict[str, bytes],
    corpus_bytes: Callable[[Path], dict[str, bytes]],
    bare_environment: dict[str, str],
) -> None:
    corpus = run.parent / "the corpus"
    words = ["submit", str(run), "--ranks", str(RANKS), "--cpus", "1", "--partition", "low", "--merge-time", "5"]
    done = subprocess.run(
        [sys.executable, "-m", "qmgen", *words, "--json"],
        env={**bare_environment, "SLURM_CONF": str(slurm.config)},
        cwd=run.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    jobs = json.loads(done.stdout)
    tasks = [f"{jobs['array']}_{index}" for index in range(RANKS)]
    logs = [corpus / "runs" / f"slurm-{task}.log" for task in tasks]

    def told() -> str:
        return "\n".join(path.read_text(errors="replace") for path in logs if path.exists())

    def restarts(task: str) -> int:
        return int(slurm.job(task).get("Restarts", 0))

    # the warning before a time limit, given by hand: the job stops and requeues itself
    assert slurm.within(30, lambda: all(path.exists() for path in logs)), slurm.log("slurmctld")
    assert slurm.within(60, lambda: f"rank 0 of {RANKS}" in logs[0].read_text())
    slurm("scancel", "--batch", "--signal=USR1", tasks[0])
    assert slurm.within(90, lambda: restarts(tasks[0]) == 1), told()
    assert "to be continued: requeue" in logs[0].read_text()

    # some units are done, others in hand: a job that goes before takes the whole node
    assert slurm.within(240, lambda: list(corpus.glob("failures/*.parquet"))), told()
    slurm("sbatch", "--partition=high", f"--cpus-per-task={slurm.cpus}", "--output=/dev/null", "--wrap=sleep 1")
    assert slurm.within(90, lambda: "DUE TO PREEMPTION" in told()), told()
    preempted = [task for task, path in zip(tasks, logs) if "DUE TO PREEMPTION" in path.read_text()]

    assert slurm.within(300, lambda: not slurm("squeue", "-h")), told()
    for task in tasks:
        assert (slurm.job(task)["JobState"], slurm.job(task)["ExitCode"]) == ("COMPLETED", "0:0"), told()
    for task in preempted:  # once by the preemption: the script's own requeue must not count it twice
        assert restarts(task) == 1 + (task == tasks[0]), told()
    merged = slurm.job(jobs["merge"])
    assert merged["JobState"] == "COMPLETED", (corpus / "runs" / f"slurm-{jobs['merge']}-merge.log").read_text()

    assert (corpus / "SHA256SUMS").is_file()
    assert corpus_bytes(corpus) == undisturbed
    # all conformers of all lines but the unreadable one
    assert ds.dataset([str(path) for path in corpus.glob("data/*")]).count_rows() == 7 * 12


def test_what_sbatch_refuses_is_said_in_one_line(run: Path, slurm: Any, bare_environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "qmgen", "submit", str(run), "--ranks", "2", "--partition", "none"],
        env={**bare_environment, "SLURM_CONF": str(slurm.config)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "sbatch refused the array job" in done.stderr
    assert "partition" in done.stderr
    assert done.stderr.count("\n") == 1
