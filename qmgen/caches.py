"""Where compiled programs are kept between runs, and how, so that a process that dies while it writes harms no other.

An entry is a file ``KEY-cache``, which JAX writes in place and never replaces. Of a process that is killed meanwhile
half a file stays, and every later process would compile again. Each start removes such files, whose compressed stream
does not end.
"""

from __future__ import annotations

import json
import os
import secrets
import time
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

_SUFFIX: Final = "-cache"
#: of files that are being written; they start with a dot as well
_PART: Final = ".part"
#: seconds after which such a file has no writer any more; a write takes less than one
_STALE: Final = 3600.0
#: of the entries that were tested: size and time of change in nanoseconds, by name
_TESTED: Final = ".tested.json"
#: seconds that a start spends on entries that no start has tested, the newest first; what is left is for later starts
_SECONDS: Final = 0.2
#: seconds since its last change after which an entry has no writer any more
_SETTLED: Final = 10.0
#: the first bytes of a zstd frame; other entries are of zlib
_ZSTD: Final = b"\x28\xb5\x2f\xfd"


def cache_directory(kind: str) -> Path:
    """The folder for one kind of compiled program: ``$QMGEN_CACHE``, or of that name in the user's cache directory."""
    if chosen := os.environ.get("QMGEN_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "qmgen" / kind


def remove_damaged(directory: Path, seconds: float = _SECONDS, settled: float = _SETTLED) -> None:
    """Remove the entries in ``directory`` of which a part is missing; any number of processes may do so at once.

    Entries that changed less than ``settled`` seconds ago may still be written, and stay for a later start. Raises no
    ``OSError``: what cannot be removed stays, and JAX compiles what it cannot read.
    """
    if not os.access(directory, os.W_OK):
        return
    deadline, known, entries = time.monotonic() + seconds, _tested(directory), {}
    now = time.time()
    with suppress(OSError), os.scandir(directory) as files:
        for file in files:
            with suppress(OSError):  # another process was faster
                status = file.stat()
                age = now - status.st_mtime  # below zero where clocks differ
                if file.name.endswith(_SUFFIX) and not 0 <= age < settled:
                    entries[file.name] = [status.st_size, status.st_mtime_ns]
                elif file.name.endswith(_PART) and age > _STALE:
                    os.unlink(file.path)
    tested = {name: stamp for name, stamp in entries.items() if known.get(name) == stamp}
    for name in sorted(entries.keys() - tested.keys(), key=lambda name: entries[name][1], reverse=True):
        if time.monotonic() > deadline:
            break
        with suppress(OSError):
            if _is_whole((directory / name).read_bytes()):
                tested[name] = entries[name]
            else:
                (directory / name).unlink()
    if tested != known:
        part = directory / f".{os.getpid()}-{secrets.token_hex(8)}{_PART}"
        try:
            part.write_text(json.dumps(tested))
            os.replace(part, directory / _TESTED)
        except OSError:
            with suppress(OSError):
                part.unlink()


def _tested(directory: Path) -> dict[str, list[int]]:
    try:
        found = json.loads((directory / _TESTED).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_whole(entry: bytes) -> bool:
    """Whether a compressed entry ends where it should; True as well where nothing here can decompress it."""
    compression: Any = zlib
    if entry.startswith(_ZSTD):
        try:  # JAX takes what there is, in this order
            from compression import zstd as compression  # type: ignore[import-not-found,no-redef,unused-ignore]
        except ImportError:
            try:
                import zstandard as compression  # type: ignore[import-not-found,no-redef,unused-ignore]
            except ImportError:
                return True
    try:
        compression.decompress(entry)
    except Exception:  # of zlib, zstandard or compression.zstd, which have no class in common
        return False
    return True


def trouble(directory: Path) -> str | None:
    """One line if programs cannot be kept in ``directory``, which makes every start slower; else None."""
    probe = directory / f".{os.getpid()}-{secrets.token_hex(8)}{_PART}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_bytes(bytes(1 << 20))  # a file without content fits on a full disk
        finally:
            with suppress(OSError):
                probe.unlink()
    except OSError as error:
        return (
            f"compiled programs cannot be kept in {directory} ({error.strerror}): every process compiles what is not "
            "there; set QMGEN_CACHE to a folder with room"
        )
    return None
