"""``qmgen train schnet`` as it is typed: what it writes, and every mistake as one line that says what to do."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from toy_corpus import write_corpus

from qmgen.cli.main import main

SHORT = ["--preset", "tiny", "--steps", "4", "--batch-size", "8"]


@pytest.fixture(scope="module")
def trained(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of trainings: two numbers of rows, two seeds."""
    out = tmp_path_factory.mktemp("command") / "run"
    assert (
        main(["train", "schnet", "--data", str(toy), "--rows", "8,0.02k", "--seeds", "2", "--out", str(out), *SHORT])
        == 0
    )
    return out


def test_what_is_written(trained: Path) -> None:
    cells = {str(path.parent.relative_to(trained)) for path in trained.rglob("result.json")}
    assert cells == {f"rows-{rows}/seed-{seed}" for rows in (8, 20) for seed in (0, 1)}
    found = json.loads((trained / "scaling.json").read_text())
    assert [point["rows"] for point in found["targets"]["y"]["points"]] == [8, 20]
    assert (trained / "scaling.png").read_bytes().startswith(b"\x89PNG")
    assert (trained / "config.toml").is_file()


def test_again_trains_nothing_and_says_the_same_as_json(
    trained: Path, toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("model.safetensors")}
    command = ["train", "schnet", "--data", str(toy), "--rows", "8,20", "--seeds", "2", "--out", str(trained), *SHORT]
    assert main([*command, "--json"]) == 0
    told = capsys.readouterr()
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("model.safetensors")} == before
    assert len(json.loads(told.out)["cells"]) == 4


def test_few_validation_molecules_are_warned_about_and_fit_no_law(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_corpus(tmp_path / "corpus", 80, 3, 0)
    words = ["train", "schnet", "--data", str(data), "--rows", "8,16", "--out", str(tmp_path / "run"), *SHORT]
    assert main(words) == 0
    told = capsys.readouterr().err
    assert told.count("only 3 validation molecules: errors are rough (some 46 %), and no law is fitted") == 2
    found = json.loads((tmp_path / "run" / "scaling.json").read_text())["targets"]["y"]
    assert found["fit"] is None and found["estimate"] is None and "30 validation molecules" in found["fit_note"]
    assert (found["validation_rows"], found["validation_molecules"]) == (3, 3)
    assert main([*words, "--validation-fraction", "0.5"]) == 2  # of the same folder
    assert "validation_fraction: none -> 0.5" in capsys.readouterr().err

    more = [*words[: -len(SHORT) - 1], str(tmp_path / "more"), *SHORT, "--validation-fraction", "0.5"]
    assert main(more) == 0
    told = capsys.readouterr().err
    report = json.loads((tmp_path / "more" / "scaling.json").read_text())
    found, of = report["targets"]["y"], report["corpus"]
    assert found["validation_molecules"] == found["validation_rows"] == 3 + of["held_out"] > 30
    assert of["train_rows"] == 80 - of["held_out"] and of["train_share"] == of["train_rows"] / 83
    assert "errors are rough" in told and "no law is fitted" not in told and found["fit"] is not None
    assert main([*more, "--rows", "80"]) == 2
    assert f"{of['train_rows']} training rows" in capsys.readouterr().err


def _without(name: str) -> Callable[[Path, Path], Path]:
    """A corpus whose split ``name`` is empty."""

    def make(_: Path, folder: Path) -> Path:
        counts = {"train": 20, "validation": 10, "test": 0, name: 0}
        return write_corpus(folder, **counts)

    return make


def _of_two_levels(toy: Path, folder: Path) -> Path:
    """The toy corpus with one file of another level of theory among its own."""
    shutil.copytree(toy, folder)
    other = write_corpus(folder.with_name("other"), level="pbe")
    name = sorted(path.name for path in (folder / "data").glob("train-*"))[-1]
    shutil.copy(other / "data" / name, folder / "data" / name)
    return folder


def _with_nan(toy: Path, folder: Path) -> Path:
    """The toy corpus with a NaN among its gaps."""
    shutil.copytree(toy, folder)
    path = sorted((folder / "data").glob("train-*"))[0]
    table = pq.read_table(path)
    values = table["y"].to_pylist()
    values[3] = float("nan")
    place = table.schema.get_field_index("y")
    pq.write_table(table.set_column(place, table.schema.field("y"), [values]), path)
    return folder


def _without_forces(_: Path, folder: Path) -> Path:
    return write_corpus(folder, 20, 10, 0, forces=False)


@pytest.mark.parametrize(
    ("make", "words", "said"),
    [
        (None, ["--target", "gap,mass"], "no target is called 'mass'"),
        (None, ["--target", "forces"], "give --target energy,forces"),
        (_without_forces, ["--target", "energy,forces"], "has no column forces: choose --target from"),
        (None, ["--preset", "huge"], "no preset is called 'huge'"),
        (None, ["--rows", "many"], "is no number of rows"),
        (None, ["--rows", "1k"], "200"),
        (None, ["--epochs", "3"], "not by both"),
        (None, ["--seeds", "0"], "seeds"),
        (None, ["--init", "nowhere"], "nowhere"),
        (_without("train"), [], "no rows in train"),
        (_without("validation"), [], "or hold out molecules with --validation-fraction 0.1"),
        (None, ["--validation-fraction", "1"], "validation_fraction = 1.0"),
        (_of_two_levels, [], "level"),
        (_with_nan, [], "column y holds a number that is not finite"),
    ],
    ids=[
        "target", "forces-alone", "no-forces", "preset", "rows", "too-many-rows", "two-lengths", "no-seed", "init",
        "no-train", "no-validation", "fraction", "two-levels", "nan",
    ],
)  # fmt: skip
def test_mistakes_are_one_line(
    make: Callable[[Path, Path], Path] | None,
    words: list[str],
    said: str,
    toy: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = make(toy, tmp_path / "corpus") if make else toy
    code = main(["train", "schnet", "--data", str(data), "--out", str(tmp_path / "run"), *SHORT, *words])
    lines = [
        line
        for line in capsys.readouterr().err.splitlines()
        if line.strip() and not line.startswith(("qmgen: train", "qmgen: only 40 validation molecules"))
    ]
    assert code in (1, 2) and len(lines) == 1, lines
    assert lines[0].startswith("qmgen: ") and said in lines[0] and "bug" not in lines[0]


@pytest.mark.parametrize("place", ["missing", "empty"])
def test_a_directory_that_is_no_corpus(place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["train", "schnet", "--data", str(tmp_path / place), "--out", str(tmp_path / "run"), *SHORT]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_sigterm_leaves_a_checkpoint_that_the_same_command_continues(
    toy: Path, tmp_path: Path, bare_environment: dict[str, str]
) -> None:
    words = ["train", "schnet", "--data", str(toy), "--out", str(tmp_path / "run"), "--preset", "tiny"]
    words += ["--batch-size", "8", "--steps", "2000", "--log-every", "1", "--rows", "8"]
    process = subprocess.Popen(
        [sys.executable, "-m", "qmgen", *words], env=bare_environment, stderr=subprocess.PIPE, text=True
    )
    cell, deadline = tmp_path / "run" / "rows-8" / "seed-0", time.monotonic() + 120
    while not (cell / "metrics.jsonl").exists() or len((cell / "metrics.jsonl").read_text().splitlines()) < 3:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 75 and "the same command continues" in told
    assert (cell / "checkpoint.safetensors").exists() and not (cell / "result.json").exists()
    steps = [json.loads(line)["step"] for line in (cell / "metrics.jsonl").read_text().splitlines()]
    assert main([*words, "--time-limit", "0.01"]) == 75  # goes on: one step further, not from the beginning
    again = [json.loads(line)["step"] for line in (cell / "metrics.jsonl").read_text().splitlines()]
    assert again[: len(steps)] == steps and again[-1] == steps[-1] + 1


def test_other_settings_in_the_same_folder_are_refused_and_shown(
    trained: Path, toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command: list[Any] = ["train", "schnet", "--data", str(toy), "--rows", "8", "--out", str(trained), *SHORT]
    assert main([*command, "--learning-rate", "0.5"]) == 2
    line = capsys.readouterr().err
    assert "learning_rate" in line and "--overwrite" in line


def test_an_output_that_cannot_be_made(toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["train", "schnet", "--data", str(toy), "--out", str(tmp_path / "file" / "run"), *SHORT]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
