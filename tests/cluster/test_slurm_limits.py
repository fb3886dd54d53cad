"""More ranks than an array job holds, with stand-ins for Slurm's commands."""

from __future__ import annotations

import os
import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from qmgen.cluster.job import ClusterJob, run_rank
from qmgen.cluster.slurm import SlurmLimits, arrays_of, limits, submit
from qmgen.config import check
from qmgen.config.corpus import SubmitConfig
from qmgen.errors import QmgenError, UsageError
from qmgen.files import Linked

CONFIG = """\
Configuration data as of 2026-11-25T10:00:00
AccountingStorageType   = accounting_storage/none
MaxArraySize            = {array}
MaxJobCount             = {jobs}
SchedulerParameters     = batch_sched_delay=0,bf_interval=1{more}
Slurmctld(primary) at head is UP
"""
#: answers with the next number; refuses from the job of the number in ``refuse`` on
SBATCH = """\
#!{shell}
number=$(($(cat "{folder}/number") + 1))
[ "$number" -lt "$(cat "{folder}/refuse")" ] || {{ echo 'sbatch: error: Job violates accounting policy' >&2; exit 1; }}
echo "$number" >"{folder}/number"
echo "$*" >>"{folder}/sbatch.asked"
echo "$number"
"""


class Fake:
    """Slurm's commands in ``folder``, the only ones on the path."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.shell = folder, shutil.which("sh", path=os.defpath)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.defpath}")
        (folder / "number").write_text("10")
        self.refuse_from(99)
        self.command("sbatch", SBATCH.format(folder=folder, shell=self.shell))
        self.command("scancel", f'#!{self.shell}\necho "$*" >>"{folder}/scancel.asked"\n')

    def command(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o755)

    def config(self, array: int = 1001, jobs: int = 10000, more: str = "", code: int = 0) -> None:
        (self.folder / "config").write_text(CONFIG.format(array=array, jobs=jobs, more=more))
        text = f'#!{self.shell}\n[ "$*" = "show config" ] || exit 9\ncat "{self.folder}/config"\nexit {code}\n'
        self.command("scontrol", text)

    def refuse_from(self, job: int) -> None:
        (self.folder / "refuse").write_text(str(job))

    def asked(self, name: str) -> list[str]:
        path = self.folder / f"{name}.asked"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def slurm_fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    folder = tmp_path / "bin"
    folder.mkdir()
    return Fake(folder, monkeypatch)


def job(folder: Path, ranks: int) -> ClusterJob:
    return ClusterJob(folder / "run.toml", str(folder / "out"), ranks, (), folder)


def settings(**given: Any) -> SubmitConfig:
    return check(SubmitConfig, {"ranks": 4, **given})


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, SlurmLimits(1001, 10000)),
        ({"array": 20000, "jobs": 67108864}, SlurmLimits(20000, 67108864)),
        ({"array": 0}, SlurmLimits(0, 10000)),
        ({"array": 5000, "more": ",max_array_tasks=600,sched_interval=2"}, SlurmLimits(600, 10000)),
        ({"array": 500, "more": ",max_array_tasks=600"}, SlurmLimits(500, 10000)),
        ({"array": 77, "code": 1}, SlurmLimits()),  # a controller that does not answer
        (None, SlurmLimits()),  # no Slurm
    ],
)
def test_what_slurm_says_of_its_limits(given: dict[str, Any] | None, found: SlurmLimits, slurm_fake: Fake) -> None:
    if given is not None:
        slurm_fake.config(**given)
    assert limits() == found
    assert SlurmLimits() == SlurmLimits(1001, None)


@pytest.mark.parametrize(
    ("ranks", "array", "sizes"),
    [
        (1, 1001, [1]),
        (1001, 1001, [1001]),
        (1002, 1001, [501, 501]),
        (5000, 1001, [1000] * 5),
        (7, 3, [2, 2, 3]),
        (3, 1, [1, 1, 1]),
    ],
)
def test_every_rank_is_in_one_array_and_none_is_too_large(ranks: int, array: int, sizes: list[int]) -> None:
    found = arrays_of(job(Path(), ranks), SlurmLimits(array))
    assert [len(one) for one in found] == sizes
    assert [rank for one in found for rank in one] == list(range(ranks))


@pytest.mark.parametrize(
    ("there", "said"),
    [(SlurmLimits(0), "no array jobs"), (SlurmLimits(1001, 5000), "more than this Slurm holds, 5000 jobs")],
)
def test_what_slurm_cannot_hold_is_refused(there: SlurmLimits, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        arrays_of(job(Path(), 5000), there)


def test_the_merge_waits_for_all_arrays(tmp_path: Path, slurm_fake: Fake) -> None:
    slurm_fake.config(array=3)
    done = submit(job(tmp_path, 7), settings())
    assert (done.arrays, done.merge) == (("11", "12", "13"), "14")
    asked = slurm_fake.asked("sbatch")
    logs = tmp_path / "out" / "runs"
    assert asked[:3] == [f"--parsable {logs}/qmgen-out{end}.sh" for end in ("", "-2", "-3")]
    assert asked[3] == f"--parsable --dependency=afterany:11:12:13 {logs}/qmgen-out-merge.sh"
    scripts = [path for path in logs.glob("*.sh") if "merge" not in path.name]
    lines = [path.read_text().splitlines() for path in scripts]
    assert sorted(line for text in lines for line in text if line.startswith("this_rank")) == [
        f"this_rank=$(({first} + SLURM_ARRAY_TASK_ID))" for first in (0, 2, 4)
    ]
    assert sorted(line for text in lines for line in text if "--array" in line) == [
        f"#SBATCH --array=0-{last}" for last in (1, 1, 2)
    ]


@pytest.mark.parametrize(("scancel", "said"), [(0, "were cancelled: ask for fewer --ranks"), (1, "call scancel 11 12")])
def test_arrays_before_one_that_is_refused_are_cancelled(
    scancel: int, said: str, tmp_path: Path, slurm_fake: Fake
) -> None:
    slurm_fake.config(array=3)
    slurm_fake.refuse_from(13)
    slurm_fake.command(
        "scancel", f'#!{slurm_fake.shell}\necho "$*" >>"{slurm_fake.folder}/scancel.asked"\nexit {scancel}\n'
    )
    with pytest.raises(QmgenError, match="refused the array job: Job violates accounting policy") as caught:
        submit(job(tmp_path, 7), settings())
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert slurm_fake.asked("scancel") == ["11 12"]


@pytest.mark.parametrize("kind", ["absent", "no program", "a folder"])
def test_a_refusal_is_said_also_where_no_scancel_can_be_started(
    kind: str, tmp_path: Path, slurm_fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm_fake.config(array=3)
    slurm_fake.refuse_from(13)
    monkeypatch.setenv("PATH", f"{slurm_fake.folder}{os.pathsep}{tmp_path}")
    (tmp_path / "cat").symlink_to(shutil.which("cat", path=os.defpath) or "")
    scancel = slurm_fake.folder / "scancel"
    scancel.unlink()
    if kind == "no program":
        scancel.write_bytes(b"\x7fELF")
        scancel.chmod(0o755)
    elif kind == "a folder":
        scancel.mkdir()
    with pytest.raises(QmgenError, match=r"Job violates accounting policy.*call scancel 11 12") as caught:
        submit(job(tmp_path, 7), settings())
    assert len(caught.value.lines) == 1


def linked(folder: Path, name: str) -> Path:
    """A link of this name in the corpus ``out``, to a file or folder of somebody else's, which is returned."""
    precious = folder / "precious"
    precious.mkdir()
    (precious / "file").write_text("precious")
    (folder / "out" / name).parent.mkdir(parents=True)
    (folder / "out" / name).symlink_to(precious / "file" if "." in name else precious)
    return precious


@pytest.mark.parametrize("name", ["runs/qmgen-out.sh", "runs/qmgen-out-2.sh", "runs/qmgen-out-merge.sh"])
def test_scripts_replace_links_and_are_not_written_through_them(name: str, tmp_path: Path, slurm_fake: Fake) -> None:
    precious = linked(tmp_path, name)
    slurm_fake.config(array=3)
    submit(job(tmp_path, 6), settings())
    assert (precious / "file").read_text() == "precious" and not (tmp_path / "out" / name).is_symlink()
    assert (tmp_path / "out" / name).read_text().startswith("#!")


@pytest.mark.parametrize("name", ["runs", "data", "generations"])
def test_nothing_is_submitted_where_a_folder_of_the_corpus_is_a_link(
    name: str, tmp_path: Path, slurm_fake: Fake
) -> None:
    precious = linked(tmp_path, name)
    slurm_fake.config()
    with pytest.raises(UsageError, match=f"out/{name} is a symbolic link") as caught:
        submit(job(tmp_path, 2), settings())
    assert len(caught.value.lines) == 1 and slurm_fake.asked("sbatch") == []
    assert [path.name for path in precious.iterdir()] == ["file"]


def test_a_corpus_behind_a_link_that_the_user_names_gets_its_scripts(tmp_path: Path, slurm_fake: Fake) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "scratch")
    slurm_fake.config()
    submit(job(tmp_path, 2), settings())
    assert (tmp_path / "scratch" / "runs" / "qmgen-out.sh").exists()


def test_a_corpus_in_a_store_has_its_scripts_in_the_current_folder(tmp_path: Path, slurm_fake: Fake) -> None:
    slurm_fake.config()
    done = submit(ClusterJob(tmp_path / "run.toml", "s3://bucket/out", 2, (), tmp_path), settings())
    assert done.logs == tmp_path and (tmp_path / "qmgen-out.sh").exists()


def test_logs_of_ranks_are_added_to_and_not_written_through_links(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    for number in range(2):
        assert run_rank([sys.executable, "-c", f"print({number})"], str(tmp_path), str(tmp_path), "runs/a.log",
                        str(tmp_path / "stop"), {}) == 0  # fmt: skip
    assert (tmp_path / "runs" / "a.log").read_text() == "0\n1\n"
    precious = linked(tmp_path, "runs/a.log")
    with pytest.raises(Linked, match=r"a\.log is a symbolic link") as caught:
        run_rank([sys.executable, "-c", "print(7)"], str(tmp_path), str(tmp_path / "out"), "runs/a.log", "stop", {})
    assert (precious / "file").read_text() == "precious"
    assert pickle.loads(pickle.dumps(caught.value)).lines == caught.value.lines


def test_a_merge_that_is_refused_leaves_the_arrays(tmp_path: Path, slurm_fake: Fake) -> None:
    slurm_fake.config(array=3)
    slurm_fake.refuse_from(13)
    with pytest.raises(QmgenError, match="the arrays run as jobs 11, 12: call qmgen merge"):
        submit(job(tmp_path, 6), settings())
    assert slurm_fake.asked("scancel") == []
