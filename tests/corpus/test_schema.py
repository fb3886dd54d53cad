"""Columns: QM1B's first, each with its unit; values checked before they are written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from qmgen.corpus import failure_schema, row_schema, row_table
from qmgen.corpus.columns import SCHEMA_VERSION
from qmgen.corpus.manifest import column_table
from qmgen.corpus.schema import decode, failure_table

Row = Callable[..., dict[str, Any]]

QM1B = ["smile", "atoms", "z", "energy", "homo", "lumo", "N", "std", "y", "pos"]
UNITS = {
    "energy": "eV", "homo": "eV", "lumo": "eV", "std": "eV", "y": "eV", "pos": "Bohr", "dipole": "Debye",
    "charges": "e", "orbital_gradient": "Hartree", "forces": "eV/Angstrom",
}  # fmt: skip
TYPES = {
    "z": pa.uint8(), "pos": pa.float32(), "dipole": pa.float64(), "energy": pa.float64(), "N": pa.uint16(),
    "molecule_id": pa.int64(), "conformer_id": pa.int32(), "cycles": pa.int16(), "converged": pa.bool_(),
}  # fmt: skip


def test_qm1b_columns_come_first() -> None:
    schema = row_schema()
    assert schema.names[:10] == QM1B
    assert schema.names[10:12] == ["molecule_id", "conformer_id"]
    assert row_schema({"schema_version": 2}).names[-3:] == ["precision", "mapped_smiles", "spin_hint"]
    assert row_schema({"schema_version": 1}).names[-1] == "precision"
    assert "forces" not in schema.names and set(row_schema(forces=True).names) - set(schema.names) == {"forces"}


@pytest.mark.parametrize("schema", [row_schema(forces=True), failure_schema()])
def test_every_field_says_its_unit_and_meaning(schema: pa.Schema) -> None:
    for field in schema:
        assert field.metadata[b"unit"] and len(field.metadata[b"description"]) > 5


def test_units_of_the_first_version_stay() -> None:
    units = {field.name: field.metadata[b"unit"].decode() for field in row_schema({"schema_version": 1}, forces=True)}
    assert {name: unit for name, unit in units.items() if unit != "1"} == UNITS


def test_the_documents_list_the_columns() -> None:
    document = (Path(__file__).resolve().parents[2] / "docs" / "formats.md").read_text("utf-8")
    assert column_table(row_schema()) in document


def test_types() -> None:
    schema = row_schema()
    for name, kind in TYPES.items():
        found = schema.field(name).type
        assert (found.value_type if pa.types.is_list(found) else found) == kind


def test_metadata_come_back_as_they_went() -> None:
    metadata = {"level_of_theory": {"xc": "b3lyp5", "conv_energy": 1e-9}, "config_hash": "ab", "seeds": [0, 1]}
    assert decode(row_schema(metadata).metadata) == {"schema_version": SCHEMA_VERSION, **metadata}


def test_rows_are_sorted_and_exact(row: Row) -> None:
    rows = [row(2), row(0, 1), row(0, 0)]
    table = row_table(rows, row_schema())
    assert list(zip(table["molecule_id"].to_pylist(), table["conformer_id"].to_pylist())) == [(0, 0), (0, 1), (2, 0)]
    assert np.array_equal(np.array(table["pos"][2].as_py(), np.float32), rows[0]["pos"])
    assert table["energy"][2].as_py() == rows[0]["energy"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"energy": float("nan")}, "energy holds 1 number\\(s\\) that are NaN or infinite"),
        ({"dipole": np.array([0.0, np.inf, 0.0])}, "dipole holds 1 number"),
        ({"pos": np.zeros(6, np.float32)}, "pos does not hold 3 value"),
        ({"charges": np.zeros(2)}, "charges does not hold 1 value"),
        ({"dipole": np.zeros(2)}, "dipole does not hold 3 values in every row"),
        ({"name": None}, "name holds an empty value"),
        ({"extra": 1}, "unknown: \\['extra'\\]"),
    ],
)
def test_a_wrong_row_is_refused(row: Row, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        row_table([row(0), row(1, **changes)], row_schema())


def test_a_doubled_or_incomplete_row_is_refused(row: Row) -> None:
    with pytest.raises(ValueError, match="molecule 1, conformer 0 stands twice"):
        row_table([row(1), row(0), row(1)], row_schema())
    short = row(0)
    del short["y"]
    with pytest.raises(ValueError, match="missing: \\['y'\\]"):
        row_table([short], row_schema())


def test_failures_may_share_a_key() -> None:
    one = {"molecule_id": 3, "conformer_id": -1, "name": "", "smile": "C", "reason": "unreadable", "detail": "b"}
    two = {**one, "detail": "a"}
    assert failure_table([one, two], failure_schema())["detail"].to_pylist() == ["a", "b"]
    with pytest.raises(ValueError, match="unknown"):
        failure_table([{**one, "energy": 1.0}], failure_schema())
