"""Files in folders that another program may have filled: written, locked and removed without following symbolic links.

A folder ``top`` is named by the user and may be a link itself; below it no part of a name may be one. Each folder on
the way is opened relative to the one before, so that a link that is put there meanwhile is not followed either.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path, PurePath
from typing import Any, BinaryIO, Final

from qmgen.errors import UsageError

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

_numbers = count()


class Linked(UsageError, OSError):
    """A symbolic link stands where something was to be written, locked or removed."""

    def __init__(self, path: Path | str) -> None:
        self.path = str(path)
        super().__init__(
            f"{path} is a symbolic link, and nothing is written, locked or removed through one: put what it names in "
            "its place, or choose another folder"
        )

    def __reduce__(self) -> tuple[type[Linked], tuple[str]]:
        return type(self), (self.path,)  # as it was made: it may end a process elsewhere


@contextmanager
def opened(top: Path, folder: str | PurePath = "", make: bool = False) -> Iterator[int]:
    """A handle on ``folder`` below ``top``; with ``make`` both are made where they are missing.

    Raises ``Linked`` where a part of ``folder`` is a link, other ``OSError`` where the system refuses.
    """
    if make:
        top.mkdir(parents=True, exist_ok=True)
    handle = os.open(top, _FOLDER)
    try:
        for part in PurePath(folder).parts:
            inner = _inner(handle, part, make, top / folder)
            os.close(handle)
            handle = inner
        yield handle
    finally:
        os.close(handle)


def _inner(folder: int, part: str, make: bool, path: Path) -> int:
    if make:
        with contextlib.suppress(FileExistsError):
            os.mkdir(part, dir_fd=folder)
    try:
        return os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    except OSError:
        if is_link(part, folder):
            raise Linked(path) from None
        raise


def is_link(name: str | Path, folder: int | None = None) -> bool:
    """Whether ``name`` (in the open ``folder``, where one is given) is a symbolic link."""
    with contextlib.suppress(OSError):
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    return False


def refuse_links(top: Path, *names: str) -> None:
    """Raise ``Linked`` where one of ``names`` below ``top`` is a symbolic link."""
    for name in names:
        if is_link(top / name):
            raise Linked(top / name)


def open_for_writing(folder: int, name: str, path: Path, append: bool = False) -> BinaryIO:
    """The file ``name`` in an open folder: a new one, which takes the place of any other; with ``append`` the one that
    is there, or a new one. Raises ``Linked`` where that is a link, ``OSError``."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        if append:
            return os.fdopen(os.open(name, flags | os.O_APPEND, 0o666, dir_fd=folder), "ab")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
        return os.fdopen(os.open(name, flags | os.O_EXCL, 0o666, dir_fd=folder), "wb")
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Linked(path) from None
        raise


def write(top: Path, name: str, data: bytes, keep: str | None = None) -> None:
    """``data`` as the file ``name`` below ``top``. As ``replacing``."""
    with replacing(top, name, keep) as stream:
        stream.write(data)


@contextmanager
def replacing(top: Path, name: str, keep: str | None = None, make: bool = True) -> Iterator[BinaryIO]:
    """What is written becomes the file ``name`` below ``top`` at the end of the block: whole, or not at all; a link
    under that name is replaced. What was there before gets the name ``keep``, where one is given. Missing folders
    are made, or with ``make`` False are an error.

    Raises ``Linked`` where a folder on the way is a link, other ``OSError`` where the system refuses.
    """
    path = PurePath(name)
    with opened(top, path.parent, make) as folder:
        temporary = f".{path.name}.{socket.gethostname()}-{os.getpid()}-{next(_numbers)}"
        try:
            with open_for_writing(folder, temporary, top / name) as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            if keep is not None:
                with contextlib.suppress(FileNotFoundError):
                    os.replace(path.name, keep, src_dir_fd=folder, dst_dir_fd=folder)
            os.replace(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)
            synchronize(folder)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=folder)


def write_json(value: Any, path: Path, flag: str) -> Path:
    """``value`` as JSON in the file ``path`` that a user named by ``flag``; a device or a pipe is written to as it is.

    Raises ``UsageError`` when it cannot be written.
    """
    data = (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(data)
        else:
            there = path.resolve()
            write(there.parent, there.name, data)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}; choose another {flag}") from error
    return path


def remove(top: Path, name: str) -> None:
    """Remove the file ``name`` below ``top``; nothing where there is none. Of a link the link goes. Raises as
    ``write``."""
    path = PurePath(name)
    with contextlib.suppress(FileNotFoundError), opened(top, path.parent) as folder:
        os.unlink(path.name, dir_fd=folder)


def read(path: Path, most: int | None = None) -> bytes:
    """The whole of a regular file, or of one that a link names. Raises ``OSError``, for anything else too: a pipe has
    no end, and a device may have none; and for more than ``most`` bytes, before they are read: a file may be as long as
    it says without taking any room."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as stream:
        status = os.fstat(handle)
        refuse_odd(status, path)
        if most is not None and status.st_size > most:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
        return stream.read()


def refuse_odd(status: os.stat_result, path: Path) -> None:
    """Raise ``OSError`` unless ``status`` is of a regular file."""
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "Not a regular file", str(path))


def synchronize(folder: int) -> None:
    """Make the renames in an open folder last through a power cut; some network file systems refuse that."""
    with contextlib.suppress(OSError):
        os.fsync(folder)
