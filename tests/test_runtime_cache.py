"""The cache of compiled programs: whatever happens to a process, no other reads half a program."""

from __future__ import annotations

import hashlib
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
from qmgen.caches import Programs, trouble

#: compiles one small program with the cache in argv[1]; prints how many came from it and whether it is ours
PROGRAM = """
import sys
from pathlib import Path
import jax, jax.monitoring
from qmgen import runtime

hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event) if event.endswith("cache_hits") else None)
if "first" in sys.argv:  # JAX makes its cache before we come
    jax.config.update("jax_compilation_cache_dir", sys.argv[1])
    jax.jit(lambda x: x + 2)(1.0)
assert runtime.prepare(Path(sys.argv[1])) == Path(sys.argv[1]) == runtime.prepare(Path(sys.argv[1]))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
assert float(jax.jit(lambda x: x * 3 + 1)(2.0)) == 7
from jax._src import compilation_cache
print(len(hits), type(compilation_cache._cache).__name__)
"""

#: writes entries, each the hash of its key over and over, until it is killed
WRITER = """
import hashlib, itertools, sys
from pathlib import Path
from qmgen.caches import Programs

programs = Programs(Path(sys.argv[1]), lambda value: False)
print("on", flush=True)
for number in itertools.count():
    programs.put(f"key{number % 3}", hashlib.sha256(sys.argv[2].encode()).digest() * (200_000 + number))
"""


def compressed(value: bytes) -> bool:
    try:
        zlib.decompress(value)
    except zlib.error:
        return False
    return True


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    return Programs(tmp_path, compressed)


def entry(programs: Programs, key: str = "key") -> Path:
    return programs.directory / f"{key}-cache"


def test_what_is_put_comes_back_and_the_last_one_counts(programs: Programs) -> None:
    assert programs.get("key") is None
    for value in (b"one", b"", b"another", b"one"):
        programs.put("key", value)
        assert programs.get("key") == value
    assert os.listdir(programs.directory) == ["key-cache"]


def test_half_an_entry_is_no_entry_and_goes(programs: Programs) -> None:
    value = zlib.compress(os.urandom(1000))
    programs.put("key", value)
    sealed = entry(programs).read_bytes()
    for length in range(len(sealed)):
        entry(programs).write_bytes(sealed[:length])
        found = programs.get("key")
        if length < len(value):
            assert found is None and not entry(programs).exists(), length
        else:  # only the seal is broken
            assert found is not None and zlib.decompress(found) == zlib.decompress(value), length
    for place in range(len(value)):
        entry(programs).write_bytes(sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :])
        assert programs.get("key") is None, place
    programs.put("key", value)
    assert programs.get("key") == value


def test_entries_of_jax_itself_stay_of_use(programs: Programs) -> None:
    value = zlib.compress(os.urandom(1000))
    entry(programs).write_bytes(value)
    assert programs.get("key") == value
    entry(programs).write_bytes(value[:-3])
    assert programs.get("key") is None and not entry(programs).exists()
    programs.put("key", value)
    assert zlib.decompress(entry(programs).read_bytes()) == zlib.decompress(value)  # and ours to JAX


def test_parts_of_killed_writers_go_in_the_end(programs: Programs) -> None:
    old, new = programs.directory / ".1-dead.part", programs.directory / ".2-writing.part"
    for path in (old, new):
        path.write_bytes(b"half")
    long_ago = time.time() - 7200
    os.utime(old, (long_ago, long_ago))
    programs.put("key", b"value")
    assert not old.exists() and new.exists()


def test_writers_that_are_killed_leave_whole_entries_or_none(programs: Programs) -> None:
    expected = [hashlib.sha256(name).digest() for name in (b"a", b"b")]
    seen: set[bytes] = set()
    for _ in range(6):
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER, str(programs.directory), name], stdout=subprocess.PIPE, text=True
            )
            for name in ("a", "b")
        ]
        try:
            for writer in writers:
                assert writer.stdout is not None and writer.stdout.readline() == "on\n"
            until = time.monotonic() + random.uniform(0.05, 0.3)
            while time.monotonic() < until:  # a reader among writers never sees half of anything
                _check(programs, expected, seen)
        finally:
            for writer in writers:
                writer.send_signal(signal.SIGKILL)
                writer.communicate()
        assert entry(programs, "key0").exists()
        _check(programs, expected, seen)
    assert seen == set(expected)


def _check(programs: Programs, expected: list[bytes], seen: set[bytes]) -> None:
    for key in ("key0", "key1", "key2"):
        existed = entry(programs, key).exists()
        value = programs.get(key)
        if existed:
            assert value is not None and value[:32] in expected and value == value[:32] * (len(value) // 32)
            seen.add(value[:32])


def test_a_folder_that_takes_nothing_is_still_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = Programs(tmp_path, compressed)
    programs.put("key", b"value")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:  # mode bits stop nothing for root
        full.setattr(Path, "open", refuse)
        full.setattr(Path, "write_bytes", refuse)
        programs.put("other", b"value")
        assert "No space left on device" in (trouble(tmp_path) or "")
    assert programs.get("key") == b"value" and programs.get("other") is None
    assert trouble(tmp_path) is None and os.listdir(tmp_path) == ["key-cache"]
    nowhere = Programs(Path("/dev/null/no"), compressed)
    nowhere.put("key", b"value")
    assert nowhere.get("key") is None
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


def test_jax_compiles_a_damaged_program_again_and_keeps_it(tmp_path: Path, bare_environment: dict[str, str]) -> None:
    assert _compile(tmp_path, bare_environment) == "0 Whole"
    assert _compile(tmp_path, bare_environment) == "1 Whole"
    (path,) = tmp_path.glob("*-cache")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert _compile(tmp_path, bare_environment) == "0 Whole"
    assert _compile(tmp_path, bare_environment, "first") == "1 Whole"


def test_where_the_user_asks_for_more_jax_keeps_its_own(tmp_path: Path, bare_environment: dict[str, str]) -> None:
    asked = {**bare_environment, "JAX_COMPILATION_CACHE_CHECK_CONTENTS": "1"}
    assert not _compile(tmp_path, asked).endswith("Whole")


def test_without_the_seam_jax_keeps_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    seam = pytest.importorskip("jax._src.compilation_cache")
    monkeypatch.delattr(seam, "get_file_cache")
    assert not runtime._keep_programs_whole()


def test_the_place_is_known_without_jax(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    assert runtime.chosen_cache() == tmp_path
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setenv("QMGEN_CACHE", "/somewhere")
    assert runtime.chosen_cache() == Path("/somewhere")
