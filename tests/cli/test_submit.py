"""``qmgen submit`` before anything is submitted: what it prints, and what it refuses."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from qmgen.cli.main import main
from qmgen.config import resolve
from qmgen.config.corpus import SubmitConfig, seconds_of

DRY = ["submit", "run.toml", "--dry-run"]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a run in it, as the current one."""
    (tmp_path / "few.smi").write_text("O water\n")
    (tmp_path / "run.toml").write_text('molecules = ["few.smi"]\nout = "corpus"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))  # no sbatch
    return tmp_path


def test_a_dry_run_prints_the_scripts_and_writes_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*DRY, "--ranks", "3", "--cpus", "2", "--", "--conformers", "5"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "#SBATCH --array=0-2\n" in printed.out
    line = f"{sys.executable} -m qmgen generate {place}/run.toml"
    assert "this_rank=$((0 + SLURM_ARRAY_TASK_ID))" in printed.out
    assert f'{line} --rank "$this_rank" --world-size 3 --conformers 5 --workers 2 &' in printed.out
    assert f"merge {place}/corpus\n" in printed.out
    assert sorted(path.name for path in place.iterdir()) == ["few.smi", "run.toml"]


def test_a_dry_run_for_parsl_prints_every_command(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*DRY, "--engine", "parsl", "--ranks", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" -m qmgen ")[1].split()[0] for line in lines] == ["generate", "generate", "merge"]
    assert "--rank 1 --world-size 2" in lines[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--ranks"),
        (["--ranks", "0"], "ranks = 0"),
        (["--ranks", "2", "--engine", "pbs"], "engine"),
        (["--ranks", "2", "--time", "soon"], "'soon' is no time"),
        (["--ranks", "2", "--time", "0:03:00"], "--grace"),
        (["--ranks", "2", "--sbatch=--array=1-2"], "--array is set by qmgen"),
        (["--ranks", "2", "--sbatch=-p high"], "--option=value"),
        (["--ranks", "2", "--partition", "a\nb"], "one line"),
        (["--ranks", "2", "--provider-option", "walltime"], "key=value"),
        (["--ranks", "2", "--", "--conformer", "2"], "qmgen generate --help"),
        (["--ranks", "2", "--", "other.toml"], "other.toml"),
        (["--ranks", "2", "--", "--conformers", "0"], "conformers = 0"),
        (["--ranks", "2", "--", "--molecules", "-"], "standard input"),
        (["--ranks", "2", "--", "--molecules", "none.smi"], "no such file: none.smi"),
        (["--ranks", "2", "--", "--dry-run"], "--dry-run is not for ranks"),
        (["--ranks", "2", "--", "--max-hydrogens", "4"], "--max-hydrogens chooses among molecules that are enumerated"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*DRY, *words]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert printed.err.count("\n") == 1


def test_a_dry_run_of_more_ranks_than_an_array_holds_prints_every_script(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*DRY, "--ranks", "5000"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("#SBATCH --array=0-999\n") == 5  # at most 1001 where no Slurm says more
    assert [f"$(({first} + SLURM" in printed for first in range(0, 5000, 1000)] == [True] * 5
    assert printed.count("--world-size 5000") == 5 and printed.count(" merge ") == 1


def test_without_slurm_one_line_says_so(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", "run.toml", "--ranks", "2"]) == 2
    assert "no sbatch" in capsys.readouterr().err
    assert not (place / "corpus").exists()


def test_settings_come_from_flags_then_the_environment_then_the_file(place: Path) -> None:
    file = place / "cluster.toml"
    file.write_text('ranks = 8\npartition = "cpu"\nqos = "low"\nsetup = ["a", "b: c"]\n')
    found = resolve(SubmitConfig, file, {"ranks": 2}, {"QMGEN_QOS": "high", "QMGEN_SETUP": "export A=b:c"})
    assert (found.ranks, found.partition, found.qos, found.setup) == (2, "cpu", "high", ("export A=b:c",))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 5400), ("10:30", 630), ("4:00:00", 14400), ("2-00", 172800), ("1-12:30", 131400), ("1-0:0:1", 86401)],
)
def test_times_are_read_as_slurm_reads_them(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds
