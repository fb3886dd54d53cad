"""Which corpus a directory holds: a hash of all that changes its rows, and the refusal to mix two of them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any, Final

import pyarrow.parquet as pq

from qmgen.corpus.columns import KNOWN_VERSIONS, SCHEMA_VERSION
from qmgen.corpus.plan import FAILURES, MOST_UNITS, SPLITS, Listing, parse
from qmgen.corpus.schema import canonical_json, decode
from qmgen.corpus.seal import LARGEST, is_count
from qmgen.corpus.store import Place, Store, read_small, store_of
from qmgen.corpus.unit_records import UNREADABLE
from qmgen.documents import table_of
from qmgen.errors import UsageError, first_line

MANIFEST = "manifest.json"


def config_hash(recipe: Mapping[str, Any]) -> str:
    """SHA-256 (hexadecimal) over the canonical JSON of ``recipe``: the row-changing configuration as plain values."""
    return sha256(canonical_json(recipe).encode()).hexdigest()


def stored_recipe(place: Place | Store) -> dict[str, Any] | None:
    """The recipe of the corpus at ``place``, from its manifest or else from any of its files; None without one."""
    store = store_of(place)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        recipe = _checked(table_of(read_small(store, MANIFEST)))
        if recipe is not None:
            return recipe
    # a lost or damaged manifest: the files say the same
    listing = Listing.of(store)
    for name in (name for kind in (FAILURES, *SPLITS) for name in listing.files(kind)):
        with contextlib.suppress(*UNREADABLE):
            recipe = _checked(decode(pq.ParquetFile(store.open(name)).schema_arrow.metadata))
            if recipe is not None:
                return recipe
    return None


def stored_version(place: Place | Store) -> int:
    """The version of the format that the files at ``place`` have, the newest where there are none: what is added to a
    corpus has the columns that it has.

    Raises ``UsageError`` for a version that is not known here.
    """
    store = store_of(place)
    listing = Listing.of(store)
    for name in (name for kind in (FAILURES, *SPLITS) for name in listing.files(kind)):
        with contextlib.suppress(*UNREADABLE):
            version = decode(pq.ParquetFile(store.open(name)).schema_arrow.metadata).get("schema_version")
            if version in KNOWN_VERSIONS:
                return int(version)
            if version is not None:
                what = f"{store.place}/{name} is of version {version} of the format"
                raise UsageError(f"{what}: use the version of qmgen that wrote it")
    return SCHEMA_VERSION


def _checked(metadata: Mapping[str, Any]) -> dict[str, Any] | None:
    """The recipe, where it is the one whose hash stands beside it: a flipped byte must not look like another corpus."""
    recipe = metadata.get("recipe")
    if not isinstance(recipe, dict) or odd_recipe(recipe):
        return None
    return recipe if config_hash(recipe) == metadata.get("config_hash") else None


#: settings of a recipe that others are computed from, with what they must be
_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "conformers": (int,),
    "max_cycles": (int,),
    "embed_time_limit": (int, float),
    "guess": (str,),
    "batch_size": (int, type(None)),
}


def odd_recipe(recipe: Any) -> str:
    """What is wrong with a recipe that a file states; nothing where it can be gone on with."""
    if not isinstance(recipe, dict):
        return "it is no table"
    for name, types in _TYPES.items():
        value = recipe.get(name, types[0]())
        if not isinstance(value, types) or isinstance(value, bool) or (isinstance(value, int) and value > LARGEST):
            return f"{name} is {first_line(ValueError(value))[:40]}"
    source = recipe.get("source", [])
    if isinstance(source, Mapping):
        return "" if is_count(source.get("units"), 1, MOST_UNITS) else "it states no number of units"
    return "" if isinstance(source, list) and all(isinstance(one, str) for one in source) else "it lists no source"


def check_same(place: Place | Store, recipe: Mapping[str, Any], overwrite: bool = False) -> None:
    """Nothing when ``place`` is new, empty of data, or holds the corpus of ``recipe`` (with ``overwrite``, any corpus).

    Raises ``UsageError`` with the difference, key by key, when it holds another, and when it is no directory.
    """
    store = store_of(place)
    if store.local is not None and store.local.exists() and not store.local.is_dir():
        raise UsageError(f"{store.place} is a file: choose another --out")
    stored = stored_recipe(store)
    if stored is None:
        listing = Listing.of(store)
        if any(name.endswith(".parquet") for name in listing.sizes if not _unreadable_is_ours(name)):
            raise UsageError(f"{store.place} holds data that qmgen did not write: choose another --out")
        return
    if not overwrite and config_hash(stored) != config_hash(recipe):
        changes = difference(stored, recipe)
        add = "--extend to add to it, " if only_adds(stored, recipe) else ""
        raise UsageError(
            f"{store.place} holds another corpus ({changes}): choose another --out, {add}or --overwrite to start anew"
        )


#: what may grow in a finished corpus
GROWING: Final = ("conformers", "source")


def only_adds(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether ``new`` differs from ``old`` by other molecules or more conformers alone."""
    rest = [{key: value for key, value in recipe.items() if key not in GROWING} for recipe in (old, new)]
    return config_hash(rest[0]) == config_hash(rest[1]) and new["conformers"] >= old.get("conformers", 0)


def _unreadable_is_ours(name: str) -> bool:
    """A damaged file under a name of ours is made again; one under another name is somebody else's."""
    return parse(name) is not None


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """``xc: b3lyp5 -> pbe; conformers: 1 -> 4``, nested keys joined by dots."""
    before, after = dict(_flat(old)), dict(_flat(json.loads(canonical_json(new))))
    keys = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    return "; ".join(f"{key}: {_short(before.get(key))} -> {_short(after.get(key))}" for key in keys)


def _flat(mapping: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _short(value: Any) -> str:
    text = "none" if value is None else value if isinstance(value, str) else canonical_json(value)
    return text if len(text) <= 40 else text[:16] + "..."
