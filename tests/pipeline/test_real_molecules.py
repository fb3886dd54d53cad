"""The stations that exist by their real names, with real molecules; only the labels are made up."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from qmgen.config import GenerateConfig
from qmgen.corpus import open_corpus
from qmgen.molecules.embedding import without_stereo
from qmgen.pipeline.run import generate
from qmgen.pipeline.stages import Stages
from qmgen.progress import RunProgress

WRITTEN = [
    "OCC ethanol",
    "C(O)C again",
    "c1ccccc1 benzene",
    "not_smiles broken",
    "[NH4+] ammonium",
    "C[N+](=O)[O-] nitro",
]


def test_smiles_to_rows(config: Callable[..., GenerateConfig], stages: Stages, lines: RunProgress) -> None:
    real = Stages().replace(label=stages.label)
    settings = config(WRITTEN, conformers=2, validation_fraction=0.0, test_fraction=0.0)
    summary = generate(settings, lines, real)
    rows = open_corpus(settings.out).table().to_pylist()
    assert [(r["smile"], r["conformer_id"]) for r in rows] == [
        (smiles, conformer) for smiles in ("CCO", "c1ccccc1", "C[N+](=O)[O-]") for conformer in (0, 1)
    ]
    assert rows[0]["atoms"] == "CCOHHHHHH" and rows[0]["pos"] != rows[1]["pos"]
    assert summary.merged == 1 and summary.failures == {"net_charge": 1, "unreadable": 1}
    assert all(re.match(r"\w", f["detail"]) for f in open_corpus(settings.out).failures().to_pylist())


OPEN = ["CC(O)F", "CC(O)F again", "CC=CC(O)F", "C[C@H](O)F", "C[C@@H](O)F", "CCO", "CC(F)C(C)F"]


def test_isomers_have_rows_of_their_own_and_never_part(
    config: Callable[..., GenerateConfig], stages: Stages, lines: RunProgress, tmp_path: Path
) -> None:
    real = Stages().replace(label=stages.label)
    thirds = {"validation_fraction": 0.3, "test_fraction": 0.4, "units": 1}
    settings = config(OPEN, conformers=2, stereo="enumerate", **thirds)
    summary = generate(settings, lines, real)
    corpus = open_corpus(settings.out)
    rows = corpus.table().to_pylist()
    assert summary.rows == 2 * (2 + 4 + 1 + 1 + 1 + 3) and summary.merged == 1 and summary.failed == 0
    assert len({(r["molecule_id"], r["conformer_id"]) for r in rows}) == len(rows)
    assert {r["smile"] for r in rows if r["molecule_id"] == 0} == {"C[C@H](O)F", "C[C@@H](O)F"}
    splits = {}
    for split in ("train", "validation", "test"):
        for smiles in corpus.table(split, columns=["smile"])["smile"].to_pylist():
            splits.setdefault(without_stereo(smiles), set()).add(split)
    assert all(len(found) == 1 for found in splits.values())  # isomers that the source gave apart are together too
    assert len(set().union(*splits.values())) > 1
    # a molecule without marks is where it would be without enumeration
    plain = config(OPEN, conformers=2, out=tmp_path / "plain", **thirds)
    generate(plain, lines, real)
    for split in ("train", "validation", "test"):
        table = open_corpus(plain.out).table(split, columns=["smile"])
        unmarked = {s for s in table["smile"].to_pylist() if s == without_stereo(s)}
        assert all(splits[smiles] == {split} for smiles in unmarked)
