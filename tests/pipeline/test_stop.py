"""Signals and time limits: finished units stay, the same command continues, no worker outlives its parent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pipeline_fakes
import pytest

from qmgen.config import GenerateConfig
from qmgen.corpus import open_corpus
from qmgen.errors import Interrupted
from qmgen.pipeline.run import generate
from qmgen.pipeline.stages import Stages
from qmgen.progress import RunProgress
from qmgen.signals import StopWatch

Config = Callable[..., GenerateConfig]

PROGRAM = """
import sys
from pathlib import Path
import pipeline_fakes
from qmgen.config import GenerateConfig
from qmgen.errors import QmgenError
from qmgen.pipeline.run import generate
from qmgen.pipeline.stages import Stages
names = ("read", "merge", "check", "conformers", "prepare", "theory")
stages = Stages(label=pipeline_fakes.label_slowly, **{n: getattr(pipeline_fakes, n) for n in names})
try:
    generate(GenerateConfig(molecules=[sys.argv[1]], out=Path(sys.argv[2]), units=8, workers=2), stages=stages)
except QmgenError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


def launch(settings: GenerateConfig) -> subprocess.Popen[str]:
    """The run in a process of its own, past its first finished unit (with label_slowly: half a second a unit)."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, settings.molecules[0], str(settings.out)],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    deadline = time.monotonic() + 60
    while not list(settings.out.glob("failures/*.parquet")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == process.pid:
            found.append(int(entry.parent.name))
    return found


def all_gone(pids: list[int], patience: float = 10.0) -> bool:
    deadline = time.monotonic() + patience
    while any(Path("/proc", str(pid)).exists() for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


# ---- the watch itself


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, None])
@pytest.mark.parametrize("nested", [False, True])
def test_who_does_not_heed_the_wish_to_stop_is_interrupted(number: signal.Signals | None, nested: bool) -> None:
    """A signal, or (None) the time limit, meets a main thread that waits and looks at nothing."""
    begin = time.monotonic()
    before = signal.getsignal(signal.SIGTERM)
    if number is not None:
        threading.Timer(0.3, os.kill, (os.getpid(), number)).start()
    with pytest.raises(Interrupted, match=r"stopped by .*same command continues") as caught, ExitStack() as stack:
        watch = stack.enter_context(StopWatch(0.3 if number is None else None, within=0.5))
        if nested:
            stack.enter_context(StopWatch())
        time.sleep(60)
    assert 0.5 <= time.monotonic() - begin < 30
    reason = "the time limit" if number is None else number.name
    assert watch.reason == reason and f"stopped by {reason}," in str(caught.value)
    assert signal.getsignal(signal.SIGTERM) is before


def test_who_heeds_it_is_not() -> None:
    with StopWatch(0.2, within=0.2) as watch:
        while not watch.stopping():
            time.sleep(0.01)
    time.sleep(0.5)  # nothing comes after
    with StopWatch(within=0.2) as watch:
        os.kill(os.getpid(), signal.SIGTERM)
        assert watch.stopping() and watch.reason == "SIGTERM"
    time.sleep(0.5)


def test_a_process_that_cannot_even_be_interrupted_is_ended() -> None:
    program = "import os, signal, time\nfrom qmgen import signals\nsignals._CLEAR_UP_WITHIN = 0.5\n"
    program += "with signals.StopWatch(within=0.2):\n    os.kill(os.getpid(), signal.SIGTERM)\n"
    program += (
        "    while True:\n        try:\n            time.sleep(60)\n        except BaseException:\n            pass"
    )
    path = os.pathsep.join(filter(None, sys.path))
    ended = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": path}, capture_output=True, timeout=60
    )
    assert ended.returncode == 75 and b"the same command continues" in ended.stderr


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_signal_ends_a_run_whose_workers_are_stopped(config: Config, stages: Stages, lines: RunProgress) -> None:
    settings = config(units=8)
    process = launch(settings)
    workers = workers_of(process)
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    begin = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75 and time.monotonic() - begin < 45, said  # 20 s on a machine that does nothing else
    assert "did not stop within 11 s, and is ended" in said and all_gone(workers)
    assert generate(settings, lines, stages).rows == 40


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_stops_in_good_order(config: Config, stages: Stages, lines: RunProgress, number: int) -> None:
    settings = config(units=8)
    process = launch(settings)
    workers = workers_of(process)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75, said
    assert "the same command continues" in said and "Traceback" not in said
    assert len(workers) == 2 and all_gone(workers)
    kept = len(list(settings.out.glob("failures/*.parquet")))
    assert 1 <= kept < 8
    assert not json.loads((settings.out / "manifest.json").read_text())["complete"]
    assert "Unfinished" in (settings.out / "README.md").read_text()
    rest = generate(settings, lines, stages)
    assert rest.run_units == 8 - kept and rest.rows == 40


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_second_signal_exits_at_once(config: Config, stages: Stages) -> None:
    settings = config()
    process = launch(settings)
    workers = workers_of(process)
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)  # they will not answer the first
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130 and "the same command continues" in said, said
    assert all_gone(workers)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_workers_do_not_outlive_a_killed_parent(config: Config, stages: Stages, lines: RunProgress) -> None:
    settings = config(units=8)
    process = launch(settings)
    workers = workers_of(process)
    process.kill()
    process.communicate()
    assert all_gone(workers)
    assert generate(settings, lines, stages).rows == 40
    assert not list((settings.out / ".tmp").glob("*"))


def test_time_limit_stops_like_a_signal(config: Config, stages: Stages, lines: RunProgress) -> None:
    slow = stages.replace(label=pipeline_fakes.label_slowly)
    with pytest.raises(Interrupted, match=r"stopped by the time limit with .* work units left") as caught:
        generate(config([f"C_{i}" for i in range(200)], time_limit=2.0), lines, slow)
    assert caught.value.exit_code == 75
    settings = config([f"C_{i}" for i in range(200)])
    assert generate(settings, lines, stages).rows == 200
    assert len(open_corpus(settings.out)) == 200
