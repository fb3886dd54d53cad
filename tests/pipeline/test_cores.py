"""Cores are claimed by one run at a time, and by no run that has ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pipeline_fakes
import pytest

from qmgen.config import GenerateConfig
from qmgen.pipeline import layout
from qmgen.pipeline.layout import ANY_CORE, CoreLocks
from qmgen.pipeline.run import generate
from qmgen.pipeline.stages import Stages
from qmgen.progress import RunProgress

OTHER_RUN = """
import sys, time
from pathlib import Path
from qmgen.pipeline import layout
layout.directory = lambda: Path(sys.argv[1])
claims = layout.CoreLocks()
print(claims.take((0, 1, 2, 3), 2), flush=True)
time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(layout, "directory", lambda: tmp_path / "cores")
    return tmp_path / "cores"


def test_the_first_come_has_the_first_cores_and_the_rest_go_unpinned(folder: Path) -> None:
    with CoreLocks() as one:
        assert one.take((2, 3, 5), 2) == (2, 3)
        with CoreLocks() as two:
            assert two.take((2, 3, 5), 3) == (5, ANY_CORE, ANY_CORE)
        with CoreLocks() as three:
            assert three.take((2, 3, 5), 1) == (5,)
    with CoreLocks() as four:
        assert four.take((2, 3, 5), 2) == (2, 3)
        assert four.take((), 2) == (ANY_CORE, ANY_CORE)


def test_a_run_that_is_killed_leaves_nothing(folder: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", OTHER_RUN, str(folder)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        try:
            assert other.stdout.readline().strip() == "(0, 1)"
            with CoreLocks() as claims:
                assert claims.take((0, 1, 2, 3), 3) == (2, 3, ANY_CORE)
        finally:
            other.send_signal(signal.SIGKILL)
    with CoreLocks() as claims:
        assert claims.take((0, 1, 2, 3), 3) == (0, 1, 2)


def test_a_directory_of_somebody_else_claims_nothing(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    assert CoreLocks().take((0, 1), 2) == (ANY_CORE, ANY_CORE)
    folder.unlink()
    folder.write_text("")
    assert CoreLocks().take((0, 1), 2) == (ANY_CORE, ANY_CORE)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no pinning on this system")
def test_a_worker_without_a_core_has_one_thread_all_the_same(
    config: Callable[..., GenerateConfig],
    stages: Stages,
    lines: RunProgress,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QMGEN_TEST_TOLD", str(tmp_path))
    monkeypatch.setattr(layout, "on_accelerator", lambda: False)
    mine = layout.usable_cores()
    with CoreLocks() as other_run:
        assert other_run.take(mine, len(mine)) == mine
        generate(config(), lines, stages.replace(prepare=pipeline_fakes.prepare_and_tell))
    (told,) = [path.read_text() for path in tmp_path.glob("*.json")]
    assert f'"cores": {list(mine)}' in told and '"OMP_NUM_THREADS": "1"' in told
    with CoreLocks() as after:
        assert after.take(mine, 1) == mine[:1]
