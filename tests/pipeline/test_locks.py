"""Commands that meet on one corpus: each rank has one writer, and whoever comes second says in a line what runs."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from qmgen.config import GenerateConfig
from qmgen.config.generate import RetryConfig
from qmgen.corpus import revisions
from qmgen.corpus.locks import Lock
from qmgen.corpus.runs import rank_lock
from qmgen.corpus.store import store_of
from qmgen.errors import AlreadyRunning, UsageError
from qmgen.pipeline.ranks import RunningCommand, generate_command, retry_command
from qmgen.pipeline.retry import retry
from qmgen.pipeline.run import generate
from qmgen.pipeline.run_record import RunSummary
from qmgen.pipeline.stages import Stages
from qmgen.progress import RunProgress

Config = Callable[..., GenerateConfig]
#: of the fixture ``run``
UNITS = 8


@pytest.mark.parametrize("content", ["", "\x00garbage", '{"pid": %d, "host": "elsewhere"}'])
def test_a_stale_lock_hinders_nobody(run: Callable[..., RunSummary], tmp_path: Path, content: str) -> None:
    out = tmp_path / "corpus"
    (out / "runs").mkdir(parents=True)
    (out / "runs" / "rank-00000.lock").write_text(content.replace("%d", str(os.getppid())))
    assert run(units=1, lines=["C_1", "C_2"]).complete
    assert not (out / "runs" / "rank-00000.lock").exists()


def test_a_live_lock_keeps_out_its_rank_and_no_other(run: Callable[..., RunSummary], tmp_path: Path) -> None:
    out = tmp_path / "corpus"
    hold = "import sys; from qmgen.corpus.runs import rank_lock; from qmgen.corpus.store import store_of\n"
    hold += "with rank_lock(store_of(sys.argv[1]), 0): print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", hold, str(out)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(AlreadyRunning, match=f"rank 0 .* process {holder.pid} on ") as caught:
            run()
        assert caught.value.exit_code == 0 and "\n" not in str(caught.value)
        assert run(rank=1, world_size=2).run_units == UNITS // 2
        holder.kill()
    assert run().complete  # the file of the killed one is still there, its lock is not


HOLD = """
import json, sys
from qmgen.corpus.runs import rank_lock
from qmgen.corpus.store import store_of
with rank_lock(store_of(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_by(command: RunningCommand, out: Path, rank: int = 0) -> Iterator[int]:
    """Another process that does ``command`` there."""
    words = [sys.executable, "-c", HOLD, str(out), str(rank), json.dumps(command.as_json())]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        yield holder.pid
        holder.kill()


@pytest.mark.parametrize("rank", [0, 3])
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": 7}, r"other settings \(seed: 0 -> 7\)"),
        ({"conformers": 3, "xc": "pbe"}, r"conformers: 1 -> 3; xc: b3lyp5 -> pbe"),
        ({"lines": ["C_1", "C_2", "C_3"]}, r"molecules: "),
        ({"limit": 5}, r"limit: none -> 5"),
        ({"extend": True, "conformers": 2}, r"`qmgen generate`; wait"),
        ({"overwrite": True}, r"`qmgen generate`; wait"),
    ],
)
def test_another_command_meets_what_is_in_its_way(
    config: Config, stages: Stages, lines: RunProgress, rank: int, changes: dict[str, Any], said: str
) -> None:
    """Whichever rank writes: two commands would mix two corpora."""
    settings = config()
    with held_by(generate_command(settings, "atoms"), settings.out, rank) as pid:
        with pytest.raises(UsageError, match=said) as caught:
            generate(config(**changes), lines, stages)
        assert f"process {pid} on " in str(caught.value) and "\n" not in str(caught.value)
        with pytest.raises(UsageError, match="`qmgen generate`; wait"):
            retry(RetryConfig(directory=settings.out), lines, stages)
    assert not list(settings.out.glob("data/*")) and not (settings.out / "config.toml").exists()


@pytest.mark.parametrize(
    "changes", [{}, {"workers": 2, "max_failures": 3}, {"time_limit": 60.0}, {"rank": 0, "world_size": 2}]
)
def test_the_same_command_again_finds_it_being_done(
    config: Config, stages: Stages, lines: RunProgress, changes: dict[str, Any]
) -> None:
    settings = config()
    with held_by(generate_command(settings, "atoms"), settings.out) as pid:
        with pytest.raises(AlreadyRunning, match=f"rank 0 .* process {pid} on .*nothing to do here"):
            generate(config(**changes), lines, stages)
        assert generate(config(rank=1, world_size=2), lines, stages).run_units > 0  # its neighbours may come


def test_a_retry_is_the_same_command_only_with_the_same_settings(
    config: Config, stages: Stages, lines: RunProgress
) -> None:
    settings = config(["C_0", "stiff_1"])
    generate(settings, lines, stages)
    running = RetryConfig(directory=settings.out, max_cycles=300)
    with held_by(retry_command(running), settings.out):
        with pytest.raises(AlreadyRunning):
            retry(running.model_copy(update={"workers": 1}), lines, stages)
        with pytest.raises(UsageError, match=r"`qmgen retry` with other settings \(max_cycles: 300 -> none\)"):
            retry(RetryConfig(directory=settings.out), lines, stages)
        with pytest.raises(UsageError, match=r"`qmgen retry`; wait"):
            generate(settings.model_copy(update={"extend": True, "conformers": 2}), lines, stages)


def test_what_comes_on_standard_input_is_compared_once_it_is_read(
    config: Config, stages: Stages, lines: RunProgress, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config().model_copy(update={"molecules": ["-"]})
    told = hashlib.sha256(b"C_0\nC_1\n").hexdigest()
    with held_by(generate_command(settings, "atoms", [told]), settings.out):
        for text, kind in ((b"C_0\nC_1\n", AlreadyRunning), (b"C_5\n", UsageError)):
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
            with pytest.raises(kind):
                generate(settings, lines, stages)


def test_an_addition_that_another_process_begins_for_ever_is_not_waited_for(
    config: Config, stages: Stages, lines: RunProgress, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(["C_0"])
    generate(settings, lines, stages)
    monkeypatch.setattr(revisions, "_PATIENCE", 0.3)
    with Lock(settings.out / "generations" / "begin.lock"), pytest.raises(UsageError, match="which does not go on"):
        generate(settings.model_copy(update={"extend": True, "conformers": 2}), lines, stages)
    assert generate(settings.model_copy(update={"extend": True, "conformers": 2}), lines, stages).added_rows == 1


def test_asking_who_runs_keeps_nobody_out(tmp_path: Path) -> None:
    """``qmgen status --watch`` looks at a stale lock again and again, with a shared lock for the moment."""
    store = store_of(tmp_path)
    with rank_lock(store, 0):
        pass
    (tmp_path / "runs" / "rank-00000.lock").touch()
    ask = "import sys; from qmgen.corpus.runs import running; from qmgen.corpus.store import store_of\n"
    ask += "store = store_of(sys.argv[1]); print('on', flush=True)\nwhile True: running(store, 0)"
    with subprocess.Popen([sys.executable, "-c", ask, str(tmp_path)], stdout=subprocess.PIPE, text=True) as asker:
        assert asker.stdout is not None and asker.stdout.readline() == "on\n"
        try:
            for _ in range(20):
                with rank_lock(store, 0):
                    pass
                (tmp_path / "runs" / "rank-00000.lock").touch()
        finally:
            asker.kill()
