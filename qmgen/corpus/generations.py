"""What was added to a finished corpus, one generation after another: by ``--extend``, or by ``qmgen retry``.

Generation 0 is the corpus as first planned. Each later one has a number, settings and a plan of its own, and its files
carry ``more-1``, ``more-2`` ... in their names. It is stated in ``generations/more-1.json`` before its first file is
written, so that all ranks, and whoever continues after a kill, mean the same; its files say the same in their metadata,
should that statement be lost.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import pyarrow.parquet as pq

from qmgen.corpus.books import UNREADABLE
from qmgen.corpus.identity import MANIFEST, config_hash, odd_recipe
from qmgen.corpus.listing import Listing
from qmgen.corpus.locks import Held, Lock
from qmgen.corpus.plan import MOST_ADDITIONS, MOST_UNITS, Plan
from qmgen.corpus.record_values import is_count, list_of
from qmgen.corpus.schema import decode
from qmgen.corpus.seal import sealed, sound_table
from qmgen.corpus.store import Store, read_small
from qmgen.errors import UsageError
from qmgen.files import Linked

FOLDER: Final = "generations"
EXTEND, RETRY = "extend", "retry"
#: seconds that another process is given to state what it adds, which takes it an instant
_PATIENCE: Final = 30.0


@dataclass(frozen=True)
class Generation:
    """Number ``number`` (from 1), of ``kind`` "extend" or "retry", added to the corpus whose configuration hash is
    ``base``. ``recipe`` is the whole row-changing configuration of its rows. The plan of an extension is over places of
    the source as extended, that of a retry over the entries that it tries again."""

    number: int
    kind: str
    base: str
    recipe: Mapping[str, Any]
    plan: Plan

    @property
    def hash(self) -> str:
        """The configuration hash of its files."""
        return config_hash(self.recipe)

    @property
    def name(self) -> str:
        """The name of its statement within the corpus."""
        return f"{FOLDER}/more-{self.number}.json"

    @property
    def mark(self) -> dict[str, Any]:
        """The metadata ``more`` of its files."""
        plan = {"entries": self.plan.entries, "units": self.plan.count, "begin": self.plan.begin}
        return {"number": self.number, "kind": self.kind, "base": self.base, "plan": plan}

    def as_json(self) -> dict[str, Any]:
        """Plain values: what its statement and the manifest hold."""
        return {**self.mark, "config_hash": self.hash, "recipe": dict(self.recipe)}

    @classmethod
    def of(cls, stated: Mapping[str, Any]) -> Generation:
        """The inverse of ``as_json``. Raises ``KeyError``, ``TypeError`` or ``ValueError`` on anything else."""
        number, kind, base, recipe = (stated[name] for name in ("number", "kind", "base", "recipe"))
        entries, units, begin = (stated["plan"][name] for name in ("entries", "units", "begin"))
        counts = is_count(number, 1, MOST_ADDITIONS) and is_count(entries, 1) and is_count(begin)
        if not counts or not is_count(units, 1, min(entries, MOST_UNITS)):
            raise ValueError("its numbers are none of a corpus")
        if kind not in (EXTEND, RETRY) or not isinstance(base, str) or odd_recipe(recipe):
            raise ValueError("it does not say what was added")
        return cls(number, kind, base, dict(recipe), Plan(entries, units, None, number, begin))


def generations(store: Store, listing: Listing | None = None) -> list[Generation]:
    """All that were begun, in order; [] for a corpus to which nothing was added."""
    listing = listing or Listing.of(store)
    stated = {name for name in store.names(FOLDER) if name.endswith(".json")}
    files = {key[0]: name for key, name in listing.units() if key[0]}
    found: dict[int, Generation] = {}
    for name in stated:
        one = _stated(store, name)
        if one is not None:
            found[one.number] = one
    for number in files.keys() - found.keys():  # a lost or damaged statement: the files say the same
        with contextlib.suppress(*UNREADABLE):
            metadata = decode(pq.ParquetFile(store.open(files[number])).schema_arrow.metadata)
            one = Generation.of({**metadata["more"], "recipe": metadata["recipe"]})
            if one.number == number:
                found[number] = one
    if stated - {one.name for one in found.values()}:  # nor is there a file yet
        for one in _in_manifest(store):
            if one.name in stated:
                found.setdefault(one.number, one)
    return [found[number] for number in sorted(found)]


def _stated(store: Store, name: str) -> Generation | None:
    """What a statement says; None where it cannot be read, or was changed since."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        one = Generation.of(sound_table(read_small(store, name)))
        return one if one.name == name else None
    return None


def _in_manifest(store: Store) -> Iterator[Generation]:
    """What the manifest says was added, where it is what was written."""
    with contextlib.suppress(OSError, ValueError):
        for one in list_of(sound_table(read_small(store, MANIFEST)).get("more")):
            with contextlib.suppress(ValueError, KeyError, TypeError):
                yield Generation.of(one)


def begin(store: Store, generation: Generation) -> None:
    """State ``generation``, unless it is stated already; from now on the manifest calls the corpus unfinished.

    Raises ``UsageError`` when another process has begun another one with this number.
    """
    with _alone(store):
        begun = {one.number: one for one in generations(store)}.get(generation.number)
        if begun is not None and begun.as_json() != generation.as_json():
            raise UsageError(
                f"another process has just begun to add something else to {store.place}: wait for it, then run again"
            )
        try:
            if begun is None or _stated(store, generation.name) is None:  # lost, or not what was written
                store.write(generation.name, sealed(generation.as_json()))
            _unfinished(store, generation)
        except Linked:
            raise
        except OSError as error:
            raise UsageError(f"cannot write to {store.place}: {error.strerror or error}") from error


def _unfinished(store: Store, generation: Generation) -> None:
    """Counting anew can wait until there is something to count; that it is not all must stand there at once."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        manifest = sound_table(read_small(store, MANIFEST))
        more = [one for one in list_of(manifest.get("more")) if isinstance(one, dict)]
        if all(one.get("number") != generation.number for one in more):
            manifest |= {"complete": False, "more": [*more, generation.as_json()]}
            store.write(MANIFEST, sealed(manifest))


@contextmanager
def _alone(store: Store) -> Iterator[None]:
    """Nobody else on this file system states a generation meanwhile; an object store has no locks."""
    if store.local is None:
        yield
        return
    deadline = time.monotonic() + _PATIENCE
    while True:
        lock = Lock(store.local / FOLDER / "begin.lock", store.local)
        try:
            lock.acquire()
        except Held as by:
            if time.monotonic() >= deadline:
                raise UsageError(f"{store.place} is just being added to by {by.who}, which does not go on") from None
            time.sleep(0.05)
            continue
        except Linked:
            raise
        except OSError as error:
            raise UsageError(f"cannot write to {store.place}: {error.strerror or error}") from error
        try:
            yield
        finally:
            lock.release()
        return
