"""Workers that die: who takes their place, and that the corpus is the same."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pipeline_fakes
import pyarrow.parquet as pq
import pytest

from qmgen.errors import Interrupted
from qmgen.pipeline import crash_policy
from qmgen.pipeline import pool as pool_module
from qmgen.pipeline import pool as seen_worker
from qmgen.pipeline.crash_policy import (
    MachineHealth,
)
from qmgen.pipeline.job import LabelJob
from qmgen.pipeline.layout import WorkerPlace
from qmgen.pipeline.messages import shown_stage
from qmgen.pipeline.pool import Pool
from qmgen.pipeline.source import UnitInput
from qmgen.pipeline.stages import Stages
from qmgen.pipeline.unit import UnitResult

Jobs = Callable[..., LabelJob]
Works = Callable[..., list[UnitInput]]
Files = Callable[[LabelJob], dict[str, bytes]]

A, B, C = (1, 0), (2, 0), (2, 1)


needs_proc = pytest.mark.skipif(not Path("/proc/self/comm").exists(), reason="needs /proc")


class Crew:
    """A pool at work in this process, and what it told."""

    def __init__(self, job: LabelJob, count: int) -> None:
        self.results: list[UnitResult] = []
        self.rows = self.failures = 0
        self.pool = Pool(job, (WorkerPlace(),) * count, self.advance, self.results.append)

    def advance(self, rows: int, failures: int) -> None:
        self.rows += rows
        self.failures += failures

    def run(self, works: list[UnitInput], stopping: Callable[[], bool] = lambda: False) -> Pool:
        with self.pool:
            self.pool.run(iter(works), stopping)
        # what was lost with a worker was taken back
        assert self.rows >= sum(result.rows for result in self.results)
        return self.pool


@pytest.fixture
def undisturbed(job: Jobs, works: Works, files: Files, stages: Stages) -> Callable[..., dict[str, bytes]]:
    """``undisturbed(lines, units)``: the files of a run in which nothing happened."""

    def make(lines: list[str] | None, units: int) -> dict[str, bytes]:
        from qmgen.pipeline.unit import do_unit

        plain = job("undisturbed", stages=stages.replace(label=pipeline_fakes.label))
        for work in works(lines, units):
            do_unit(plain, work)
        return files(plain)

    return make


def test_a_molecule_that_ends_its_process_is_a_failure_and_the_rest_is_labelled(
    job: Jobs, works: Works, files: Files, capfd: pytest.CaptureFixture[str]
) -> None:
    lines = ["C_0", "C_1", "segfault_2 bad", "C_3", "C_4", "C_5", "C_6", "exit_7 worse", "C_8"]
    found = []
    for workers in (1, 2):
        mine = job(f"workers-{workers}")
        crew = Crew(mine, workers)
        pool = crew.run(works(lines, 2))
        assert (crew.rows, crew.failures) == (7, 2)
        assert Counter((d["unit"], d["how"]) for d in pool.deaths) == {(0, "SIGSEGV"): 2, (1, "exit code 3"): 2}
        assert {d["stage"] for d in pool.deaths} == {"label"} and len(pool.gone) == workers + 4
        assert not list(mine.partials.glob("*"))  # type: ignore[union-attr]
        found.append(files(mine))
    assert found[0] == found[1]
    failures = [
        row for path in sorted((Path(mine.place) / "failures").iterdir()) for row in pq.read_table(path).to_pylist()
    ]
    assert [(f["molecule_id"], f["conformer_id"], f["name"], f["reason"], f["detail"]) for f in failures] == [
        (2, 0, "bad", "worker_crashed", "SIGSEGV twice while it was being labelled"),
        (7, 0, "worse", "worker_crashed", "exit code 3 twice while it was being labelled"),
    ]
    said = capfd.readouterr().err.splitlines()
    assert said.count("qmgen: a worker died in work unit 0 (molecules 0 to 3): SIGSEGV; it is replaced") == 2
    assert (
        said.count(
            "qmgen: a worker died in work unit 0 (molecules 0 to 3): SIGSEGV; it is replaced, "
            "molecule 2 (conformer 0) becomes a failure"
        )
        == 2
    )
    assert len(said) == 8


@needs_proc
def test_kills_from_outside_change_nothing(
    job: Jobs, works: Works, files: Files, stages: Stages, undisturbed: Callable[..., dict[str, bytes]]
) -> None:
    slow = stages.replace(
        prepare=pipeline_fakes.prepare_an_eager_keeper,
        conformers=pipeline_fakes.conformers_slowly,
        label=pipeline_fakes.label_slowly,
    )
    mine = job(stages=slow)
    crew = Crew(mine, 2)
    wanted = ["start", "embed", "label", "write", "label", "idle", "embed", "write"]
    killed: list[str] = []
    over = threading.Event()

    def kill() -> None:
        while wanted and not over.is_set():
            for worker in list(crew.pool.workers):
                stage = shown_stage(worker.child.process.pid)
                if stage in wanted and worker.child.process.returncode is None:
                    os.kill(worker.child.process.pid, signal.SIGKILL)
                    wanted.remove(stage)
                    killed.append(stage)
                    time.sleep(0.3)
            time.sleep(0.002)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        pool = crew.run(works(units=10))
    finally:
        over.set()
        thread.join()
    assert set(killed) >= {"start", "embed", "label", "write"} and len(pool.deaths) == len(killed)
    assert {d["how"] for d in pool.deaths} == {"SIGKILL"} and (crew.rows, crew.failures) == (40, 0)
    assert files(mine) == undisturbed(None, 10)


def test_what_always_dies_without_a_reason_is_given_up_in_the_end(
    job: Jobs, works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crash_policy, "MAX_UNEXPLAINED_DEATHS", 3)
    crew = Crew(job(), 1)
    pool = crew.run(works(["C_0", "crash_1", "C_2"]))
    assert crew.results[0].failures == {"machine_trouble": 1} and crew.results[0].rows == 2
    assert len(pool.deaths) == 4  # in company first


def test_a_unit_that_kills_before_anything_is_labelled_ends_the_run(
    job: Jobs, works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crash_policy, "MAX_DEATHS_WITHOUT_PROGRESS", 3)
    with pytest.raises(Interrupted, match=r"3 workers in a row died in work unit 1 \(molecules 1 to 2\).*exit code 4"):
        Crew(job(), 1).run(works(["C_0", "C_1", "sink_2"], 2))


def test_workers_that_do_not_start_end_the_run(job: Jobs, works: Works, stages: Stages) -> None:
    crew = Crew(job(stages=stages.replace(prepare=pipeline_fakes.prepare_and_die)), 2)
    with pytest.raises(Interrupted, match=r"^3 workers in a row died while starting.*: exit code 5; .* same command"):
        crew.run(works())
    assert [(d["unit"], d["stage"]) for d in crew.pool.deaths] == [(None, "start")] * 3


def test_a_stopped_run_keeps_what_it_has_and_goes_on_with_it(
    job: Jobs,
    works: Works,
    files: Files,
    stages: Stages,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    undisturbed: Callable[..., dict[str, bytes]],
) -> None:
    monkeypatch.setenv("QMGEN_TEST_COUNT", str(tmp_path / "count"))
    mine = job(stages=stages.replace(label=pipeline_fakes.label_and_count))
    first = Crew(mine, 2)
    first.run(works(units=2), lambda: first.rows > 5)
    assert not first.results and not files(mine)
    assert len(list(mine.partials.glob("part-*.partial.parquet"))) >= 1  # type: ignore[union-attr]
    second = Crew(mine, 1)
    second.run(works(units=2))
    resumed = sum(result.resumed for result in second.results)
    counted = (tmp_path / "count").read_text().splitlines()
    assert resumed > 5 and len(counted) == len(set(counted)) == 40
    assert files(mine) == undisturbed(None, 2)


@needs_proc
def test_a_worker_that_dies_while_the_run_stops_is_not_replaced(
    job: Jobs, works: Works, stages: Stages, capfd: pytest.CaptureFixture[str]
) -> None:
    crew = Crew(job(stages=stages.replace(label=pipeline_fakes.label_slowly)), 1)
    asked: list[Any] = []

    def stopping() -> bool:
        """Freezes the worker in the middle of a batch, says stop, and kills it the next time."""
        (worker,) = crew.pool.workers
        if not worker.on_device:
            return False
        asked.append(worker)
        os.kill(worker.child.process.pid, signal.SIGSTOP if len(asked) == 1 else signal.SIGKILL)
        return True

    pool = crew.run(works(units=2), stopping)
    assert len(asked) == 2 and not crew.results and (crew.rows, crew.failures) == (0, 0)
    assert [(d["unit"], d["how"], d["stage"]) for d in pool.deaths] == [(0, "SIGKILL", "label")]
    (said,) = capfd.readouterr().err.splitlines()
    assert said == "qmgen: a worker died in work unit 0 (molecules 0 to 19): SIGKILL; the run is stopping"


def done(job: LabelJob) -> set[str]:
    return {path.name[5:10] for path in (Path(job.place) / "failures").glob("part-*.parquet")}


@pytest.mark.parametrize("kind", ["segfault", "starve"])
def test_a_machine_that_fails_molecule_after_molecule_ends_the_run_and_costs_none(
    job: Jobs, works: Works, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    mine = job()
    crew = Crew(mine, 1)
    with pytest.raises(Interrupted, match=r"^3 molecules in a row \(1, 2, 3\) ended their workers") as caught:
        crew.run(works(["C_0", *[f"{kind}_{i}" for i in range(1, 6)], "C_6"], 7))
    assert "same command continues" in str(caught.value) and "\n" not in str(caught.value)
    assert done(mine) == {"00000"}  # none of those that failed has become a failure
    again = Crew(mine, 1)
    again.pool.health = MachineHealth(True, set(crew.pool.excluded))
    works_left = [work for work in works(["C_0", *[f"{kind}_{i}" for i in range(1, 4)], "C_6"], 5) if work.unit.index]
    if kind == "segfault":  # the same three in two runs: they are what fails
        again.run(works_left)
        assert sum(result.failures.get("worker_crashed", 0) for result in again.results) == 3
    else:
        with pytest.raises(Interrupted):
            again.run(works_left)


def test_a_molecule_that_alone_has_too_little_memory_is_left_for_later(job: Jobs, works: Works) -> None:
    crew = Crew(job(), 1)
    pool = crew.run(works(["C_0", "starve_1", "C_2", "C_3"], 4))
    assert [result.failures for result in sorted(crew.results, key=lambda r: r.index)] == [
        {}, {"machine_trouble": 1}, {}, {}
    ]  # fmt: skip
    assert [d["how"] for d in pool.deaths] == ["too little memory (MemoryError:)"] * 2


def test_where_not_one_molecule_has_memory_nothing_becomes_a_failure(job: Jobs, works: Works) -> None:
    mine = job()
    with pytest.raises(Interrupted, match="no molecule could be labelled"):
        Crew(mine, 1).run(works(["starve_0"]))
    assert not done(mine)


# ---- workers that answer no more


@needs_proc
def test_a_worker_that_is_stopped_is_replaced(
    job: Jobs, works: Works, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(seen_worker, "SILENT_LIMIT", 3.0)
    monkeypatch.setenv("QMGEN_TEST_FROZEN", str(tmp_path / "frozen"))
    crew = Crew(job(), 2)
    pool = crew.run(works(["C_0", "C_1", "freeze_2", "C_3", "C_4", "C_5"], 2))
    assert (crew.rows, crew.failures) == (6, 0) and len(pool.deaths) == 1
    assert "no sign of life for" in pool.deaths[0]["how"] and pool.deaths[0]["stage"] == "label"
    assert "; it is replaced" in capfd.readouterr().err


@needs_proc
@pytest.mark.parametrize("line", ["stuck_2", "freeze_2"])
def test_a_run_ends_in_time_whatever_its_workers_do(
    job: Jobs, works: Works, stages: Stages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    """One thread sleeps in a batch, or the whole process is stopped; what was labelled before is kept or made again."""
    monkeypatch.setattr(pool_module, "STOP_WITHIN", 20.0 if line == "stuck_2" else 2.0)
    monkeypatch.setenv("QMGEN_TEST_FROZEN", str(tmp_path / "frozen"))
    mine = job(stages=stages.replace(prepare=pipeline_fakes.prepare_to_leave_at_once))
    crew = Crew(mine, 1)
    begin: list[float] = []

    def stopping() -> bool:
        """As soon as the batch with that molecule has been begun."""
        if any((5, 0) in worker.on_device for worker in crew.pool.workers):
            begin.append(time.monotonic())
        return bool(begin)

    crew.run(works(["C_0", "C_1", "C_3", "C_4", "C_5", line, "C_6"]), stopping)
    assert time.monotonic() - begin[0] < 60 and not crew.results and not done(mine)
    assert crew.pool.gone[0].child.process.poll() is not None
    kept = list(mine.partials.glob("part-*"))  # type: ignore[union-attr]
    assert len(kept) == (1 if line == "stuck_2" else 0)  # a thread of the worker keeps what it has, if it runs
