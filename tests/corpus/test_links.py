"""Symbolic links in a corpus: read where they name files, and nothing is written, locked or removed through them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qmgen import files
from qmgen.cli.main import main
from qmgen.corpus import open_corpus
from qmgen.corpus.locks import Lock, held
from qmgen.corpus.merge import merge
from qmgen.corpus.plan import Plan
from qmgen.corpus.revisions import RETRY, Revision, begin_revision
from qmgen.corpus.runs import new_record_name, rank_lock, running, write_record
from qmgen.corpus.store import LocalStore, store_of
from qmgen.corpus.verify import inspect
from qmgen.errors import UsageError
from qmgen.pipeline.ranks import Rank, RunningCommand, hold_rank
from qmgen.pipeline.resume import start_anew

COMMAND = RunningCommand("qmgen generate", {"xc": "pbe"})


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder of somebody else's, with what a corpus has names for."""
    folder = tmp_path / "outside"
    (folder / "host-1-0").mkdir(parents=True)
    for name in ("host-1-0/deep", "train-00000-of-00001.parquet", ".left.host-1-1", "precious", "begin.lock"):
        (folder / name).write_text("precious")
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def into_a_workspace(store: LocalStore) -> None:
    with store.workspace() as nest:
        (nest / "x").write_text("x")
        store.put("data/x", nest / "x")


WRITING: list[Callable[[LocalStore], Any]] = [
    lambda store: store.write("data/x", b"x"),
    lambda store: store.write("runs/x.json", b"x"),
    into_a_workspace,
    lambda store: store.remove("data/precious"),
    lambda store: store.remove("runs/precious"),
    lambda store: store.clear(),
    lambda store: write_record(store, new_record_name(), {"state": "running"}),
    lambda store: rank_lock(store, 0).acquire(),
    lambda store: running(store, 0),
    lambda store: start_anew(store, Rank()),
]


@pytest.mark.parametrize("folder", ["data", "runs", ".tmp"])
@pytest.mark.parametrize("act", WRITING)
def test_nothing_outside_is_touched_through_a_linked_folder(
    tmp_path: Path, outside: Path, folder: str, act: Callable[[LocalStore], Any]
) -> None:
    place, before = tmp_path / "corpus", contents(outside)
    place.mkdir()
    (place / folder).symlink_to(outside)
    try:
        act(LocalStore(place))
    except UsageError as error:
        assert "is a symbolic link" in str(error) or "that qmgen did not write" in str(error)
        assert len(error.lines) == 1
    assert contents(outside) == before and (place / folder).is_symlink()


@pytest.mark.parametrize("folder", ["data", "failures", "generations", "runs", "source", ".tmp", ".tmp/partial"])
def test_a_run_does_not_even_begin_on_linked_folders(tmp_path: Path, outside: Path, folder: str) -> None:
    place, before = tmp_path / "corpus", contents(outside)
    (place / folder).parent.mkdir(parents=True)
    (place / folder).symlink_to(outside)
    with (
        pytest.raises(UsageError, match=f"{folder} is a symbolic link") as caught,
        hold_rank(store_of(place), Rank(), COMMAND),
    ):
        pass
    assert len(caught.value.lines) == 1 and contents(outside) == before


@pytest.mark.parametrize("command", ["retry", "merge"])
def test_commands_say_it_in_one_line(
    written: Any, outside: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(outside)
    (written.directory / "generations").symlink_to(outside)
    (written.directory / ".tmp").rmdir()
    (written.directory / ".tmp").symlink_to(outside)
    assert main([command, str(written.directory)]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and "symbolic link" in printed and contents(outside) == before


@pytest.mark.parametrize("name", ["runs/rank-00000.lock", ".tmp/host-1-0.lock"])
def test_a_linked_lock_file_is_neither_locked_nor_overwritten(tmp_path: Path, outside: Path, name: str) -> None:
    path, target = tmp_path / "corpus" / name, outside / "precious"
    path.parent.mkdir(parents=True)
    path.symlink_to(target)
    with pytest.raises(UsageError, match="symbolic link"), Lock(path, tmp_path / "corpus"):
        pass
    with Lock(target):  # whoever asks for the link must not see this one
        assert held(path) is None
        target.write_text("precious")
    LocalStore(tmp_path / "corpus").clear()
    assert path.is_symlink() and (outside / "host-1-0" / "deep").exists()


@pytest.mark.parametrize("name", ["runs/rank-00000.lock", "generations/begin.lock"])
def test_what_to_do_about_a_linked_lock_is_said_once(tmp_path: Path, outside: Path, name: str) -> None:
    path = tmp_path / "corpus" / name
    path.parent.mkdir(parents=True)
    path.symlink_to(outside / "precious")
    store = store_of(tmp_path / "corpus")
    addition = Revision(1, RETRY, "f" * 64, {"xc": "pbe"}, Plan(4, 2, None, 1))
    with pytest.raises(UsageError) as caught:
        if name.startswith("runs"):
            with hold_rank(store, Rank(), COMMAND):
                pass
        else:
            begin_revision(store, addition)
    assert caught.value.lines == [str(files.Linked(path))]


def test_a_linked_file_is_replaced_and_what_it_names_stays(tmp_path: Path, outside: Path) -> None:
    place = tmp_path / "corpus"
    place.mkdir()
    for name in ("manifest.json", "validation.json"):
        (place / name).symlink_to(outside / "precious")
        files.write(place, name, b"new")
        assert (place / name).read_text() == "new" and not (place / name).is_symlink()
    (place / "gone").symlink_to(outside / "precious")
    files.remove(place, "gone")
    assert not (place / "gone").is_symlink() and (outside / "precious").read_text() == "precious"


def test_a_temporary_name_that_is_a_link_already_is_not_written_through(
    tmp_path: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_numbers", iter([7]))
    monkeypatch.setattr("socket.gethostname", lambda: "host")
    (tmp_path / f".x.host-{os.getpid()}-7").symlink_to(outside / "precious")
    files.write(tmp_path, "x", b"new")
    assert (tmp_path / "x").read_bytes() == b"new" and (outside / "precious").read_text() == "precious"


def test_a_link_that_the_user_names_is_followed(written: Any, tmp_path: Path) -> None:
    """Output on scratch behind a link is ordinary on clusters."""
    link = tmp_path / "link"
    link.symlink_to(written.directory)
    store = store_of(link)
    with hold_rank(store, Rank(), COMMAND):
        store.write("data/note", b"1")
        into_a_workspace(LocalStore(link))
        store.clear()
    assert (written.directory / "data" / "x").exists() and not list((written.directory / ".tmp").iterdir())
    assert merge(link).manifest is not None and link.is_symlink()


def test_a_snapshot_of_the_hugging_face_hub_is_read_verified_and_merged(written: Any, tmp_path: Path) -> None:
    """Its cache keeps files under their hashes, and a snapshot is a tree of links to them."""
    blobs, snapshot = tmp_path / "hub" / "blobs", tmp_path / "hub" / "snapshots" / "0a1b2c"
    blobs.mkdir(parents=True)
    rows = len(open_corpus(written.directory))
    for path in [path for path in written.directory.rglob("*") if path.is_file()]:
        blob = blobs / hashlib.sha256(path.read_bytes()).hexdigest()
        blob.write_bytes(path.read_bytes())
        link = snapshot / path.relative_to(written.directory)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    before = {path.name: path.read_bytes() for path in blobs.iterdir()}
    corpus = open_corpus(snapshot)
    assert len(corpus) == corpus.table().num_rows == rows and corpus.failures().num_rows == 4
    found = inspect(snapshot)
    assert found.issues == [] and found.complete
    (snapshot / "README.md").unlink()
    assert merge(snapshot).manifest is not None and inspect(snapshot).sound
    assert {path.name: path.read_bytes() for path in blobs.iterdir()} == before
    data = next(snapshot.glob("data/*.parquet"))
    data.unlink()
    data.symlink_to("nowhere")
    assert not inspect(snapshot).sound  # a link that leads nowhere is a missing file
