"""One manifest over all ranks: written from verified shards, refused from damaged ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qmgen.cli.main import main
from qmgen.corpus.identity import config_hash
from qmgen.corpus.merge import merge
from qmgen.corpus.plan import Listing, Plan
from qmgen.corpus.revisions import EXTEND, Revision, begin_revision, begun_revisions, history_of
from qmgen.corpus.runs import new_record_name, records, write_record
from qmgen.corpus.status import status
from qmgen.corpus.store import store_of
from qmgen.corpus.verify import inspect
from qmgen.errors import QmgenError

DESCRIPTION = ("manifest.json", "SHA256SUMS", "README.md")
RUN = {"plan": {"entries": 40, "units": 4, "wanted": 40}, "licence": "CC0-1.0", "versions": {"qmgen": "0"}, "rank": 0}


def record(written: Any, **changes: Any) -> None:
    (written.directory / "runs").mkdir(exist_ok=True)
    (written.directory / "runs" / "a.json").write_text(json.dumps({**RUN, **changes}))


def test_all_that_was_lost_comes_back(written: Any) -> None:
    record(written)
    before = {name: (written.directory / name).read_bytes() for name in DESCRIPTION}
    for name in DESCRIPTION:
        (written.directory / name).unlink()
    merged = merge(written.directory)
    assert merged.state == "complete" and merged.manifest is not None and merged.manifest["complete"]
    assert (written.directory / "SHA256SUMS").read_bytes() == before["SHA256SUMS"]
    assert json.loads((written.directory / "manifest.json").read_bytes()) == json.loads(before["manifest.json"])
    assert "CC0-1.0" in (written.directory / "README.md").read_text()
    assert inspect(written.directory).sound


def test_without_records_the_manifest_or_the_files_say_what_was_planned(written: Any) -> None:
    before = json.loads((written.directory / "manifest.json").read_text())
    (written.directory / "SHA256SUMS").unlink()
    assert merge(written.directory).manifest == before
    (written.directory / "manifest.json").unlink()
    (written.directory / "config.toml").write_text('licence = "CC0-1.0"\n')
    again = merge(written.directory).manifest
    assert again is not None and again["plan"] == before["plan"] and again["licence"] == "CC0-1.0"
    (written.directory / "manifest.json").unlink()
    (written.directory / "config.toml").write_text("")
    with pytest.raises(QmgenError, match="under which licence"):
        merge(written.directory)


def test_damage_is_refused_and_nothing_is_written(written: Any) -> None:
    before = {name: (written.directory / name).read_bytes() for name in DESCRIPTION}
    path = written.directory / "data/train-00001-of-00004.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    merged = merge(written.directory)
    assert merged.manifest is None and merged.inspected.damaged
    assert {name: (written.directory / name).read_bytes() for name in DESCRIPTION} == before


def test_an_unfinished_corpus_is_described_as_such(written: Any) -> None:
    record(written)
    for name in (*DESCRIPTION, "failures/part-00002-of-00004.parquet"):
        (written.directory / name).unlink()
    merged = merge(written.directory)
    assert merged.inspected.missing == ["00002-of-00004"] and merged.state == "unfinished, 1 work units are missing"
    assert merged.manifest is not None and not merged.manifest["complete"]
    assert "00002" not in (written.directory / "SHA256SUMS").read_text()
    assert "Unfinished" in (written.directory / "README.md").read_text()


def test_an_unfinished_corpus_of_which_nothing_tells_the_plan_is_refused(written: Any) -> None:
    for name in ("manifest.json", "SHA256SUMS", "failures/part-00002-of-00004.parquet"):
        (written.directory / name).unlink()
    with pytest.raises(QmgenError, match="do not say how much was wanted"):
        merge(written.directory)


#: an addition of one unit to the corpus of ``written``
LATER = Revision(
    1,
    EXTEND,
    "0" * 64,
    {"xc": "b3lyp5", "basis": "sto-3g", "conformers": 2, "max_cycles": 50},
    Plan(10, 1, None, 1, 40),
)


def extended(written: Any) -> Path:
    """``written``, sealed, with a finished addition."""
    directory: Path = written.directory
    write_record(store_of(directory), new_record_name(), RUN)
    begin_revision(store_of(directory), LATER)
    more = type(written)(directory, LATER.plan)
    more.write(0, config_hash=LATER.hash, recipe=LATER.recipe, more=LATER.mark)
    assert merge(directory).manifest is not None and inspect(directory).issues == []
    return directory


def described(directory: Path) -> list[Any]:
    """What describes the corpus, the manifest as values: the order within a recipe may be another."""
    names = (directory / name for name in DESCRIPTION)
    return [json.loads(path.read_bytes()) if path.suffix == ".json" else path.read_bytes() for path in names]


def changed(path: Path, old: str, new: str) -> None:
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"max_cycles": 50', '"max_cycles": 51'),
        ('"kind": "extend"', '"kind": "retry"'), ('"begin": 40', '"begin": 44'),
        ('"entries": 10', '"entries": 16'), ('"number": 1', '"number": 2'), ("sha256", "sha255"),
    ],
)  # fmt: skip
def test_a_changed_statement_of_an_addition_changes_nothing(written: Any, old: str, new: str) -> None:
    """Its files say the same, and so does the manifest."""
    directory = extended(written)
    before = described(directory)
    changed(directory / LATER.name, old, new)
    assert [(one.severity, one.file) for one in inspect(directory).issues] == [("stale", LATER.name)]
    merged = merge(directory)
    assert merged.manifest is not None and merged.doubtful == ()
    assert described(directory) == before
    begin_revision(store_of(directory), LATER)
    assert inspect(directory).issues == []


def test_an_addition_without_files_is_known_from_the_manifest_where_its_statement_was_changed(written: Any) -> None:
    store = store_of(written.directory)
    begin_revision(store, LATER)
    changed(written.directory / LATER.name, '"begin": 40', '"begin": 41')
    assert begun_revisions(store) == [LATER]
    merged = merge(store)
    assert merged.state == "unfinished, 1 work units are missing"
    assert merged.manifest is not None and merged.manifest["more"] == [LATER.as_json()]
    assert not status(store).complete


@pytest.mark.parametrize(
    ("old", "new"), [("CC0-1.0", "CC0-1.1"), ('"qmgen": "0"', '"qmgen": "9"'), ('"entries": 40', '"entries": 46'),
                     ('"wanted": 40', '"wanted": 20')],
)  # fmt: skip
@pytest.mark.parametrize("where", ["runs", "manifest.json"])
def test_a_changed_record_or_manifest_neither_passes_its_change_on_nor_condemns_rows(
    written: Any, where: str, old: str, new: str
) -> None:
    directory, store = written.directory, store_of(written.directory)
    if where == "runs":
        write_record(store, new_record_name(), RUN)
    (path,) = (directory / "runs").glob("*.json") if where == "runs" else [directory / where]
    (directory / "config.toml").write_text('conformers = 2\nlicence = "CC0-1.0"\n')
    merge(store)
    sound = {name: (directory / name).read_bytes() for name in DESCRIPTION}
    changed(path, old, new)
    found = inspect(store)
    assert [(one.severity, one.file) for one in found.issues] == [("stale", str(path.relative_to(directory)))]
    assert found.complete and found.units == 4 and status(store).units == 4
    assert list(records(store)) == []
    history = history_of(store, Listing.of(store))
    assert history is None or history.plan.wanted == 40  # None: of a recipe that names no source
    merged = merge(store)
    assert merged.manifest is not None and merged.manifest["licence"] == "CC0-1.0"
    doubted = where == "manifest.json" and "qmgen" in old
    assert merged.doubtful == (("versions",) if where == "manifest.json" else ())
    if not doubted:
        assert {name: (directory / name).read_bytes() for name in DESCRIPTION} == sound


def test_what_nothing_but_a_changed_manifest_says_is_taken_and_said(
    written: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    changed(written.directory / "manifest.json", '"rows": 72', '"rows": 73')
    assert main(["merge", str(written.directory)]) == 0
    printed = capsys.readouterr().err
    assert "licence and versions stand as in manifest.json, which was changed" in printed
    manifest = json.loads((written.directory / "manifest.json").read_text())
    assert (manifest["licence"], manifest["counts"]["rows"]) == ("CC0-1.0", 72) and inspect(written.directory).sound


def test_a_changed_manifest_does_not_say_how_much_was_wanted(written: Any, tmp_path: Path) -> None:
    short = type(written)(tmp_path / "short", Plan(40, 4, 13))
    for index in range(2):
        short.write(index)
    (short.directory / "config.toml").write_text('licence = "CC0-1.0"\n')
    short.manifest()
    changed(short.directory / "manifest.json", '"wanted": 13', '"wanted": 14')
    assert not inspect(short.directory).damaged
    with pytest.raises(QmgenError, match="do not say how much was wanted"):
        merge(short.directory)


def test_units_of_other_settings_are_not_to_be_removed_all_at_once(written: Any) -> None:
    written.write(2, recipe={"xc": "pbe"}, config_hash=config_hash({"xc": "pbe"}))
    with pytest.raises(QmgenError, match=r"00002.*made with other settings.*qmgen verify") as caught:
        written.manifest()
    assert "remove the directory" not in str(caught.value)
