"""The script of the array job under bash, with stand-ins for Slurm's commands and for the run itself."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from qmgen.cluster.job import ClusterJob
from qmgen.cluster.slurm import array_script, merge_script
from qmgen.config import check
from qmgen.config.corpus import SubmitConfig
from qmgen.errors import QmgenError, UsageError

#: writes down what it is asked; the job's state is in a file
SCONTROL = """\
#!/bin/sh
echo "$*" >>"{folder}/asked"
[ "$1" = show ] || exit 0
[ "$2" = job ] || exit 1
echo "JobId=8 ArrayJobId=7 JobState=$(cat "{folder}/state") Reason=None Restarts=0"
"""
#: stands for the interpreter: writes down its words and the signals it hears, and ends as it is told
RUN = """\
#!/bin/bash
printf '%s\\n' "$@" >"{folder}/words"
trap 'echo USR1 >>"{folder}/heard"; exit 75' USR1
trap 'echo TERM >>"{folder}/heard"; exit 75' TERM
[ -z "$DEAF" ] || trap 'echo USR1 >>"{folder}/heard"' USR1
touch "{folder}/started"
for i in $(seq "$TENTHS"); do sleep 0.1; done
exit "$CODE"
"""


def settings(**given: Any) -> SubmitConfig:
    return check(SubmitConfig, {"ranks": 4, **given})


class Script:
    """A script that is run in a folder with the stand-ins."""

    def __init__(self, folder: Path, part: range | None = None, **given: Any) -> None:
        self.folder = folder
        tools = folder / "bin"
        tools.mkdir()
        for name, text in (("scontrol", SCONTROL), ("a python", RUN)):
            (tools / name).write_text(text.format(folder=folder))
            (tools / name).chmod(0o755)
        (folder / "state").write_text("RUNNING")
        job = ClusterJob(
            folder / "it's a run.toml", str(folder / "out"), 4, ("--xc", "b3lyp$5"), folder, f"{tools}/a python"
        )
        self.path = folder / "array.sh"
        self.path.write_text(array_script(job, settings(**given), part, retry=0))

    def start(self, code: int = 0, tenths: int = 1, restarts: int = 0, deaf: bool = False) -> subprocess.Popen[str]:
        variables = {
            "SLURM_ARRAY_JOB_ID": "7",
            "SLURM_ARRAY_TASK_ID": "2",
            "SLURM_JOB_ID": "8",
            "CODE": str(code),
            "TENTHS": str(tenths),
            "DEAF": "yes" if deaf else "",
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
        }
        if restarts:
            variables["SLURM_RESTART_COUNT"] = str(restarts)
        return subprocess.Popen(
            ["bash", str(self.path)], env={**os.environ, **variables}, stdout=subprocess.PIPE, text=True
        )

    def end(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        """Exit code and output."""
        told, _ = process.communicate(timeout=30)
        return process.returncode, told

    def lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def requeues(self) -> list[str]:
        return [line for line in self.lines("asked") if line.startswith("requeue")]

    def wait_for(self, name: str) -> None:
        for _ in range(200):
            if (self.folder / name).exists():
                return
            time.sleep(0.05)
        raise AssertionError(f"{name} did not come")


@pytest.mark.parametrize("code", [0, 1, 2, 3, 137])
def test_the_run_s_own_end_is_the_job_s(code: int, tmp_path: Path) -> None:
    script = Script(tmp_path)
    assert script.end(script.start(code=code))[0] == code
    assert script.lines("asked") == []


def test_the_run_is_called_with_its_rank_and_words_as_they_are(tmp_path: Path) -> None:
    script = Script(tmp_path)
    script.end(script.start())
    begin = ["-m", "qmgen", "generate", str(tmp_path / "it's a run.toml")]
    assert script.lines("words") == [*begin, "--rank", "2", "--world-size", "4", "--xc", "b3lyp$5"]


def test_a_later_array_does_the_ranks_after_those_of_the_one_before(tmp_path: Path) -> None:
    script = Script(tmp_path, range(1001, 2002))
    code, told = script.end(script.start(code=75))
    assert code == 75 and "rank 1003 of 4 on" in told
    assert script.lines("words")[4:6] == ["--rank", "1003"]
    assert script.requeues() == ["requeue 7_2"]  # a task is named by its own number
    assert "--array=0-1000" in script.path.read_text()


@pytest.mark.parametrize(("number", "name"), [(signal.SIGUSR1, "USR1"), (signal.SIGTERM, "TERM")])
def test_a_signal_is_passed_on_and_the_job_requeued_once(number: int, name: str, tmp_path: Path) -> None:
    script = Script(tmp_path)
    process = script.start(tenths=300)
    script.wait_for("started")
    process.send_signal(number)
    assert script.end(process)[0] == 75
    assert script.lines("heard") == [name]
    assert script.requeues() == ["requeue 7_2"]  # not 8, nor 7, which would be the whole array


def test_a_run_that_stops_by_itself_is_requeued_too(tmp_path: Path) -> None:
    script = Script(tmp_path)
    assert script.end(script.start(code=75))[0] == 75
    assert script.requeues() == ["requeue 7_2"]


@pytest.mark.parametrize("state", ["COMPLETING", "PENDING", "CANCELLED", "PREEMPTED"])
def test_a_job_that_slurm_took_back_or_a_person_cancelled_is_left_alone(state: str, tmp_path: Path) -> None:
    script = Script(tmp_path)
    (tmp_path / "state").write_text(state)
    assert script.end(script.start(code=75))[0] == 75
    assert script.requeues() == []


def test_restarts_are_bounded(tmp_path: Path) -> None:
    script = Script(tmp_path, max_requeues=5)
    code, told = script.end(script.start(code=75, restarts=5))
    assert (code, script.requeues()) == (75, [])
    assert "submit again" in told
    assert script.end(script.start(code=75, restarts=4))[0] == 75
    assert len(script.requeues()) == 1


def test_a_controller_that_does_not_answer_is_asked_again(tmp_path: Path) -> None:
    script = Script(tmp_path)
    (tmp_path / "bin" / "scontrol").write_text(f'#!/bin/sh\necho "$*" >>"{tmp_path}/asked"\nexit 1\n')
    code, told = script.end(script.start(code=75))
    assert (code, len(script.lines("asked"))) == (75, 5)
    assert "could not be requeued" in told


def test_a_batch_that_outlasts_the_warning_is_given_back_before_the_time_limit(tmp_path: Path) -> None:
    script = Script(tmp_path, grace=1)
    process = script.start(tenths=20, deaf=True)
    script.wait_for("started")
    process.send_signal(signal.SIGUSR1)
    assert script.end(process)[0] == 0
    assert script.lines("heard") == ["USR1"]
    assert script.requeues() == ["requeue 7_2"]


def test_a_warning_before_the_run_begins_is_not_lost(tmp_path: Path) -> None:
    script = Script(tmp_path, setup=[f"touch {tmp_path}/setting-up; sleep 1"])
    process = script.start()
    script.wait_for("setting-up")
    process.send_signal(signal.SIGTERM)
    assert script.end(process)[0] == 75
    assert not (tmp_path / "started").exists()
    assert script.requeues() == ["requeue 7_2"]


def test_a_run_that_dies_of_the_signal_is_stopped_not_failed(tmp_path: Path) -> None:
    script = Script(tmp_path)
    (tmp_path / "bin" / "a python").write_text(f"#!/bin/sh\ntouch {tmp_path}/started\nexec sleep 30\n")
    process = script.start()
    script.wait_for("started")
    process.send_signal(signal.SIGUSR1)
    assert script.end(process)[0] == 75


def test_a_run_that_ends_at_once_leaves_no_watch_behind(tmp_path: Path) -> None:
    """The watch over the time limit may be told to end before it knows what it waits with."""
    script = Script(tmp_path)
    script.path.write_text(script.path.read_text().replace("nap=$!", "sleep 1 >/dev/null; nap=$!"))
    run = "#!/bin/bash\ntrap 'sleep 0.3; exit 75' USR1\ntouch {}/started\nwhile :; do sleep 0.05; done\n"
    (tmp_path / "bin" / "a python").write_text(run.format(tmp_path))
    process = script.start()
    script.wait_for("started")
    process.send_signal(signal.SIGUSR1)
    assert script.end(process)[0] == 75  # no sleeper holds the output open until the test's patience ends
    assert len(script.requeues()) == 1


@pytest.mark.parametrize("text", [array_script, merge_script])
def test_every_option_reaches_the_script_and_bash_reads_it(text: Any, tmp_path: Path) -> None:
    job = ClusterJob(tmp_path / "a b.toml", "s3://bucket/a corpus?endpoint_override=x", 3, ("--xc", "a b"), tmp_path)
    given = settings(
        ranks=3, time="1-00:00:00", partition="gpu", account="chem", qos="low", constraint="a100|h100", memory="8G",
        gpus=2, cpus=4, sbatch=["--exclusive", "--comment=two words"], setup=["module load 'x'", "set -eu"],
    )  # fmt: skip
    script = text(job, given)
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    options = [line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH")]
    assert "--partition=gpu" in options and "--account=chem" in options and "--qos=low" in options
    assert "module load 'x'\nset -eu\n" in script
    if text is array_script:
        wanted = ["--array=0-2", "--time=1-00:00:00", "--mem=8G", "--gres=gpu:2", "--cpus-per-task=4"]
        assert set(wanted) < set(options)
        assert options[-2:] == ["--exclusive", "'--comment=two words'"]
        assert "--signal=B:USR1@120" in options and "--requeue" in options and "--open-mode=append" in options
    else:
        assert "--time=0:10:00" in options
        assert "merge 's3://bucket/a corpus?endpoint_override=x'" in script


def test_strict_shells_of_the_setup_do_not_lose_the_requeue(tmp_path: Path) -> None:
    script = Script(tmp_path, setup=["set -eu"])
    process = script.start(tenths=300)
    script.wait_for("started")
    process.send_signal(signal.SIGUSR1)
    assert script.end(process)[0] == 75
    assert script.requeues() == ["requeue 7_2"]


def test_submit_passes_on_the_words_of_sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from qmgen.cluster.slurm import submit

    job = ClusterJob(tmp_path / "run.toml", str(tmp_path / "out"), 4, (), tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="no sbatch"):
        submit(job, settings())
    assert not (tmp_path / "out").exists()
    fake = tmp_path / "sbatch"
    bash = shutil.which("bash", path=os.defpath)
    fake.write_text(f'#!{bash}\necho "$@" >>{tmp_path}/asked\necho "12;here"\n')
    fake.chmod(0o755)
    done = submit(job, settings())
    assert (done.arrays, done.merge) == (("12",), "12")
    assert "--dependency=afterany:12" in (tmp_path / "asked").read_text()
    fake.write_text(f"#!{bash}\necho 'sbatch: error: Batch job submission failed: Invalid account' >&2\nexit 1\n")
    with pytest.raises(QmgenError, match="refused the array job: Batch job submission failed: Invalid account"):
        submit(job, settings())
