"""Where compiled programs are kept between runs, and how, so that a process that dies while it writes harms no other.

An entry is a file ``KEY-cache`` as JAX names its own, and ends in a *seal*: the SHA-256 of what comes before, in a
frame that zstd's readers skip and zlib's do not reach. So JAX reads our entries, and we read those it wrote itself.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

_SUFFIX: Final = "-cache"
#: of files that are being written; they start with a dot as well
_PART: Final = ".part"
#: seconds after which such a file has no writer any more; a write takes less than one
_STALE: Final = 3600.0
#: a skippable frame of zstd (RFC 8878, 3.1.2): magic number, then the length of what follows, 32 bytes
_SEAL: Final = b"\x5e\x2a\x4d\x18" + (32).to_bytes(4, "little")
_SEAL_BYTES: Final = len(_SEAL) + 32


def cache_directory(kind: str) -> Path:
    """The folder for one kind of compiled program: ``$QMGEN_CACHE``, or of that name in the user's cache directory."""
    if chosen := os.environ.get("QMGEN_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "qmgen" / kind


class Programs:
    """Compiled programs by key in ``directory``; any number of processes may read and write it at once.

    ``whole(value)`` judges an entry without a seal, which we did not write. Nothing here raises ``OSError``: what
    cannot be read is not there, and what cannot be written is compiled again next time.
    """

    def __init__(self, directory: Path, whole: Callable[[bytes], bool]) -> None:
        self.directory = directory
        self._whole = whole
        self._swept = False

    def get(self, key: str) -> bytes | None:
        """The entry of ``key``; None where there is none. A damaged one is removed."""
        path = self._path(key)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        value = self._opened(content)
        if value is None:
            with suppress(OSError):
                path.unlink()
        return value

    def put(self, key: str, value: bytes) -> None:
        """Keep ``value``, which takes the place of any other: it appears under its name when all of it is there."""
        part = self.directory / f".{os.getpid()}-{secrets.token_hex(8)}{_PART}"
        try:
            with part.open("xb") as stream:
                stream.write(value)
                stream.write(_SEAL + hashlib.sha256(value).digest())
            # no fsync: after a power cut the seal tells
            os.replace(part, self._path(key))
            self._sweep(self._path(key).stat().st_mtime)
        except OSError:
            with suppress(OSError):
                part.unlink()

    def _opened(self, content: bytes) -> bytes | None:
        """What was put, or None if this is not all of it."""
        value, seal = content[:-_SEAL_BYTES], content[-_SEAL_BYTES:]
        if seal.startswith(_SEAL):
            return value if seal[len(_SEAL) :] == hashlib.sha256(value).digest() else None
        return content if self._whole(content) else None

    def _path(self, key: str) -> Path:
        return self.directory / f"{key}{_SUFFIX}"

    def _sweep(self, now: float) -> None:
        """Remove, once, what killed writers left. ``now`` is the file system's time, so that clocks need not agree."""
        if self._swept:
            return
        self._swept = True
        for path in self.directory.glob(f".*{_PART}"):
            with suppress(OSError):  # another process was faster
                if now - path.stat().st_mtime > _STALE:
                    path.unlink()


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
