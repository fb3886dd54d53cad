"""A corpus in a directory: temporary files on the same file system, synchronised and renamed."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Final

import pyarrow as pa

from qmgen.corpus.locks import Held, Lock

#: where unfinished files are, beside the finished ones: renaming works within one file system only
TEMPORARY: Final = ".tmp"

_numbers = count()


class LocalStore:
    """The directory ``local``; it need not exist yet."""

    def __init__(self, local: Path) -> None:
        self.local: Path | None = local
        self.place = str(local)
        self._directory = local

    def exists(self) -> bool:
        return self._directory.exists()

    def names(self, folder: str) -> dict[str, int]:
        found: dict[str, int] = {}
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(self._directory / folder) as listed:
            for entry in listed:
                with contextlib.suppress(FileNotFoundError):  # removed since
                    if entry.is_file():
                        found[f"{folder}/{entry.name}" if folder else entry.name] = entry.stat().st_size
        return found

    def open(self, name: str) -> pa.NativeFile:
        return pa.OSFile(str(self._directory / name))

    def read(self, name: str) -> bytes:
        return (self._directory / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        path = self._directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}-{next(_numbers)}")
        try:
            with temporary.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    def put(self, name: str, finished: Path) -> None:
        final = self._directory / name
        final.parent.mkdir(parents=True, exist_ok=True)
        with finished.open("rb") as stream:
            os.fsync(stream.fileno())
        os.replace(finished, final)
        _sync(final.parent)

    def remove(self, name: str) -> None:
        (self._directory / name).unlink(missing_ok=True)

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        # the host's name may hold dots: nothing here may take a part of it for a suffix
        nest = self._directory / TEMPORARY / f"{socket.gethostname()}-{os.getpid()}-{next(_numbers)}"
        with Lock(nest.parent / f"{nest.name}.lock"):
            nest.mkdir(parents=True, exist_ok=True)
            try:
                yield nest
            finally:
                shutil.rmtree(nest, ignore_errors=True)

    def clear(self) -> None:
        """Workspaces whose lock nobody holds belong to the dead, wherever they ran."""
        top = self._directory / TEMPORARY
        nests = {path.name.removesuffix(".lock") for path in top.glob("*-*.lock")}
        nests |= {path.name for path in top.glob("*-*") if path.is_dir()}
        for nest in nests:
            with contextlib.suppress(Held, OSError), Lock(top / f"{nest}.lock") as lock:
                if lock.certain:
                    shutil.rmtree(top / nest, ignore_errors=True)
        for path in [*self._directory.glob(".*.*-*-*"), *self._directory.glob("runs/.*.*-*-*")]:
            if f".{socket.gethostname()}-" in path.name and not _alive(path.name):
                path.unlink(missing_ok=True)


def _alive(name: str) -> bool:
    pid = name.rsplit("-", 2)[-2]
    return not pid.isdigit() or not Path("/proc").is_dir() or Path("/proc", pid).exists()


def _sync(folder: Path) -> None:
    """Make the renames in ``folder`` last through a power cut, where the file system knows how."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # some network file systems refuse to synchronise a folder
        pass
    finally:
        os.close(handle)
