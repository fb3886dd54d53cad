"""The cache of compiled programs: half an entry, whoever left it, costs one compilation and no more."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest

from qmgen import runtime
from qmgen.caches import remove_damaged, trouble

#: compiles one small program with the cache in argv[1]; prints how many came from it
PROGRAM = """
import sys
from pathlib import Path
import jax, jax.monitoring
from qmgen import runtime

hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event) if event.endswith("cache_hits") else None)
folder = Path(sys.argv[1])
if "first" in sys.argv:  # JAX makes its cache before we come
    jax.config.update("jax_compilation_cache_dir", sys.argv[1])
    jax.jit(lambda x: x + 2)(1.0)
assert runtime.prepare(folder) == folder == runtime.prepare(folder)
if "damage" in sys.argv:  # as of another process that is killed from now on
    for entry in folder.glob("*-cache"):
        entry.write_bytes(entry.read_bytes()[:100])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
assert float(jax.jit(lambda x: x * 3 + 1)(2.0)) == 7
print(len(hits))
"""

#: writes entries in place as JAX does, those that are not there, until it is killed
WRITER = """
import itertools, os, sys, zlib
from pathlib import Path

value = zlib.compress(os.urandom(30_000_000), 0)
print("on", flush=True)
for number in itertools.count():
    path = Path(sys.argv[1]) / f"{sys.argv[2]}{number}-cache"
    if not path.exists():
        path.write_bytes(value)
"""


def test_half_an_entry_goes(tmp_path: Path) -> None:
    value, path = zlib.compress(os.urandom(200)), tmp_path / "key-cache"
    #: a skippable frame behind it, as versions before wrote it
    sealed = value + b"\x5e\x2a\x4d\x18" + (32).to_bytes(4, "little") + bytes(32)
    for length in range(len(sealed) + 1):
        path.write_bytes(sealed[:length])
        remove_damaged(tmp_path, 10.0, settled=0.0)
        assert path.exists() == (length >= len(value)), length
    for place in range(len(value)):
        path.write_bytes(value[:place] + bytes([value[place] ^ 1]) + value[place + 1 :])
        remove_damaged(tmp_path, 10.0, settled=0.0)
        assert not path.exists(), place


def test_half_an_entry_of_zstd_goes(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    value = zstandard.compress(os.urandom(1000))
    whole, half = tmp_path / "whole-cache", tmp_path / "half-cache"
    whole.write_bytes(value)
    half.write_bytes(value[:-1])
    remove_damaged(tmp_path, 10.0, settled=0.0)
    assert whole.exists() and not half.exists()


def test_an_entry_is_read_once_as_long_as_it_stays_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path.name) or real(path))
    for name in "abc":
        (tmp_path / f"{name}-cache").write_bytes(zlib.compress(name.encode()))
    for expected in (["a-cache", "b-cache", "c-cache"], []):
        read.clear()
        remove_damaged(tmp_path, 10.0, settled=0.0)
        assert sorted(name for name in read if name.endswith("-cache")) == expected
    (tmp_path / "b-cache").write_bytes(b"longer than it was before")
    remove_damaged(tmp_path, 10.0, settled=0.0)
    assert sorted(path.name for path in tmp_path.glob("*-cache")) == ["a-cache", "c-cache"]
    (tmp_path / ".tested.json").write_text('{"a-cache": [')  # half of it too
    remove_damaged(tmp_path, 10.0, settled=0.0)
    assert len(list(tmp_path.glob("*-cache"))) == 2


def test_the_newest_come_first_and_what_is_left_another_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for age, name in enumerate("abc"):
        (tmp_path / f"{name}-cache").write_bytes(b"damaged")
        os.utime(tmp_path / f"{name}-cache", (1e9 - age, 1e9 - age))
    with monkeypatch.context() as slow:
        seconds = itertools.count()  # every look at the clock takes one
        slow.setattr(time, "monotonic", lambda: next(seconds))
        remove_damaged(tmp_path, 1.5, settled=0.0)
    assert sorted(path.name for path in tmp_path.glob("*-cache")) == ["b-cache", "c-cache"]
    remove_damaged(tmp_path, 10.0, settled=0.0)
    assert not list(tmp_path.glob("*-cache"))


def test_an_entry_that_may_still_be_written_stays(tmp_path: Path) -> None:
    for name in ("before", "now", "ahead"):
        (tmp_path / f"{name}-cache").write_bytes(b"half")
    for name, seconds in (("before", -60.0), ("ahead", 3600.0)):  # clocks of several machines differ
        os.utime(tmp_path / f"{name}-cache", (time.time() + seconds,) * 2)
    remove_damaged(tmp_path, 10.0)
    assert [path.name for path in tmp_path.glob("*-cache")] == ["now-cache"]


def test_parts_of_killed_writers_go_in_the_end(tmp_path: Path) -> None:
    old, new = tmp_path / ".1-dead.part", tmp_path / ".2-writing.part"
    for path in (old, new):
        path.write_bytes(b"half")
    long_ago = time.time() - 7200
    os.utime(old, (long_ago, long_ago))
    remove_damaged(tmp_path)
    assert not old.exists() and new.exists()


def test_after_writers_that_were_killed_all_entries_are_whole(tmp_path: Path) -> None:
    for number in range(4):
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER, str(tmp_path), f"{name}{number}-"], stdout=subprocess.PIPE, text=True
            )
            for name in ("a", "b")
        ]
        try:
            for writer in writers:
                assert writer.stdout is not None and writer.stdout.readline() == "on\n"
            until = time.monotonic() + random.uniform(0.05, 0.2)
            while time.monotonic() < until:  # others start meanwhile
                remove_damaged(tmp_path, settled=0.05)
        finally:
            for writer in writers:
                writer.send_signal(signal.SIGKILL)
                writer.communicate()
        remove_damaged(tmp_path, 60.0, settled=0.0)
        for path in tmp_path.glob("*-cache"):
            assert len(zlib.decompress(path.read_bytes())) == 30_000_000
            path.unlink()


def test_a_folder_that_takes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key-cache").write_bytes(zlib.compress(b"value"))

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:  # mode bits stop nothing for root
        full.setattr(Path, "write_text", refuse)
        full.setattr(Path, "write_bytes", refuse)
        full.setattr(Path, "unlink", refuse)
        remove_damaged(tmp_path)
        assert "No space left on device" in (trouble(tmp_path) or "")
    assert trouble(tmp_path) is None and os.listdir(tmp_path) == ["key-cache"]
    remove_damaged(Path("/dev/null/no"))
    line = trouble(Path("/dev/null/no"))
    assert line is not None and "\n" not in line and "QMGEN_CACHE" in line


def _compile(directory: Path, environment: dict[str, str], *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", PROGRAM, str(directory), *words],
        env={**environment, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _age(directory: Path) -> None:
    """A minute passes, after which no entry is being written."""
    for path in directory.glob("*-cache"):
        os.utime(path, (time.time() - 60.0,) * 2)


def test_jax_compiles_a_damaged_program_again_and_keeps_it(tmp_path: Path, bare_environment: dict[str, str]) -> None:
    assert _compile(tmp_path, bare_environment) == "0"
    assert _compile(tmp_path, bare_environment) == "1"
    (path,) = tmp_path.glob("*-cache")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    _age(tmp_path)
    assert _compile(tmp_path, bare_environment) == "0"
    assert _compile(tmp_path, bare_environment, "first") == "1"


def test_a_program_that_is_damaged_later_is_compiled_without_a_word(
    tmp_path: Path, bare_environment: dict[str, str]
) -> None:
    assert _compile(tmp_path, bare_environment) == "0"
    assert _compile(tmp_path, bare_environment, "damage") == "0"
    _age(tmp_path)
    assert _compile(tmp_path, bare_environment) == "0"
    assert _compile(tmp_path, bare_environment) == "1"


def test_the_place_is_known_without_jax(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    assert runtime.chosen_cache() == tmp_path
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setenv("QMGEN_CACHE", "/somewhere")
    assert runtime.chosen_cache() == Path("/somewhere")
