"""The interface of the place where a corpus lies, and the store at a directory or URL.

Names are relative, with ``/``: ``data/train-00000-of-00008.parquet``. A file stands under its name only when it is
whole; a second file of the same name replaces the first in one step.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from qmgen.corpus.store.local import LocalStore
from qmgen.documents import LARGEST


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


#: a directory, or the URL of a prefix in an object store
Place = Path | str


def store_of(place: Place | Store) -> Store:
    """The store at ``place``. Raises ``UsageError`` for a URL that will not do."""
    if not isinstance(place, str | Path):
        return place
    if isinstance(place, str) and "://" in place:
        from qmgen.corpus.store.objects import ObjectStore

        return ObjectStore(place)
    return LocalStore(Path(place))


def place_of(store: Store) -> Place:
    """What ``store_of`` makes the same store from, in another process."""
    return store.local if store.local is not None else str(getattr(store, "url", store.place))


def read_small(store: Store, name: str) -> bytes:
    """The whole of a file that describes the corpus. Raises ``OSError``, also for one that is far too large for that:
    a file may be as long as it says without taking any room."""
    return store.read(name, LARGEST)


def joined(place: Place, name: str) -> Place:
    """The place ``name`` below another; a URL's query stays at its end."""
    if isinstance(place, str) and "://" in place:
        url, mark, query = place.partition("?")
        return f"{url.rstrip('/')}/{name}{mark}{query}"
    return Path(place) / name
