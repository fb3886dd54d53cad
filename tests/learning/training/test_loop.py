"""The loop of any training, on a line through points: it learns, and what stops it changes no number."""

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
from line_task import Points, run

from qmgen.errors import Interrupted, QmgenError, UsageError
from qmgen.learning.training import checkpoint
from qmgen.learning.training.folder import CLOCKS, METRICS, Journal, read_journal, timeless
from qmgen.progress import TrainingProgress
from qmgen.signals import StopWatch


class Wish(StopWatch):
    """Asks to stop in the step after this number of them."""

    def __init__(self, number: int) -> None:
        super().__init__(unit="step", kept="checkpoints")
        self.number = number

    def watch(self, parameters: Any, step: int) -> dict[str, Any]:
        if step > self.number:
            self.reason = "SIGTERM"
        return {}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    folder = tmp_path_factory.mktemp("whole")
    outcome = run(folder)
    lines = read_journal(folder / METRICS)
    assert outcome.steps == 60 and outcome.rows_seen == 480 and outcome.seconds > 0
    assert outcome.errors == [line for line in lines if "validation" in line][-1]["validation"]
    return lines


def test_the_journal_says_what_was_done(undisturbed: list[dict]) -> None:
    steps = [line["step"] for line in undisturbed if "loss" in line]
    assert steps == [7, 14, 21, 28, 35, 42, 49, 56]
    assert [line["step"] for line in undisturbed if "validation" in line] == [20, 40, 60]
    losses = [line["loss"] for line in undisturbed if "loss" in line]
    assert losses[-1] < 0.5 * losses[0]  # Adam moves each of two numbers by 0.05 a step at most: halfway is easy
    assert undisturbed[0].keys() == {"step", "epoch", "rows_seen", "loss", "learning_rate"} | (
        CLOCKS - {"tokens_per_second"}
    )
    assert undisturbed[0]["rows_seen"] == 56 and undisturbed[0]["epoch"] == 1.4


@pytest.mark.parametrize("at", [1, 10, 20, 33, 58])
def test_stopped_and_continued_the_numbers_are_the_same(tmp_path: Path, undisturbed: list[dict], at: int) -> None:
    stop = Wish(at)
    with pytest.raises(Interrupted, match=rf"SIGTERM at step {at + 1} of 60 .*the same command continues"):
        run(tmp_path, stop=stop, watch=stop.watch)
    points = Points()
    run(tmp_path, points=points)
    assert points.begun == [at + 1]  # what was before is not read again
    assert timeless(read_journal(tmp_path / METRICS)) == timeless(undisturbed)


def test_killed_and_continued_the_numbers_are_the_same(tmp_path: Path, undisturbed: list[dict]) -> None:
    """kill -9 at three places, each past the last checkpoint by as many steps as it happens."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    killed = 0
    for lines in (1, 4, 7):
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("line_task.py")), str(tmp_path)], env=environment
        )
        deadline = time.monotonic() + 60
        while process.poll() is None and len(read_journal(tmp_path / METRICS)) < lines and time.monotonic() < deadline:
            time.sleep(0.002)
        killed += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert killed >= 1  # or nothing was tested
    run(tmp_path)
    assert timeless(read_journal(tmp_path / METRICS)) == timeless(undisturbed)


def test_an_infinite_loss_ends_it_in_one_line_and_overwrites_nothing(tmp_path: Path) -> None:
    stop = Wish(20)
    with pytest.raises(Interrupted):
        run(tmp_path, stop=stop, watch=stop.watch)
    before = (tmp_path / checkpoint.NAME).read_bytes()
    with pytest.raises(QmgenError, match=r"not finite at step 24: .*lower --learning-rate") as raised:
        run(tmp_path, points=Points(spoiled=23), checkpoint_seconds=1e-6)
    assert "\n" not in str(raised.value)
    _, about = checkpoint.read(tmp_path / checkpoint.NAME)
    assert about["step"] < 24
    run(tmp_path)  # the checkpoint is good for another try
    assert before != (tmp_path / checkpoint.NAME).read_bytes()


def test_a_damaged_checkpoint_costs_the_steps_since_the_one_before(tmp_path: Path, undisturbed: list[dict]) -> None:
    said: list[str] = []

    class Heard(TrainingProgress):
        def say(self, line: str) -> None:
            said.append(line)

    stop = Wish(33)
    with pytest.raises(Interrupted):
        run(tmp_path, stop=stop, watch=stop.watch)
    path = tmp_path / checkpoint.NAME
    path.write_bytes(path.read_bytes()[:-9])
    points = Points()
    run(tmp_path, points=points, progress=Heard(quiet=True))
    assert points.begun == [20]
    assert len(said) == 1 and "damaged" in said[0] and "step 20" in said[0]
    assert timeless(read_journal(tmp_path / METRICS)) == timeless(undisturbed)


def test_the_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    stop = Wish(10)
    with pytest.raises(Interrupted):
        run(tmp_path, stop=stop, watch=stop.watch)
    with pytest.raises(UsageError, match=r"another training \(data differ\)"):
        run(tmp_path, identity={"data": "others"})


def test_the_best_weights_are_those_of_the_best_validation(tmp_path: Path) -> None:
    """Once b has been reached it is moved on by a wrong rate of noise: some validations are worse than others."""
    outcome = run(tmp_path, steps=400)
    validations = {
        line["step"]: line["validation"]["y"] for line in read_journal(tmp_path / METRICS) if "validation" in line
    }
    assert outcome.best_step == min(validations, key=lambda step: validations[step])
    error = abs(float(outcome.parameters["a"]) - 2) + abs(float(outcome.parameters["b"]) + 1)
    assert error == validations[outcome.best_step]


def test_patience_ends_it_and_a_second_call_takes_no_step(tmp_path: Path) -> None:
    class Unlearnable(Points):
        def batches(self, place):
            for batch, after, rows in super().batches(place):
                batch.values["y"][:] = -batch.values["y"]  # away from what is validated
                yield batch, after, rows

    outcome = run(tmp_path, steps=400, points=Unlearnable(), patience=3)
    assert outcome.steps == outcome.best_step + 3 * 20 < 400
    points = Unlearnable()
    again = run(tmp_path, steps=400, points=points, patience=3)
    assert (again.steps, again.best_step, again.errors) == (outcome.steps, outcome.best_step, outcome.errors)


def test_a_journal_is_cut_back_and_a_torn_line_goes(tmp_path: Path) -> None:
    path = tmp_path / METRICS
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in (5, 10, 15, 20)) + '{"step": 2')
    with Journal(path, 15) as journal:
        journal.append({"step": 17})
        journal.synchronize()
    assert [line["step"] for line in read_journal(path)] == [5, 10, 15, 17]
    assert os.listdir(tmp_path) == [METRICS]
