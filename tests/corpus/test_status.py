"""How far a corpus is: counts from names and records, rates from steady clocks, signs of life from locks."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from qmgen.corpus.plan import plan
from qmgen.corpus.runs import rank_lock
from qmgen.corpus.status import status
from qmgen.corpus.store import store_of
from qmgen.corpus.verify import inspect
from qmgen.errors import UsageError

HOST = socket.gethostname()
PLAN = {"entries": 40, "units": 4, "wanted": 40}
HOLD = """
import sys
from qmgen.corpus.runs import rank_lock
from qmgen.corpus.store import store_of
from qmgen.corpus.verify import inspect
with rank_lock(store_of(sys.argv[1]), int(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


def record(directory: Path, name: str, ago: float = 0.0, **changes: Any) -> None:
    """A record written ``ago`` seconds before now; of a process that is certainly gone unless said otherwise."""
    written = datetime.now(UTC) - timedelta(seconds=ago)
    found = {
        "state": "running", "host": HOST, "pid": 2**30, "rank": 0, "world_size": 1, "plan": PLAN, "seconds": 10.0,
        "rows": 0, "failures": 0, "units_to_do": 4, "units": [], "deaths": [], "repaired": [],
        "written": written.isoformat(timespec="seconds"), **changes,
    }  # fmt: skip
    (directory / "runs").mkdir(parents=True, exist_ok=True)
    (directory / "runs" / f"{name}.json").write_text(json.dumps(found))


def touch_units(directory: Path, count: int, done: int) -> None:
    """Names of ``done`` units of ``count``, empty files: nothing needs to open them."""
    for folder in ("data", "failures"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    for index, unit in enumerate(plan(10 * count, 1, count)):
        if index < done:
            for name in unit.files().values():
                (directory / name).touch()


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds rank 1 of ``tmp_path``."""
    command = [sys.executable, "-c", HOLD, str(tmp_path), "1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_finished_corpus_needs_no_records(written: Any) -> None:
    for _ in range(2):  # by its manifest, then by its failures files
        found = status(written.directory)
        assert (found.complete, found.units_done, found.rows, found.failures) == (True, 4, 72, 4)
        assert (found.failures_by_reason == {"embedding_failed": 4} and found.entries == 40) or found.entries is None
        assert found.ranks == [] and found.eta_seconds == 0.0 and found.rows_per_second is None
        (written.directory / "manifest.json").unlink(missing_ok=True)


def test_a_damaged_failures_file_is_named(written: Any) -> None:
    (written.directory / "manifest.json").unlink()
    (written.directory / "failures/part-00003-of-00004.parquet").write_bytes(b"")
    found = status(written.directory)
    assert found.unreadable == ["failures/part-00003-of-00004.parquet"] and found.rows == 54


def test_counts_rate_and_time_left_of_live_ranks(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    touch_units(tmp_path, 4, 2)
    done = [{"index": i, "rows": 8, "failures": {"not_converged": 2}, "seconds": 1.0, "sha256": ""} for i in range(2)]
    record(tmp_path, "a", ago=3600, state="stopped", rank=0, world_size=2, units=done[:1], rows=8, failures=2)
    record(
        tmp_path, "b", pid=holder.pid, rank=1, world_size=2, units_to_do=2, units=done[1:], rows=12, failures=3,
        deaths=[{"pid": 1}], repaired=["x"],
    )  # fmt: skip
    found = status(tmp_path)
    assert (found.units, found.units_done, found.units_running, found.units_missing) == (4, 2, 1, 1)
    assert (found.rows, found.failures, found.rows_in_hand, found.failures_in_hand) == (16, 4, 4, 1)
    assert found.failures_by_reason == {"not_converged": 4} and (found.deaths, found.repaired) == (1, 1)
    assert [(rank.rank, rank.state) for rank in found.ranks] == [(0, "stopped"), (1, "running")]
    assert found.rows_per_second == 1.2 and found.rows_per_second_per_process == 1.0
    # 20 entries of one geometry each are left, 5 of them in hand, at 1.5 results a second
    assert found.eta_seconds == pytest.approx(10.0, rel=1e-12)  # rounding alone
    holder.kill()
    holder.wait()
    found = status(tmp_path)  # the lock died with it, whatever file it left
    assert found.ranks[1].state == "killed" and found.rows_per_second is None and found.eta_seconds is None
    assert (found.units_running, found.units_missing, found.rows_in_hand) == (0, 2, 0)


@pytest.mark.parametrize("listed", [True, False], ids=["listed by unit", "as older records have it"])
@pytest.mark.parametrize("finished", [0, 1, 3, 4])
def test_rows_that_were_in_hand_and_are_finished_since_count_once(
    tmp_path: Path, holder: subprocess.Popen[str], finished: int, listed: bool
) -> None:
    """A run writes its record now and then; units are finished in between, whose rows the record calls in hand."""
    touch_units(tmp_path, 4, 0)
    for index in range(finished):
        write_part(tmp_path, index, rows=20)
    hand = [{"index": index, "rows": 9, "failures": 1} for index in range(4)]
    more = {"in_hand": hand} if listed else {}
    record(tmp_path, "a", rank=1, pid=holder.pid, rows=36, failures=4, **more)
    found = status(tmp_path)
    assert (found.units_done, found.complete) == (finished, finished == 4)
    assert found.rows == 20 * finished
    assert found.rows_in_hand == (9 * (4 - finished) if listed else max(36 - 20 * finished, 0))
    assert found.rows + found.rows_in_hand <= 80 and (not found.complete or not found.rows_in_hand)
    assert found.failures_in_hand == (4 - finished if listed else 4)


def write_part(directory: Path, index: int, rows: int) -> None:
    """Unit ``index`` of 4, whose failures file says that it has ``rows``, and no failure."""
    from qmgen.corpus.schema import failure_schema, failure_table
    from qmgen.corpus.unit_records import FileRecord, with_records, write_table

    files = list(plan(40, 1, 4))[index].files()
    for name in files.values():
        (directory / name).touch()
    records = [
        FileRecord(name, rows * (kind == "train"), 1, 0, "") for kind, name in files.items() if kind != "failures"
    ]
    table = with_records(failure_table([], failure_schema({"unit": {"entries": 10, "merged": 0}})), records)
    write_table(table, directory / files["failures"])


@pytest.mark.parametrize("manifest", [True, False])
def test_a_stated_addition_of_which_nothing_is_there_is_missing(written: Any, manifest: bool) -> None:
    statement = written.directory / "generations" / "more-1.json"
    statement.parent.mkdir()
    plan_ = {"entries": 8, "units": 2, "begin": 40}
    statement.write_text(json.dumps({"number": 1, "kind": "extend", "base": "", "plan": plan_, "recipe": {}}))
    if not manifest:
        (written.directory / "manifest.json").unlink()
    found = status(written.directory)
    assert (found.complete, found.units, found.units_done, found.units_missing) == (False, 6, 4, 2)
    assert found.rows == 72
    if manifest:
        report = inspect(written.directory)
        assert not report.complete and len(report.missing) == 2
    for damaged in ("", "{", "[]", '{"number": 1}', '{"number": 1, "plan": {"entries": -8, "units": 2, "begin": 0}}'):
        statement.write_text(damaged)
        found = status(written.directory)
        assert not found.complete and found.unreadable == ["generations/more-1.json"]


def test_a_rank_without_a_record_yet(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    record(tmp_path, "a", rank=1, state="finished")
    (rank,) = status(tmp_path).ranks
    assert (rank.state, rank.pid, rank.host) == ("running", holder.pid, HOST) and "just begun" in rank.note


@pytest.mark.parametrize("content", ["", "garbage", '{"pid": 1, "host": "elsewhere"}', "[1]"])
def test_a_lock_file_without_a_lock_is_nobody(tmp_path: Path, content: str) -> None:
    """Left by a killed process: cut short, overwritten, or naming a live process that has nothing to do with it."""
    record(tmp_path, "a", rank=0)
    path = tmp_path / "runs" / "rank-00000.lock"
    path.write_text(content.replace('"pid": 1', f'"pid": {os.getpid()}'))
    assert [rank.state for rank in status(tmp_path).ranks] == ["killed"]
    with rank_lock(store_of(tmp_path), 0):
        pass  # and hinders nobody


@pytest.mark.parametrize(
    ("ago", "state", "note"),
    [
        (0, "perhaps running", ""),
        (170, "perhaps running", ""),
        (200, "silent", ""),
        (-100, "perhaps running", ""),  # its clock is a little ahead of ours
        (-86400, "silent", "dated in the future"),
    ],
)
def test_ranks_of_other_machines_by_what_they_wrote_last(tmp_path: Path, ago: float, state: str, note: str) -> None:
    record(tmp_path, "a", ago=ago, host="elsewhere", rows=30)
    found = status(tmp_path)
    (rank,) = found.ranks
    assert rank.state == state and note in rank.note and (rank.age is None or rank.age >= 0)
    assert (found.rows_per_second is not None) == (state == "perhaps running")
    assert found.rows_in_hand == (30 if state == "perhaps running" else 0)


@pytest.mark.parametrize("ago", [10 * 365 * 86400, -10 * 365 * 86400])
def test_clock_jumps_do_not_touch_rates(tmp_path: Path, holder: subprocess.Popen[str], ago: float) -> None:
    """A live run whose calendar is years off: the lock and its steady clock say all."""
    touch_units(tmp_path, 4, 1)
    unit = {"index": 0, "rows": 10, "failures": {}, "seconds": 1.0}
    record(tmp_path, "z", ago=ago, rank=1, pid=holder.pid, rows=10, units=[unit], seconds=5.0)
    record(tmp_path, "zz", ago=-ago, rank=1, state="finished", rows=99)  # an older run, sorted after it by the jump
    for path in tmp_path.rglob("*"):
        os.utime(path, (0, 0) if ago < 0 else (2**33, 2**33))
    found = status(tmp_path)
    assert found.ranks[0].state == "running" and found.rows_per_second == 2.0
    assert found.eta_seconds == pytest.approx(15.0, rel=1e-12)  # rounding alone


@pytest.mark.parametrize(
    "odd",
    [
        {"seconds": -5.0}, {"seconds": "long"}, {"seconds": 0}, {"rows": -3}, {"rows": None}, {"written": "never"},
        {"units": [{"index": 1, "rows": 50, "failures": {}}], "rows": 2}, {"units": "all"}, {"units_to_do": -1},
        {"plan": None}, {"rank": True}, {"written": "2026-01-01T00:00:00"},
    ],
)  # fmt: skip
def test_records_that_make_no_sense_do_no_harm(tmp_path: Path, odd: dict[str, Any]) -> None:
    touch_units(tmp_path, 4, 1)
    record(tmp_path, "a", host="elsewhere", **odd)
    record(tmp_path, "b", host="elsewhere", rank=1, units=[{"index": 0, "rows": 10, "failures": {}}])
    found = status(tmp_path)
    numbers = [found.rows, found.rows_in_hand, found.failures_in_hand, found.units_running, found.units_missing]
    numbers += [found.rows_per_second or 0.0, found.rows_per_second_per_process or 0.0, found.eta_seconds or 0.0]
    assert min(numbers) >= 0 and found.rows == 10


def test_rows_of_a_unit_made_again_count_once(tmp_path: Path) -> None:
    touch_units(tmp_path, 4, 4)
    units = [{"index": i, "rows": 10, "failures": {}} for i in range(4)]
    record(tmp_path, "a", state="finished", units=units)
    record(tmp_path, "b", state="finished", units=units[:1])
    assert status(tmp_path).rows == 40 and status(tmp_path).complete


def test_nothing_is_written(written: Any) -> None:
    before = {path: path.stat().st_mtime_ns for path in written.directory.rglob("*")}
    status(written.directory)
    assert {path: path.stat().st_mtime_ns for path in written.directory.rglob("*")} == before


def test_what_is_no_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a qmgen corpus"):
        status(tmp_path)
