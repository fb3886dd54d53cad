"""What the machine grants, read from made-up control groups, and the memory of a process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qmgen import machine


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """``groups(own, {path: text})``: the control groups of this process."""

    def make(own: str, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n")
        (tmp_path / "own").write_text(own)
        monkeypatch.setattr(machine, "GROUPS", tmp_path / "cgroup")
        monkeypatch.setattr(machine, "OWN_GROUPS", tmp_path / "own")

    return make


@pytest.mark.parametrize(
    ("own", "files", "limit"),
    [
        ("0::/\n", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000"}, None),
        ("0::/job/step\n", {"job/cpu.max": "200000 100000", "job/step/cpu.max": "max 100000"}, 2.0),
        ("0::/job/step\n", {"job/cpu.max": "200000 100000", "job/step/cpu.max": "50000 100000"}, 0.5),
        ("0::/../elsewhere\n", {"cpu.max": "300000 100000"}, 3.0),
        (
            "2:cpu,cpuacct:/job\n1:memory:/\n0::/\n",
            {"cpu,cpuacct/job/cpu.cfs_quota_us": "400000", "cpu,cpuacct/job/cpu.cfs_period_us": "100000"},
            4.0,
        ),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ("", {"cpu.max": "100000 100000"}, 1.0),
        ("0::/\n", {}, None),
    ],
)
def test_limit_of_time(groups, own: str, files: dict[str, str], limit: float | None) -> None:
    groups(own, files)
    assert machine.cpu_limit() == limit


@pytest.mark.parametrize(
    ("own", "files", "vmstat", "kills"),
    [
        ("0::/job\n", {"job/memory.events": "low 9\noom 5\noom_kill 2\noom_group_kill 1"}, "oom_kill 4\nnr_x 7", 6),
        ("4:memory:/job\n", {"memory/job/memory.oom_control": "under_oom 0\noom_kill 3"}, "", 3),
        ("0::/\n", {}, "pgfault 12\noom_kill 0", 0),
        ("0::/\n", {}, "", None),
    ],
)
def test_kills_for_want_of_memory(
    groups, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str, files: dict, vmstat: str, kills: int | None
) -> None:
    groups(own, files)
    (tmp_path / "vmstat").write_text(vmstat)
    monkeypatch.setattr(machine, "KERNEL_COUNTERS", tmp_path / "vmstat")
    assert machine.oom_kills() == kills


@pytest.mark.parametrize(("limit", "cpus"), [(None, 4), (0.2, 1), (1.5, 2), (3.0, 3), (9.0, 4)])
def test_processes_granted(monkeypatch: pytest.MonkeyPatch, limit: float | None, cpus: int) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: (0, 1, 2, 3))
    monkeypatch.setattr(machine, "cpu_limit", lambda: limit)
    assert machine.granted_cpus() == cpus


def test_limit_of_memory(groups) -> None:
    groups("0::/job\n", {"memory.max": "8000000000", "job/memory.max": "max"})
    assert machine.memory_limit() == 8_000_000_000
    groups("1:memory:/\n", {"memory/memory.limit_in_bytes": str(2**63 - 4096), "memory.max": "max"})
    assert machine.memory_limit() is None


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="Linux only")
def test_peak_memory_is_of_this_process_and_not_of_its_parent() -> None:
    ballast = bytearray(300_000_000)
    ballast[::4096] = b"x" * len(ballast[::4096])
    command = "from qmgen.machine import peak_memory; print(peak_memory())"
    child = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert machine.peak_memory() > len(ballast)
    assert 1e6 < int(child.stdout) < 100e6


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="Linux only")
def test_peak_memory_can_be_forgotten() -> None:
    ballast = bytearray(300_000_000)
    ballast[::4096] = b"x" * len(ballast[::4096])
    size, peak = len(ballast), machine.peak_memory()
    assert (machine.resident_memory() or 0) > size
    del ballast
    if not machine.forget_peak_memory():
        pytest.skip("this system does not let a process forget")
    assert machine.peak_memory() < peak - size / 2
