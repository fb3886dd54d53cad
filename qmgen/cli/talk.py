"""How commands speak: talk to standard error, data to standard output and only when asked for."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Mapping
from typing import Any


def say(line: str = "") -> None:
    """One line for the person, on standard error."""
    print(line, file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """``value`` (a mapping or a dataclass) as JSON on standard output; NaN and infinities become null."""
    print(json.dumps(plain(value), indent=2, allow_nan=False))


def plain(value: Any) -> Any:
    """Dataclasses, paths and non-finite numbers as what JSON has."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)
