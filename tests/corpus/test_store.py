"""What every store promises, of a directory and of an object store (moto's server on this machine) alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qmgen.corpus.store import Store, joined, place_of, store_of
from qmgen.errors import UsageError


@pytest.fixture(params=["directory", "objects"])
def store(request: pytest.FixtureRequest, tmp_path: Path, credentials: None) -> Store:
    """An empty one that nobody else uses."""
    if request.param == "directory":
        return store_of(tmp_path / "corpus")
    return store_of(request.getfixturevalue("object_server").url(f"{tmp_path.name}/corpus"))


def test_what_was_written_is_read_and_listed(store: Store) -> None:
    assert not store.exists() and store.names("") == store.names("data") == {}
    store.write("manifest.json", b"{}")
    store.write("data/one", b"12345")
    store.write("data/empty", b"")
    assert store.exists()
    assert store.names("") == {"manifest.json": 2}  # folders are not files
    assert store.names("data") == {"data/one": 5, "data/empty": 0}
    assert store.read("data/one") == b"12345" and store.read("data/empty") == b""


def test_a_second_file_replaces_the_first(store: Store) -> None:
    store.write("data/one", b"a longer text")
    store.write("data/one", b"short")
    assert store.read("data/one") == b"short" and store.names("data") == {"data/one": 5}


def test_open_reads_anywhere(store: Store) -> None:
    with store.workspace() as nest:
        pq.write_table(pa.table({"x": range(1000)}), nest / "x.parquet")
        store.put("data/x.parquet", nest / "x.parquet")
    with store.open("data/x.parquet") as stream:
        stream.seek(stream.size() - 4)
        assert stream.read() == b"PAR1"
    assert pq.ParquetFile(store.open("data/x.parquet")).read().num_rows == 1000


@pytest.mark.parametrize("method", ["read", "open"])
def test_what_is_not_there_is_not_found(store: Store, method: str) -> None:
    ask: Callable[[str], Any] = getattr(store, method)
    with pytest.raises(FileNotFoundError):
        ask("data/none")
    store.write("data/one", b"1")
    with pytest.raises(FileNotFoundError):
        ask("data/none")


def test_put_moves_a_finished_file_out_of_the_workspace(store: Store) -> None:
    data = bytes(range(256)) * 50000  # 12.8 MB: of several parts where uploads have parts
    with store.workspace() as nest:
        (nest / "one").write_bytes(data)
        assert store.names("data") == {}
        store.put("data/one", nest / "one")
        assert not (nest / "one").exists()
    assert not nest.exists()
    assert store.read("data/one") == data and store.names("data") == {"data/one": len(data)}


def test_put_replaces_and_a_put_of_nothing_changes_nothing(store: Store) -> None:
    store.write("data/one", b"old")
    with store.workspace() as nest:
        with pytest.raises(FileNotFoundError):
            store.put("data/one", nest / "none")
        assert store.read("data/one") == b"old"
        (nest / "one").write_bytes(b"new")
        store.put("data/one", nest / "one")
    assert store.read("data/one") == b"new"


def test_two_workspaces_are_apart_and_both_go(store: Store) -> None:
    with store.workspace() as one, store.workspace() as other:
        assert one != other
        (one / "x").write_bytes(b"1")
        assert not (other / "x").exists()
        store.clear()  # of the dead only: these live
        assert (one / "x").exists() and other.exists()
    assert not one.exists() and not other.exists()
    assert store.names("data") == {}


def test_remove_takes_one_file_and_minds_no_absence(store: Store) -> None:
    store.write("data/one", b"1")
    store.write("data/two", b"2")
    store.remove("data/one")
    store.remove("data/one")
    store.remove("nothing/at/all")
    assert store.names("data") == {"data/two": 1}
    store.remove("data/two")
    assert store.names("data") == {}


def test_another_process_makes_the_same_store_of_its_place(store: Store) -> None:
    store.write("a/b", b"1")
    assert store_of(place_of(store)).read("a/b") == b"1"
    assert store_of(joined(place_of(store), "a")).names("") == {"b": 1}


def test_place_is_what_one_may_show(object_server: Any, credentials: None) -> None:
    assert store_of(object_server.url("some/where")).place == "s3://bucket/some/where"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host/x", r"ftp:// is not known: use s3://, gs:// or a directory"),
        ("s3:///x", r"names no bucket: write s3://bucket/prefix"),
        ("s3://AKIA:sec/ret@bucket/x", r"credentials would show them .*: set AWS_ACCESS_KEY_ID"),
        ("s3://AKIA:secret@bucket/x", r"credentials would show them .*: set AWS_ACCESS_KEY_ID"),
        ("s3://bucket/x?endpoint=nowhere", r"cannot use s3://bucket/x: Unexpected query parameter .*'endpoint'"),
    ],
)
def test_urls_that_will_not_do(url: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        store_of(url)
    assert "\n" not in str(caught.value) and "ret@" not in str(caught.value) and "AKIA:" not in str(caught.value)
