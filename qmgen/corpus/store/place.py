"""From what a person types (``corpus``, ``s3://bucket/corpus``) to a store."""

from __future__ import annotations

from pathlib import Path

from qmgen.corpus.store.local import LocalStore
from qmgen.corpus.store.store import Store
from qmgen.documents import LARGEST

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
