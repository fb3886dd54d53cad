"""What a corpus asks of the place where it lies. Names are relative, with ``/``: ``data/train-00000-of-00008.parquet``.

A file stands under its name only when it is whole; a second file of the same name replaces the first in one step.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import pyarrow as pa


class Store(Protocol):
    """All methods raise ``OSError`` where the system refuses (``FileNotFoundError`` for a name that is not there)."""

    #: the place as one would type it, without credentials
    place: str
    #: the directory, where it is one of this machine
    local: Path | None

    def exists(self) -> bool:
        """Whether there is anything at this place."""
        ...

    def names(self, folder: str) -> dict[str, int]:
        """Names (with the folder) of the files in ``folder``, and their sizes in bytes; {} where there is no folder."""
        ...

    def open(self, name: str) -> pa.NativeFile:
        """The file for reading, anywhere in it."""
        ...

    def read(self, name: str, most: int | None = None) -> bytes:
        """The whole of a small file; ``OSError`` (``EFBIG``) for one of more than ``most`` bytes, before it is read."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """A small file, whole or not at all."""
        ...

    def put(self, name: str, finished: Path) -> None:
        """Give a finished file out of ``workspace()`` its name; it is gone from there afterwards."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file; nothing where there is none."""
        ...

    def workspace(self) -> AbstractContextManager[Path]:
        """A local directory of this process's own from which ``put`` takes files; it is removed afterwards."""
        ...

    def clear(self) -> None:
        """Remove what killed processes have left behind in their workspaces."""
        ...
