"""Geometries moved along a network's own forces: downhill, and the same after a stop. That a training learns from them
is in ``test_train``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from few_molecules import LEVEL, SOMEWHERE, Mixture, system, write_xyz

from qmgen.cli.main import main
from qmgen.errors import Interrupted
from qmgen.learning.energy import geometries as module
from qmgen.learning.energy.geometries import NAME, Augmented, Geometry, WalkPlan, augment
from qmgen.learning.energy.problems import shapes_of
from qmgen.learning.energy.stored import StoredHamiltonian
from qmgen.progress import TrainingProgress
from qmgen.signals import StopWatch

MODEL = StoredHamiltonian(Mixture(), {"a": SOMEWHERE}, (), {}, checksum="of a mixture")
WATER = [Geometry(one.numbers, one.positions, "O", "", k) for k, one in enumerate(system("water", s) for s in range(2))]
BEGINNINGS = list(zip(WATER, shapes_of([one.numbers for one in WATER], LEVEL), strict=True))
PLAN = WalkPlan(count=4, steps=2, temperature=400.0, seed=0)


def moved(file: Path, plan: WalkPlan = PLAN, beginnings: Any = BEGINNINGS, limit: float | None = None) -> Augmented:
    with StopWatch(limit, unit="step", kept="checkpoints") as stop:
        return augment(MODEL, LEVEL, beginnings, plan, file, "", stop, TrainingProgress(quiet=True))


def energy(geometry: Geometry) -> float:
    walk = module._Walk(MODEL, LEVEL, PLAN)
    one = module.System(geometry.numbers.astype(np.int64), geometry.positions)
    return walk._density(one, BEGINNINGS[0][1])[1]


def test_without_heat_a_stretched_bond_relaxes(tmp_path: Path) -> None:
    far = WATER[0].positions.copy()
    far[1] += 0.4 * (far[1] - far[0]) / np.linalg.norm(far[1] - far[0])
    stretched = replace(WATER[0], positions=far)
    cold = WalkPlan(count=1, steps=3, temperature=1e-9, seed=0)
    found = moved(tmp_path / NAME, cold, [(stretched, BEGINNINGS[0][1])]).geometries[0]
    # three steps take the bond back by most of 0.4 Bohr, whose energy is 0.3 k x^2 or so: some 0.02 Hartree
    assert energy(found) < energy(stretched) - 0.01
    # the force on each of three atoms is at most a tenth of the longest step here, but that of the bond
    assert np.linalg.norm(found.positions - far, axis=1).max() < 3 * module.LARGEST_STEP + 1e-9


def test_each_walker_is_its_own_and_a_stop_changes_none(tmp_path: Path) -> None:
    whole = moved(tmp_path / "whole")
    assert len(whole.geometries) == 4 and not whole.dropped
    places = [one.positions for one in whole.geometries]
    assert all(np.abs(a - b).max() > 1e-3 for k, a in enumerate(places) for b in places[:k])
    # a twentieth of an Angstrom or so: the heat's share of two steps, sqrt(2 * 2 eta kT) = 0.07 Bohr
    assert 0.01 < np.abs(places[0] - WATER[0].positions).max() < 2 * module.LARGEST_STEP
    with pytest.raises(Interrupted, match="after 0 moved geometries: the same command continues"):
        moved(tmp_path / "part", limit=1e-9)
    moved(tmp_path / "part", replace(PLAN, count=3))
    again = moved(tmp_path / "part")  # one more: three are there
    assert all(np.array_equal(a.positions, b) for a, b in zip(again.geometries, places, strict=True))
    other = moved(tmp_path / "part", replace(PLAN, count=1, seed=1))  # another plan: nothing of that is taken
    assert not np.array_equal(other.geometries[0].positions, places[0])


def test_what_is_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = moved(tmp_path / NAME)
    monkeypatch.setattr(module._Walk, "__call__", None)
    assert [one.positions.tobytes() for one in moved(tmp_path / NAME).geometries] == [
        one.positions.tobytes() for one in first.geometries
    ]


def test_spoiled_geometries_are_dropped_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_top = WATER[0].positions.copy()
    on_top[1] = on_top[0] + [0.3, 0.0, 0.0]
    beginnings = [(replace(WATER[0], positions=on_top), BEGINNINGS[0][1]), BEGINNINGS[1]]
    found = moved(tmp_path / NAME, replace(PLAN, count=2), beginnings)
    assert found.dropped == {"atoms on top of each other": 1} and len(found.geometries) == 1
    # also from the file
    assert moved(tmp_path / NAME, replace(PLAN, count=2), beginnings).dropped == found.dropped
    assert module._spoiled(WATER[0].positions, 2.0) == "far too high"
    assert module._spoiled(WATER[0].positions * np.nan, 0.0) == "not finite"


def test_it_takes_a_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    water = write_xyz(tmp_path / "water.xyz", [system("water", seed) for seed in range(3)])
    assert main(["train", "energy", "--molecules", str(water), "--augment", "3", "--out", str(tmp_path / "run")]) == 2
    assert "name it with --init" in capsys.readouterr().err and not (tmp_path / "run").exists()
