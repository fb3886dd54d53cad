"""The stage ``energy`` of ``scripts/bench_device``: the set and the settings of ``scripts/alanine_dipeptide``, and what
is told of a training that goes over several sessions. To its end: ``test_device``."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.device import energy
from benchmarks.device.energy import TARGET, measure_energy, report, settings_of, train
from benchmarks.device.task import Geometries, Task
from benchmarks.thermal import PER_TRAJECTORY, thermal_geometries
from qmgen.config.train import TrainEnergyConfig
from qmgen.labeling.level import level_of
from qmgen.labeling.types import Settings
from qmgen.learning.energy.geometries import read_geometries

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = (ROOT / "scripts" / "alanine_dipeptide").read_text()


def test_the_settings_are_those_of_the_command_and_its_script(tmp_path: Path) -> None:
    made = settings_of(False, tmp_path)
    flags = "--grid-level 0 --model blocks-small --steps 6000"
    assert flags in SCRIPT
    command = TrainEnergyConfig(molecules=made.molecules, out=str(made.out), model="blocks-small", steps=6000)  # type: ignore[arg-type]
    assert made.training_fields() == command.training_fields()
    assert {one.name for one in dataclasses.fields(made)} == set(TrainEnergyConfig.model_fields)


def test_the_set_is_that_of_the_script(tmp_path: Path) -> None:
    assert f"molecule='{energy.SMILES}' count={energy.COUNT} " in SCRIPT
    assert f"--seed {energy.SEED} " in SCRIPT
    assert energy.SHIPPED.stat().st_size < 300_000
    shipped = energy.conformers(toy=False)
    assert len(shipped) == energy.COUNT and len({one.positions.tobytes() for one in shipped}) == energy.COUNT
    # C6H12N2O2
    assert sorted(shipped[0].numbers.tolist()) == [1] * 12 + [6] * 6 + [7] * 2 + [8] * 2
    # the file that a training reads: to the last bit
    energy.write(shipped, tmp_path / "set.xyz")
    read = read_geometries([tmp_path / "set.xyz"], None, level_of(Settings("b3lyp5", "sto-3g", 0)))
    assert not read.skipped
    for one, other in zip(read.geometries, shipped, strict=True):
        assert np.array_equal(one.numbers, other.numbers) and np.array_equal(one.positions, other.positions)


@pytest.mark.skipif(
    importlib.metadata.version("rdkit") != energy.RDKIT,
    reason="made with another RDKit: chaotic trajectories differ",
)
def test_the_first_trajectory_is_made_anew() -> None:
    made = thermal_geometries(energy.SMILES, PER_TRAJECTORY, (300.0, 500.0), energy.SEED).conformers
    shipped = energy.conformers(toy=False)[: len(made)]
    for one, other in zip(made, shipped, strict=True):
        assert np.array_equal(one.numbers, other.numbers)
    # another processor's last bits grow over a picosecond: to far less than the 6 to 15 Bohr of other seeds
    assert np.abs(made[0].positions - shipped[0].positions).max() < 0.1


def made_task(tmp_path: Path, found: dict[str, Any], left: float) -> Task:
    from time import monotonic

    return Task(
        True, False, Geometries("none", (), {}), monotonic() + left, found.__setitem__, lambda what: None, {},
        tmp_path / "scratch", tmp_path / "kept",
    )  # fmt: skip


def test_a_kept_training_goes_on_and_is_not_done_again(tmp_path: Path) -> None:
    found: dict[str, Any] = {}
    measure_energy(made_task(tmp_path, found, 600.0))
    stopped, done = found["stopped"], found["training"]
    assert stopped["stopped"] and stopped["step"] == 0 and stopped["excess_meV"] is None
    assert done["finished"] and done["stopped"] == "" and done["step"] == 6
    again = train(settings_of(True, tmp_path / "kept"))
    assert again == {name: value for name, value in done.items() if name != "seconds"}


def lines_of(excess: list[float]) -> list[dict[str, Any]]:
    """A journal: 2 s a step after 10 s of compiling, a validation after every second line."""
    lines: list[dict[str, Any]] = []
    for k, value in enumerate(excess):
        lines += [
            {"step": 40 * k + 20 * half, "loss": 0.0, "seconds": 10.0 + 2 * (40 * k + 20 * half)} for half in (1, 2)
        ]
        errors = {"excess": value, "excess_refined_3": value / 10}
        lines.append({"step": 40 * k + 40, "validation": errors, "seconds": 10.0 + 2 * (40 * k + 40)})
    return lines


def test_what_is_told_of_a_journal(tmp_path: Path) -> None:
    settings = settings_of(False, tmp_path)
    told = {"excess_meV_without_correction": {"refine_0": 700.0, "refine_3": 80.0}}
    entry = report(settings, lines_of([50.0, TARGET, TARGET - 0.01, 9.0]), told)
    assert entry["seconds_per_step"] == 2.0 and entry["compile_seconds"] == 10.0
    assert entry["excess_meV"] == {"refine_0": 9.0, "refine_3": 0.9} and not entry["finished"]
    assert entry["reached_seconds"] == 10.0 + 2 * 120 and entry["reached"] == "250 s of training"
    entry = report(settings, lines_of([50.0, 9.0]), told)
    assert entry["reached_seconds"] is None and entry["reached"] == "not reached, last 9 meV"
    entry = report(settings, [], {})
    assert entry["step"] == 0 and entry["reached"] == "not reached" and entry["seconds_per_step"] is None
