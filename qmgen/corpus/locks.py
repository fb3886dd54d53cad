"""Locks that die with their process: an advisory lock of the kernel on a file, never the file's mere existence.

A process that is killed leaves the file, not the lock, so that no lock is ever stale. Clocks play no part.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from qmgen import files
from qmgen.documents import json_of

#: what file systems without such locks answer
_NO_LOCKS: Final = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
#: times that a lock is tried for, and seconds between
_TRIES: Final = 4
_PAUSE: Final = 0.05
#: bytes that a holder may write about itself
_MOST_SAID: Final = 65536


class Held(Exception):
    """Another process holds the lock; ``by`` is what it wrote about itself."""

    def __init__(self, by: dict[str, Any]) -> None:
        super().__init__("held by another process")
        self.by = by

    @property
    def who(self) -> str:
        """``process 4711 on node7``, as far as known."""
        pid, host = self.by.get("pid"), self.by.get("host")
        known = isinstance(pid, int) and isinstance(host, str)
        return f"process {pid} on {host}" if known else "another process"


class Lock:
    """An exclusive lock on the file ``path``, which is made for it and removed at the end; a context.

    No part of ``path`` below the folder ``top`` (its own, where None) may be a symbolic link. ``about`` is what the
    file says of its holder, beside process and host. ``certain`` is False on a file system that knows no locks: then
    no process is kept out. Raises ``Held`` at once when another process has it, ``OSError`` where the file cannot be
    made, ``files.Linked`` among it.
    """

    def __init__(self, path: Path, top: Path | None = None, about: Mapping[str, Any] | None = None) -> None:
        self.path = path
        self._about = dict(about or {})
        self.certain = True
        self._top = path.parent if top is None else top
        self._handle: int | None = None
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Lock:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def acquire(self) -> None:
        """Take it, or raise ``Held``."""
        with contextlib.ExitStack() as stack:
            where = self.path.parent.relative_to(self._top)
            self._acquire(stack.enter_context(files.opened(self._top, where, make=True)))
            self._open = stack.pop_all()

    def _acquire(self, folder: int) -> None:
        tries = 0
        while True:
            handle = _opened(self.path, folder, os.O_RDWR | os.O_CREAT)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                by = _about(handle)
                os.close(handle)
                tries += 1
                if tries < _TRIES:  # whoever asks who holds it (``held``) has it for a moment
                    time.sleep(_PAUSE)
                    continue
                raise Held(by) from None
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    os.close(handle)
                    raise
                self.certain = False
            if not self.certain or still_there(handle, self.path.name, folder):
                break
            os.close(handle)  # its last holder has just removed it: what we have locked has no name any more
        self._handle, self._folder = handle, folder
        with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
            os.truncate(handle, 0)
            os.write(handle, json.dumps({"pid": os.getpid(), "host": socket.gethostname(), **self._about}).encode())

    def release(self) -> None:
        """Give it back; harmless when repeated."""
        if self._handle is None:
            return
        if self.certain:
            with contextlib.suppress(OSError):
                # while it is held, so that nobody's newer file is removed
                os.unlink(self.path.name, dir_fd=self._folder)
        os.close(self._handle)
        self._handle = None
        self._open.close()


def held(path: Path, top: Path | None = None) -> dict[str, Any] | None:
    """What the holder of the lock on ``path`` wrote about itself; None where nobody holds it. ``top``: see ``Lock``."""
    return _probe(path, top)[1]


def knows_locks(path: Path, top: Path | None = None) -> bool:
    """Whether the file system of ``path``, a file that exists, has such locks at all."""
    return _probe(path, top)[0]


def _probe(path: Path, top: Path | None) -> tuple[bool, dict[str, Any] | None]:
    """Whether the file has a lock that works, and what its holder wrote, if there is one."""
    top = path.parent if top is None else top
    try:
        with files.opened(top, path.parent.relative_to(top)) as folder:
            handle = _opened(path, folder, os.O_RDONLY)
    except OSError:
        return False, None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True, _about(handle)
    except OSError:
        return False, None
    finally:
        os.close(handle)
    return True, None


def still_there(handle: int, path: Path | str, folder: int | None = None) -> bool:
    """Whether ``path`` (in the open ``folder``, where one is given) is still the name of the open file: else it was
    removed or renamed since."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle), os.stat(path, dir_fd=folder, follow_symlinks=False))
    return False


def _opened(path: Path, folder: int, flags: int) -> int:
    """The lock file itself, never what a link of that name leads to; a pipe is not waited for."""
    try:
        return os.open(path.name, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise files.Linked(path) from None
        raise


def _about(handle: int) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        found = json_of(os.pread(handle, _MOST_SAID, 0))
        if isinstance(found, dict):
            return found
    return {}
