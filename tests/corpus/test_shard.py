"""Files of a unit: encodings, bytes, and that a failure leaves none of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qmgen.corpus import (
    FAILURES,
    SPLITS,
    Listing,
    Unit,
    failure_schema,
    row_schema,
    row_table,
    store_of,
    unit_records,  # fmt: skip
    write_unit,
)
from qmgen.corpus.columns import COLUMNS
from qmgen.corpus.schema import failure_table
from qmgen.errors import QmgenError

Row = Callable[..., dict[str, Any]]

UNIT = Unit(1, 4, 10, 20)


@pytest.fixture
def tables(row: Row) -> dict[str, pa.Table]:
    schema = row_schema({"config_hash": "ab"}, forces=False)
    rows = {"train": [row(m, c) for m in range(10, 18) for c in range(40)], "validation": [row(19)], "test": []}
    found = {split: row_table(rows[split], schema) for split in SPLITS}
    return {**found, FAILURES: failure_table([], failure_schema({"config_hash": "ab"}))}


def test_all_files_even_empty_ones(tmp_path: Path, tables: dict[str, pa.Table]) -> None:
    records = write_unit(tmp_path, UNIT, tables)
    assert [(r.name, r.rows) for r in records] == [
        ("data/train-00001-of-00004.parquet", 320),
        ("data/validation-00001-of-00004.parquet", 1),
        ("data/test-00001-of-00004.parquet", 0),
        ("failures/part-00001-of-00004.parquet", 0),
    ]
    listing = Listing.of(store_of(tmp_path))
    assert listing.done(UNIT) and not listing.done(Unit(0, 4, 0, 10))
    for record in records:
        assert (tmp_path / record.name).stat().st_size == record.bytes
        assert unit_records.digest(tmp_path / record.name) == record.sha256
    back = pq.read_table(tmp_path / records[0].name)
    assert back.equals(tables["train"]) and back.schema.equals(tables["train"].schema, check_metadata=True)


def test_encodings_took_effect(tmp_path: Path, tables: dict[str, pa.Table]) -> None:
    """pyarrow ignores a wrong column path silently: read what the file itself says."""
    write_unit(tmp_path, UNIT, tables)
    group = pq.ParquetFile(tmp_path / "data/train-00001-of-00004.parquet").metadata.row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    floats = {
        f"{column.name}.list.element" if column.length else column.name
        for column in COLUMNS
        if pa.types.is_floating(column.type) and not column.opt_in
    }
    assert {"energy", "pos.list.element"} < floats
    strings = {"smile", "atoms", "name", "precision", "mapped_smiles", "spin_hint"}
    assert floats | strings < columns.keys()
    for path, column in columns.items():
        assert column.compression == "ZSTD"
        assert ("BYTE_STREAM_SPLIT" in column.encodings) == (path in floats), path
        assert column.has_dictionary_page == (path in strings), path


def test_smaller_than_pyarrows_defaults(tmp_path: Path, tables: dict[str, pa.Table]) -> None:
    records = write_unit(tmp_path, UNIT, tables)
    pq.write_table(tables["train"], tmp_path / "default.parquet")
    assert records[0].bytes < (tmp_path / "default.parquet").stat().st_size


def test_bytes_do_not_depend_on_the_order_of_completion(tmp_path: Path, row: Row) -> None:
    rows = [row(m, c) for m in range(5) for c in range(3)]
    for name, order in (("a", rows), ("b", rows[::-1])):
        with (tmp_path / name).open("wb") as stream:
            unit_records.write_table(row_table(order, row_schema()), stream)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def refuse(*_: Any, **__: Any) -> None:
    raise OSError(28, "No space left on device")


def wrong(*_: Any, **__: Any) -> pa.Table:
    return pa.table({"x": [1]})


@pytest.mark.parametrize(("where", "what"), [("ParquetWriter", refuse), ("read_table", wrong), ("read_table", refuse)])
def test_an_exception_while_writing_leaves_nothing(
    tmp_path: Path, tables: dict[str, pa.Table], monkeypatch: pytest.MonkeyPatch, where: str, what: Any
) -> None:
    monkeypatch.setattr(unit_records.pq, where, what)
    with pytest.raises(QmgenError, match=r"No space left on device|differs from what was written"):
        write_unit(tmp_path, UNIT, tables)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_a_refused_rename_commits_nothing(
    tmp_path: Path, tables: dict[str, pa.Table], monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    rename, calls = os.replace, []

    def replace(old: Any, new: Any, **folders: Any) -> None:
        calls.append(Path(str(new)).name.split("-")[0])
        if len(calls) == at + 1:
            refuse()
        rename(old, new, **folders)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(QmgenError, match="No space left"):
        write_unit(tmp_path, UNIT, tables)
    # what has its name is whole, and stays: another process may have written the very same
    assert not list(tmp_path.glob("failures/*")) and not list((tmp_path / ".tmp").iterdir())
    assert calls == ["train", "validation", "test", "part"][: at + 1]


def test_a_killed_writer_leaves_only_temporaries(tmp_path: Path, tables: dict[str, pa.Table]) -> None:
    child = os.fork()
    if not child:
        os.replace = lambda old, new, **folders: os._exit(0)  # type: ignore[assignment]
        write_unit(tmp_path, UNIT, tables)
    os.waitpid(child, 0)
    assert list((tmp_path / ".tmp").rglob("*.parquet")) and not list((tmp_path / "data").glob("*.parquet"))
    store_of(tmp_path).clear()
    assert not list((tmp_path / ".tmp").iterdir())


def test_temporaries_of_the_living_stay(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    with store.workspace() as nest:
        (nest / "half").touch()
        store.clear()
        assert (nest / "half").exists()
    assert not list((tmp_path / ".tmp").iterdir())


def test_a_table_too_few_is_a_mistake(tmp_path: Path, tables: dict[str, pa.Table]) -> None:
    del tables["test"]
    with pytest.raises(ValueError, match="a unit needs the tables"):
        write_unit(tmp_path, UNIT, tables)
