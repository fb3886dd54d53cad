"""Writing TOML: flat keys with strings, numbers, booleans and lists of strings, which is all a configuration has."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any


def document(
    values: Mapping[str, Any],
    path_fields: Collection[str] = (),
    directory: Path | None = None,
    words: Mapping[str, Collection[str]] | None = None,
) -> str:
    """One ``key = value`` line each, a comment where nothing is set. Paths are relative to ``directory``, if given;
    ``words`` of a setting are none."""
    lines = []
    for key, value in values.items():
        if value is None:
            lines.append(f"# {key} is not set")
            continue
        if key in path_fields and directory is not None and value not in (words or {}).get(key, ()):
            value = _relative(value, directory)
        lines.append(f"{key} = {literal(value)}")
    return "\n".join(lines) + "\n"


def literal(value: Any) -> str:
    """``value`` as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(literal(item) for item in value) + "]"
    # JSON's escapes are TOML's, except for DEL, which TOML wants escaped
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _relative(path: Any, directory: Path) -> Any:
    if isinstance(path, list):
        return [_relative(item, directory) for item in path]
    return str(path) if str(path) == "-" or "://" in str(path) else os.path.relpath(path, directory)
