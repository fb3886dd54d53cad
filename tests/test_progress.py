"""Progress: a bar on a terminal, a line now and then elsewhere, nothing where nothing is wanted."""

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


def test_a_terminal_has_a_bar_whose_last_state_stays() -> None:
    stream = Terminal()
    with ProgressLine("reading", "file", 40, stream=stream) as line:
        line.advance(1)
        line.say("a remark")
        line.advance(39)
    shown = stream.getvalue().replace("\r", "\n").splitlines()
    assert any(state.startswith("reading:   2%") and " 1/40 " in state and " files/s" in state for state in shown)
    assert "qmgen: a remark" in shown
    assert shown[-1].startswith("reading: 100%") and " 40/40 " in shown[-1]


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
    line.show(now=True)
    assert "verifying:  25%" in stream.getvalue() and " 1.00M/4.00M " in stream.getvalue()
    line.begin("looking", "molecule", None, 10)
    line.advance(1)
    line.close()
    assert "looking: 11 molecules [" in stream.getvalue()


def test_bytes_in_a_log() -> None:
    stream = io.StringIO()
    ProgressLine("verifying", "B", 4_000_000, log=True, stream=stream, every=0.0).advance(1_000_000)
    assert stream.getvalue() == "qmgen: verifying: 1 MB of 4 MB (25%), 333 kB/s, 9 s left\n"


def test_a_bar_takes_back_what_was_lost() -> None:
    stream = Terminal()
    run = RunProgress(stream=stream)
    run.start(10)
    run.advance(3, 1)
    run.advance(-3, -1)
    run.expect(-2)
    run.advance(8, 0)
    run.close()
    assert " 8/8 " in stream.getvalue().replace("\r", "\n").splitlines()[-1]


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
