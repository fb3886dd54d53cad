"""One manifest over all ranks: written from verified shards, refused from damaged ones."""

from __future__ import annotations

import json
from typing import Any

import pytest

from qmgen.corpus.merge import merge
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
