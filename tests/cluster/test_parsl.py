"""Ranks on Parsl: two local workers make the same corpus; what stops, dies or fails is started again or named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qmgen.cluster.job import ClusterJob
from qmgen.cluster.parsl import MISSING, executor_of, options_of
from qmgen.config import check
from qmgen.config.corpus import SubmitConfig
from qmgen.errors import UsageError

#: stands for ``python -m qmgen``: what a rank does is told by the environment, and each start is written down
STAND_IN = """\
#!/bin/bash
command=$3 rank=$6
[ "$command" = generate ] || { echo merged >>merged; exit 0; }
echo "$QMGEN_TEST_WORD" >>"rank-$rank"
starts=$(wc -l <"rank-$rank")
case $QMGEN_TEST_PLAN in
twice) [ "$rank" = 1 ] && [ "$starts" -lt 3 ] && exit 75 ;;
never) exit 75 ;;
fail) [ "$rank" = 1 ] && { echo 'qmgen: no good'; exit 2; } ;;
wait) trap 'exit 75' TERM; for i in $(seq 600); do sleep 0.1; done; exit 1 ;;
esac
exit 0
"""

#: two workers at once, in a process that can be told to stop
SUBMIT = """
import sys
from pathlib import Path
from qmgen.cluster.job import ClusterJob
from qmgen.cluster.parsl import submit
from qmgen.config import check
from qmgen.config.corpus import SubmitConfig
here = Path.cwd()
settings = check(SubmitConfig, {{"engine": "parsl", "ranks": 3, "workers_per_node": 2, "max_requeues": {bound}}})
job = ClusterJob(here / "run.toml", str(here / "out"), 3, (), here, str(here / "stand-in"))
outcome = submit(job, settings, lambda line: print(line, flush=True))
print("exit", outcome.exit_code, "restarts", outcome.restarts, "failed", outcome.failed)
sys.exit(outcome.exit_code)
"""


def start(folder: Path, environment: dict[str, str], plan: str, bound: int = 100) -> subprocess.Popen[str]:
    (folder / "stand-in").write_text(STAND_IN)
    (folder / "stand-in").chmod(0o755)
    return subprocess.Popen(
        [sys.executable, "-c", SUBMIT.format(bound=bound)],
        cwd=folder,
        env={**environment, "QMGEN_TEST_PLAN": plan, "QMGEN_TEST_WORD": "hello"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_two_local_workers_make_the_same_bytes(
    run: Path,
    undisturbed: dict[str, bytes],
    corpus_bytes: Callable[[Path], dict[str, bytes]],
    bare_environment: dict[str, str],
) -> None:
    words = ["submit", str(run), "--engine", "parsl", "--ranks", "2", "--workers-per-node", "2", "--cpus", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "qmgen", *words],
        env=bare_environment,
        cwd=run.parent,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "(2 of 2)" in done.stderr
    corpus = run.parent / "the corpus"
    assert corpus_bytes(corpus) == undisturbed
    assert (corpus / "SHA256SUMS").is_file()


def test_a_rank_that_stops_is_started_again_and_all_are_merged_once(
    tmp_path: Path, bare_environment: dict[str, str]
) -> None:
    told, _ = (process := start(tmp_path, bare_environment, "twice")).communicate(timeout=100)
    assert process.returncode == 0, told
    assert [len((tmp_path / f"rank-{r}").read_text().split()) for r in range(3)] == [1, 3, 1]
    assert (tmp_path / "rank-0").read_text() == "hello\n"  # settings in the environment reach the ranks
    assert (tmp_path / "merged").read_text() == "merged\n"


def test_restarts_are_bounded_and_nothing_is_merged(tmp_path: Path, bare_environment: dict[str, str]) -> None:
    told, _ = (process := start(tmp_path, bare_environment, "never", bound=1)).communicate(timeout=100)
    assert process.returncode == 75, told
    assert [len((tmp_path / f"rank-{r}").read_text().split()) for r in range(3)] == [2, 2, 2]
    assert not (tmp_path / "merged").exists()


def test_a_rank_that_fails_is_named_with_its_log_and_the_others_go_on(
    tmp_path: Path, bare_environment: dict[str, str]
) -> None:
    told, _ = (process := start(tmp_path, bare_environment, "fail")).communicate(timeout=100)
    assert process.returncode == 1, told
    log = tmp_path / "out" / "runs" / "qmgen-out-rank-1.log"
    assert f"rank 1 of 3 failed (exit code 2): see {log}" in told
    assert "no good" in log.read_text()
    assert "rank 2 of 3 is done (2 of 3)" in told
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_stops_every_rank(times: int, tmp_path: Path, bare_environment: dict[str, str]) -> None:
    process = start(tmp_path, bare_environment, "wait")
    begun = [tmp_path / "rank-0", tmp_path / "rank-1"]
    for _ in range(600):
        if all(path.exists() for path in begun):
            break
        time.sleep(0.1)
    for _ in range(times):
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: Parsl's own processes get it too
        time.sleep(0.2)
    told, _ = process.communicate(timeout=100)
    assert process.returncode == (75 if times == 1 else 130), told
    assert not (tmp_path / "rank-2").exists()  # there were two workers: the third rank has not begun
    left = _processes_in(tmp_path)
    for _ in range(100):  # Parsl's own processes are told, and need a moment
        if not left:
            break
        time.sleep(0.2)
        left = _processes_in(tmp_path)
    assert not left


def test_values_of_options_are_toml_or_text() -> None:
    pairs = ["nodes_per_block=2", "exclusive=false", "walltime=1:00:00", 'partition="a b"', "qos=low", "x=1\ny = 2"]
    assert options_of(pairs) == {
        "nodes_per_block": 2,
        "exclusive": False,
        "walltime": "1:00:00",
        "partition": "a b",
        "qos": "low",
        "x": "1\ny = 2",
    }
    assert options_of(["walltime=01:00:00"]) == {"walltime": "01:00:00"}  # a time of day to TOML


def settings(**given: Any) -> SubmitConfig:
    return check(SubmitConfig, {"engine": "parsl", "ranks": 2, **given})


def test_providers_are_found_by_name_and_get_their_options() -> None:
    given = settings(
        provider="PBSPro",
        provider_options=["queue=gpu", "walltime=04:00:00", "launcher=mpiexec", "cpus_per_node=8"],
        setup=["module load x"],
        gpus=4,
    )
    executor = executor_of(given)
    provider = executor.provider
    assert type(provider).__name__ == "PBSProProvider"
    assert (provider.queue, provider.walltime, provider.cpus_per_node) == ("gpu", "04:00:00", 8)
    assert type(provider.launcher).__name__ == "MpiExecLauncher"
    assert provider.worker_init.strip() == "module load x"
    assert len(executor.available_accelerators) == 4


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"provider": "slrum"}, "did you mean 'slurm'"),
        ({"provider_options": ["walltme=1"]}, "has no option 'walltme'"),
        ({"provider": "slurm", "provider_options": ["launcher=sruun"]}, "did you mean 'srun'"),
        ({"provider": "kubernetes", "provider_options": ["image=x"]}, "KubernetesProvider will not do"),
    ],
)
def test_what_parsl_does_not_have_is_refused_in_one_line(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as refused:
        executor_of(settings(**given))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_without_parsl_one_line_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from qmgen.cluster.parsl import submit

    monkeypatch.setitem(sys.modules, "parsl.providers", None)
    job = ClusterJob(tmp_path / "run.toml", str(tmp_path / "out"), 2, (), tmp_path)
    with pytest.raises(UsageError, match="pip install") as refused:
        submit(job, settings(), print)
    assert str(refused.value) == MISSING
    assert not (tmp_path / "out").exists()


def _processes_in(folder: Path) -> list[str]:
    """Command lines of the processes that work in ``folder`` or below."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "cwd").startswith(str(folder)):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found
