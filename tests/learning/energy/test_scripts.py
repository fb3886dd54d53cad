"""The scripts around the energy loss, run to their end at toy size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def script(name: str, *flags: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "QMGEN_PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    command = [str(ROOT / "scripts" / name), *map(str, flags)]
    if (ROOT / "scripts" / name).read_text().startswith("#!/usr/bin/env python3"):
        command.insert(0, sys.executable)
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_alanine_dipeptide_in_pieces(tmp_path: Path) -> None:
    done = script("alanine_dipeptide", "--out", tmp_path / "a", "--toy")
    assert done.returncode == 0, done.stderr
    assert "piece 1 is over" in done.stderr  # stopped, and gone on
    found = json.loads((tmp_path / "a" / "run" / "result.json").read_text())
    assert found["steps"] == 6 and found["excess_meV"]["refine_0"] < found["excess_meV_without_correction"]["refine_0"]


@pytest.mark.slow
def test_comparison_with_labels(tmp_path: Path) -> None:
    done = script("compare_label_free", "--toy", "--out", tmp_path / "c")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "c" / "compare.json").read_text())
    assert found["sides"]["labels"]["labelling"] > 0 and found["sides"]["energy"]["labelling"] == 0
    assert all(row["ratio"] > 0 for row in found["equal_error"])
    assert (tmp_path / "c" / "compare.png").read_bytes().startswith(b"\x89PNG")


def test_sets_are_the_same_twice(tmp_path: Path) -> None:
    for name in ("one", "two"):
        done = script("energy_sets", "--toy", "--out", tmp_path / name)
        assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (tmp_path / "one").glob("*.xyz"))
    assert names == ["ethanol-test.xyz", "ethanol.xyz", "small.xyz", "water-test.xyz", "water.xyz"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert (tmp_path / "one" / "water.xyz").read_bytes() != (tmp_path / "one" / "water-test.xyz").read_bytes()
