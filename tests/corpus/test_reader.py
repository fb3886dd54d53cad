"""Reading back, and what is said where there is nothing to read; which corpus a directory holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qmgen.corpus import (
    FAILURES,
    Splitter,
    check_same,
    config_hash,
    failure_schema,
    load,
    open_corpus,
    plan,
    row_schema,
    row_table,
    write_manifest,
    write_unit,
)
from qmgen.corpus.identity import difference
from qmgen.corpus.schema import failure_table
from qmgen.errors import UsageError

Row = Callable[..., dict[str, Any]]

RECIPE = {"xc": "b3lyp5", "seed": 0, "conv": {"energy": 1e-9}}
METADATA = {
    "recipe": RECIPE,
    "config_hash": config_hash(RECIPE),
    "level_of_theory": {"xc": "b3lyp5", "basis": "sto-3g"},
}


@pytest.fixture
def corpus(tmp_path: Path, row: Row) -> Path:
    """Thirty molecules, three conformers each, in two units; molecule 7 failed."""
    splitter = Splitter(0, 0.2, 0.2)
    the_plan = plan(30, units=2)
    records = []
    for unit in the_plan:
        rows: dict[str, list[dict[str, Any]]] = {"train": [], "validation": [], "test": []}
        for molecule in range(unit.start, unit.stop):
            split = splitter.split(f"C{molecule}", [])
            rows[split] += [row(molecule, c) for c in range(3) if molecule != 7]
        lost = {"molecule_id": 7, "conformer_id": -1, "name": "", "smile": "C7", "reason": "unreadable", "detail": "?"}
        counts = {"entries": unit.stop - unit.start, "merged": 0}
        failures = failure_table([lost][: unit.index == 0], failure_schema({**METADATA, "unit": counts}))
        tables = {split: row_table(found, row_schema(METADATA)) for split, found in rows.items()}
        records += write_unit(tmp_path, unit, {**tables, FAILURES: failures})
    write_manifest(tmp_path, the_plan, METADATA, licence="CC-BY-4.0", versions={"qmgen": "0"})
    return tmp_path


def test_load(corpus: Path) -> None:
    assert load(corpus).num_rows == len(open_corpus(corpus)) == 87
    parts = [load(corpus, split=split, columns=["molecule_id", "energy"]) for split in ("train", "validation", "test")]
    assert sum(part.num_rows for part in parts) == 87 and parts[0].column_names == ["molecule_id", "energy"]
    ids = [set(part["molecule_id"].to_pylist()) for part in parts]
    assert all(ids) and not (ids[0] & ids[1] or ids[0] & ids[2] or ids[1] & ids[2])
    assert sum(batch.num_rows for batch in open_corpus(corpus).batches(rows=10)) == 87
    assert open_corpus(corpus).failures().to_pylist()[0]["reason"] == "unreadable"
    assert open_corpus(str(corpus)).level_of_theory == METADATA["level_of_theory"]


def test_manifest_counts(corpus: Path) -> None:
    manifest = json.loads((corpus / "manifest.json").read_text())
    counts = manifest["counts"]
    assert (counts["rows"], counts["molecules"], counts["failures"], counts["entries"]) == (87, 29, 1, 30)
    assert counts["failures_by_reason"] == {"unreadable": 1}
    assert sum(split["rows"] for split in counts["splits"].values()) == 87
    assert manifest["config_hash"] == METADATA["config_hash"] and manifest["licence"] == "CC-BY-4.0"
    again = write_manifest(corpus, plan(30, units=2), METADATA, licence="CC-BY-4.0", versions={"qmgen": "0"})
    assert again == manifest  # the same from the files as from the records of the run


def test_the_card_names_every_column(corpus: Path) -> None:
    text = (corpus / "README.md").read_text()
    assert all(f"| `{name}` |" in text for name in (*row_schema().names, *failure_schema().names))
    assert "87 labelled geometries of 29 molecules" in text and "CC-BY-4.0" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"split": "holdout"}, "no split is called 'holdout': choose from train, validation, test"),
        ({"columns": ["energie"]}, "no column is called energie: choose from smile, atoms"),
    ],
)
def test_unknown_split_or_column(corpus: Path, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load(corpus, **arguments)


def test_no_corpus(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a directory"):
        load(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="is not a qmgen corpus"):
        load(tmp_path)
    (tmp_path / "config.toml").touch()
    with pytest.raises(UsageError, match="no finished work unit yet"):
        load(tmp_path)


@pytest.mark.parametrize("damage", [b"", b"PAR1 not really"])
def test_a_damaged_file_is_named(corpus: Path, damage: bytes) -> None:
    (corpus / "data/train-00001-of-00002.parquet").write_bytes(damage)
    with pytest.raises(UsageError, match=r"train-00001-of-00002\.parquet cannot be read .*: run the same"):
        load(corpus)


def test_hash_follows_values_and_not_their_order() -> None:
    assert config_hash({"b": 1, "a": 1e-9}) == config_hash({"a": 1e-9, "b": 1})
    assert config_hash({"a": 1e-9}) != config_hash({"a": 1e-8})


def test_difference_is_one_line() -> None:
    new = {"xc": "pbe", "conv": {"energy": 1e-8}, "units": 3}
    assert (
        difference(RECIPE, new) == "conv.energy: 1e-09 -> 1e-08; seed: 0 -> none; units: none -> 3; xc: b3lyp5 -> pbe"
    )


@pytest.mark.parametrize("lost", [[], ["manifest.json"], ["manifest.json", "failures/part-00000-of-00002.parquet"]])
def test_identity_survives_a_lost_manifest(corpus: Path, lost: list[str]) -> None:
    for name in lost:
        (corpus / name).unlink()
    check_same(corpus, RECIPE)
    with pytest.raises(UsageError, match=r"another corpus \(xc: b3lyp5 -> hf\): choose another --out, or --overwrite"):
        check_same(corpus, {**RECIPE, "xc": "hf"})
