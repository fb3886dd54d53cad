"""Cycles of the self-consistent field in split-valence sets beside those of PySCF's DIIS, as ``scripts/measure_cycles``
stored them: a few molecules of one shape, and with ``-m slow`` the whole list."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from qmgen.labeling import Settings, label
from qmgen.molecules.types import Failure
from tests.reference.stored import molecules

ROOT = Path(__file__).resolve().parents[2]
#: of one shape in 6-31G at grid level 0: one program serves all
NAMES = ("N-nitrosodimethylamine", "bicyclo[1.1.1]pentane", "trimethylamine oxide", "draw-05-08-6", "draw-06-03-12")


def test_a_few_molecules_take_few_cycles_more_than_with_pyscf() -> None:
    with np.load(ROOT / "tests" / "reference" / "pyscf_cycles.npz") as stored:
        case = stored["cases"].tolist().index("pbe 6-31g 0")
        columns = {molecules()[row].name: column for column, row in enumerate(stored["index"].tolist())}
        peer = {name: int(stored["cycles"][case, columns[name]]) for name in NAMES}
        energies = {name: float(stored["energy"][case, columns[name]]) for name in NAMES}
    cycles = {}
    chosen = [one for one in molecules() if one.name in NAMES]
    for result in label(chosen, Settings(xc="pbe", basis="6-31g", grid_level=0)):
        assert not isinstance(result, Failure)
        conformer, found = result
        cycles[conformer.name] = found.cycles
        # PySCF stops at an energy change of 1e-9 Ha here
        assert abs(found.energy - energies[conformer.name]) < 1e-7
    assert max(cycles.values()) <= 40
    assert sum(cycles.values()) <= 1.3 * sum(peer.values())


@pytest.mark.slow
def test_the_whole_list() -> None:
    done = subprocess.run([sys.executable, ROOT / "scripts" / "measure_cycles"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
