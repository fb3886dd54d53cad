"""``qmgen.label``: the same rows as the command, in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import qmgen
from qmgen.config import GenerateConfig
from qmgen.corpus import open_corpus
from qmgen.errors import UsageError
from qmgen.molecules.types import Molecule
from qmgen.pipeline.progress import Lines
from qmgen.pipeline.run import generate
from qmgen.pipeline.stages import Stages


def test_same_rows_as_the_command(
    config: Callable[..., GenerateConfig], stages: Stages, lines: Lines, tmp_path: Path
) -> None:
    settings = config(["C_0", "C_1", "bad", "C_0"], conformers=3, validation_fraction=0.0, test_fraction=0.0, units=1)
    generate(settings, lines, stages)
    labels = qmgen.label(tmp_path / "source.smi", conformers=3, stages=stages)
    assert labels.table.equals(open_corpus(settings.out).table())
    assert labels.failures.to_pylist() == open_corpus(settings.out).failures().to_pylist()
    assert labels.merged == 1


def test_smiles_and_molecules_in_any_mixture(stages: Stages) -> None:
    labels = qmgen.label(["C_0", Molecule(77, "mine", "CC_1"), "bad", "C_2"], stages=stages)
    assert [row["molecule_id"] for row in labels] == [0, 1, 3] and labels[1]["name"] == "mine"
    assert labels[-1]["smile"] == "C_2" and len(labels) == 3
    assert labels.failures["molecule_id"].to_pylist() == [2]
    assert labels.table.schema.field("energy").metadata[b"unit"] == b"eV"
    assert len(qmgen.label("C_0", stages=stages)) == 1
    assert len(qmgen.label([], stages=stages)) == 0


def test_mistakes_are_named(stages: Stages) -> None:
    with pytest.raises(UsageError, match="no setting is called functional"):
        qmgen.label("C_0", stages=stages, functional="pbe")
    with pytest.raises(UsageError, match="did you mean 'b3lyp'"):
        qmgen.label("C_0", stages=stages, xc="b3lpy")
