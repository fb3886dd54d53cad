"""The line of progress: written over on a terminal, a line now and then elsewhere, nothing where nothing is wanted."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest

from qmgen import progress
from qmgen.progress import ProgressLine, RunProgress, TrainingProgress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second passes from one look at the clock to the next."""
    seconds = iter(range(1000))
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: float(next(seconds))))


def test_a_terminal_is_written_over_and_keeps_the_last_state() -> None:
    stream = Terminal()
    with ProgressLine("reading", "file", 40, stream=stream) as line:
        line.advance(1)
        line.advance(39)
    shown = stream.getvalue().split("\r\033[K")
    assert shown[1] == "reading: 1 of 40 files (2%), 0.333 files/s, 117 s left"
    assert shown[-1].startswith("reading: 40 of 40 files (100%), ") and shown[-1].endswith(" 0 s left\n")


@pytest.mark.parametrize(("options", "stream"), [({}, io.StringIO()), ({"quiet": True}, Terminal())])
def test_nothing_without_a_terminal_or_where_quiet(options: dict[str, bool], stream: io.StringIO) -> None:
    with ProgressLine("reading", "file", 40, stream=stream, **options) as line:
        line.advance(40)
        line.say("but what must be said")
    assert stream.getvalue() == "qmgen: but what must be said\n"


def test_bytes_are_shown_by_their_size_and_a_total_may_be_unknown() -> None:
    stream = io.StringIO()
    line = ProgressLine("verifying", "B", 4_000_000, always=True, stream=stream)
    line.advance(1_000_000)
    assert stream.getvalue().endswith("verifying: 1 MB of 4 MB (25%), 333 kB/s, 9 s left")
    line.begin("looking", "molecule", None, 10)
    line.advance(1)
    assert stream.getvalue().endswith("looking: 11 molecules, 0.333 molecules/s")


def test_a_run_counts_rows_and_failures_in_a_log() -> None:
    stream = io.StringIO()
    run = RunProgress(stream=stream, every=0.0)
    run.start(10)
    run.advance(3, 1)
    run.advance(-3, -1)  # a worker died with what it had
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("qmgen: labeling: 4 of 10 conformers (40%)") and lines[0].endswith("3 rows, 1 failures")
    assert lines[1].startswith("qmgen: labeling: 0 of 10 conformers (0%)") and lines[1].endswith("0 rows, 0 failures")


def test_a_training_shows_its_first_step_and_validation_at_once() -> None:
    stream = io.StringIO()
    training = TrainingProgress(stream=stream)
    training.start("schnet", 100, 20, "molecule")
    training.advance_to(30, 0.5, 320.0)
    training.advance_to(40, 0.4, 320.0)
    training.validated("y 85.2 meV", True)
    training.validated("y 90.1 meV", False)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("qmgen: schnet: 30 of 100 steps (30%), ") and lines[0].endswith(
        "; loss 0.5000, 320 molecules/s"
    )
    assert lines[1].endswith("; y 85.2 meV")
