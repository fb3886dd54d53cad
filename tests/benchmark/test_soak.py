"""The memory benchmark: its line, its molecules, what it sees of processes, its verdict; and one run of stand-ins."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks import memory
from benchmarks.memory import Process, Soak, measure, processes, table, trend, write_molecules
from qmgen.errors import QmgenError

MB = 1e6

#: a parent with a worker that embeds; each names itself in its command line as ours do, then waits
FAMILY = """
import subprocess, sys, time
child = "import subprocess, sys, time; 'qmgen.pipeline.worker'; subprocess.Popen([sys.executable, '-c', sys.argv[1]]); "
held = "held = bytearray(b'x' * 50_000_000); "
grandchild = "import time; 'qmgen.molecules.embedding_pool'; time.sleep(600)"
subprocess.Popen([sys.executable, "-c", child + held + "print('on', flush=True); time.sleep(600)", grandchild])
time.sleep(600)
"""

#: a "qmgen generate" that finishes a unit of argv[2] now and then, and grows by argv[3] MB with each
RUN = """
import pathlib, sys, time
folder, units, grows = pathlib.Path(sys.argv[1], "failures"), int(sys.argv[2]), float(sys.argv[3])
folder.mkdir(parents=True)
held = []
for unit in range(units):
    held.append(b"x" * int(grows * 1e6))
    time.sleep(0.05)
    (folder / f"part-{unit}.parquet").touch()
time.sleep(0.1)
if grows < 0:
    sys.exit("qmgen: told to\\nqmgen: fail")
"""


def test_a_line_and_its_error_are_those_of_polyfit() -> None:
    x = np.linspace(0, 10_000, 200)
    y = 5e8 + 123.0 * x + 1e6 * np.random.default_rng(0).normal(size=len(x))
    found = trend(list(zip(x, y)))
    (slope, at_zero), covariance = np.polyfit(x, y, 1, cov=True)
    assert found.slope == pytest.approx(slope) and found(0) == pytest.approx(at_zero)
    assert found.slope_error == pytest.approx(np.sqrt(covariance[0, 0]))
    assert trend([(1, 2)])(7) == 2 and trend([(3, 1), (3, 2)]).slope == 0
    with pytest.raises(ValueError):
        trend([])


@pytest.mark.parametrize("rows", [5, 431, 432, 4995, 10_000])
def test_molecules_are_small_distinct_and_as_many_as_needed(tmp_path: Path, rows: int) -> None:
    from qmgen.molecules.smiles import from_smiles
    from qmgen.molecules.types import Molecule

    asked = Soak(rows=rows)
    write_molecules(tmp_path / "a.smi", asked)
    write_molecules(tmp_path / "b.smi", asked)
    lines = (tmp_path / "a.smi").read_text().split()
    assert (tmp_path / "b.smi").read_text().split() == lines
    assert rows <= len(lines) * asked.conformers < rows + asked.conformers and len(set(lines)) == asked.molecules
    smiles = {entry.smiles for entry in (from_smiles(0, line, "") for line in lines) if isinstance(entry, Molecule)}
    assert len(smiles) == len(lines)  # none is merged with another


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc on this system")
def test_a_family_of_processes_is_seen() -> None:
    with subprocess.Popen([sys.executable, "-c", FAMILY], stdout=subprocess.PIPE, text=True) as parent:
        try:
            assert parent.stdout is not None and parent.stdout.readline() == "on\n"
            until = time.monotonic() + 30
            while len(found := list(processes(parent.pid))) < 3 and time.monotonic() < until:
                time.sleep(0.1)
            by_kind = {process.kind: process for process in found}
            assert by_kind.keys() == {"parent", "worker", "embedding"} and by_kind["parent"].pid == parent.pid
            assert by_kind["worker"].resident > 50e6 > by_kind["parent"].resident > 1e6
            assert by_kind["worker"].cpu_seconds >= 0
        finally:
            for process in processes(parent.pid):
                subprocess.run(["kill", "-9", str(process.pid)], check=True)
    assert list(processes(parent.pid)) == []


def _looks(kind: str, pid: int, sizes: list[float], cpu: float = 0.5) -> memory._Seen:
    looks = [(1000.0 * i, Process(pid, kind, int(size), cpu * i, float(i))) for i, size in enumerate(sizes)]
    return memory._Seen(kind, looks)


def test_growth_counts_once_the_run_has_settled() -> None:
    settled, leaking = [100 * MB, 500 * MB] + [600 * MB] * 9, [600 * MB + 8 * MB * i for i in range(11)]
    seen = {
        1: _looks("parent", 1, [200 * MB] * 11, cpu=0.01),
        2: _looks("worker", 2, settled),
        3: _looks("worker", 3, leaking),
        4: _looks("worker", 4, settled[:2]),  # soon gone
        **{10 + i: memory._Seen("embedding", [(1000.0 * i, Process(9, "embedding", int((80 + i) * MB), 0.0, 0.0))])
           for i in range(10)},
    }  # fmt: skip
    found = memory._processes(seen, 10_000)
    assert found.keys() == {"parent", "worker 2", "worker 3", "embedding, peaks"}
    assert found["worker 2"]["flat"] and found["worker 2"]["growth_bytes"] == pytest.approx(0, abs=1)
    assert found["worker 2"]["bytes_after"] == {"10%": 500 * MB, "50%": 600 * MB, "100%": 600 * MB}
    assert not found["worker 3"]["flat"] and found["worker 3"]["growth_bytes"] == pytest.approx(64 * MB)
    assert found["worker 3"]["bytes_per_1000_rows"] == pytest.approx(8 * MB)
    assert found["parent"]["cpu_share"] == pytest.approx(0.01)
    assert found["embedding, peaks"]["processes"] == 10 and found["embedding, peaks"]["flat"]


def test_the_command_speaks_the_language_of_generate(tmp_path: Path) -> None:
    from qmgen.config import GenerateConfig

    words = memory._command(Soak(), tmp_path / "a.smi", tmp_path / "corpus")
    assert words[:4] == [sys.executable, "-m", "qmgen", "generate"]
    flags = [word[2:].replace("-", "_") for word in words if word.startswith("--")]
    assert flags and set(flags) <= GenerateConfig.model_fields.keys()


def _stand_in(monkeypatch: pytest.MonkeyPatch, grows: float) -> None:
    monkeypatch.setattr(
        memory,
        "_command",
        lambda asked, source, corpus: [sys.executable, "-c", RUN, str(corpus), str(asked.units), str(grows)],
    )


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc on this system")
@pytest.mark.parametrize(("grows", "flat"), [(0.0, True), (5.0, False)])
def test_a_run_is_watched_to_its_end(monkeypatch: pytest.MonkeyPatch, grows: float, flat: bool) -> None:
    _stand_in(monkeypatch, grows)
    result = measure(Soak(rows=1000, units=20, interval=0.02), lambda what: None)
    assert json.loads(json.dumps(result)) == result
    assert result["flat"] == result["processes"]["parent"]["flat"] == flat
    assert ("DOES NOT HOLD" in table(result)) != flat and "1000 rows" in table(result)


def test_a_run_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    _stand_in(monkeypatch, -1.0)
    with pytest.raises(QmgenError, match=r"exit code 1: qmgen: fail$"):
        measure(Soak(rows=100, units=2, interval=0.02), lambda what: None)
