"""The stations that exist by their real names, with real molecules; only the labels are made up."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module

import pytest

from qmgen.config import GenerateConfig
from qmgen.corpus import open_corpus
from qmgen.pipeline.progress import Lines
from qmgen.pipeline.run import generate
from qmgen.pipeline.stages import Stages

WRITTEN = [
    "OCC ethanol",
    "C(O)C again",
    "c1ccccc1 benzene",
    "not_smiles broken",
    "[NH4+] ammonium",
    "C[N+](=O)[O-] nitro",
]


def test_smiles_to_rows(config: Callable[..., GenerateConfig], stages: Stages, lines: Lines) -> None:
    real = replace(Stages(), label=stages.label)
    settings = config(WRITTEN, conformers=2, validation_fraction=0.0, test_fraction=0.0)
    summary = generate(settings, lines, real)
    rows = open_corpus(settings.out).table().to_pylist()
    assert [(r["smile"], r["conformer_id"]) for r in rows] == [
        (smiles, conformer) for smiles in ("CCO", "c1ccccc1", "C[N+](=O)[O-]") for conformer in (0, 1)
    ]
    assert rows[0]["atoms"] == "CCOHHHHHH" and rows[0]["pos"] != rows[1]["pos"]
    assert summary.merged == 1 and summary.failures == {"net_charge": 1, "unreadable": 1}
    assert all(re.match(r"\w", f["detail"]) for f in open_corpus(settings.out).failures().to_pylist())


@pytest.mark.parametrize("stage", ["read", "parse", "merge", "check", "conformers", "prepare", "theory"])
def test_stations_exist(stage: str) -> None:
    module = getattr(Stages(), stage).partition(":")[0]
    assert import_module(module) and callable(Stages().load(stage))
