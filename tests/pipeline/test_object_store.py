"""Whole runs into an object store (moto's server on this machine), with the stand-ins for chemistry and physics."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import qmgen
from qmgen.config import GenerateConfig
from qmgen.corpus import open_corpus
from qmgen.corpus.store import Store, store_of
from qmgen.errors import QmgenError, UsageError
from qmgen.pipeline.run import generate
from qmgen.pipeline.stages import Stages
from qmgen.progress import RunProgress

Config = Callable[..., GenerateConfig]

pytestmark = pytest.mark.usefixtures("credentials")

PROGRAM = """
import sys
import pipeline_fakes
from qmgen.config import GenerateConfig
from qmgen.pipeline.run import generate
from qmgen.pipeline.stages import Stages
names = ("read", "parse", "merge", "check", "conformers", "label", "prepare", "theory")
stages = Stages(**{n: getattr(pipeline_fakes, n) for n in names})
generate(GenerateConfig(molecules=[sys.argv[1]], out=sys.argv[2], units=6, workers=2), stages=stages, quiet=True)
"""


@pytest.fixture
def url(object_server: Any, tmp_path: Path) -> str:
    """A prefix that nobody else uses."""
    return str(object_server.url(f"{tmp_path.name}/corpus"))


def contents(place: str | Path) -> dict[str, str]:
    """Names and digests of what must not depend on where a corpus lies, nor on how its run went."""
    store = store_of(place)
    names = [*store.names("data"), *store.names("failures"), "SHA256SUMS"]
    return {name: hashlib.sha256(store.read(name)).hexdigest() for name in sorted(names)}


def everything(store: Store) -> bytes:
    """All that stands in the corpus beside data and failures."""
    return b"".join(store.read(name) for folder in ("", "runs") for name in store.names(folder))


def test_the_same_bytes_as_on_a_disk(
    config: Config, stages: Stages, lines: RunProgress, url: str, tmp_path: Path
) -> None:
    troubled = ["bad x", "flat_1", "diverge_1", *[f"C_{i}" for i in range(30)], "C_3 again"]
    there = generate(config(troubled, out=url, units=6), lines, stages)
    generate(config(troubled, out=tmp_path / "here", units=6), lines, stages)
    assert contents(url) == contents(tmp_path / "here") and len(contents(url)) == 6 * 4 + 1
    assert there.complete and there.rows == 30 and there.run_units == 6
    again = generate(config(troubled, out=url, units=6), lines, stages)
    assert again.run_units == 0 and again.rows == 30


def test_it_is_read_like_any_other(
    config: Config, stages: Stages, lines: RunProgress, url: str, tmp_path: Path
) -> None:
    generate(config(out=url, units=3), lines, stages)
    generate(config(out=tmp_path / "here", units=3), lines, stages)
    assert qmgen.load(url).equals(qmgen.load(tmp_path / "here"))
    assert qmgen.load(url, columns=["energy"], split="train").num_rows > 0
    corpus = open_corpus(url)
    assert len(corpus) == 40 and corpus.failures().num_rows == 0
    assert corpus.place == url.partition("?")[0]


def test_nothing_in_it_says_how_it_was_reached(
    config: Config, stages: Stages, lines: RunProgress, url: str, object_server: Any
) -> None:
    summary = generate(config(out=url, units=3), lines, stages)
    text = everything(store_of(url)) + summary.text().encode()
    assert tomllib.loads(store_of(url).read("config.toml").decode())["out"] == url.partition("?")[0]
    for secret in (object_server.address, "endpoint_override", "AKIATESTKEY", "topsecret"):
        assert secret.encode() not in text


def test_ranks_share_the_units(config: Config, stages: Stages, lines: RunProgress, url: str, tmp_path: Path) -> None:
    generate(config(out=tmp_path / "here", units=5), lines, stages)
    first = generate(config(out=url, units=5, rank=1, world_size=3), lines, stages)
    assert (first.run_units, first.units_done, first.complete) == (2, 2, False)
    assert "manifest.json" not in store_of(url).names("")
    generate(config(out=url, units=5, rank=0, world_size=3), lines, stages)
    last = generate(config(out=url, units=5, rank=2, world_size=3), lines, stages)
    assert last.complete and contents(url) == contents(tmp_path / "here")


def test_overwrite_starts_anew(config: Config, stages: Stages, lines: RunProgress, url: str, tmp_path: Path) -> None:
    generate(config(out=url, units=5), lines, stages)
    with pytest.raises(UsageError, match=r"holds another corpus \(conformers: 1 -> 2"):
        generate(config(out=url, units=5, conformers=2), lines, stages)
    generate(config(out=url, units=3, conformers=2, overwrite=True), lines, stages)
    generate(config(out=tmp_path / "here", units=3, conformers=2), lines, stages)
    assert contents(url) == contents(tmp_path / "here")


@pytest.mark.parametrize("name", ["data/train-00001-of-00003.parquet", "failures/part-00001-of-00003.parquet"])
def test_a_damaged_object_is_found_and_made_again(
    config: Config, stages: Stages, lines: RunProgress, url: str, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    generate(config(out=url, units=3), lines, stages)
    before, store = contents(url), store_of(url)
    data = bytearray(store.read(name))
    data[len(data) // 2] ^= 1
    store.write(name, bytes(data))
    again = generate(config(out=url, units=3), lines, stages)
    assert (again.run_units, again.repaired, again.complete) == (1, 1, True)
    assert contents(url) == before
    assert f"{store.place}/{name}" in capfd.readouterr().err


def test_a_truncated_object_is_refused_by_the_reader(
    config: Config, stages: Stages, lines: RunProgress, url: str
) -> None:
    generate(config(out=url, units=3), lines, stages)
    store, name = store_of(url), "data/train-00000-of-00003.parquet"
    store.write(name, store.read(name)[:-100])
    with pytest.raises(UsageError, match=rf"{store.place}/{name} cannot be read .*: run the same `qmgen generate`"):
        qmgen.load(url)


@pytest.mark.parametrize("part", ["data/test-00001", "failures/part-00000", "SHA256SUMS"])
def test_a_writer_killed_in_the_middle_of_an_upload(
    config: Config, stages: Stages, lines: RunProgress, object_server: Any, url: str, tmp_path: Path, part: str
) -> None:
    from object_proxy import HoldingProxy  # on the search path by the fixture

    settings = config(out=url, units=6)
    with HoldingProxy(object_server.address, part.encode()) as proxy:
        reached = url.replace(object_server.address, proxy.address)
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-c", PROGRAM, settings.molecules[0], reached]
        writer = subprocess.Popen(command, env=environment, start_new_session=True)
        assert proxy.held.wait(180)
        before = _children(writer.pid)
        for pid in (*before, writer.pid):
            os.kill(pid, signal.SIGKILL)
        writer.wait()
    assert not any(name.startswith(part) for name in (*store_of(url).names("data"), *store_of(url).names("failures")))
    rest = generate(settings, lines, stages)
    assert rest.complete and rest.rows == 40 and rest.repaired == 0
    generate(config(out=tmp_path / "here", units=6), lines, stages)
    assert contents(url) == contents(tmp_path / "here")


def test_a_missing_bucket_is_named(config: Config, stages: Stages, lines: RunProgress, object_server: Any) -> None:
    with pytest.raises(UsageError, match=r"cannot use s3://none/x: .*bucket does not exist \(NO_SUCH_BUCKET\)"):
        generate(config(out=object_server.url("x", bucket="none")), lines, stages)
    with pytest.raises(UsageError, match=r"NO_SUCH_BUCKET"):
        qmgen.load(object_server.url("x", bucket="none"))


def test_wrong_credentials_are_refused(config: Config, stages: Stages, lines: RunProgress, serve_objects: Any) -> None:
    with (
        serve_objects(INITIAL_NO_AUTH_ACTION_COUNT="1") as strict,  # after the bucket is made, moto asks who is there
        pytest.raises(UsageError, match=r"^cannot use s3://bucket/x: .*Access Key Id .*does not exist.*$") as caught,
    ):
        generate(config(out=strict.url("x")), lines, stages)
    assert "AKIATESTKEY" not in str(caught.value)


def test_an_endpoint_that_is_not_there_ends_soon(config: Config, stages: Stages, lines: RunProgress) -> None:
    begin = time.monotonic()
    with pytest.raises(UsageError, match=r"^cannot use s3://bucket/x: Failed to connect .*\(NETWORK_CONNECTION\)$"):
        generate(config(out="s3://bucket/x?endpoint_override=127.0.0.1:1&scheme=http"), lines, stages)
    assert time.monotonic() - begin < 60  # pyarrow tries three times, seven seconds in all: not minutes


def test_a_store_that_goes_away_ends_the_run_in_one_line(
    config: Config, stages: Stages, lines: RunProgress, serve_objects: Any
) -> None:
    with serve_objects() as server:
        settings = config(out=server.url("x"), units=3)
        generate(settings, lines, stages)
    with pytest.raises(QmgenError, match=r"NETWORK_CONNECTION") as caught:
        generate(settings, lines, stages)
    assert "\n" not in str(caught.value) and caught.value.exit_code in (1, 2)


def test_an_unfinished_corpus_says_so(config: Config, stages: Stages, lines: RunProgress, url: str) -> None:
    with pytest.raises(UsageError, match=r"is not a qmgen corpus"):
        qmgen.load(url)
    store_of(url).write("config.toml", b"")
    with pytest.raises(UsageError, match=r"holds no finished work unit yet"):
        qmgen.load(url)
    store_of(url).write("data/notes.parquet", json.dumps({}).encode())
    with pytest.raises(UsageError, match=r"holds data that qmgen did not write"):
        generate(config(out=url, units=3), lines, stages)


def _children(parent: int) -> list[int]:
    text = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    return [int(pid) for pid in text.split()]
