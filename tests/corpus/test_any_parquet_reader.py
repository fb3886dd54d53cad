"""A corpus is Parquet that other people's readers open as it lies there, shards without rows among it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qmgen.corpus import SPLITS, load, open_corpus, unit_records
from qmgen.corpus.verify import inspect

Reader = Callable[[list[Path]], list[dict[str, Any]]]


def by_pandas(files: list[Path]) -> list[dict[str, Any]]:
    import pandas

    frame = pandas.concat([pandas.read_parquet(file, engine="pyarrow") for file in files], ignore_index=True)
    return pa.Table.from_pandas(frame, pq.read_schema(files[0]), preserve_index=False).to_pylist()


def by_polars(files: list[Path]) -> list[dict[str, Any]]:
    import polars

    return polars.scan_parquet(files).collect().to_dicts()


def by_duckdb(files: list[Path]) -> list[dict[str, Any]]:
    import duckdb

    return duckdb.connect().read_parquet([str(file) for file in files]).to_arrow_table().to_pylist()


def by_datasets(files: list[Path]) -> list[dict[str, Any]]:
    import datasets

    names = [str(file) for file in files]
    cache = str(files[0].parent.parent / "cache")
    return datasets.load_dataset("parquet", data_files=names, split="train", cache_dir=cache).to_list()


def by_datasets_streaming(files: list[Path]) -> list[dict[str, Any]]:
    import datasets

    names = [str(file) for file in files]
    return list(datasets.load_dataset("parquet", data_files=names, split="train", streaming=True))


def by_fastparquet(files: list[Path]) -> list[dict[str, Any]]:
    """As docs/formats.md says: written again without BYTE_STREAM_SPLIT, which fastparquet does not know."""
    import fastparquet

    rows: list[dict[str, Any]] = []
    for file in files:
        copy = file.with_suffix(".plain")
        pq.write_table(pq.read_table(file), copy)
        rows += plain(fastparquet.ParquetFile(str(copy)).to_pandas())
    return rows


def by_pandas_with_fastparquet(files: list[Path]) -> list[dict[str, Any]]:
    """The columns that are not floating-point numbers, from the files as they lie there."""
    import pandas

    rows: list[dict[str, Any]] = []
    for file in files:
        columns = [field.name for field in pq.read_schema(file) if not is_floating(field.type)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pandas 3 will leave fastparquet out some day
            rows += plain(pandas.read_parquet(file, engine="fastparquet", columns=columns))
    return rows


def is_floating(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind.value_type if pa.types.is_list(kind) else kind)


def plain(frame: Any) -> list[dict[str, Any]]:
    """Rows of plain values: fastparquet's lists hold NumPy's scalars."""
    rows = frame.to_dict("records")
    return [{k: [x.item() for x in v] if isinstance(v, list) else v for k, v in row.items()} for row in rows]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hugging Face's library asks no hub, and keeps its files here."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hugging-face"))


@pytest.fixture
def with_empty_shards(written: Any) -> Any:
    """One unit of the corpus without rows in the validation split, all of them without rows in the test split."""
    for index in range(4):
        written.write(index, lambda tables, index=index: empty(tables, *(["validation"] * (index == 1)), "test"))
    written.manifest()
    return written


def empty(tables: dict[str, Any], *splits: str) -> None:
    for split in splits:
        tables[split] = tables[split].slice(0, 0)


READERS = [by_pandas, by_polars, by_duckdb, by_datasets, by_datasets_streaming, by_fastparquet]


@pytest.mark.parametrize("reader", [*READERS, by_pandas_with_fastparquet])
@pytest.mark.parametrize("split", ["train", "validation"])
def test_the_rows_are_those_that_pyarrow_reads(with_empty_shards: Any, reader: Reader, split: str) -> None:
    corpus = open_corpus(with_empty_shards.directory)
    files = [with_empty_shards.directory / name for name in corpus.files(split)]
    expected = corpus.table(split).to_pylist()
    assert len(files) == 4 and len(expected) == {"train": 56, "validation": 6}[split]
    rows = reader(files)
    if reader is by_pandas_with_fastparquet:
        assert rows and "energy" not in rows[0]
        expected = [{name: row[name] for name in rows[0]} for row in expected]
    assert rows == expected


@pytest.mark.parametrize("reader", READERS)
def test_failures_are_those_that_pyarrow_reads(with_empty_shards: Any, reader: Reader) -> None:
    files = sorted((with_empty_shards.directory / "failures").iterdir())
    rows = reader(files)
    assert len(rows) == 4 and rows == open_corpus(with_empty_shards.directory).failures().to_pylist()


@pytest.mark.parametrize("reader", [by_pandas, by_polars, by_duckdb, by_fastparquet])
def test_a_split_without_any_row_has_its_columns(with_empty_shards: Any, reader: Reader) -> None:
    files = [with_empty_shards.directory / name for name in open_corpus(with_empty_shards.directory).files("test")]
    assert len(files) == 4 and reader(files) == []
    assert load(with_empty_shards.directory, "test").column_names[:3] == ["smile", "atoms", "z"]


def test_datasets_opens_the_folder_with_its_splits(with_empty_shards: Any) -> None:
    """From the card: a split without any row would be an error there."""
    import datasets

    directory = with_empty_shards.directory
    found = datasets.load_dataset(str(directory), cache_dir=str(directory / "cache"))
    assert {split: len(rows) for split, rows in found.items()} == {"train": 56, "validation": 6}
    for split, rows in found.items():
        assert rows.to_list() == load(directory, split).to_pylist()


def test_a_shard_without_rows_has_no_row_group(with_empty_shards: Any) -> None:
    corpus = open_corpus(with_empty_shards.directory)
    groups = {name: corpus.open(name).metadata.num_row_groups for name in corpus.files()}
    rows = {name: corpus.open(name).metadata.num_rows for name in corpus.files()}
    assert groups == {name: int(n > 0) for name, n in rows.items()} and 0 in groups.values()
    for name, n in rows.items():
        if not n:
            assert corpus.open(name).schema_arrow.equals(pq.read_schema(with_empty_shards.directory / name))
            assert corpus.open(name).read().schema.equals(corpus.open(name).schema_arrow, check_metadata=True)


def test_shards_with_a_row_group_of_no_rows_are_still_read(
    with_empty_shards: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As files were written before."""
    expected = {split: load(with_empty_shards.directory, split) for split in SPLITS}
    failures = open_corpus(with_empty_shards.directory).failures()
    monkeypatch.setattr(
        unit_records, "write_table", lambda table, stream: pq.write_table(table, stream, compression="zstd")
    )
    for index in range(4):
        with_empty_shards.write(
            index, lambda tables, index=index: empty(tables, *(["validation"] * (index == 1)), "test")
        )
    with_empty_shards.manifest()
    corpus = open_corpus(with_empty_shards.directory)
    assert {corpus.open(name).metadata.num_row_groups for name in corpus.files("test")} == {1}
    assert all(corpus.table(split).equals(expected[split]) for split in SPLITS)
    assert corpus.failures().equals(failures)
    assert inspect(with_empty_shards.directory).issues == []
