"""What rows take over from their source, what is listed beside them, and corpora that have no such columns."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from rdkit import Chem

import qmgen
from qmgen.config import GenerateConfig
from qmgen.config.generate import RetryConfig
from qmgen.corpus import open_corpus
from qmgen.corpus.columns import COLUMNS, KNOWN_VERSIONS, SCHEMA_VERSION
from qmgen.corpus.merge import merge
from qmgen.corpus.status import status
from qmgen.corpus.verify import inspect
from qmgen.errors import UsageError
from qmgen.pipeline.retry import retry
from qmgen.pipeline.run import generate
from qmgen.pipeline.stages import Stages
from qmgen.progress import RunProgress

Config = Callable[..., GenerateConfig]
TEXTS = {"mapped_smiles", "spin_hint", "pIC50", "input_energy"}
NEW_COLUMNS = {*TEXTS, *(column.name for column in COLUMNS if column.since > 1)}
TABLE = """smiles,name,pIC50,energy
OCC,ethanol,5.10,-1
C,methane,,-2
nope,broken,1,
CCO,spirit,7,-3
N,ammonia,x y,-4
C(O)C,ethanol,8,-5
CCO,,9,-6
[H]C,marsh gas,3,
"""


def manifest(place: Path | str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(place) / "manifest.json").read_text())
    return found


def listed(place: Path | str) -> list[dict[str, str]]:
    with (Path(place) / "duplicates.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def real(stages: Stages) -> Stages:
    """Real molecules, labels that are made up."""
    return Stages().replace(label=stages.label)


@pytest.fixture
def table(config: Config, tmp_path: Path) -> Config:
    """``table(**settings)``: a configuration for TABLE."""
    (tmp_path / "table.csv").write_text(TABLE)
    return lambda **settings: config([], **{"molecules": [str(tmp_path / "table.csv")], "units": 3, **settings})


def test_columns_of_the_source_and_bonds_are_in_the_rows(table: Config, real: Stages, lines: RunProgress) -> None:
    settings = table(keep=["name", "pIC50", "energy"], conformers=2)
    summary = generate(settings, lines, real)
    corpus = open_corpus(settings.out)
    rows = sorted(corpus.table().to_pylist(), key=lambda row: (row["molecule_id"], row["conformer_id"]))
    assert corpus.schema.names[-2:] == ["pIC50", "input_energy"]
    assert set(corpus.schema.names) > NEW_COLUMNS
    assert [(r["name"], r["pIC50"], r["input_energy"]) for r in rows[::2]] == [
        ("ethanol", "5.10", "-1"), ("methane", "", "-2"), ("ammonia", "x y", "-4"),
    ]  # fmt: skip
    assert all(row["energy"] < -100 for row in rows)  # its own
    parameters = Chem.SmilesParserParams()
    parameters.removeHs = False
    for row in rows:
        mol = Chem.MolFromSmiles(row["mapped_smiles"], parameters)
        elements = {atom.GetAtomMapNum(): atom.GetAtomicNum() for atom in mol.GetAtoms()}
        assert elements == dict(enumerate(row["z"], 1))
    assert summary.merged == 4 and inspect(settings.out).issues == []
    card = (Path(settings.out) / "README.md").read_text()
    assert all(f"| `{name}` | string |" in card for name in TEXTS) and "removeHs" in card
    assert status(settings.out).complete
    before, sums = manifest(settings.out), (Path(settings.out) / "SHA256SUMS").read_bytes()
    merge(settings.out)
    assert manifest(settings.out) == before and (Path(settings.out) / "SHA256SUMS").read_bytes() == sums
    assert all(f"| `{name}` | string |" in (Path(settings.out) / "README.md").read_text() for name in TEXTS)


def test_names_of_duplicates_are_listed(table: Config, real: Stages, lines: RunProgress) -> None:
    settings = table(conformers=2)
    generate(settings, lines, real)
    assert listed(settings.out) == [
        {"molecule_id": "3", "name": "spirit", "merged_into": "0"},
        {"molecule_id": "5", "name": "ethanol", "merged_into": "0"},
        {"molecule_id": "7", "name": "marsh gas", "merged_into": "1"},
    ]  # the one without a name has nothing to list
    counts = manifest(settings.out)["counts"]
    assert (counts["merged"], counts["named_duplicates"]) == (4, 3)
    assert "duplicates.csv" in (Path(settings.out) / "README.md").read_text()
    for spoil in (lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:-2])):
        spoil(Path(settings.out) / "duplicates.csv")
        assert [finding.file for finding in inspect(settings.out).issues] == ["duplicates.csv"]
        merge(settings.out)
        assert inspect(settings.out).issues == [] and len(listed(settings.out)) == 3
    generate(table(overwrite=True, limit=3), lines, real)
    assert not (Path(settings.out) / "duplicates.csv").exists()
    generate(table(), lines, real)
    assert len(listed(settings.out)) == 3


@pytest.mark.parametrize("names", ["ab", "b"])
def test_an_extension_lists_what_one_run_would(
    config: Config, stages: Stages, lines: RunProgress, tmp_path: Path, names: str
) -> None:
    old, new = (
        ["C_0 zero", "bad x", "C_0 again", "CC_1", "C_2"],
        ["C_2 two", "C_9 nine", "CC_1", "C_9 neuf", "C_0 null"],
    )
    sources = {}
    for name, written in (("a", old), ("b", new)):
        sources[name] = tmp_path / f"{name}.smi"
        sources[name].write_text("".join(line + "\n" for line in written))

    def settings(files: str, **more: Any) -> GenerateConfig:
        return config([], **{"molecules": [str(sources[name]) for name in files], "units": 2, **more})

    generate(settings("ab", out=tmp_path / "whole"), lines, stages)
    generate(settings("a"), lines, stages)
    if names == "b":
        sources["a"].unlink()  # the corpus itself stands in for it
    added = generate(settings(names, extend=True), lines, stages)
    assert listed(added.directory) == listed(tmp_path / "whole") == [
        {"molecule_id": "2", "name": "again", "merged_into": "0"},
        {"molecule_id": "5", "name": "two", "merged_into": "4"},
        {"molecule_id": "8", "name": "neuf", "merged_into": "6"},
        {"molecule_id": "9", "name": "null", "merged_into": "0"},
    ]  # fmt: skip
    assert inspect(added.directory).issues == []


def test_bytes_do_not_depend_on_ranks_and_stops(
    table: Config, real: Stages, lines: RunProgress, tmp_path: Path
) -> None:
    def contents(place: Path) -> dict[str, bytes]:
        paths = [*place.glob("data/*"), *place.glob("failures/*"), place / "SHA256SUMS", place / "duplicates.csv"]
        return {path.name: path.read_bytes() for path in paths}

    keep = ["pIC50", "energy"]
    generate(table(out=tmp_path / "one", keep=keep), lines, real)
    for rank in range(2):
        generate(table(out=tmp_path / "two", keep=keep, rank=rank, world_size=2), lines, real)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    for path in (tmp_path / "two").glob("*/*-00001-of-00003.parquet"):
        path.unlink()
    generate(table(out=tmp_path / "two", keep=keep), lines, real)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_the_hash_knows_of_kept_columns_only(table: Config, real: Stages, lines: RunProgress) -> None:
    plain, kept = table(), table(keep=["pIC50"])
    generate(plain, lines, real)
    assert "keep" not in plain.row_fields() and "keep" not in manifest(plain.out)["recipe"]
    assert kept.row_fields()["keep"] == ["pIC50"]
    with pytest.raises(UsageError, match=r"holds another corpus \(keep: none -> \[\"pIC50\"\]\)"):
        generate(kept, lines, real)


def test_a_column_that_is_not_there_costs_no_work(table: Config, real: Stages, lines: RunProgress) -> None:
    settings = table(keep=["pic50"])
    with pytest.raises(UsageError, match="no column 'pic50' to keep; the columns are smiles, name, pIC50, energy"):
        generate(settings, lines, real)
    assert not Path(settings.out).exists()


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (["a", "a"], "'a' is given more than once"),
        ([""], "should be names of columns"),
        (["a\nb"], "should be names of columns"),
        (["energy", "input_energy"], "keep one of them"),
    ],
)
def test_names_that_will_not_do(table: Config, keep: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        table(keep=keep)


def test_python_keeps_columns_too(real: Stages, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(TABLE)
    labels = qmgen.label(tmp_path / "table.csv", keep=["pIC50", "name"], stages=real)
    assert [row["name"] for row in labels] == [
        "ethanol", "methane", "broken", "spirit", "ammonia", "ethanol", "", "marsh gas",
    ]  # fmt: skip
    assert [row["pIC50"] for row in labels] == ["5.10", "", None, "7", "x y", "8", "9", "3"]
    assert labels.table["pIC50"].to_pylist() == ["5.10", "", "x y"]
    assert qmgen.label("C", stages=real)[0]["mapped_smiles"] == "[C:1]([H:2])([H:3])([H:4])[H:5]"


# ---- corpora from before


MOLECULES = ["C_0 zero", "bad x", "C_0 again", "CC_1", "stiff_2", "C_3", "CCC_4", "CC_5"]


@pytest.fixture
def old(config: Config, stages: Stages, lines: RunProgress, monkeypatch: pytest.MonkeyPatch) -> GenerateConfig:
    """A finished corpus of version 1 of the format."""
    settings = config(MOLECULES, units=3, validation_fraction=0.2, test_fraction=0.2)
    with monkeypatch.context() as before:
        before.setattr("qmgen.pipeline.run.stored_version", lambda store: 1)
        generate(settings, lines, stages)
    versions = {pq.read_schema(path).metadata[b"qmgen.schema_version"] for path in Path(settings.out).glob("data/*")}
    assert versions == {b"1"} and not NEW_COLUMNS & set(open_corpus(settings.out).schema.names)
    return settings


def assert_sound(place: Path | str) -> None:
    assert inspect(place).issues == [] and status(place).complete and manifest(place)["schema_version"] == 1
    assert not NEW_COLUMNS & set(qmgen.load(place).column_names)
    card = (Path(place) / "README.md").read_text()
    assert "mapped_smiles" not in card and "| `charges` |" in card


def test_a_corpus_from_before_is_read_and_described(old: GenerateConfig) -> None:
    assert_sound(old.out)
    merge(old.out)
    assert_sound(old.out)


def test_a_corpus_from_before_is_continued(old: GenerateConfig, stages: Stages, lines: RunProgress) -> None:
    before = {path.name: path.read_bytes() for path in Path(old.out).glob("*/*.parquet")}
    for path in Path(old.out).glob("*/*-00001-of-00003.parquet"):
        path.unlink()
    generate(old, lines, stages)
    assert {path.name: path.read_bytes() for path in Path(old.out).glob("*/*.parquet")} == before
    assert_sound(old.out)


def test_a_corpus_from_before_is_extended_and_tried_again(
    old: GenerateConfig, stages: Stages, lines: RunProgress, tmp_path: Path
) -> None:
    summary = retry(RetryConfig(directory=old.out, workers=1), lines, stages)
    assert summary.rows == 1
    assert_sound(old.out)
    (tmp_path / "more.smi").write_text("C_8 eight\nCC_1 twice\n")
    more = old.model_copy(update={"molecules": [*old.molecules, str(tmp_path / "more.smi")], "extend": True})
    generate(more, lines, stages)
    assert len(qmgen.load(old.out)) == 7 and len(listed(old.out)) == 2
    assert_sound(old.out)


def test_starting_anew_brings_the_new_columns(old: GenerateConfig, stages: Stages, lines: RunProgress) -> None:
    generate(old.model_copy(update={"overwrite": True}), lines, stages)
    assert manifest(old.out)["schema_version"] == SCHEMA_VERSION and "mapped_smiles" in qmgen.load(old.out).column_names


def test_a_version_that_is_not_known_is_refused(old: GenerateConfig, stages: Stages, lines: RunProgress) -> None:
    unknown, known = SCHEMA_VERSION + 1, ", ".join(map(str, KNOWN_VERSIONS))
    for path in Path(old.out).glob("*/*.parquet"):
        table = pq.read_table(path)
        version = {b"qmgen.schema_version": str(unknown).encode()}
        pq.write_table(table.replace_schema_metadata({**table.schema.metadata, **version}), path)
    shutil.rmtree(Path(old.out) / "runs")
    with pytest.raises(
        UsageError, match=f"is of version {unknown} of the format: use the version of qmgen that wrote it"
    ):
        generate(old, lines, stages)
    assert any(f"knows {known}" in finding.what for finding in inspect(old.out).issues)
