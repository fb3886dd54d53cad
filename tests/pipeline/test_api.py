"""``qmgen.label``: the same rows as the command, in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qmgen
from qmgen.config import GenerateConfig
from qmgen.corpus import open_corpus
from qmgen.errors import UsageError
from qmgen.molecules.types import Molecule
from qmgen.pipeline.run import generate
from qmgen.pipeline.stages import Stages
from qmgen.progress import RunProgress


def test_same_rows_as_the_command(
    config: Callable[..., GenerateConfig], stages: Stages, lines: RunProgress, tmp_path: Path
) -> None:
    settings = config(["C_0", "C_1", "bad", "C_0"], conformers=3, validation_fraction=0.0, test_fraction=0.0, units=1)
    generate(settings, lines, stages)
    labels = qmgen.label(tmp_path / "source.smi", conformers=3, stages=stages)
    assert labels.table.equals(open_corpus(settings.out).table())
    assert labels.failures.to_pylist() == open_corpus(settings.out).failures().to_pylist()
    assert labels.merged == 1


def test_smiles_and_molecules_in_any_mixture(stages: Stages) -> None:
    labels = qmgen.label(["C_0", Molecule(77, "mine", "CC_1"), "bad", "C_2"], stages=stages)
    assert [row["molecule_id"] for row in labels] == [0, 1, 2, 3] and labels[1]["name"] == "mine"
    assert labels[-1]["smile"] == "C_2" and len(labels) == 4
    assert [row["reason"] for row in labels] == [None, None, "unreadable", None]
    assert labels.table["molecule_id"].to_pylist() == [0, 1, 3]
    assert labels.failures["molecule_id"].to_pylist() == [2]
    assert labels.table.schema.field("energy").metadata[b"unit"] == b"eV"
    assert len(qmgen.label("C_0", stages=stages)) == 1
    assert len(qmgen.label([], stages=stages)) == 0


def test_mistakes_are_named(stages: Stages) -> None:
    with pytest.raises(UsageError, match="no setting is called functional"):
        qmgen.label("C_0", stages=stages, functional="pbe")
    with pytest.raises(UsageError, match="did you mean 'b3lyp'"):
        qmgen.label("C_0", stages=stages, xc="b3lpy")


@pytest.mark.parametrize(
    "setting",
    [
        {"conv_energy": -1e-9},
        {"conv_gradient": 0.0},
        {"conv_energy": float("nan")},
        {"max_cycles": 0},
        {"batch_size": 0},
        {"conformers": 0},
        {"conformers": True},
        {"grid_level": "1"},
        {"grid_level": 9},
        {"seed": -1},
        {"embed_time_limit": 0},
        {"precision": "float16"},
        {"guess": "huckel"},
        {"smiles_column": 3},
        {"workers": 0},
        {"workers": True},
        {"embed": "etkdg"},
        {"relax": "uff"},
        {"relax_steps": 0},
        {"prune_rms": 0.0},
        {"energy_window": -1.0},
        {"energy_window": float("inf")},
        {"stereo": "all"},
        {"max_stereo_isomers": 0},
    ],
    ids=str,
)
def test_settings_have_the_bounds_of_the_command(stages: Stages, setting: dict[str, Any]) -> None:
    (name,) = setting
    with pytest.raises(UsageError, match=rf"^{name} = [^\n]+: should be [^\n]+$"):
        qmgen.label("C_0", stages=stages, **setting)


def test_pruned_conformers_are_counted(stages: Stages) -> None:
    labels = qmgen.label(["C_0", "C_1"], conformers=4, energy_window=3.0, stages=stages)
    assert (len(labels), labels.pruned) == (2, 6)
    assert qmgen.label(["C_0"], conformers=4, stages=stages).pruned == 0


def test_qm1b_brings_its_own_numbers(stages: Stages) -> None:
    assert len(qmgen.label(["C_0"], embed="qm1b", stages=stages)) == 1000
    assert len(qmgen.label(["C_0"], embed="qm1b", conformers=2, stages=stages)) == 2
    with pytest.raises(UsageError, match="goes without relax"):
        qmgen.label(["C_0"], embed="qm1b", relax="mmff", stages=stages)


def test_numbers_of_numpy_are_numbers(stages: Stages) -> None:
    assert len(qmgen.label("C_0", stages=stages, conformers=np.int64(2), conv_energy=np.float32(1e-8))) == 2


def test_a_thing_that_is_no_molecule_is_named(stages: Stages) -> None:
    with pytest.raises(UsageError, match="molecule 1 is a dict"):
        qmgen.label(["C_0", {"smiles": "C"}], stages=stages)


H2 = np.array([1, 1], dtype=np.uint8)
APART = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.4]])


def test_molecules_are_checked_as_in_a_file(stages: Stages) -> None:
    given = [
        Molecule(0, "plus", "C_0", charge=1),
        Molecule(0, "two plus", "", H2, APART, charge=2, conformer_id=3),
        Molecule(0, "cation by its SMILES", "[H+].[H+]", H2, APART),
        Molecule(0, "lone", "", H2[:1], APART[:1]),
        Molecule(0, "one point", "", H2, 0 * APART),
        Molecule(0, "nowhere", "", H2, APART * np.nan),
        Molecule(0, "short", "", H2, APART[:1]),
        Molecule(0, "no elements", "", None, APART),
        Molecule(0, "fine", "", H2, APART, conformer_id=2),
    ]
    labels = qmgen.label(given, stages=stages)
    assert {f["name"]: f["reason"] for f in labels.failures.to_pylist()} == {
        "plus": "net_charge",
        "two plus": "net_charge",
        "cation by its SMILES": "net_charge",
        "lone": "odd_electrons",
        "one point": "coincident_atoms",
        "nowhere": "bad_coordinates",
        "short": "bad_coordinates",
        "no elements": "bad_coordinates",
    }
    assert labels.failures["conformer_id"].to_pylist()[:2] == [-1, 3]
    assert [(row["molecule_id"], row["conformer_id"]) for row in labels if row["reason"] is None] == [(8, 2)]
    assert [row["name"] for row in labels] == [molecule.name for molecule in given]
    # 1.4 is no float32: the label belongs to the nearest that is
    assert labels[8]["pos"][5] == np.float32(1.4)


@pytest.mark.parametrize(
    ("numbers", "positions", "reason"),
    [
        ([257, 1], [[0, 0, 0], [0, 0, 1.4]], "unsupported_element"),  # would be hydrogen in eight bits
        ([6.5, 1.0], [[0, 0, 0], [0, 0, 2.0]], "unsupported_element"),
        ([0, 1], [[0, 0, 0], [0, 0, 2.0]], "unsupported_element"),
        ([1, 1], [["a", 0, 0], [0, 0, 1.4]], "bad_coordinates"),
    ],
)
def test_arrays_that_are_no_geometry_are_failures(numbers: list, positions: list, reason: str, stages: Stages) -> None:
    wrong = Molecule(0, "wrong", "", numbers, positions)  # type: ignore[arg-type]
    labels = qmgen.label([wrong, "C_0"], stages=stages)
    assert labels.failures["reason"].to_pylist() == [reason]
    assert [row["reason"] for row in labels] == [reason, None] and labels.table.num_rows == 1
