"""Trainings shared by two processes, interrupted and taken up again, with a stand-in for the training itself."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from qmgen.config.train import TrainSchnetConfig
from qmgen.corpus.locks import Lock
from qmgen.errors import Interrupted, UsageError
from qmgen.learning.scaling.run import Cell, cells, share


def settings(out: Path, **others: object) -> TrainSchnetConfig:
    return TrainSchnetConfig.model_validate({"data": "d", "out": out, "rows": "1k,100", "seeds": 2, **others})


def trainer(log: Path, name: str, pause: float = 0.0) -> Callable[[Cell], None]:
    def train(cell: Cell) -> None:
        if (cell.folder / "result.json").exists():
            return
        time.sleep(pause)
        with log.open("a") as handle:
            handle.write(f"{name} {cell.name}\n")
        (cell.folder / "result.json").write_text(json.dumps({"rows": cell.rows}))

    return train


def test_few_rows_first_and_all_seeds_of_them(tmp_path: Path) -> None:
    planned = cells(settings(tmp_path, seed=3), 5000)
    assert [(cell.rows, cell.seed) for cell in planned] == [(100, 3), (100, 4), (1000, 3), (1000, 4)]
    assert planned[0].folder == tmp_path / "rows-100" / "seed-3"
    assert [cell.rows for cell in cells(settings(tmp_path, rows="all", seeds=1), 5000)] == [5000]


def test_init_is_trained_from_scratch_too_unless_told(tmp_path: Path) -> None:
    planned = cells(settings(tmp_path, init=tmp_path), 5000)
    assert len(planned) == 8 and sum(cell.scratch for cell in planned) == 4 and len({c.folder for c in planned}) == 8
    assert not any(cell.scratch for cell in cells(settings(tmp_path, init=tmp_path, scratch=False), 5000))


def test_more_rows_than_there_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="999 training rows"):
        cells(settings(tmp_path), 999)


def _one_process(out: Path, log: Path, name: str) -> None:
    share(cells(settings(out), 5000), trainer(log, name, 0.2), quiet=True)


def test_two_processes_train_each_cell_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    spawn = multiprocessing.get_context("fork")
    both = [spawn.Process(target=_one_process, args=(tmp_path / "run", log, name)) for name in "ab"]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
        assert process.exitcode == 0
    lines = log.read_text().splitlines()
    assert sorted(line[2:] for line in lines) == sorted(cell.name for cell in cells(settings(tmp_path), 5000))


def test_what_another_holds_is_named(tmp_path: Path) -> None:
    planned = cells(settings(tmp_path), 5000)
    with Lock(planned[1].folder / ".lock"):
        (held,) = share(planned, trainer(tmp_path / "log", "a"), quiet=True)
        assert held.startswith("100 rows, seed 1: in the hands of process ")
    assert share(planned, trainer(tmp_path / "log", "a"), quiet=True) == []
    assert len((tmp_path / "log").read_text().splitlines()) == 4


def test_an_interrupted_plan_goes_on(tmp_path: Path) -> None:
    planned, log = cells(settings(tmp_path), 5000), tmp_path / "log"
    train = trainer(log, "a")

    def stopped(cell: Cell) -> None:
        if cell == planned[2]:
            raise Interrupted("stopped")
        train(cell)

    with pytest.raises(Interrupted):
        share(planned, stopped, quiet=True)
    assert len(log.read_text().splitlines()) == 2
    assert share(planned, train, quiet=True) == []  # no lock was left behind
    assert [line[2:] for line in log.read_text().splitlines()] == [cell.name for cell in planned]


def test_progress_over_all_trainings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    share(cells(settings(tmp_path), 5000), trainer(tmp_path / "log", "a"), quiet=False)
    assert "training 3 of 4: 1000 rows, seed 0" in capsys.readouterr().err
