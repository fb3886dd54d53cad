"""Child processes: who gets on and who does not, pipes that never block, ends that do not wait for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import Pipe
from pathlib import Path

import pytest

from qmgen.errors import QmgenError, UsageError
from qmgen.machine import lacks_memory
from qmgen.processes import Channel, Child, Gone, ProcessGroup, StallClock, end, ending, look

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
IDLE, BUSY = "import time; time.sleep(600)", "while True: pass"


@contextmanager
def child(code: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs ``code``, and says when it has begun."""
    command = [sys.executable, "-c", f"print('on', flush=True)\n{code}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == b"on\n"
            yield process
        finally:
            process.kill()


def watched(process: subprocess.Popen[bytes], seconds: float) -> float:
    """What a clock shows that is asked for so long."""
    clock = StallClock(process.pid)
    over = time.monotonic() + seconds
    while time.monotonic() < over:
        clock.stalled()
        time.sleep(0.1)
    return clock.stalled()


@needs_proc
@pytest.mark.parametrize(("code", "stop"), [(IDLE, False), (BUSY, True)])
def test_a_process_that_sleeps_or_is_stopped_does_not_get_on(code: str, stop: bool) -> None:
    with child(code) as process:
        if stop:
            process.send_signal(signal.SIGSTOP)
        assert watched(process, 1.5) >= 1.0
        seen = look(process.pid)
        assert seen is not None and seen.state == ("T" if stop else "S")


@needs_proc
def test_a_process_that_computes_gets_on_however_little_it_is_let() -> None:
    with child(BUSY) as process:
        os.setpriority(os.PRIO_PROCESS, process.pid, 19)
        clock, shown = StallClock(process.pid), []
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (shown and shown[-1] == 0.0 and len(shown) > 3):
            time.sleep(0.1)
            shown.append(clock.stalled())
        assert shown[-1] == 0.0


def test_a_wait_of_the_watching_process_itself_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("qmgen.processes.time.monotonic", lambda: now[0])
    monkeypatch.setattr("qmgen.processes.look", lambda pid: None)  # no /proc here
    clock = StallClock(1)
    now[0] += 3600.0  # both were suspended
    assert clock.stalled() == 1.0
    now[0] += 0.5
    assert clock.stalled() == 1.5
    clock.moved()
    assert clock.stalled() == 0.0


@pytest.mark.parametrize(
    ("code", "how"), [(0, "exit code 0"), (3, "exit code 3"), (-9, "SIGKILL"), (-27, "SIGPROF"), (-40, "signal 40")]
)
def test_how_a_process_ended(code: int, how: str) -> None:
    assert ending(code) == how


@pytest.mark.parametrize("group", [False, True])
def test_a_stopped_process_is_ended(group: bool) -> None:
    with child(IDLE) as process:
        process.send_signal(signal.SIGSTOP)
        assert end(process, 0.1, group) == -signal.SIGKILL
        assert end(process, 0.1, group) == -signal.SIGKILL  # harmless when repeated


def test_sending_to_a_process_that_is_stopped_blocks_nobody() -> None:
    ours, theirs = Pipe()
    with child(IDLE) as process:
        process.send_signal(signal.SIGSTOP)
        channel = Channel(ours)
        begin = time.monotonic()
        for _ in range(8):
            channel.send(b"x" * 1_000_000)  # far more than a pipe holds
        assert time.monotonic() - begin < 30
        channel.close()
    assert not any(thread.is_alive() for thread in channel._threads)
    theirs.close()


def test_a_message_that_stops_half_way_blocks_nobody_and_ends_with_the_pipe() -> None:
    ours, theirs = Pipe()
    channel = Channel(ours)
    theirs.send("whole")
    os.write(theirs.fileno(), (1000).to_bytes(4, "big") + b"half")  # says 1000 bytes, and never sends them
    assert channel.inbox.get(timeout=30) == (channel, "whole")
    assert channel.inbox.empty()
    theirs.close()
    _, last = channel.inbox.get(timeout=30)
    assert isinstance(last, Gone)
    channel.close()


def test_what_cannot_be_unpacked_or_packed_is_heard_of() -> None:
    ours, theirs = Pipe()
    channel = Channel(ours)
    theirs.send_bytes(b"no pickle")
    _, error = channel.inbox.get(timeout=30)
    assert isinstance(error, Exception)
    unpicklable: Callable[[], None] = lambda: None
    channel.send(unpicklable)
    _, error = channel.inbox.get(timeout=30)
    assert isinstance(error, Exception)
    channel.send("the next one")
    assert theirs.recv() == "the next one"
    channel.close()
    channel.close()
    theirs.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux ends a process with its parent")
def test_a_stopped_process_ends_with_its_parent() -> None:
    outer = "import time; from qmgen.processes import Child; "
    outer += "print(Child.start('process_fakes:wait').receive(30), flush=True); time.sleep(600)"
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    with subprocess.Popen(
        [sys.executable, "-c", outer], stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": path}
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        os.kill(pid, signal.SIGSTOP)
        parent.kill()
        parent.wait()
        deadline = time.monotonic() + 30
        while (seen := look(pid)) is not None and seen.state != "Z" and time.monotonic() < deadline:
            time.sleep(0.05)
        assert seen is None or seen.state == "Z"


@pytest.mark.parametrize(
    ("error", "lacks"),
    [
        (MemoryError(), True),
        (OSError(12, "Cannot allocate memory"), True),
        (ImportError("libRDKitInchi.so.1: failed to map segment from shared object"), True),
        (RuntimeError("can't start new thread"), True),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 123 bytes"), True),
        (OSError(28, "No space left on device"), False),
        (ImportError("No module named 'rdkit'"), False),
        (KeyError("a bug"), False),
    ],
)
def test_errors_that_say_that_memory_ran_out(error: Exception, lacks: bool) -> None:
    assert lacks_memory(error) is lacks
    outer = ValueError("it did not work")
    outer.__cause__ = error
    assert lacks_memory(outer) is lacks


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children find ``process_fakes`` by the search path that they inherit."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


@pytest.mark.usefixtures("fakes")
def test_a_child_answers_leads_a_group_and_is_ended_with_what_it_started() -> None:
    child = Child.start("process_fakes:echo", "a", 2, environment={"QMGEN_TOLD": "yes"}, quiet=True)
    assert child.receive(30) == ("a", 2, "yes", child.process.pid)
    child.channel.send("again")
    assert child.receive(30) == "again"
    child.channel.send("start another")
    other = child.receive(30)
    assert child.receive(0.0) is None
    assert ending(child.end()) == "SIGKILL"
    deadline = time.monotonic() + 30
    while (seen := look(other)) is not None and seen.state != "Z" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert seen is None or seen.state == "Z"
    assert isinstance(child.receive(30), Gone)


@pytest.mark.usefixtures("fakes")
def test_a_group_shares_out_tasks_and_each_child_is_built_once() -> None:
    cores = tuple(sorted(os.sched_getaffinity(0)))
    with ProcessGroup("process_fakes:Adder", 10, 2, "an adder", "use fewer", {"OMP_NUM_THREADS": "1"}, cores) as group:
        done = list(group.results(range(5)))
        assert sorted((place, result["sum"]) for place, _, result in done) == [(i, 10 + i) for i in range(5)]
        assert {number for _, number, _ in done} == {0, 1}
        assert {result["threads"] for _, _, result in done} == {"1"}
        assert {tuple(result["cores"]) for _, _, result in done} <= {(core,) for core in cores}
        assert list(group.results([])) == []


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize(
    ("task", "error", "said"),
    [
        ("die", QmgenError, r"an adder died \(exit code 3\), perhaps for want of memory: use fewer"),
        ("refuse", UsageError, "told to refuse"),
        ("bug", RuntimeError, "in an adder: ZeroDivisionError"),
    ],
)
def test_what_happens_in_a_group_is_heard_of(task: str, error: type[Exception], said: str) -> None:
    with ProcessGroup("process_fakes:Adder", 0, 1, "an adder", "use fewer") as group, pytest.raises(error, match=said):
        list(group.results([task]))
