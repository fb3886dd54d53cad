"""Whatever happens to a disk, a file, a lock or a clock: a clear message, and the same command mends it.

Directories without permission are not tested: the tests may run as root, whom no mode bits stop.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from qmgen.cli.main import main
from qmgen.config import GenerateConfig
from qmgen.corpus.merge import merge
from qmgen.corpus.runs import INDENT
from qmgen.corpus.seal import sealed
from qmgen.corpus.status import status
from qmgen.corpus.store import LocalStore
from qmgen.corpus.verify import inspect
from qmgen.errors import QmgenError, UsageError
from qmgen.pipeline.run_record import RunSummary
from qmgen.pipeline.stages import Stages

Config = Callable[..., GenerateConfig]
UNITS = 8

RANK = """
import sys
from pathlib import Path
import pipeline_fakes
from qmgen.config import GenerateConfig
from qmgen.errors import QmgenError
from qmgen.pipeline.run import generate
from qmgen.pipeline.stages import Stages
names = ("read", "parse", "merge", "check", "conformers", "label", "prepare", "theory")
stages = Stages(**{n: getattr(pipeline_fakes, n) for n in names})
source, out, rank, world_size = sys.argv[1:]
try:
    generate(GenerateConfig(molecules=[source], out=Path(out), units=8, workers=1, rank=int(rank),
                            world_size=int(world_size)), stages=stages, quiet=True)
except QmgenError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


def contents(directory: Path | str) -> dict[str, str]:
    """Names and digests of what must not depend on how a run went."""
    directory = Path(directory)
    paths = [*directory.glob("data/*.parquet"), *directory.glob("failures/*"), directory / "SHA256SUMS"]
    return {str(p.relative_to(directory)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(paths)}


@pytest.fixture
def whole(run: Callable[..., RunSummary], tmp_path: Path) -> Path:
    """An undisturbed corpus."""
    return Path(run(out=tmp_path / "whole").directory)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[Path, Callable[[str], None]]]:
    """A file system of its own, and a function that changes its options."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root may mount a tmpfs")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", place], capture_output=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {made.stderr.decode().strip()}")

    def remount(options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", place], check=True)

    yield place, remount
    subprocess.run(["umount", "-l", place], check=True)


def test_a_disk_that_is_full_again_and_again(
    run: Callable[..., RunSummary], whole: Path, small_disk: tuple[Path, Callable[[str], None]]
) -> None:
    """It grows a little after each refusal, so that the space runs out in another place each time."""
    place, remount = small_disk
    expected = contents(whole)
    refusals = []
    for kilobytes in (8, 16, 28, 60, 92, 124, 156, 188, 220, 8192):
        remount(f"size={kilobytes}k")
        try:
            summary = run(out=place / "corpus")
            break
        except QmgenError as error:
            refusals.append(str(error))
            assert "No space left on device" in str(error) and "\n" not in str(error)
            assert "make room" in str(error) or "choose another --out" in str(error)
            there = {name: digest for name, digest in contents_if(place / "corpus").items() if "/" in name}
            assert there.items() <= expected.items()  # nothing half-written under a final name
    assert len(refusals) >= 4 and any("the unit was not kept" in refusal for refusal in refusals)
    assert summary.complete and contents(summary.directory) == expected
    assert inspect(summary.directory).sound


def contents_if(directory: Path) -> dict[str, str]:
    paths = [*directory.glob("data/*"), *directory.glob("failures/*")]
    return {str(p.relative_to(directory)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("config.toml", UsageError, "cannot write to"),
        ("SHA256SUMS", QmgenError, "cannot write the manifest"),
        ("manifest.json", QmgenError, "the rows are safe, make room"),
        ("runs/", None, "no record of this run was written: No space left on device"),
    ],
)
def test_a_disk_that_is_full_when_a_small_file_is_written(
    run: Callable[..., RunSummary], tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], name: str, kind: type[QmgenError] | None, said: str,
) -> None:  # fmt: skip
    write = LocalStore.write

    def full(store: LocalStore, target: str, data: bytes) -> None:
        if target.startswith(name):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(store, target, data)

    with monkeypatch.context() as patched:
        patched.setattr(LocalStore, "write", full)
        if kind is None:
            run()
            assert said in capsys.readouterr().err
        else:
            with pytest.raises(kind, match=said) as caught:
                run()
            assert type(caught.value) is kind and "No space left on device" in str(caught.value)
    assert contents(run().directory) == contents(whole)


def test_a_read_only_disk(
    run: Callable[..., RunSummary], whole: Path, small_disk: tuple[Path, Callable[[str], None]],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    place, remount = small_disk
    remount("size=8m")
    shutil.copytree(whole, place / "corpus")
    (place / "begun").mkdir()
    remount("ro")
    for out in ("new", "begun", "corpus"):
        with pytest.raises(UsageError, match=r"cannot write to .*: Read-only file system; choose another --out"):
            run(out=place / out)
    assert main(["verify", str(place / "corpus")]) == 0
    assert main(["status", str(place / "corpus")]) == 0
    assert main(["merge", str(place / "corpus")]) == 1
    assert "cannot write the manifest" in capsys.readouterr().err


def spoil(directory: Path) -> list[str]:
    """Damage of every kind, in seven of the eight units; names of the damaged files."""

    def cut(content: bytes) -> bytes:
        return content[: len(content) // 2]

    def flip(content: bytes, place: int) -> bytes:
        return content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :]

    changes: list[tuple[str, Callable[[bytes], bytes] | None]] = [
        ("data/train-00000-of-00008.parquet", cut),
        ("data/test-00001-of-00008.parquet", lambda content: b""),
        ("data/train-00002-of-00008.parquet", lambda content: flip(content, 700)),
        ("data/validation-00003-of-00008.parquet", None),
        ("failures/part-00004-of-00008.parquet", cut),
        ("failures/part-00005-of-00008.parquet", lambda content: b""),
        ("failures/part-00006-of-00008.parquet", lambda content: flip(content, len(content) - 200)),
    ]
    for name, change in changes:
        path = directory / name
        if change is None:
            path.unlink()
        else:
            path.write_bytes(change(path.read_bytes()))
    return [name for name, _ in changes]


@pytest.mark.parametrize("lost", [(), ("SHA256SUMS", "manifest.json")])
def test_damage_is_found_and_mended_by_the_same_command(
    run: Callable[..., RunSummary], whole: Path, capsys: pytest.CaptureFixture[str], lost: tuple[str, ...]
) -> None:
    """With SHA256SUMS, and with the records of the runs alone."""
    expected = contents(whole)
    names = spoil(whole)
    for name in lost:
        (whole / name).unlink()
    assert {finding.file for finding in inspect(whole).damaged} == set(names)
    assert merge(whole).manifest is None
    assert main(["verify", str(whole)]) == 1
    printed = capsys.readouterr().err
    assert all(name in printed for name in names) and "qmgen generate" in printed
    summary = run(out=whole)
    said = capsys.readouterr().err
    assert all(f"/{name} " in said for name in names) and said.count("this work unit is made again") == len(names)
    assert (summary.repaired, summary.run_units) == (len(names), len(names)) and "mended" in summary.text()
    assert contents(whole) == expected and inspect(whole).sound


def test_what_describes_a_corpus_comes_back(run: Callable[..., RunSummary], whole: Path) -> None:
    expected = contents(whole)
    small = ("SHA256SUMS", "manifest.json", "README.md", "config.toml")
    before = {name: (whole / name).read_bytes() for name in small}
    for name in small:
        (whole / name).unlink()
    shutil.rmtree(whole / "runs")
    assert run(out=whole).run_units == 0
    assert {name: (whole / name).read_bytes() for name in small} == before
    for name in ("SHA256SUMS", "manifest.json", "README.md"):
        (whole / name).unlink()
    assert main(["merge", str(whole)]) == 0
    assert contents(whole) == expected and main(["verify", str(whole)]) == 0
    assert json.loads((whole / "manifest.json").read_text()) == json.loads(before["manifest.json"])


def test_merge_writes_what_an_undisturbed_run_of_one_rank_writes(
    run: Callable[..., RunSummary], whole: Path, tmp_path: Path
) -> None:
    """Two ranks, one after the other; the manifest between them is not whole."""
    run(out=tmp_path / "two", rank=1, world_size=2)
    assert not (tmp_path / "two" / "SHA256SUMS").exists()
    assert main(["merge", str(tmp_path / "two")]) == 1 and main(["verify", str(tmp_path / "two")]) == 0
    run(out=tmp_path / "two", rank=0, world_size=2)
    (tmp_path / "two" / "SHA256SUMS").unlink()
    assert main(["merge", str(tmp_path / "two")]) == 0
    assert contents(tmp_path / "two") == contents(whole)
    assert (tmp_path / "two" / "manifest.json").read_text() != ""


@pytest.mark.parametrize("years", [-20, 20])
def test_clocks_that_jump(run: Callable[..., RunSummary], whole: Path, years: int) -> None:
    """Every date in the directory is decades off: what is done is done, the dead are cleared away, the living not."""
    expected = contents(whole)
    then = datetime.now(UTC) + timedelta(days=365 * years)
    for path in whole.glob("runs/*.json"):
        record = {**json.loads(path.read_text()), "began": then.isoformat(), "written": then.isoformat()}
        path.write_bytes(sealed(record, INDENT))
        path.rename(path.with_name(f"{then:%Y%m%dT%H%M%S}-elsewhere-1.json"))
    dead = whole / ".tmp" / "elsewhere-4711-0"
    dead.mkdir(parents=True)
    (dead / "train-00000-of-00008.parquet").write_bytes(b"half")
    with LocalStore(whole).workspace() as living:
        (living / "mine").write_text("in hand")
        for path in whole.rglob("*"):
            os.utime(path, (then.timestamp(), then.timestamp()))
        (whole / "failures" / "part-00003-of-00008.parquet").unlink()
        assert run(out=whole).run_units == 1
        assert (living / "mine").exists() and not dead.exists()
    assert contents(whole) == expected and inspect(whole).sound
    found = status(whole)
    assert found.complete and found.rows == 40 and found.ranks[0].state == "finished"
    assert (found.eta_seconds == 0.0 and found.ranks[0].age is None) or found.ranks[0].age >= 0  # type: ignore[operator]


def test_ranks_of_different_world_sizes_race_on_one_directory(
    config: Config, stages: Stages, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0/1, 0/2 and 1/2 at once: the first two are the same rank, so one of them leaves."""
    settings = config()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, settings.molecules[0], str(settings.out), rank, size],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, size in (("0", "1"), ("0", "2"), ("1", "2"))
    ]
    said = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], said
    assert "nothing to do here" in said[0] + said[1]
    assert contents(settings.out) == contents(whole)
    found = inspect(settings.out)
    assert found.sound and found.complete


def test_a_foreign_file_is_left_alone(run: Callable[..., RunSummary], whole: Path) -> None:
    expected = contents(whole)
    (whole / "data" / "notes.txt").write_text("mine")
    (whole / "failures" / "part-00003-of-00008.parquet").unlink()
    assert run(out=whole).complete and contents(whole) == expected
    assert (whole / "data" / "notes.txt").read_text() == "mine"
    found: Any = inspect(whole)
    assert found.sound and [finding.file for finding in found.issues] == ["data/notes.txt"]
