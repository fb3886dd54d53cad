"""The folder of a run: whose it is, what --overwrite may remove, and processes that come at once."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from qmgen.config.train import TrainSchnetConfig
from qmgen.corpus.locks import Lock
from qmgen.errors import UsageError
from qmgen.learning.training.folder import claim


def settings(out: Path, **other: object) -> TrainSchnetConfig:
    return TrainSchnetConfig.model_validate({"data": "corpus", "out": out, **other})


def trained(out: Path) -> Path:
    """A run with one finished training."""
    claim(settings(out))
    cell = out / "rows-10" / "seed-0"
    cell.mkdir(parents=True)
    (cell / "result.json").write_text("{}")
    return cell


def test_overwrite_removes_trainings_and_nothing_else(tmp_path: Path) -> None:
    cell = trained(tmp_path)
    kept = [tmp_path / "rows-2024" / "a.txt", tmp_path / "scratch" / "mine", cell / "notes.txt"]
    for file in kept:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("mine")
    claim(settings(tmp_path, overwrite=True, batch_size=4))
    assert not (cell / "result.json").exists()
    assert all(file.read_text() == "mine" for file in kept)
    assert "batch_size = 4" in (tmp_path / "config.toml").read_text()


def test_overwrite_leaves_no_empty_folders(tmp_path: Path) -> None:
    trained(tmp_path)
    claim(settings(tmp_path, overwrite=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.toml"]


@pytest.mark.parametrize("name", ["manifest.json", "thesis.tex"])
def test_overwrite_needs_a_run_to_overwrite(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    (tmp_path / "rows-1" / "seed-0").mkdir(parents=True)
    (tmp_path / "rows-1" / "seed-0" / "result.json").write_text("mine")
    with pytest.raises(UsageError, match="choose another --out"):
        claim(settings(tmp_path, overwrite=True))
    assert (tmp_path / "rows-1" / "seed-0" / "result.json").exists() and (tmp_path / name).exists()


def test_overwrite_spares_a_training_that_runs(tmp_path: Path) -> None:
    cell = trained(tmp_path)
    with Lock(cell / ".lock"), pytest.raises(UsageError, match="stop it before --overwrite"):
        claim(settings(tmp_path, overwrite=True))
    assert (cell / "result.json").exists()


def test_other_settings_are_shown(tmp_path: Path) -> None:
    trained(tmp_path)
    with pytest.raises(UsageError, match=r"batch_size.*--overwrite"):
        claim(settings(tmp_path, batch_size=4))


def test_a_kill_in_mid_write_does_not_close_the_folder(tmp_path: Path) -> None:
    (tmp_path / ".config.toml.4711").write_text("half a")
    claim(settings(tmp_path))
    assert (tmp_path / "config.toml").exists()


def _claim(out: str, start: object) -> None:
    start.wait()  # type: ignore[attr-defined]
    claim(settings(Path(out)))


def test_processes_that_start_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for turn in range(10):
        start = context.Barrier(3)
        crew = [context.Process(target=_claim, args=(str(tmp_path / str(turn)), start)) for _ in range(3)]
        for one in crew:
            one.start()
        for one in crew:
            one.join()
        assert [one.exitcode for one in crew] == [0, 0, 0]


def test_overwrite_removes_all_or_nothing(tmp_path: Path) -> None:
    first = trained(tmp_path)
    second = tmp_path / "rows-20" / "seed-0"
    second.mkdir(parents=True)
    (second / "result.json").write_text("{}")
    with Lock(second / ".lock"), pytest.raises(UsageError, match="stop it before --overwrite"):
        claim(settings(tmp_path, overwrite=True))
    assert (first / "result.json").exists() and (second / "result.json").exists()
