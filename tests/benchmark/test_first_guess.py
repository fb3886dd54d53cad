"""The comparison of first guesses, with stand-ins for networks: what is compared, counted and said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmarks.first_guess import LIMIT, SIDES, measure, table
from qmgen.dft.scf import Problem
from qmgen.errors import UsageError
from qmgen.labeling import Settings
from qmgen.molecules.types import Conformer
from tests.labeling.test_starting import hydrogen
from tests.pipeline.test_learned import write_run

#: Hartree-Fock, which has no grid: quick
SETTINGS = Settings(xc="hf", grid_level=0, batch_size=2)
ROOT = Path(__file__).resolve().parent.parent.parent


def of_atoms(problems: Sequence[Problem], numbers: Sequence[np.ndarray]) -> list[np.ndarray]:
    """No density at all where there are four atoms, else what is there already."""
    return [
        np.asarray(problem.guess)[0] * (np.nan if len(atoms) == 4 else 1.0)
        for problem, atoms in zip(problems, numbers, strict=True)
    ]


def chain(molecule_id: int) -> Conformer:
    """H4 on a line."""
    positions = np.array([[0.0, 0, z] for z in (0.0, 1.5, 4.0, 5.5)])
    return Conformer(molecule_id, 0, "", "", np.ones(4, np.uint8), positions)


def test_the_three_are_compared(tmp_path: Path) -> None:
    said: list[str] = []
    result = measure([hydrogen(0, 1.375), hydrogen(1, 1.5), chain(2)], SETTINGS, of_atoms, 2, said.append)
    assert tuple(result["sides"]) == SIDES and len(said) == 3 * 3
    atoms, network = result["sides"]["atoms"], result["sides"]["network"]
    # one more each, but for the one that had no answer
    assert network["cycles"] == pytest.approx(atoms["cycles"] + 2 / 3)
    assert network["without"] == 1 and (result["molecules"], result["left_out"]) == (3, 0)
    assert network["guess"] > 0 and atoms["guess"] == 0
    assert max(side["difference"] for side in result["sides"].values()) < LIMIT
    saved = result["saved"]
    best = min(atoms["cycles"], result["sides"]["core"]["cycles"])
    assert saved["cycles"] == pytest.approx(1 - network["cycles"] / best)
    assert saved["scf"]["lowest"] <= saved["scf"]["median"] <= saved["scf"]["highest"]
    text = table(json.loads(json.dumps(result)))
    assert all(f"| {side} |" in text for side in SIDES) and "1 molecule(s), which began from atoms" in text


def test_nothing_to_compare() -> None:
    with pytest.raises(UsageError, match="nothing to compare"):
        measure([hydrogen(0, 0.0)], SETTINGS, of_atoms, 1)


def test_the_script_says_in_one_line_what_is_no_run(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "bench_guess"), "--molecules", "x.smi", "--count", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for run, said in (
        (tmp_path / "none", "no training in it"),
        (write_run(tmp_path / "s", kind="schnet"), "no density"),
    ):
        done = subprocess.run([*command, str(run)], capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1
