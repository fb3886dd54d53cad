"""JSON and TOML from files of any origin: read with bounds, or refused with ``ValueError``.

The parsers of the standard library raise ``RecursionError`` on deep nesting, and return surrogates and infinities. What
is read here can be walked through by recursion, written again as JSON, and printed.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Mapping
from typing import Any, Final

#: levels of lists and tables; what qmgen writes has five
DEEPEST: Final = 64
#: bytes of a document: a manifest of a million work units has three quarters of that
LARGEST: Final = 2**30
#: bytes of a settings file
LARGEST_SETTINGS: Final = 2**24
#: a dotted key of more levels: the standard parser takes time as the square of their number
_LONG_KEY: Final = re.compile(
    rf"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*"|'[^'\n]*')[ \t]*+\.[ \t]*+){{{DEEPEST},}}""", re.ASCII
)


class TooDeep(ValueError):
    """Lists and tables are nested deeper than ``DEEPEST``."""

    def __init__(self) -> None:
        super().__init__("it is nested too deep")


def json_of(text: str | bytes, finite: bool = True) -> Any:
    """What a JSON document holds. Raises ``ValueError`` for anything else, where it is nested too deep, and, with
    ``finite``, for numbers that are infinite or none."""
    if len(text) > LARGEST:
        raise ValueError(f"it has {len(text)} bytes")
    try:
        value = json.loads(text)
    except RecursionError:
        raise TooDeep from None
    _refuse_odd(value, finite)
    return value


def table_of(text: str | bytes, finite: bool = True) -> dict[str, Any]:
    """The table (object) that a JSON document holds. Raises ``ValueError`` for anything else, and as ``json_of``."""
    value = json_of(text, finite)
    if not isinstance(value, dict):
        raise ValueError(f"it holds a {type(value).__name__} and no table")
    return value


def toml_of(text: str | bytes) -> dict[str, Any]:
    """What a TOML document holds. Raises ``ValueError`` as ``json_of`` does."""
    if len(text) > LARGEST_SETTINGS:
        raise ValueError(f"it has {len(text)} bytes")
    text = text.decode() if isinstance(text, bytes) else text
    if _LONG_KEY.search(text):
        raise TooDeep
    try:
        value = tomllib.loads(text)
    except RecursionError:
        raise TooDeep from None
    _refuse_odd(value, finite=False)  # TOML has infinities; who reads them says where they may stand
    return value


def _refuse_odd(value: Any, finite: bool) -> None:
    """Raise ``ValueError`` for nesting deeper than ``DEEPEST``, text that cannot be encoded, and, with ``finite``,
    numbers that are infinite or none."""
    level: list[Any] = [value]
    for _ in range(DEEPEST + 1):
        inner: list[Any] = []
        for one in level:
            if isinstance(one, str):
                if not one.isascii():
                    one.encode()
            elif isinstance(one, float) and finite:
                if not math.isfinite(one):
                    raise ValueError(f"it holds the number {one}")
            elif isinstance(one, Mapping):
                inner.extend(one.keys())
                inner.extend(one.values())
            elif isinstance(one, list):
                inner.extend(one)
        if not inner:
            return
        level = inner
    raise TooDeep
