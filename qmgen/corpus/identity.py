"""Which corpus a directory holds: a hash of all that changes its rows, and the refusal to mix two of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from qmgen.corpus.schema import canonical_json, decode
from qmgen.errors import UsageError

MANIFEST = "manifest.json"


def config_hash(recipe: Mapping[str, Any]) -> str:
    """SHA-256 (hexadecimal) over the canonical JSON of ``recipe``: the row-changing configuration as plain values."""
    return sha256(canonical_json(recipe).encode()).hexdigest()


def stored_recipe(directory: Path) -> dict[str, Any] | None:
    """The recipe of the corpus in ``directory``, from its manifest or else from any of its files; None without one."""
    manifest = directory / MANIFEST
    if manifest.is_file():
        try:
            recipe = json.loads(manifest.read_text(encoding="utf-8"))["recipe"]
            if isinstance(recipe, dict):
                return recipe
        except (OSError, ValueError, KeyError, TypeError):
            pass  # a lost or damaged manifest: the files say the same
    for path in [*directory.glob("failures/*.parquet"), *directory.glob("data/*.parquet")]:
        try:
            found = decode(pq.read_metadata(path).metadata).get("recipe")
        except (OSError, ValueError):  # pyarrow's errors are ValueErrors
            continue
        if isinstance(found, dict):
            return found
    return None


def check_same(directory: Path, recipe: Mapping[str, Any]) -> None:
    """Nothing when ``directory`` is new, empty of data, or holds the corpus of ``recipe``.

    Raises ``UsageError`` with the difference, key by key, when it holds another, and when it is no directory.
    """
    if directory.exists() and not directory.is_dir():
        raise UsageError(f"{directory} is a file: choose another --out")
    stored = stored_recipe(directory)
    if stored is None:
        if next(directory.glob("data/*.parquet"), None) is not None:
            raise UsageError(f"{directory} holds data that qmgen did not write: choose another --out")
        return
    if config_hash(stored) != config_hash(recipe):
        changes = difference(stored, recipe)
        raise UsageError(f"{directory} holds another corpus ({changes}): choose another --out, or remove {directory}")


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
