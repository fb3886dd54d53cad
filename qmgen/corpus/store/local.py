"""A corpus in a directory: temporary files on the same file system, synchronized and renamed.

The directory itself may be a link, as the user names it. What lies in it may come from anybody: links in it are read,
where they name regular files, and nothing is written, locked or removed through them.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path, PurePath
from typing import Final

import pyarrow as pa

from qmgen import files
from qmgen.corpus.locks import Held, Lock

#: where unfinished files are, beside the finished ones: renaming works within one file system only
TEMPORARY: Final = ".tmp"
#: what a killed process leaves of a file that it was writing: ``.NAME.host-process-number``
_LEFT: Final = re.compile(r"\..*\..*-.*-.*", re.DOTALL)
#: folders of a corpus, in the order in which they are asked for
FOLDERS: Final = ("data", "failures", "generations", "runs", "source", TEMPORARY, f"{TEMPORARY}/partial")

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
                with contextlib.suppress(OSError):  # removed since, or a link that leads nowhere
                    if entry.is_file():
                        found[f"{folder}/{entry.name}" if folder else entry.name] = entry.stat().st_size
        return found

    def open(self, name: str) -> pa.NativeFile:
        path = self._directory / name
        files.refuse_odd(path.stat(), path)
        return pa.OSFile(str(path))

    def read(self, name: str, most: int | None = None) -> bytes:
        return files.read(self._directory / name, most)

    def write(self, name: str, data: bytes) -> None:
        files.write(self._directory, name, data)

    def put(self, name: str, finished: Path) -> None:
        path = PurePath(name)
        with files.opened(self._directory, path.parent, make=True) as folder:
            with finished.open("rb") as stream:
                os.fsync(stream.fileno())
            os.replace(finished, path.name, dst_dir_fd=folder)
            files.synchronize(folder)

    def remove(self, name: str) -> None:
        files.remove(self._directory, name)

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        # the host's name may hold dots: nothing here may take a part of it for a suffix
        name = f"{socket.gethostname()}-{os.getpid()}-{next(_numbers)}"
        with (
            Lock(self._directory / TEMPORARY / f"{name}.lock", self._directory),
            files.opened(self._directory, TEMPORARY) as folder,
        ):
            shutil.rmtree(name, ignore_errors=True, dir_fd=folder)  # of a dead process with this number
            os.mkdir(name, dir_fd=folder)  # raises where a link has that name, which is not removed above
            try:
                yield self._directory / TEMPORARY / name
            finally:
                shutil.rmtree(name, ignore_errors=True, dir_fd=folder)

    def clear(self) -> None:
        """Workspaces whose lock nobody holds belong to the dead, wherever they ran."""
        with contextlib.suppress(FileNotFoundError), files.opened(self._directory, TEMPORARY) as folder:
            with os.scandir(folder) as listed:
                nests = {entry.name.removesuffix(".lock") for entry in listed if _of_workspace(entry)}
            for nest in nests:
                lock = Lock(self._directory / TEMPORARY / f"{nest}.lock", self._directory)
                with contextlib.suppress(Held, OSError), lock:
                    if lock.certain:
                        shutil.rmtree(nest, ignore_errors=True, dir_fd=folder)
        for name in ("", "runs"):
            with contextlib.suppress(FileNotFoundError), files.opened(self._directory, name) as folder:
                for left in filter(_LEFT.fullmatch, os.listdir(folder)):
                    if f".{socket.gethostname()}-" in left and not _alive(left):
                        with contextlib.suppress(FileNotFoundError):
                            os.unlink(left, dir_fd=folder)


def _of_workspace(entry: os.DirEntry[str]) -> bool:
    return "-" in entry.name and (entry.name.endswith(".lock") or entry.is_dir(follow_symlinks=False))


def _alive(name: str) -> bool:
    pid = name.rsplit("-", 2)[-2]
    return not pid.isdigit() or not Path("/proc").is_dir() or Path("/proc", pid).exists()
