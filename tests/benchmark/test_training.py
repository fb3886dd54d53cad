"""``scripts/bench_schnet`` to its end on a few molecules; the count of operations against a count by hand."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.schnet import Given, batches, operations
from qmgen.learning.schnet.model import SchNetShape

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "bench_schnet"


def test_a_toy_goes_to_its_end(tmp_path: Path, bare_environment: dict[str, str]) -> None:
    out = tmp_path / "schnet.json"
    words = [sys.executable, str(SCRIPT), "--toy", "--threads", "1", "--json", str(out)]
    done = subprocess.run(words, env=bare_environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert {"date", "command", "machine", "versions"} <= found.keys()
    (entry,) = found["entries"]
    assert (entry["preset"], entry["batch_size"]) == ("tiny", 4) and entry["qmgen"]["molecules_per_second"] > 0
    there = all(importlib.util.find_spec(name) for name in ("torch", "torch_geometric"))
    assert (found["missing"] is None) == there == ("ratio" in entry)
    assert "| tiny | 4 |" in done.stdout


@pytest.mark.parametrize("words", [["--preset", "huge"], ["--batch-size", "0"], ["--threads", "100000"]])
def test_wrong_input_is_refused(words: list[str], bare_environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *words], env=bare_environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "positive" in done.stderr or words[1] in done.stderr


def test_operations_by_hand() -> None:
    shape = SchNetShape(hidden=4, filters=3, interactions=2, gaussians=5, cutoff=10.0)
    numbers = np.array([[6, 1, 1, 0]], np.int32)
    given = [Given(numbers, np.zeros((1, 4, 3), np.float32), np.zeros((1, 1), np.float32))]
    # three real atoms have three pairs; of a filter's two layers 5x3 runs forward and for its weights, 3x3 thrice
    assert operations(shape, given, padded=False) == {
        "pairs": 3 * 2 * 2 * (2 * 15 + 3 * 9),
        "atoms": 3 * 3 * 2 * (2 * (12 + 12 + 16) + 4 * 2 + 2),
    }
    assert operations(shape, given)["pairs"] == 2 * operations(shape, given, padded=False)["pairs"]  # six for four


def test_batches_are_full_and_of_few_padded_sizes() -> None:
    made = batches(16, 8)
    assert all(one.numbers.shape[0] == 16 and (one.numbers > 0).any(axis=1).all() for one in made)
    assert len({one.numbers.shape[1] for one in made}) <= 4
    assert sum(one.numbers.size for one in made) < 1.35 * sum(one.atoms for one in made)  # little of it is padding
